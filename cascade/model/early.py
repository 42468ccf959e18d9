"""Early fusion: each turn reads the text again, with what is known so far written into it as marker pieces."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from ..tensors import Batch, Spans, splice
from .config import CascadeConfig
from .encoders import Encode
from .turn import Turn


class EarlyReading:
    """One batch read turn by turn. ``passes`` counts sequences through the trunk; ``unmarked`` the entities that got no
    marker because the sequence would have outgrown the trunk (those with the highest scores are marked)."""

    def __init__(self, encode: Encode, batch: Batch, config: CascadeConfig) -> None:
        self.encode = encode
        self.batch = batch
        self.config = config
        self.marker_ids = torch.tensor(config.marker_ids, device=batch.piece_ids.device)  # (K + 1, 2)
        self.passes = 0
        self.unmarked = 0

    def entity_turn(self) -> Turn:
        return self._plain

    @cached_property
    def _plain(self) -> Turn:
        return self._read("entity", self.batch.all_rows, Spans.empty(self.batch.piece_ids.device))

    def subject_turn(self, entities: Spans, sentences: Tensor) -> Turn:
        """The given sentences (R,), each with markers around its ``entities`` (whose rows are sentences)."""
        marked = self._marked(entities)
        self.unmarked += len(entities) - len(marked) if self.config.markers == "all" else 0
        return self._read("subject", sentences, marked.of_rows(sentences, self.batch.words.rows))

    def object_turn(self, entities: Spans, subjects: Spans) -> Turn:
        """One row per subject: its sentence with markers around the entities and around the subject."""
        marked = self._marked(entities).of_rows(subjects.row, self.batch.words.rows)
        rows = torch.arange(len(subjects), device=subjects.row.device)
        label = torch.full_like(rows, len(self.config.entity_types))
        return self._read("object", subjects.row, Spans.concatenate([marked, replace(subjects, row=rows, label=label)]))

    def _read(self, task: str, sentences: Tensor, marked: Spans) -> Turn:
        sequences = splice(
            self.batch,
            sentences,
            marked,
            self.marker_ids[marked.label],
            len(self.marker_ids),
            self.config.pad_token_id,
        )
        self.passes += len(sentences)
        return Turn(self.encode(sequences, (task,))[task], sequences.words, sentences)

    def _marked(self, entities: Spans) -> Spans:
        """The entities whose markers, with the subject's, fit into ``max_pieces``; none where the subject alone is marked."""
        if self.config.markers == "subject":
            return entities[:0]
        if self.config.max_pieces is None:
            return entities
        room = (self.config.max_pieces - self.batch.pieces.lengths) // 2 - 1  # (B,)
        order = torch.argsort(entities.score, descending=True, stable=True)
        order = order[torch.argsort(entities.row[order], stable=True)]
        place = torch.empty_like(order)
        place[order] = entities.per_row(self.batch.words.rows).position
        return entities[place < room[entities.row]]
