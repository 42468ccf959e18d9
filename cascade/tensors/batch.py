"""A batch: examples collated end to end and unpadded, and those tensors laid out in rows again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import torch
from torch import Tensor

from .ragged import Ragged


class Example(TypedDict):
    """One window of a sentence, usually all of it. Word indices count the window's words."""

    input_ids: list[int]  # pieces, with those of the context, and what the tokenizer puts around a text
    piece_words: list[int]  # the word of each piece; -1 before the window, the number of words after it
    word_count: int
    entities: list[tuple[int, int, int]]  # start, end, type
    relations: list[tuple[int, int, int]]  # subject and object as indices into entities, label
    example_id: int
    sentence: int  # which of the sentences
    first_word: int  # where the window begins in it


def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
    """A batch of B examples, int64, on the CPU. Use it as ``Trainer``'s data collator.

    ``word_counts`` (B,), ``piece_counts`` (B,), ``piece_ids`` and ``piece_words`` (pieces,), ``entities`` (E, 4):
    example of the batch, start, end, type; ``relations`` (R, 3): subject and object as indices into ``entities``,
    label; ``example_ids`` (B,). The first tensor's first size is B: ``Trainer`` reads the batch size there.
    """
    entities = Ragged(torch.tensor([len(example["entities"]) for example in examples]))
    relations = Ragged(torch.tensor([len(example["relations"]) for example in examples]))
    entity = _table([row for example in examples for row in example["entities"]])
    relation = _table([row for example in examples for row in example["relations"]])
    relation[:, :2] += entities.offsets[relations.row][:, None]
    return {
        "word_counts": torch.tensor([example["word_count"] for example in examples]),
        "piece_counts": torch.tensor([len(example["input_ids"]) for example in examples]),
        "piece_ids": torch.tensor([piece for example in examples for piece in example["input_ids"]]),
        "piece_words": torch.tensor([word for example in examples for word in example["piece_words"]]),
        "entities": torch.cat([entities.row[:, None], entity], dim=1),
        "relations": relation,
        "example_ids": torch.tensor([example["example_id"] for example in examples]),
    }


@dataclass(frozen=True)
class Batch:
    """Tokenized sentences end to end: the tensors of ``collate``, laid out.

    A sentence's pieces include its context and what the tokenizer puts around both: before it (word -1) and after it
    (word n). Every word has a piece.
    """

    words: Ragged  # B rows
    pieces: Ragged  # B rows
    piece_ids: Tensor  # (pieces,) int64
    piece_words: Tensor  # (pieces,) int64: the word of its sentence that a piece belongs to

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Batch:
        """From ``word_counts``, ``piece_counts``, ``piece_ids`` and ``piece_words``; others are ignored."""
        return cls(
            Ragged(tensors["word_counts"]),
            Ragged(tensors["piece_counts"]),
            tensors["piece_ids"],
            tensors["piece_words"],
        )

    @cached_property
    def first_pieces(self) -> Tensor:
        """(words,) int64: the position of each word's first piece in its sentence."""
        return self.pieces.position[self.starts_word]

    @cached_property
    def starts_word(self) -> Tensor:
        """(pieces,) bool: whether a piece is the first of a word."""
        begins = torch.ones_like(self.piece_words, dtype=torch.bool)
        begins[1:] = self._changes
        return self._of_words & begins

    @cached_property
    def last_pieces(self) -> Tensor:
        """(words,) int64: the position of each word's last piece in its sentence."""
        ends = torch.ones_like(self.piece_words, dtype=torch.bool)
        ends[:-1] = self._changes
        return self.pieces.position[self._of_words & ends]

    @property
    def _of_words(self) -> Tensor:
        """(pieces,) bool: not of the context, nor what the tokenizer puts around a text."""
        return (self.piece_words >= 0) & (self.piece_words < self.words.lengths[self.pieces.row])

    @property
    def _changes(self) -> Tensor:
        """(pieces - 1,) bool: the next piece is of another word or sentence."""
        words, rows = self.piece_words, self.pieces.row
        return (words[1:] != words[:-1]) | (rows[1:] != rows[:-1])

    @property
    def all_rows(self) -> Tensor:
        """(B,) int64: every sentence, in order."""
        return torch.arange(self.words.rows, device=self.piece_ids.device)

    @cached_property
    def width(self) -> int:
        """One more than the largest word index."""
        return int(self.words.lengths.max()) if self.words.rows else 0


def _table(rows: list[tuple[int, int, int]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
