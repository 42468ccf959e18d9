"""Table-SRN: the two-task model that fills a table of entities and a table of relations in one go, without turns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, profiler
from transformers import PreTrainedModel

from ..tensors import Batch, Ragged, Spans, plain
from .base import ExtractionModel, ExtractionOutput, Given, inference
from .config import TableConfig
from .encoders import Encode
from .findings import Extraction
from .pairs import PairScorer

TASKS = ("entity", "relation")


@dataclass(frozen=True)
class TableReading:
    """One batch read once."""

    encode: Encode
    batch: Batch
    pad_token_id: int

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """Of each task, (N, F)."""
        return self.encode(plain(self.batch, self.pad_token_id), TASKS)


class TableModel(ExtractionModel):
    """Cell (i, j, type) of the entity table: words i to j are an entity of that type. Cell (i, j, label) of the
    relation table: a relation of that label goes from the entity that starts at i to the one that starts at j.

    So entities that share a first word share their relations, as in every model of this kind. Without relation types
    there is no relation table.
    """

    config: TableConfig
    config_class = TableConfig
    tasks = TASKS

    def __init__(self, config: TableConfig, trunk: PreTrainedModel | None = None) -> None:
        super().__init__(config, trunk)
        size, hidden = self.encoder.feature_size, config.hidden_size
        self.entity_table = PairScorer(size, len(config.entity_types), "hidden", hidden, config.dropout)
        self.relation_table = None
        if config.relation_types:
            self.relation_table = PairScorer(size, len(config.relation_types), "hidden", hidden, config.dropout)
        self.post_init()

    def loss(self, reading: TableReading, given: Given, words: Tensor | int | None = None) -> ExtractionOutput:
        """Binary cross-entropy summed over each table's cells, per word."""
        features, rows = reading.features, reading.batch.words
        divisor = max(len(rows), 1) if words is None else words

        def term(
            table: PairScorer, task: str, cells: tuple[Tensor, Tensor, Tensor], target: Tensor, label: Tensor
        ) -> Tensor:
            i, j, _ = cells
            halves = table.halves(self.dropout(features[task]))
            return table.loss(halves, i, j, (target, label)) / divisor

        upper, offsets = rows.upper_pairs(), rows.offsets
        spans, subjects, objects = given.entities, given.subjects, given.objects
        entity_cell = upper[2][offsets[spans.row] + spans.start] + spans.end - spans.start
        terms = [term(self.entity_table, "entity", upper, entity_cell, spans.label)]
        if self.relation_table is None:
            terms.append(torch.zeros_like(terms[0]))
        else:
            square = rows.all_pairs()
            relation_cell = square[2][offsets[subjects.row] + subjects.start] + objects.start
            terms.append(term(self.relation_table, "relation", square, relation_cell, objects.label))
        terms = torch.stack(terms)  # (2,)
        return ExtractionOutput(loss=terms.sum(), terms=terms)

    def read(self, batch: Batch) -> TableReading:
        return TableReading(self.encode, batch, self.config.pad_token_id)

    @inference
    def find(
        self,
        reading: TableReading,
        given: Given | None = None,
        object_batch_size: int | None = None,
    ) -> Extraction:
        """Relations are sought between the ``given`` entities."""
        batch = reading.batch
        with profiler.record_function("cascade.encode"):
            features = reading.features
        with profiler.record_function("cascade.decode"):
            entities = self._entities(features["entity"], batch.words)
            entities = entities.without_overlaps(batch.width, self.config.overlaps)
            if self.relation_table is None:
                nothing = entities[:0]
                return Extraction(entities, nothing, nothing, nothing.label, nothing.score, batch.words.rows)
            typed = (entities if given is None else given.entities).unique(batch.width)
            subject, object, label, score = self._relations(features["relation"], batch.words, typed)
            return Extraction(entities, typed[subject], typed[object], label, score, batch.words.rows)

    def _entities(self, features: Tensor, words: Ragged) -> Spans:
        i, j, _ = words.upper_pairs()
        halves = self.entity_table.halves(features)
        pair, label, score = self.entity_table.above(halves, i, j, self.config.thresholds[0])
        i, j = i[pair], j[pair]
        return Spans(words.row[i], words.position[i], words.position[j], label, score)

    def _relations(self, features: Tensor, words: Ragged, entities: Spans) -> tuple[Tensor, ...]:
        """Indices of subjects and objects among ``entities``, labels and probabilities. Only cells between entities are
        computed."""
        subject, object, _ = entities.per_row(words.rows).all_pairs()
        start = words.offsets[entities.row] + entities.start
        halves = self.relation_table.halves(features)
        pair, label, score = self.relation_table.above(halves, start[subject], start[object], self.config.thresholds[1])
        return subject[pair], object[pair], label, score
