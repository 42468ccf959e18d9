"""The cell's workload: one layer, the implementations that can run it, how far each is from the float64 result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn

from srn_kernels import SRN, backends

from .shapes import TASKS, Shape
from .tables import LSTM

EAGER = "reference"
"""The backend that is the eager loop: the specification, and the error that the others are judged by."""

TOLERANCE = {"float32": 5e-6, "tf32": 1e-2, "float16": 1e-2, "bfloat16": 4e-2}
"""By precision: root-mean-square error over the root mean square of the float64 result: what PyTorch's own arithmetic keeps within."""

ERROR_OVER_EAGER, UNITS_ABOVE = 2.0, 4
"""How many times the eager run's error in the same precision a backend's may be, and how many machine epsilons more: the
bound that the tests of the backends have."""


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

    def eager_error(self) -> float:
        """How far the eager loop in the shape's own precision is from the float64 result."""


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

    def in_float64(self) -> Run:
        """The same call in float64, from the same (rounded) weights and input, an SRN's by the reference."""
        exact = Run(self.shape, LSTM if self.implementation == LSTM else EAGER)
        exact.rnn.load_state_dict(self.rnn.state_dict())
        exact._place(exact.rnn.double(), self.input.double(), self.grad)
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

    def eager_error(self) -> float:
        return eager_error(self.shape)


def build(shape: Shape, implementation: str) -> nn.Module:
    """The layer itself, batch first, with float32 weights drawn from torch's generator."""
    if implementation == LSTM:
        return nn.LSTM(shape.input_size, shape.hidden_size, batch_first=True)
    return SRN(shape.input_size, shape.hidden_size, batch_first=True, tasks=TASKS, backend=implementation)


def error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest, over the tensors, of ‖found - expected‖ / ‖expected‖; NaN if anything is NaN."""
    ratios = [
        (one.double() - other).norm() / other.norm().clamp_min(torch.finfo(torch.float64).tiny)
        for one, other in zip(found, expected, strict=True)
    ]
    return float(torch.stack(ratios).max())


# A case in half precision checks its run in float32 too: two shapes are at work at a time.
@lru_cache(maxsize=4)
def exact(shape: Shape, lstm: bool) -> Sequence[Tensor]:
    """The float64 result of ``nn.LSTM``, or of the SRN. Kept, because every implementation of a shape is held to it."""
    return Run(shape, LSTM if lstm else EAGER).in_float64()()


@lru_cache(maxsize=2)
def eager_error(shape: Shape) -> float:
    """How far the eager loop in the shape's own precision is from the float64 result."""
    return error(Run(shape, EAGER)(), exact(shape, lstm=False))


def check(run: Checkable) -> None:
    """Raises AssertionError if the backend asked for did not run, or its results are further off than they may be.

    PyTorch's own arithmetic (``nn.LSTM`` and the eager loop) has a fixed bound, a backend a multiple of the eager error.
    """
    with backends.record() as ran:
        results = run()
    passes = 0 if run.implementation == LSTM else run.passes
    assert ran == [run.implementation] * passes, f"asked for {run.implementation}, ran {ran}"
    if run.implementation in (LSTM, EAGER):
        bound = TOLERANCE[run.shape.precision]
    else:
        bound = ERROR_OVER_EAGER * run.eager_error() + UNITS_ABOVE * torch.finfo(run.shape.dtype).eps
    found = error(results, run.exact())
    assert found <= bound, f"{run.implementation}: error {found:.2e} against float64, at most {bound:.2e} expected"
