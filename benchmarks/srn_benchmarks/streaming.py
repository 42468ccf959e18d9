"""The streaming workload: a cell called once for each step, its state carried from call to call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from srn_kernels import SRNCell
from srn_kernels.testing import off_by_one_rounding

from .cell import EAGER, in_float64, unit_of
from .shapes import TASKS, Shape
from .tables import LSTM


class Stream:
    """One implementation of the cell over the steps of ``shape``; one call of this reads them all."""

    def __init__(self, shape: Shape, implementation: str) -> None:
        """``implementation`` is ``nn.LSTM``, which stands for ``nn.LSTMCell``, or a backend's name."""
        self.shape = shape
        self.implementation = implementation
        self.passes = shape.steps
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if implementation == LSTM:
                cell: nn.Module = nn.LSTMCell(shape.input_size, shape.hidden_size)
            else:
                cell = SRNCell(shape.input_size, shape.hidden_size, tasks=TASKS, backend=implementation)
            rows = torch.randn(shape.steps, shape.batch, shape.input_size)
        self.cell = cell.to(shape.dtype)
        self.rows = list(rows.to(shape.dtype))  # of (B, D)

    def in_float64(self, unit: float = 0.0) -> Stream:
        """The same calls in float64, an SRN's by the reference, from the same numbers, or from those off by ``unit``."""
        exact = Stream(self.shape, LSTM if self.implementation == LSTM else EAGER)
        exact.cell = in_float64(self.cell, exact.cell, unit)
        exact.rows = [off_by_one_rounding(row.double(), unit) for row in self.rows]
        return exact

    @torch.no_grad()
    def __call__(self) -> Sequence[Tensor]:
        """The outputs of every step, (B, H) each, and the last cell state."""
        outputs, state = [], None
        for row in self.rows:
            state = self.cell(row, state)
            outputs.append(state[0])
        return *outputs, state[1]

    def exact(self) -> Sequence[Tensor]:
        return _exact(self.shape, self.implementation == LSTM)

    def moved(self) -> Sequence[Tensor]:
        return _exact(self.shape, self.implementation == LSTM, unit_of(self.shape))


@lru_cache(maxsize=4)
def _exact(shape: Shape, lstm: bool, unit: float = 0.0) -> Sequence[Tensor]:
    return Stream(shape, LSTM if lstm else EAGER).in_float64(unit)()
