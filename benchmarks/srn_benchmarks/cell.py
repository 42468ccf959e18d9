"""The cell's workload: one layer, the implementations that can run it, how far each is from the float64 result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from srn_kernels import SRN, backends, layout
from srn_kernels.backends import Problem

from .tables import LSTM

TASKS = 3
EAGER = "reference"
"""The backend that is the eager loop: the specification, and the error that the others are judged by."""

TOLERANCE = {torch.float32: 5e-6, torch.bfloat16: 4e-2}
"""Root-mean-square error over the root mean square of the float64 result: what PyTorch's own arithmetic keeps within."""

ERROR_OVER_EAGER, UNITS_ABOVE = 2.0, 4
"""How many times the eager run's error in the same precision a backend's may be, and how many machine epsilons more: the
bound that the tests of the backends have."""


@dataclass(frozen=True)
class Shape:
    """One setting of the table. A row of the input is a step of a sequence: there are ``batch`` · ``steps``."""

    device: str
    dtype: torch.dtype
    threads: int
    training: bool
    batch: int
    steps: int
    input_size: int = 768
    hidden_size: int = 300

    @property
    def precision(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def __str__(self) -> str:
        kind = "training" if self.training else "forward"
        return f"{self.device}-{self.precision}-{self.threads}t-{kind}-B{self.batch}-T{self.steps}"

    def labels(self, implementation: str) -> dict[str, str | int]:
        return {
            "implementation": implementation,
            "device": self.device,
            "precision": self.precision,
            "threads": self.threads,
            "pass": "forward+backward" if self.training else "forward",
            "batch": self.batch,
            "steps": self.steps,
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
        }

    def work(self, implementation: str) -> dict[str, int]:
        """Flops and steps of one call. A backward pass counts twice a forward pass."""
        rows = self.batch * self.steps
        if implementation == LSTM:
            flops = lstm_flops(rows, self.input_size, self.hidden_size)
        else:
            flops = layout.forward_flops(rows, self.input_size, self.hidden_size, TASKS)
        return {"flops": flops * (3 if self.training else 1), "steps": self.steps}

    def problem(self) -> Problem:
        return Problem(
            rows=self.batch * self.steps,
            batch=self.batch,
            input_size=self.input_size,
            hidden_size=self.hidden_size,
            state_size=self.hidden_size,
            tasks=TASKS,
            directions=1,
            bias=True,
            projection=False,
            ragged=False,
            dtype=self.dtype,
            device=torch.device(self.device),
        )


def lstm_flops(rows: int, input_size: int, hidden_size: int) -> int:
    """Floating-point operations of a forward pass of ``nn.LSTM``'s four gates over ``rows`` rows."""
    return 2 * rows * 4 * hidden_size * (input_size + hidden_size)


def name_of(backend: str) -> str:
    return f"SRN {backend} (eager)" if backend == EAGER else f"SRN {backend}"


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


class Run:
    """One implementation on one shape: a call to time, and its results."""

    def __init__(self, shape: Shape, implementation: str) -> None:
        """``implementation`` is ``nn.LSTM`` or a backend's name. Weights and input are the same for every backend."""
        self.shape = shape
        self.implementation = implementation
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if implementation == LSTM:
                rnn: nn.Module = nn.LSTM(shape.input_size, shape.hidden_size, batch_first=True)
            else:
                rnn = SRN(shape.input_size, shape.hidden_size, batch_first=True, tasks=TASKS, backend=implementation)
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


def error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest, over the tensors, of ‖found - expected‖ / ‖expected‖; NaN if anything is NaN."""
    ratios = [
        (one.double() - other).norm() / other.norm().clamp_min(torch.finfo(torch.float64).tiny)
        for one, other in zip(found, expected, strict=True)
    ]
    return float(torch.stack(ratios).max())


@lru_cache(maxsize=2)
def exact(shape: Shape, lstm: bool) -> Sequence[Tensor]:
    """The float64 result of ``nn.LSTM``, or of the SRN. Kept, because every implementation of a shape is held to it."""
    return Run(shape, LSTM if lstm else EAGER).in_float64()()


@lru_cache(maxsize=1)
def eager_error(shape: Shape) -> float:
    """How far the eager loop in the shape's own precision is from the float64 result."""
    return error(Run(shape, EAGER)(), exact(shape, lstm=False))


def check(run: Run) -> None:
    """Raises AssertionError if the backend asked for did not run, or its results are further off than they may be.

    PyTorch's own arithmetic (``nn.LSTM`` and the eager loop) has a fixed bound, a backend a multiple of the eager error.
    """
    with backends.record() as ran:
        results = run()
    passes = 0 if run.implementation == LSTM else 2 if run.shape.training else 1
    assert ran == [run.implementation] * passes, f"asked for {run.implementation}, ran {ran}"
    if run.implementation in (LSTM, EAGER):
        bound = TOLERANCE[run.shape.dtype]
    else:
        bound = ERROR_OVER_EAGER * eager_error(run.shape) + UNITS_ABOVE * torch.finfo(run.shape.dtype).eps
    found = error(results, exact(run.shape, run.implementation == LSTM))
    assert found <= bound, f"{run.implementation}: error {found:.2e} against float64, at most {bound:.2e} expected"


def default_shapes(devices: Sequence[str], threads: int) -> list[Shape]:
    """What fits two cores in a minute: one length, all threads that torch has."""
    return [
        Shape(device, torch.float32, threads, training, batch, 32)
        for device in devices
        for training in (False, True)
        for batch in (1, 8, 32)
    ]


def full_shapes(devices: Sequence[str], threads: int) -> list[Shape]:
    """Two lengths; on a CPU one, two and all threads; half precision too."""
    return [
        Shape(device, dtype, count, training, batch, steps)
        for device in devices
        for dtype in (torch.float32, torch.bfloat16)
        for count in (sorted({1, min(2, threads), threads}) if device == "cpu" else (threads,))
        for training in (False, True)
        for batch in (1, 8, 32)
        for steps in (32, 128)
    ]


def smoke_shapes(devices: Sequence[str], threads: int) -> list[Shape]:
    """Tiny, for a run that checks and does not time."""
    return [
        Shape(device, torch.float32, threads, training, 3, 5, input_size=24, hidden_size=20)
        for device in devices
        for training in (False, True)
    ]


def shapes(devices: Sequence[str], threads: int, *, full: bool, smoke: bool) -> list[Shape]:
    build: Callable[[Sequence[str], int], list[Shape]] = (
        smoke_shapes if smoke else full_shapes if full else default_shapes
    )
    return build(devices, threads)
