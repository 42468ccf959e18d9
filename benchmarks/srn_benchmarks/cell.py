"""The cell's workload: one layer, the implementations that can run it, how far each is from the float64 result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn

from srn_kernels import SRN, backends, layout
from srn_kernels.testing import TF32, assert_within, off_by_one_rounding, unit_roundoff

from .shapes import TASKS, Shape
from .tables import LSTM

EAGER = "reference"
"""The backend that is the eager loop: the specification."""

CHECKED = "checked first: off from float64 by no more than a few times what one rounding of every number moves"


def name_of(backend: str, layer: str = "SRN") -> str:
    return f"{layer} {backend} (eager)" if backend == EAGER else f"{layer} {backend}"


def implementations(shape: Shape) -> list[str]:
    """``nn.LSTM``, and the backends that serve the shape here, the eager one first: so they run."""
    usable = [name for name, backend in backends.BACKENDS.items() if not backends.refusal(backend, shape.problem())]
    return [LSTM, *sorted(usable, key=lambda name: name != EAGER)]


def refusals(shapes: Iterable[Shape]) -> list[str]:
    """Why backends are missing from the table, a sentence each, with the settings it holds for."""
    reasons: dict[tuple[str, str], set[str]] = {}
    for shape in shapes:
        for name, backend in backends.BACKENDS.items():
            if reason := backends.refusal(backend, shape.problem()):
                reasons.setdefault((name, reason), set()).add(f"{shape.device} {shape.precision}")
    return [f"not in the table: {name} on {', '.join(sorted(on))}: {reason}" for (name, reason), on in reasons.items()]


class Checkable(Protocol):
    """A call to time, and what :func:`check` judges it by."""

    implementation: str
    """``nn.LSTM`` (its cell too) or a backend's name."""
    shape: Shape
    passes: int
    """Passes of an SRN layer, forward and backward, in one call."""

    def __call__(self) -> Sequence[Tensor]: ...

    def exact(self) -> Sequence[Tensor]:
        """The float64 result."""

    def moved(self) -> Sequence[Tensor]:
        """The same from weights and input that are off by one rounding in the shape's precision."""


class Run:
    """One implementation on one shape: a call to time, and its results."""

    def __init__(self, shape: Shape, implementation: str) -> None:
        """``implementation`` is ``nn.LSTM`` or a backend's name. Weights and input are the same for every backend."""
        self.shape = shape
        self.implementation = implementation
        self.passes = 2 if shape.training else 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            rnn = build(shape, implementation)
            input = torch.randn(shape.batch, shape.steps, shape.input_size)
            grad = torch.randn(shape.batch, shape.steps, shape.hidden_size)
        self._place(rnn.to(shape.device, shape.dtype), input.to(shape.device, shape.dtype), grad)

    def _place(self, rnn: nn.Module, input: Tensor, grad: Tensor) -> None:
        self.rnn = rnn
        self.input = input.detach().requires_grad_(self.shape.training)
        self.grad = grad.to(input)
        self.wanted = [self.input, *rnn.parameters()]

    def in_float64(self, unit: float = 0.0) -> Run:
        """The same call in float64, an SRN's by the reference, from the same (rounded) numbers, or from those off by ``unit``."""
        exact = Run(self.shape, LSTM if self.implementation == LSTM else EAGER)
        input, grad = (off_by_one_rounding(tensor.detach().double(), unit) for tensor in (self.input, self.grad))
        exact._place(in_float64(self.rnn, exact.rnn, unit), input, grad)
        return exact

    def __call__(self) -> Sequence[Tensor]:
        """The layer's output and state or, when training, the gradients of all that goes in."""
        if not self.shape.training:
            with torch.no_grad():
                output, state = self.rnn(self.input)
            return output, *state
        output, _ = self.rnn(self.input)
        return torch.autograd.grad(output, self.wanted, self.grad)

    def exact(self) -> Sequence[Tensor]:
        return exact(self.shape, self.implementation == LSTM)

    def moved(self) -> Sequence[Tensor]:
        return exact(self.shape, self.implementation == LSTM, unit_of(self.shape))


def build(shape: Shape, implementation: str) -> nn.Module:
    """The layer itself, batch first, with float32 weights drawn from torch's generator."""
    if implementation == LSTM:
        return nn.LSTM(shape.input_size, shape.hidden_size, batch_first=True)
    return SRN(shape.input_size, shape.hidden_size, batch_first=True, tasks=TASKS, backend=implementation)


def unit_of(shape: Shape) -> float:
    """The unit roundoff of what a shape is multiplied in."""
    return TF32 if shape.precision == "tf32" else unit_roundoff(shape.dtype)


def in_float64(module: nn.Module, exact: nn.Module, unit: float) -> nn.Module:
    """``exact`` in float64, with the module's parameters off by ``unit``."""
    parameters = {name: off_by_one_rounding(one.double(), unit) for name, one in module.state_dict().items()}
    exact.double().load_state_dict(parameters)
    return exact


# A case in half precision checks its run in float32 too: two shapes are at work at a time, in two layers, two results each.
@lru_cache(maxsize=8)
def exact(shape: Shape, lstm: bool, unit: float = 0.0) -> Sequence[Tensor]:
    """The float64 result of ``nn.LSTM``, or of the SRN. Kept, because every implementation of a shape is held to it."""
    return Run(shape, LSTM if lstm else EAGER).in_float64(unit)()


def check(run: Checkable) -> None:
    """Raises AssertionError if the backend asked for did not run, or its results are further off than they may be."""
    with backends.record() as ran:
        results = run()
    passes = 0 if run.implementation == LSTM else run.passes
    assert ran == [run.implementation] * passes, f"asked for {run.implementation}, ran {ran}"
    shape, truth = run.shape, run.exact()
    moves = [(moved - exact)[None] for moved, exact in zip(run.moved(), truth, strict=True)]
    found, exactly, moved = (
        {f"{run.implementation}, tensor {index}": one for index, one in enumerate(tensors)}
        for tensors in (results, truth, moves)
    )
    longest = max(shape.batch * shape.steps, shape.input_size, layout.gate_blocks(TASKS) * shape.hidden_size)
    assert_within(found, exactly, moved, unit_of(shape), longest)
