"""What a model finds in a batch: entities and relations as tensors, and their form in the data model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import Entity, LabelSet, Relation
from ..tensors import NO_LABEL, Spans

Found = tuple[tuple[Entity, ...], tuple[Relation, ...]]


@dataclass(frozen=True)
class Extraction:
    """Entities and relations found in a batch of B sentences; every ``row`` counts these.

    Relation r goes from ``subjects[r]`` to ``objects[r]`` and has the label ``relation_labels[r]``. The labels of
    subjects and objects are entity types, ``NO_LABEL`` if the span is not an entity. ``passes`` counts sequences
    through the trunk. ``unmarked`` counts entities that got no marker for want of room in a sequence.
    """

    entities: Spans
    subjects: Spans
    objects: Spans
    relation_labels: Tensor
    passes: int
    unmarked: int = 0

    def found(self, sentences: int, labels: LabelSet) -> list[Found]:
        """Entities and relations of each of the batch's sentences, in the data model. A span that is no entity has the
        type ``""``."""

        def entity(start: int, end: int, label: int) -> Entity:
            return Entity(start, end, "" if label == NO_LABEL else labels.entity_types[label])

        entities: list[list[Entity]] = [[] for _ in range(sentences)]
        relations: list[list[Relation]] = [[] for _ in range(sentences)]
        for sentence, *span in torch.stack([self.entities.row, *_columns(self.entities)], dim=1).tolist():
            entities[sentence].append(entity(*span))
        ends = [*_columns(self.subjects), *_columns(self.objects)]
        for sentence, *span, label in torch.stack([self.subjects.row, *ends, self.relation_labels], dim=1).tolist():
            relation = Relation(entity(*span[:3]), entity(*span[3:]), labels.relation_types[label])
            relations[sentence].append(relation)
        return [(tuple(of), tuple(between)) for of, between in zip(entities, relations, strict=True)]


def _columns(spans: Spans) -> tuple[Tensor, Tensor, Tensor]:
    return spans.start, spans.end, spans.label
