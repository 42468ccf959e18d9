"""The time of a step of the recurrence: a pass over twice the steps less one over the steps, products apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle

import torch
from torch import Tensor

from srn_kernels import layout

from ..bench import Bench
from ..names import BACKWARD, FORWARD, LONG, LONG_PRODUCTS, LSTM, SHORT_PRODUCTS
from ..registry import Item
from ..shapes import TASKS, Shape
from ..timing import Companion, clock_of
from .calls import CHECKED, UNPROVED, Call, Rotating, check, labels, refusals
from .cell import GPU_ROUNDS

BUDGET = 1.5


class BackwardAlone:
    """The backward pass of a call, over and over: the graphs of several forward passes are kept."""

    def __init__(self, call: Call) -> None:
        first, self.grad = call.inputs
        inputs = [first.detach().requires_grad_(), torch.randn_like(first).requires_grad_()]
        self.parameters = list(call.module.parameters())
        self.graphs = cycle([(call.module(input)[0], input) for input in inputs])

    def __call__(self) -> Sequence[Tensor]:
        output, input = next(self.graphs)
        return torch.autograd.grad(output, [input, *self.parameters], self.grad, retain_graph=True)


class Products:
    """The products over all rows that come before a recurrence, or (``training``) after it, and nothing else.

    Before it x W_ihᵀ + b; after it the gradients of the input, of W_ih, W_hh and W_mc, and of the biases.
    """

    def __init__(self, shape: Shape, implementation: str) -> None:
        srn = implementation != LSTM
        self.training = shape.training
        rows, hidden, input = shape.batch * shape.steps, shape.hidden_size, shape.input_size
        gates = (layout.gate_blocks(TASKS) if srn else 4) * hidden

        def draw(*size: int) -> Tensor:
            return torch.randn(size, dtype=shape.dtype, device=shape.device)

        self.x, self.w_ih, self.b = draw(rows, input), draw(gates, input), draw(gates)
        if shape.training:
            self.dz, self.h = draw(rows, gates), draw(rows, hidden)
            self.mixed = (draw(rows, hidden), draw(rows, layout.memory_count(TASKS) * hidden)) if srn else None

    def __call__(self) -> None:
        if not self.training:
            torch.addmm(self.b, self.x, self.w_ih.t())
            return
        torch.mm(self.dz, self.w_ih)
        torch.mm(self.dz.t(), self.x)
        torch.mm(self.dz.t(), self.h)
        self.dz.sum(0)
        if self.mixed is not None:
            dc, s = self.mixed
            torch.mm(dc.t(), s)
            dc.sum(0)


def notes(table: str, shapes: Sequence[Shape], bench: Bench) -> list[str]:
    steps = shapes[0].steps
    return [
        (
            f"{shapes[0].sizes()}: a pass over {2 * steps} steps less one over {steps}, over {steps}: no launch, start or end "
            "is in it"
        ),
        "forward: the pass without gradients; backward: the backward pass alone, on kept graphs",
        (
            "products: those over all rows (before the recurrence x W_ihᵀ + b; after it the gradients of input, W_ih, W_hh, "
            "W_mc and biases), run by themselves, their difference taken alike; recurrence: the step less its products"
        ),
        "nn.LSTM's backward has a copy in it, which autograd makes of cuDNN's memory for a kept graph",
        CHECKED,
        UNPROVED,
        *refusals(shapes, bench.options.backends),
    ]


def measure(bench: Bench, item: Item, implementation: str) -> None:
    """The two passes and their products take turns in the same rounds."""
    shape = item.shape
    longer = replace(shape, steps=2 * shape.steps)
    case = bench.open(item.table, labels(shape, implementation), shape.work(implementation), shape.work(LSTM))
    case.labels["pass"] = BACKWARD if shape.training else FORWARD
    call = Call(longer, implementation)
    check(call)
    whole: Callable[[Call], Callable[[], object]] = BackwardAlone if shape.training else Rotating
    beside = {
        LONG: Companion(whole(call), longer.work(implementation)),
        SHORT_PRODUCTS: Companion(Products(shape, implementation), {}),
        LONG_PRODUCTS: Companion(Products(longer, implementation), {}),
    }
    bench.time(
        case,
        whole(Call(shape, implementation)),
        beside=beside,
        clock=clock_of(shape.device),
        budget=BUDGET,
        rounds=GPU_ROUNDS,
    )
