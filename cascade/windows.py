"""Windows: counts what cutting sentences for the trunk costs, and joins what was found in each part."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .data import Entity, Relation, Sentence
from .model.findings import Found
from .tensors import Example

logger = logging.getLogger(__name__)


@dataclass
class Examples:
    """The windows of ``sentences`` sentences, in their order, and what the windows cost (reason to count)."""

    sentences: int
    windows: list[Example] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)


def report(lost: Counter[str], what: str = "text") -> None:
    """Logs what was lost (reason to count), if anything."""
    if lost:
        logger.warning("%s: %s", what, ", ".join(f"{count} {reason}" for reason, count in lost.items()))


def merged(sentences: Sequence[Sentence], windows: Sequence[Example], found: Sequence[Found]) -> list[Sentence]:
    """The sentences with what was ``found`` in each of their windows."""
    entities: list[list[Entity]] = [[] for _ in sentences]
    relations: list[list[Relation]] = [[] for _ in sentences]
    for window, (its_entities, its_relations) in zip(windows, found, strict=True):
        first = window["first_word"]
        entities[window["sentence"]] += [_moved(entity, first) for entity in its_entities]
        relations[window["sentence"]] += [
            Relation(_moved(relation.subject, first), _moved(relation.object, first), relation.label)
            for relation in its_relations
        ]
    return [
        replace(sentence, entities=tuple(ents), relations=tuple(rels))
        for sentence, ents, rels in zip(sentences, entities, relations, strict=True)
    ]


def _moved(entity: Entity, words: int) -> Entity:
    return Entity(entity.start + words, entity.end + words, entity.label)
