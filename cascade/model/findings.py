"""What a model finds in a batch: entities and relations as tensors, and their form in the data model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..data import Entity, LabelSet, Relation
from ..tensors import NO_LABEL, Spans

Found = tuple[tuple[Entity, ...], tuple[Relation, ...]]


@dataclass(frozen=True)
class Extraction:
    """Entities and relations found in a batch of B sentences; every ``row`` counts these.

    Relation r goes from ``subjects[r]`` to ``objects[r]`` and has the label ``relation_labels[r]``. The labels of
    subjects and objects are entity types, ``NO_LABEL`` if the span is not an entity. ``relation_scores`` are the
    probabilities of the relations, given their entities: in the cascade those of the object turn. ``passes`` counts
    sequences through the trunk. ``unmarked`` counts entities that got no marker for want of room in a sequence.
    """

    entities: Spans
    subjects: Spans
    objects: Spans
    relation_labels: Tensor
    relation_scores: Tensor
    passes: int
    unmarked: int = 0

    def found(self, sentences: int, labels: LabelSet) -> list[Found]:
        """Entities and relations of each of the batch's sentences, in the data model. A span that is no entity has the
        type ``""``."""

        entities: list[dict[tuple[int, int, int], Entity]] = [{} for _ in range(sentences)]
        relations: list[list[Relation]] = [[] for _ in range(sentences)]
        for sentence, *key, score in _rows(self.entities.row, *_columns(self.entities), self.entities.score):
            entities[sentence][tuple(key)] = Entity(*key[:2], labels.entity_types[key[2]], score)

        def end(sentence: int, start: int, end: int, label: int) -> Entity:
            untyped = "" if label == NO_LABEL else labels.entity_types[label]
            return entities[sentence].get((start, end, label)) or Entity(start, end, untyped)

        ends = (*_columns(self.subjects), *_columns(self.objects))
        for sentence, *spans, label, score in _rows(
            self.subjects.row, *ends, self.relation_labels, self.relation_scores
        ):
            ends_of = (end(sentence, *spans[:3]), end(sentence, *spans[3:]))
            relations[sentence].append(Relation(*ends_of, labels.relation_types[label], score))
        return [(tuple(of.values()), tuple(between)) for of, between in zip(entities, relations, strict=True)]


def _rows(*columns: Tensor) -> Iterator[tuple]:
    return zip(*(column.tolist() for column in columns), strict=True)


def _columns(spans: Spans) -> tuple[Tensor, Tensor, Tensor]:
    return spans.start, spans.end, spans.label
