"""Labelled spans of a batch as parallel tensors, so that they are joined, filtered and read without a loop per span."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data.overlaps import CROSSING, NESTED, OVERLAPS, TYPES
from .ragged import Ragged

NO_LABEL = -1  # the type of a span that is not an entity


@dataclass(frozen=True)
class Spans:
    """S spans: ``row`` of the batch, ``start`` and ``end`` word in that row (inclusive), ``label``, all (S,) int64.

    ``score`` (S,) is the probability of a predicted span, or where start and end decide too, the product of the three; and
    1 for a given one.
    Spans of one row stand together, in the order of the rows.
    """

    row: Tensor
    start: Tensor
    end: Tensor
    label: Tensor
    score: Tensor

    @classmethod
    def given(cls, row: Tensor, start: Tensor, end: Tensor, label: Tensor) -> Spans:
        return cls(row, start, end, label, torch.ones(row.shape, device=row.device))

    @classmethod
    def empty(cls, device: torch.device) -> Spans:
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        return cls.given(nothing, nothing, nothing, nothing)

    @classmethod
    def concatenate(cls, parts: list[Spans]) -> Spans:
        return cls(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("row", "start", "end", "label", "score"))
        )

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, which: Tensor | slice) -> Spans:
        """A subset by mask, by indices or by slice; indices may repeat."""
        return Spans(self.row[which], self.start[which], self.end[which], self.label[which], self.score[which])

    def chunks(self, size: int) -> Iterator[Spans]:
        for first in range(0, len(self), size):
            yield self[first : first + size]

    def keys(self, width: int) -> Tensor:
        """(S,) int64: one number for each (row, start, end), in the same order; ``width`` exceeds every word index."""
        return (self.row * width + self.start) * width + self.end

    def unique(self, width: int) -> Spans:
        """Each (row, start, end) once, in that order, with the label of the highest score (then the lowest label)."""
        order = torch.argsort(self.label, stable=True)
        order = order[torch.argsort(self.score[order], descending=True, stable=True)]
        order = order[torch.argsort(self.keys(width)[order], stable=True)]
        keys = self.keys(width)[order]
        first = torch.ones_like(keys, dtype=torch.bool)
        first[1:] = keys[1:] != keys[:-1]
        return self[order[first]]

    def without_overlaps(self, width: int, allowed: Collection[str] = ()) -> Spans:
        """The spans, in their order, without those that overlap a better one of their row in a kind not ``allowed``.

        Greedy: the best span stays, what it rules out goes, then the best of the rest, and so on. Better is the higher
        score, then the shorter span, the earlier one, the lower label. ``width`` exceeds every word index.

        Spans of a group are linked by overlaps; groups do not touch. Each step takes the best span of every group, so
        that there are as many steps as spans stay in one group, usually one or two.
        """
        if set(OVERLAPS) <= set(allowed) or not len(self):
            return self
        first, last = self.row * width + self.start, self.row * width + self.end
        order = torch.argsort(first, stable=True)
        begins = torch.ones_like(order, dtype=torch.bool)
        begins[1:] = first[order][1:] > last[order].cummax(0).values[:-1]
        group = torch.empty_like(order)
        group[order] = begins.cumsum(0)

        left = torch.argsort(self.label, stable=True)  # to be decided: by group, in each the best first
        for worse in (self.start, self.end - self.start, -self.score, group):
            left = left[torch.argsort(worse[left], stable=True)]
        kept = []
        while len(left):
            leads = torch.ones_like(left, dtype=torch.bool)
            leads[1:] = group[left][1:] != group[left][:-1]
            best = left[leads]
            kept.append(best)
            ruled_out = self[left]._overlap(self[best[leads.cumsum(0) - 1]], set(OVERLAPS) - set(allowed))
            left = left[~leads & ~ruled_out]
        return self[torch.cat(kept).sort().values]

    def _overlap(self, other: Spans, kinds: Collection[str]) -> Tensor:
        """(S,) bool: whether each span overlaps the one at its place in ``other``, of the same row, in one of ``kinds``.

        The kinds are those of ``cascade.data.overlaps.overlap``.
        """
        share = (self.start <= other.end) & (other.start <= self.end)
        same = (self.start == other.start) & (self.end == other.end)
        inside = (self.start - other.start) * (self.end - other.end) <= 0
        masks = {TYPES: same, NESTED: inside & ~same, CROSSING: ~inside}
        return share & torch.stack([masks[kind] for kind in kinds]).any(0)

    def labels_of(self, spans: Spans, width: int) -> Tensor:
        """(len(spans),) int64: the label of each of ``spans`` here, or ``NO_LABEL``. Needs ``unique`` spans here."""
        if not len(self):
            return torch.full_like(spans.label, NO_LABEL)
        keys, wanted = self.keys(width), spans.keys(width)
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        return torch.where(keys[place] == wanted, self.label[place], NO_LABEL)

    def per_row(self, rows: int) -> Ragged:
        """The layout of the spans over all ``rows`` rows."""
        return Ragged.counting(self.row, rows)

    def of_rows(self, chosen: Tensor, rows: int) -> Spans:
        """The spans of each of the rows ``chosen`` (R,) out of all ``rows``; the result's rows count these R."""
        layout, index = self.per_row(rows).select(chosen)
        return replace(self[index], row=layout.row)
