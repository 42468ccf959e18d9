"""Sequences for the trunk: a batch's pieces, with marker ids spliced between them where a fusion wants them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .batch import Batch
from .ragged import Ragged
from .spans import Spans

OPENING, TEXT, CLOSING = range(3)  # what stands at a word, in this order


@dataclass(frozen=True)
class Sequences:
    """S sequences for the trunk, padded at the right, and where the first piece of each of their words stands."""

    input_ids: Tensor  # (S, longest) int64; in packed fusion what stands in the place of pieces: places in a table
    lengths: Tensor  # (S,) int64
    words: Ragged  # S rows
    word_positions: Tensor  # (words,) int64: a position in the word's sequence
    before: Tensor  # (S,) int64: pieces to the left of the sentence: context, and what the tokenizer puts there
    after: Tensor  # (S,) int64: and to its right

    @cached_property
    def mask(self) -> Tensor:
        """(S, longest) int64: 1 where a piece stands, 0 for padding."""
        place = torch.arange(self.input_ids.shape[1], device=self.input_ids.device)
        return (place < self.lengths[:, None]).long()


def splice(
    batch: Batch,
    rows: Tensor,
    marked: Spans,
    markers: Tensor,
    kinds: int,
    pad_id: int,
    piece_ids: Tensor | None = None,
) -> Sequences:
    """The sentences ``rows`` (S,) of the batch as sequences, with ``markers`` around the spans ``marked``.

    ``marked.row`` counts the sequences, its labels are the entity types and, last of so many ``kinds``, the subject;
    ``markers`` (spans, 2) are what opens and closes each. Outer spans open first and close last; around one and the same
    span the subject's markers are outside those of its types. All by one sort: no loop over sentences or spans.

    ``piece_ids`` (pieces,) stand in the sequences in place of the batch's.
    """
    words, _ = batch.words.select(rows)
    pieces, chosen = batch.pieces.select(rows)
    piece_ids = (batch.piece_ids if piece_ids is None else piece_ids)[chosen]
    piece_words = batch.piece_words[chosen]

    width = batch.width
    depth = (marked.label + 1) % max(kinds, 1)  # the subject, whose label is the last, is outermost
    opening = (width - marked.end) * kinds + depth
    closing = (width - marked.start) * kinds + kinds - 1 - depth
    ranks = max(int(batch.pieces.lengths.max()) if batch.pieces.rows else 0, (width + 1) * kinds) + 1

    def key(row: Tensor, word: Tensor, kind: int, rank: Tensor) -> Tensor:
        """A number that sorts items by sequence, word, kind and rank."""
        return ((row * (width + 2) + word + 1) * 3 + kind) * ranks + rank

    keys, order = torch.cat(
        [
            key(pieces.row, piece_words, TEXT, pieces.position),
            key(marked.row, marked.start, OPENING, opening),
            key(marked.row, marked.end, CLOSING, closing),
        ]
    ).sort(stable=True)
    ids = torch.cat([piece_ids, *markers.unbind(1)])[order]
    row = keys // ((width + 2) * 3 * ranks)
    items = Ragged.counting(row, len(rows))
    longest = int(items.lengths.max()) if items.rows else 0
    input_ids = ids.new_full((items.rows, longest), pad_id)
    input_ids[items.row, items.position] = ids
    starts_word = batch.starts_word[chosen]
    starts_word = torch.cat([starts_word, starts_word.new_zeros(2 * len(marked))])[order]
    before, after = (
        rows.new_zeros(len(rows)).scatter_add_(0, pieces.row, outside.long())
        for outside in (piece_words < 0, piece_words >= batch.words.lengths[rows][pieces.row])
    )
    return Sequences(input_ids, items.lengths, words, items.position[starts_word], before, after)


def plain(batch: Batch, pad_id: int) -> Sequences:
    """Every sentence of the batch as a sequence, without markers."""
    device = batch.piece_ids.device
    no_markers = torch.zeros(0, 2, dtype=torch.int64, device=device)
    return splice(batch, batch.all_rows, Spans.empty(device), no_markers, 0, pad_id)
