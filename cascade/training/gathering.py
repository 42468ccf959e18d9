"""Turns what was found into a rectangle of numbers, and back: ``Trainer`` gathers only tensors that it can pad."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..model import Extraction
from ..tensors import Spans

PADDING = -100  # with which Trainer pads rectangles of unequal widths
NO_RELATION = -1  # in an entity's row, where a relation's has its object and label


def to_rectangle(extraction: Extraction, sentences: int) -> Tensor:
    """(B, M, 7) int64, padded with -100: an entity is (start, end, type, -1, -1, -1, -1), a relation (subject start,
    end, type, object start, end, type, label)."""
    entities, subjects, objects = extraction.entities, extraction.subjects, extraction.objects
    none = torch.full_like(entities.row, NO_RELATION)
    entity = torch.stack([entities.start, entities.end, entities.label, none, none, none, none], dim=1)
    relation = torch.stack(
        [
            *(subjects.start, subjects.end, subjects.label),
            *(objects.start, objects.end, objects.label),
            extraction.relation_labels,
        ],
        dim=1,
    )
    row, order = torch.cat([entities.row, subjects.row]).sort(stable=True)
    counts = torch.bincount(row, minlength=sentences).tolist()
    of_sentences = torch.cat([entity, relation])[order].split(counts)
    return pad_sequence(of_sentences, batch_first=True, padding_value=PADDING)


def from_rectangle(rectangle: Tensor) -> Extraction:
    """What ``to_rectangle`` was given; scores are lost, and passes are not counted."""
    row, place = (rectangle[..., 0] != PADDING).nonzero(as_tuple=True)
    numbers = rectangle[row, place]  # (N, 7)
    entity, relation = numbers[:, -1] == NO_RELATION, numbers[:, -1] != NO_RELATION
    return Extraction(
        entities=Spans.given(row[entity], *numbers[entity, :3].unbind(1)),
        subjects=Spans.given(row[relation], *numbers[relation, :3].unbind(1)),
        objects=Spans.given(row[relation], *numbers[relation, 3:6].unbind(1)),
        relation_labels=numbers[relation, -1],
        relation_scores=torch.ones(int(relation.sum())),
        passes=0,
    )
