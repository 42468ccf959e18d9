"""A call of one implementation on one shape, and the check that every call must pass before it is timed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import cycle

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from srn_kernels import SRN, backends, layout
from srn_kernels.backends import proof
from srn_kernels.testing import TF32, assert_within, off_by_one_rounding, unit_roundoff

from ..names import LSTM
from ..precision import tf32
from ..shapes import TASKS, Shape

EAGER = "reference"
"""The backend that is the eager loop: the specification."""

CHECKED = "checked first: off from float64 by no more than a few times what one rounding of every number moves"
UNPROVED = "unproved: its tests are not recorded to have passed on this kind of GPU"

CACHES, MOST_SETS = 2, 24
"""How many times the second-level cache the inputs of rotating calls fill, and the most sets of them."""

Input = Tensor | PackedSequence

# -- implementations ---------------------------------------------------------------------------------------------------


def name_of(implementation: str, layer: str = "SRN", lstm: str = LSTM) -> str:
    """The name of a row of a table."""
    if implementation == LSTM:
        return lstm
    return f"{layer} {implementation} (eager)" if implementation == EAGER else f"{layer} {implementation}"


def labels(shape: Shape, implementation: str, name: str | None = None) -> dict[str, str | int]:
    """A case's labels, and whether its backend needs a proof and has none."""
    found = shape.labels(name or name_of(implementation))
    if implementation != LSTM and proof.unproven(backends.BACKENDS[implementation], shape.problem().device):
        found["unproved"] = 1
    return found


def refusal(name: str, shape: Shape) -> str | None:
    """Why a backend does not serve a shape here. It may depend on whether TF32 is allowed."""
    with tf32(shape.tf32):
        return backends.refusal(backends.BACKENDS[name], shape.problem())


def implementations(shape: Shape, wanted: Iterable[str] | None = None) -> list[str]:
    """``nn.LSTM``, and those of the wanted backends that serve the shape here, the eager one first, as they run."""
    usable = [name for name in backends.BACKENDS if (wanted is None or name in wanted) and not refusal(name, shape)]
    return [LSTM, *sorted(usable, key=lambda name: name != EAGER)]


def refusals(shapes: Iterable[Shape], wanted: Iterable[str] | None = None) -> list[str]:
    """Why backends are missing from the table, one sentence each, with its settings."""
    reasons: dict[tuple[str, str], set[str]] = {}
    for shape in shapes:
        for name in backends.BACKENDS:
            if (wanted is None or name in wanted) and (reason := refusal(name, shape)):
                reasons.setdefault((name, reason), set()).add(f"{shape.device} {shape.precision}")
    return [f"not in the table: {name} on {', '.join(sorted(on))}: {reason}" for (name, reason), on in reasons.items()]


# -- calls -------------------------------------------------------------------------------------------------------------


class Call:
    """One implementation on one shape: a call to time, and its results. Here it is one call of the layer."""

    def __init__(self, shape: Shape, implementation: str, lengths: tuple[int, ...] = ()) -> None:
        """``implementation`` is ``nn.LSTM`` or a backend's name. Weights and inputs are the same for every backend.

        ``lengths`` are those of sequences, where they differ.
        """
        self.shape, self.implementation, self.lengths = shape, implementation, lengths
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.module = self.build().to(shape.device, shape.dtype)
            self.inputs = [input.to(shape.device, shape.dtype) for input in self.draw()]

    def build(self) -> nn.Module:
        """With float32 weights drawn from torch's generator."""
        sizes = self.shape.input_size, self.shape.hidden_size
        if self.implementation == LSTM:
            return nn.LSTM(*sizes, batch_first=True)
        return SRN(*sizes, batch_first=True, tasks=TASKS, backend=self.implementation)

    def draw(self) -> list[Input]:
        """The input (B, T, D) and, in training, the gradient of the output (B, T, H)."""
        sizes = [self.shape.input_size, *[self.shape.hidden_size] * self.shape.training]
        return [torch.randn(self.shape.batch, self.shape.steps, size) for size in sizes]

    @property
    def passes(self) -> int:
        """Passes of an SRN layer, forward and backward."""
        return 2 if self.shape.training else 1

    def __call__(self) -> Sequence[Tensor]:
        """The layer's output and state or, when training, the gradients of all that goes in."""
        if not self.shape.training:
            with torch.no_grad():
                output, state = self.module(self.inputs[0])
            return output, *state
        input = self.inputs[0].detach().requires_grad_()
        output, _ = self.module(input)
        return torch.autograd.grad(output, [input, *self.module.parameters()], self.inputs[1])

    def in_float64(self, unit: float = 0.0) -> Sequence[Tensor]:
        """The results in float64, an SRN's by the reference; or from weights and inputs that are off by ``unit``."""
        return _in_float64(type(self), self.shape, self.implementation == LSTM, self.lengths, unit)


# A case in half precision checks its run in float32 too: two shapes at a time, two layers, two results each.
@lru_cache(maxsize=8)
def _in_float64(kind: type[Call], shape: Shape, lstm: bool, lengths: tuple[int, ...], unit: float) -> Sequence[Tensor]:
    """Cached, because every implementation of a shape is compared with it."""
    call = kind(shape, LSTM if lstm else EAGER, lengths)
    call.module.double()
    with torch.no_grad():
        for parameter in call.module.parameters():
            parameter.copy_(off_by_one_rounding(parameter, unit))
    call.inputs = [with_data(input, lambda data: off_by_one_rounding(data.double(), unit)) for input in call.inputs]
    return call()


def with_data(input: Input, change: Callable[[Tensor], Tensor]) -> Input:
    return input._replace(data=change(input.data)) if isinstance(input, PackedSequence) else change(input)


class Rotating:
    """A call on the next of several sets of inputs each time: unlike real inputs, one set would stay in the cache."""

    def __init__(self, call: Call) -> None:
        self.call = call
        sets = [[with_data(input, torch.randn_like) for input in call.inputs] for _ in range(_sets(call.inputs) - 1)]
        self.sets = cycle([call.inputs, *sets])

    def __call__(self) -> Sequence[Tensor]:
        self.call.inputs = next(self.sets)
        return self.call()


def _sets(inputs: Sequence[Input]) -> int:
    on_gpu = inputs[0].data.is_cuda
    cache = torch.cuda.get_device_properties(inputs[0].data.device).L2_cache_size if on_gpu else 0
    return max(2, min(MOST_SETS, math.ceil(CACHES * cache / sum(input.data.nbytes for input in inputs))))


# -- the check ---------------------------------------------------------------------------------------------------------


def check(call: Call) -> None:
    """Raises AssertionError if the backend asked for did not run, or its results are further off than they may be."""
    with backends.record() as ran:
        results = call()
    passes = 0 if call.implementation == LSTM else call.passes
    assert ran == [call.implementation] * passes, f"asked for {call.implementation}, ran {ran}"
    shape, truth = call.shape, call.in_float64()
    unit = TF32 if shape.tf32 else unit_roundoff(shape.dtype)
    moves = [(moved - exact)[None] for moved, exact in zip(call.in_float64(unit), truth, strict=True)]
    found, exactly, moved = (
        {f"{call.implementation}, tensor {index}": one for index, one in enumerate(tensors)}
        for tensors in (results, truth, moves)
    )
    longest = max(shape.batch * shape.steps, shape.input_size, layout.gate_blocks(TASKS) * shape.hidden_size)
    assert_within(found, exactly, moved, unit, longest)
