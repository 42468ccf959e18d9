"""Streaming: a cell called once for each step, its state carried from call to call, beside ``nn.LSTMCell``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from srn_kernels import SRNCell

from ..bench import Bench
from ..names import LSTM, LSTM_CELL
from ..registry import Item
from ..shapes import TASKS, Shape
from .calls import Call, check, labels, name_of, refusals
from .cell import BUDGET, ROUNDS


class Stream(Call):
    """One call reads all steps of the shape."""

    def build(self) -> nn.Module:
        sizes = self.shape.input_size, self.shape.hidden_size
        if self.implementation == LSTM:
            return nn.LSTMCell(*sizes)
        return SRNCell(*sizes, tasks=TASKS, backend=self.implementation)

    def draw(self) -> list[Tensor]:
        """(B, D) for each step."""
        return list(torch.randn(self.shape.steps, self.shape.batch, self.shape.input_size))

    @property
    def passes(self) -> int:
        return self.shape.steps

    @torch.no_grad()
    def __call__(self) -> Sequence[Tensor]:
        """The outputs of every step, (B, H) each, and the last cell state."""
        outputs, state = [], None
        for row in self.inputs:
            state = self.module(row, state)
            outputs.append(state[0])
        return *outputs, state[1]


def notes(table: str, shapes: Sequence[Shape], bench: Bench) -> list[str]:
    return [
        shapes[0].sizes(),
        (
            f"B 1, T 1: a call a step, without gradients; a round is {shapes[0].steps} calls, the state carried from one to "
            "the next"
        ),
        "ratios: medians over rounds, in each of which nn.LSTMCell ran just before",
        "checked first: outputs of every step, and the last state, held to float64 as in the cell's table",
        *refusals(shapes, bench.options.backends),
    ]


def measure(bench: Bench, item: Item, implementation: str) -> None:
    shape = item.shape
    name = name_of(implementation, "SRNCell", LSTM_CELL)
    case = bench.open(item.table, labels(shape, implementation, name), shape.work(implementation), shape.work(LSTM))
    call = Stream(shape, implementation)
    check(call)
    baseline = None if implementation == LSTM else Stream(shape, LSTM)
    bench.time(case, call, baseline, budget=BUDGET, rounds=ROUNDS)
