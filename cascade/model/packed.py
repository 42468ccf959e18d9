"""Packed fusion: the text is read once, markers are read beside it, and the encoder reads both together for each turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..tensors import Batch, Sequences, Spans, plain, splice
from .beside import Text
from .config import CascadeConfig
from .late import LateFusion, entity_tags
from .turn import Turn

MARKED_AT_ONCE = 32  # marked spans of a sentence: bounds the memory of the mask, which grows with their square
EncodeStates = Callable[[Tensor, Sequences, Sequence[str]], dict[str, Tensor]]


class PackedReading:
    """One batch whose text is read once. ``passes`` counts texts through the trunk; none goes without markers for
    want of room.

    A marker is a piece at the place of its span's first or last piece (PL-Marker's levitated markers). It sees the text and
    the span's other marker; the text does not see it. So the text's states stay as they are, whatever is marked, and a
    turn costs the trunk a few pieces an entity. Between the states of the text, where early fusion has its markers, those
    of the markers stand when the encoder reads a row.
    """

    unmarked = 0

    def __init__(
        self,
        trunk: PreTrainedModel,
        encode: EncodeStates,
        batch: Batch,
        config: CascadeConfig,
        fusion: LateFusion | None,
    ) -> None:
        self.trunk = trunk
        self.encode = encode
        self.batch = batch
        self.config = config
        self.fusion = fusion
        self.marker_ids = torch.tensor(config.marker_ids, device=batch.piece_ids.device)  # (K + 1, 2)
        self.sequences = plain(batch, config.pad_token_id)
        self.none = Spans.empty(batch.piece_ids.device)
        self.passes = 0
        self._entities: tuple[Spans, Tensor] | None = None

    @cached_property
    def text(self) -> Text:
        self.passes += self.batch.words.rows
        return Text(self.trunk, self.sequences)

    def entity_turn(self) -> Turn:
        return self._plain

    @cached_property
    def _plain(self) -> Turn:
        features = self.encode(self.text.states, self.sequences, ("entity",))["entity"]
        return Turn(features, self.batch.words, self.batch.all_rows)

    def subject_turn(self, entities: Spans, sentences: Tensor) -> Turn:
        """The given sentences (R,), each with the markers of its ``entities`` (whose rows are sentences)."""
        words, chosen = self.batch.words.select(sentences)
        marked, markers = self._marked(entities, sentences)
        features = self._read("subject", sentences, marked, markers)
        return Turn(self.fusion.tagged(features, self._tags(entities)[chosen]), words, sentences)

    def object_turn(self, entities: Spans, subjects: Spans) -> Turn:
        """One row per subject: its sentence with the markers of the entities and of the subject."""
        words, chosen = self.batch.words.select(subjects.row)
        marked, markers = self._marked(entities, subjects.row)
        row = torch.arange(len(subjects), device=subjects.row.device)
        label = torch.full_like(row, len(self.config.entity_types))
        marked = Spans.concatenate([marked, replace(subjects, row=row, label=label)])
        markers = torch.cat([markers, self._markers(replace(subjects, label=label))])
        features = self._read("object", subjects.row, marked, markers)
        of_words = self.fusion.object_words(self.fusion.tagged(features, self._tags(entities)[chosen]))
        every = torch.arange(len(words), device=row.device)
        return Turn(self.fusion.object_features(of_words, words, every, subjects), words, subjects.row)

    def _tags(self, entities: Spans) -> Tensor:
        return entity_tags(entities, self.batch.words, len(self.config.entity_types))

    def _marked(self, entities: Spans, sentences: Tensor) -> tuple[Spans, Tensor]:
        """The entities that are marked in the given sentences (R,), whose rows count these, and the states of their markers
        (M, 2, D)."""
        if self.config.markers == "subject":
            entities = self.none
        layout, which = entities.per_row(self.batch.words.rows).select(sentences)
        return replace(entities[which], row=layout.row), self._entity_markers(entities)[which]

    def _entity_markers(self, entities: Spans) -> Tensor:
        """As ``_markers``; those of the same entities are read once."""
        if self._entities is None or self._entities[0] is not entities:
            self._entities = entities, self._markers(entities)
        return self._entities[1]

    def _markers(self, spans: Spans) -> Tensor:
        """(M, 2, D): the states of the markers of spans, whose rows are sentences."""
        place = spans.per_row(self.batch.words.rows)
        states = self.text.states.new_empty(len(spans), 2, self.text.states.shape[-1])
        word = self.batch.words.offsets[spans.row]
        positions = torch.stack(
            [self.batch.first_pieces[word + spans.start], self.batch.last_pieces[word + spans.end]], dim=1
        )
        most = int(place.lengths.max()) if len(spans) else 0
        for first in range(0, most, MARKED_AT_ONCE):
            chosen = (place.position >= first) & (place.position < first + MARKED_AT_ONCE)
            where = spans.row[chosen], place.position[chosen] - first
            states[chosen] = self._pairs(self.marker_ids[spans.label[chosen]], positions[chosen], where)
        return states

    def _pairs(self, ids: Tensor, positions: Tensor, where: tuple[Tensor, Tensor]) -> Tensor:
        """(M, 2, D): the states of pairs of pieces ``ids`` (M, 2) at ``positions`` (M, 2) of sentences ``where[0]`` (M,), of
        whose pairs they are the ``where[1]``-th (M,). A pair does not see the others."""
        count = int(where[1].max()) + 1
        shape = (self.batch.words.rows, count, 2)
        table, places = ids.new_full(shape, self.config.pad_token_id), positions.new_zeros(shape)
        table[where], places[where] = ids, positions
        pair = torch.arange(2 * count, device=ids.device) // 2
        states = self.text.beside(table.flatten(1), places.flatten(1), pair[:, None] == pair)
        return states.unflatten(1, (count, 2))[where]

    def _read(self, task: str, sentences: Tensor, marked: Spans, markers: Tensor) -> Tensor:
        """(N, F): features of the words of the given sentences (R,), with the states ``markers`` (M, 2, D) around the
        spans ``marked`` (M), whose rows count these sentences."""
        states = self.text.states
        longest = states.shape[1]
        index = self.batch.pieces.row * longest + self.batch.pieces.position
        places = torch.arange(2 * len(marked), device=index.device).unflatten(0, (-1, 2)) + states.shape[0] * longest
        sequences = splice(self.batch, sentences, marked, places, len(self.marker_ids), 0, piece_ids=index)
        table = torch.cat([states.flatten(0, 1), markers.flatten(0, 1)])
        return self.encode(table[sequences.input_ids], sequences, (task,))[task]
