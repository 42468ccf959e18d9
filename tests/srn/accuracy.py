"""How wrong a backend may be: a few times what one rounding of every argument and of every result does to the truth.

No algorithm that rounds can promise less (its backward error), and the measure belongs to the problem: it knows nothing
of another run in the same dtype, which is right by chance on small problems and differently so on each processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from srn_kernels import layout, reference

from .cases import Call

VALUES = ("output", "h_n", "c_n", "memories")

TF32 = 2.0**-11
"""The unit roundoff of TF32, whose mantissa has 10 bits."""

TOGETHER = 2.0
"""Times the movement that the results of a call may be off, in root mean square over the results."""
EACH = 8.0
"""Times the movement that any one result may be off, in norm and in its largest element."""

FEW = 16
"""Results of fewer numbers than this are judged as one: what is off, and what moves, may be small by chance."""
DRAWS = 8
DRAWS_OF_MANY = 2
MANY = 2**16
"""Of a call with more numbers than this fewer draws tell as much."""
LEAST_STEP = 2.0**-30
"""Movements smaller than this are measured with it, and scaled: float64 must not round them away."""

Results = dict[str, Tensor]
"""All that a call computes, by name: values, and gradients for random incoming ones."""


def backend_results(call: Call, seeds: list[Tensor], backend: str) -> Results:
    """The operator on one backend, differentiated by its own backward."""
    call = call.leaves()
    outputs = call.run(backend)
    grads = torch.autograd.grad(outputs, call.tensors(), seeds, materialize_grads=True)
    return {name: value.detach() for name, value in zip(result_names(call), (*outputs, *grads), strict=True)}


def draw_seeds(call: Call) -> list[Tensor]:
    """Random incoming gradients for output, h_n, c_n and memories."""
    with torch.no_grad():
        return [torch.randn_like(value) for value in call.run("reference")]


def assert_accurate(got: Results, call: Call, seeds: list[Tensor] | None = None, unit: float | None = None) -> None:
    """Every result of ``got`` is off by no more than a few times what roundings of ``unit`` move.

    ``seeds``: incoming gradients; without them ``got`` has values alone. ``unit``: of the call's dtype by default; a
    backend that multiplies in TF32 is judged by :data:`TF32`.
    """
    dtype = call.input.dtype
    truth, moved = truth_and_movements(call, seeds, unit or unit_roundoff(dtype))
    for name, value in got.items():
        assert value.dtype == dtype and value.shape == truth[name].shape, name
    assert_within(got, truth, moved, unit or unit_roundoff(dtype), longest_sum(call))


def assert_gradients_accurate(call: Call, given: tuple[int, ...], backend: str, unit: float | None = None) -> None:
    """The gradients for random incoming ones of some of the four values, and for none, not even zeros, of the others."""
    seeds, leaves = draw_seeds(call), call.leaves()
    outputs = leaves.run(backend)
    some = [outputs[index] for index in given], leaves.tensors(), [seeds[index] for index in given]
    got = torch.autograd.grad(*some, materialize_grads=True)
    zeros = [seed if index in given else torch.zeros_like(seed) for index, seed in enumerate(seeds)]
    assert_accurate(dict(zip(result_names(call)[len(VALUES) :], got, strict=True)), call, zeros, unit)


def unit_roundoff(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps / 2


def longest_sum(call: Call) -> int:
    """Terms of the longest sum in a call: of a product forward or backward, or over all rows."""
    gates, memories = layout.gate_blocks(call.tasks), layout.memory_count(call.tasks)
    return max(*call.input.shape, max(gates, memories) * call.c0.shape[2])


def truth_and_movements(call: Call, seeds: list[Tensor] | None, unit: float) -> tuple[Results, Results]:
    """The reference's results in float64, differentiated by autograd, and how they move: :func:`movements`."""
    count = len(call.tensors())

    def values(*arguments: Tensor) -> tuple[Tensor, ...]:
        own = call.with_tensors(arguments)
        return reference.layer(own.input, own.h0, own.c0, own.weights, own.batch_sizes, own.tasks)[:4]

    def values_and_gradients(*tensors: Tensor) -> tuple[Tensor, ...]:
        outputs, pull_back = torch.func.vjp(values, *tensors[:count])
        return *outputs, *pull_back(tensors[count:])

    if seeds is None:
        return movements(values, call.tensors(), unit, VALUES)
    return movements(values_and_gradients, [*call.tensors(), *seeds], unit, result_names(call))


Function = Callable[..., tuple[Tensor, ...]]


def one_at_a_time(function: Function) -> Function:
    """``torch.func.vmap`` for what it cannot map."""
    return lambda *stacked: tuple(torch.stack(r) for r in zip(*map(function, *stacked), strict=True))


def movements(
    function: Function,
    arguments: Iterable[Tensor],
    unit: float,
    names: Iterable[str],
    map_over_draws: Callable[[Function], Function] = torch.func.vmap,
) -> tuple[Results, Results]:
    """A function's results in float64, and draws of how they move where every argument is off by one rounding.

    Each number is multiplied by 1 ± ``unit``, at random. A movement has a dimension of draws before those of its result.
    All draws run at once: ``vmap`` costs less than a second run.
    """
    exact = [tensor.detach().double() for tensor in arguments]
    draws = DRAWS if sum(tensor.numel() for tensor in exact) <= MANY else DRAWS_OF_MANY
    step = max(unit, LEAST_STEP)

    def with_draws(tensor: Tensor) -> Tensor:
        signs = torch.randint(0, 2, (draws, *tensor.shape), device=tensor.device).double() * 2 - 1
        return torch.cat([tensor[None], tensor * (1 + step * signs)])

    with _one_thread():
        results = map_over_draws(function)(*map(with_draws, exact))
    truth = {name: value[0] for name, value in zip(names, results, strict=True)}
    moved = {name: (value[1:] - value[0]) * (unit / step) for name, value in zip(truth, results, strict=True)}
    return truth, moved


@contextmanager
def _one_thread() -> Iterator[None]:
    """Thousands of small products: where another process has a core, their threads wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_within(got: Results, truth: Results, moved: Results, unit: float, longest: int) -> None:
    """``got`` is off from the truth by no more than a few times the movements; ``longest``: terms of the longest sum.

    A sum in the precision that is judged may have rounded each of its partial sums. Added up one after another, n terms
    are off by √(n/12) times what one rounding of each term moves, in root mean square; whatever adds up in vectors or
    blocks has a good many partial sums at a time, so that √(1 + n/96) times is allowed. Sums of shorter numbers are
    kept in float32.
    """
    by_the_sum = math.sqrt(1 + longest / 96) if unit <= unit_roundoff(torch.float32) else 1.0
    norms, wrong = [], []
    for name, (error, truth_, moves) in _pooled(got, truth, moved).items():
        rounding = unit * truth_.abs()
        norm = _ratio(error.norm(), moves.flatten(1).norm(dim=1), rounding.norm()) / by_the_sum
        largest = _ratio(error.abs().max(), moves.abs().flatten(1).amax(1), rounding.max()) / by_the_sum
        norms.append(norm)
        for measure, ratio in (("in norm", norm), ("in its largest element", largest)):
            if not ratio <= EACH:  # NaN is an error too
                wrong.append(f"{name}: off {measure} by {ratio:.3g} times what roundings move, allowed {EACH:g}")
    together = math.sqrt(sum(norm**2 for norm in norms) / max(len(norms), 1))
    if not together <= TOGETHER:
        wrong.append(f"together: off by {together:.3g} times what roundings move, allowed {TOGETHER:g}")
    assert not wrong, "\n".join(wrong)


def _ratio(error: Tensor, moves: Tensor, rounding: Tensor) -> float:
    """How many times as far off as it moves; ``moves`` (draws,) are taken in root mean square."""
    allowed = (moves.square().mean() + rounding.square()).sqrt().item()
    return error.item() / allowed if allowed else (math.inf if error.item() else 0.0)


def _pooled(got: Results, truth: Results, moved: Results) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Error, truth and movements of each result; those of few numbers put together, each with 1 as its largest."""
    pooled: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    small = []
    for name, value in got.items():
        one = value.double() - truth[name], truth[name], moved[name]
        if value.numel() >= FEW:
            pooled[name] = one
        elif value.numel():
            scale = truth[name].abs().max().item() or 1.0
            small.append([tensor.flatten(tensor.dim() - value.dim()) / scale for tensor in one])
    if small:
        errors, truths, moves = zip(*small, strict=True)
        pooled["small results"] = torch.cat(errors), torch.cat(truths), torch.cat(moves, dim=1)
    return pooled


def result_names(call: Call) -> list[str]:
    """Names of the four values, and of the gradient of every tensor of the call."""
    return [*VALUES, *(f"gradient of {name}" for name in call.names())]
