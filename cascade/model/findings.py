"""What a model finds in a batch, as tensors; how it becomes entities and relations of the data model; where time went."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data import Entity, LabelSet, Relation
from ..tensors import NO_LABEL, Spans

ROW_WIDTH = 7  # numbers that one found entity or relation takes in ``Extraction.rows``
PADDING = -100


@dataclass(frozen=True)
class Extraction:
    """Entities and relations found in a batch of B sentences, all rows counting these.

    Relation r goes from ``subjects[r]`` to ``objects[r]`` and has the label ``relation_labels[r]``. The labels of subjects
    and objects are entity types, ``NO_LABEL`` where nobody called the span an entity. ``passes`` counts sequences
    through the trunk. ``unmarked`` counts entities that got no marker for want of room in a sequence.
    """

    entities: Spans
    subjects: Spans
    objects: Spans
    relation_labels: Tensor
    passes: int
    unmarked: int = 0

    def found(self, sentences: int, labels: LabelSet) -> list[tuple[tuple[Entity, ...], tuple[Relation, ...]]]:
        """Entities and relations of each of the batch's sentences, in the data model."""
        return found_in_rows(self.rows(sentences).tolist(), labels)

    def rows(self, sentences: int) -> Tensor:
        """(B, M, 7) int64, padded with -100: an entity is (start, end, type, -1, -1, -1, -1), a relation (subject start,
        end, type, object start, end, type, label). A rectangle, for ``Trainer`` to gather over processes."""
        none = torch.full_like(self.entities.row, -1)
        entities = torch.stack(
            [self.entities.start, self.entities.end, self.entities.label, none, none, none, none], dim=1
        )
        relations = torch.stack(
            [
                *(self.subjects.start, self.subjects.end, self.subjects.label),
                *(self.objects.start, self.objects.end, self.objects.label),
                self.relation_labels,
            ],
            dim=1,
        )
        row = torch.cat([self.entities.row, self.subjects.row])
        row, order = row.sort(stable=True)
        counts = torch.bincount(row, minlength=sentences)
        place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        longest = int(counts.max()) if sentences else 0
        filled = row.new_full((sentences, longest, ROW_WIDTH), PADDING)
        filled[row, place] = torch.cat([entities, relations])[order]
        return filled


def found_in_rows(
    rows: Sequence[Sequence[Sequence[int]]], labels: LabelSet
) -> list[tuple[tuple[Entity, ...], tuple[Relation, ...]]]:
    """``Extraction.rows``, as lists, back in the data model. A span that is no entity has the type ``""``."""

    def entity(start: int, end: int, label: int) -> Entity:
        return Entity(start, end, "" if label == NO_LABEL else labels.entity_types[label])

    found = []
    for sentence in rows:
        real = [row for row in sentence if row[0] != PADDING]
        entities = tuple(entity(*row[:3]) for row in real if row[-1] == -1)
        relations = tuple(
            Relation(entity(*row[:3]), entity(*row[3:6]), labels.relation_types[row[6]])
            for row in real
            if row[-1] != -1
        )
        found.append((entities, relations))
    return found


@dataclass
class StageTimer:
    """Seconds by stage. ``synchronize`` is called at both ends of a stage: ``torch.cuda.synchronize`` on a GPU."""

    synchronize: Callable[[], object] = lambda: None
    seconds: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.synchronize()
        start = time.perf_counter()
        yield
        self.synchronize()
        self.seconds[name] += time.perf_counter() - start
