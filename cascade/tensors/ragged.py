"""Rows of different lengths laid end to end: the layout that word features, pieces and spans share, without padding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """R rows of ``lengths`` items; item n of the N = sum of lengths belongs to ``row[n]`` at ``position[n]``."""

    lengths: Tensor  # (R,) int64

    @classmethod
    def counting(cls, row: Tensor, rows: int) -> Ragged:
        """The layout of items that lie in ``row`` (N,). Unlike ``bincount`` it does not wait for a GPU."""
        return cls(row.new_zeros(rows).scatter_add_(0, row, torch.ones_like(row)))

    @cached_property
    def offsets(self) -> Tensor:
        """(R,) int64: where each row begins among the items."""
        return self.lengths.cumsum(0) - self.lengths

    @cached_property
    def row(self) -> Tensor:
        """(N,) int64: the row of each item."""
        return torch.repeat_interleave(self.lengths)

    @cached_property
    def position(self) -> Tensor:
        """(N,) int64: the place of each item in its row."""
        return torch.arange(len(self), device=self.lengths.device) - self.offsets[self.row]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def rows(self) -> int:
        return len(self.lengths)

    def select(self, rows: Tensor) -> tuple[Ragged, Tensor]:
        """The given rows (any order, repeats allowed) as a new layout, and (N',) which item each one was."""
        chosen = Ragged(self.lengths[rows])
        return chosen, self.offsets[rows][chosen.row] + chosen.position

    def upper_pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """All pairs i <= j of one row, by i, then j: items i (P,), items j (P,), and (N,) where i's pairs begin."""
        rest = Ragged(self.lengths[self.row] - self.position)
        return rest.row, rest.row + rest.position, rest.offsets

    def all_pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """All ordered pairs of one row, by i, then j: items i (P,), items j (P,), and (N,) where i's pairs begin."""
        partners = Ragged(self.lengths[self.row])
        return partners.row, self.offsets[self.row][partners.row] + partners.position, partners.offsets
