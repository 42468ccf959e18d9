"""The streaming workload: a cell called once for each step, its state carried from call to call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from srn_kernels import SRNCell

from .cell import EAGER, error
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

    def in_float64(self) -> Stream:
        """The same calls in float64, from the same weights and input, an SRN's by the reference."""
        exact = Stream(self.shape, LSTM if self.implementation == LSTM else EAGER)
        exact.cell.load_state_dict(self.cell.state_dict())
        exact.cell.double()
        exact.rows = [row.double() for row in self.rows]
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

    def eager_error(self) -> float:
        return error(Stream(self.shape, EAGER)(), _exact(self.shape, lstm=False))


@lru_cache(maxsize=2)
def _exact(shape: Shape, lstm: bool) -> Sequence[Tensor]:
    return Stream(shape, LSTM if lstm else EAGER).in_float64()()
