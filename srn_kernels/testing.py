"""How wrong a result may be: a few times what one rounding of every argument and of every result does to the truth.

No algorithm that rounds can promise less (its backward error). The measure depends on the problem alone, and not on
another run in the same dtype, which is right by chance on small problems and differently so on each processor. Tests
and benchmarks judge every implementation by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

TF32 = 2.0**-11
"""The unit roundoff of TF32, whose mantissa has 10 bits."""

TOGETHER = 2.0
"""How many times the farthest draw the results of a call may be off, in root mean square over the results."""
EACH = 8.0
"""How many times its movement any one result may be off, in norm and in its largest element."""

FEW = 16
"""Results of fewer numbers than this are judged as one: their errors and movements may be small by chance."""
DRAWS = 8
DRAWS_OF_MANY = 2
MANY = 2**16
"""For a call with more numbers than this, fewer draws tell as much."""
LEAST_STEP = 2.0**-30
"""Movements of smaller roundings are measured with this one and scaled, so that float64 does not round them away."""

Results = Mapping[str, Tensor]
"""What is compared, by name."""


def unit_roundoff(dtype: torch.dtype) -> float:
    """The largest relative error of one rounding to nearest."""
    return torch.finfo(dtype).eps / 2


def off_by_one_rounding(tensor: Tensor, unit: float) -> Tensor:
    """Every number multiplied by 1 ± ``unit``, at random."""
    signs = torch.randint(0, 2, tensor.shape, device=tensor.device).to(tensor.dtype) * 2 - 1
    return tensor * (1 + unit * signs)


Function = Callable[..., tuple[Tensor, ...]]


def one_at_a_time(function: Function) -> Function:
    """Replaces ``torch.func.vmap`` for functions that it cannot map."""
    return lambda *stacked: tuple(torch.stack(r) for r in zip(*map(function, *stacked), strict=True))


def movements(
    function: Function,
    arguments: Iterable[Tensor],
    unit: float,
    names: Iterable[str],
    map_over_draws: Callable[[Function], Function] = torch.func.vmap,
) -> tuple[Results, Results]:
    """A function's results in float64, and draws of how they move where every argument is off by one rounding.

    A movement has a dimension of draws before those of its result. All draws run at once: ``vmap`` costs less than a
    second run.
    """
    exact = [tensor.detach().double() for tensor in arguments]
    draws = DRAWS if sum(tensor.numel() for tensor in exact) <= MANY else DRAWS_OF_MANY
    step = max(unit, LEAST_STEP)

    def with_draws(tensor: Tensor) -> Tensor:
        return torch.cat([tensor[None], off_by_one_rounding(tensor.expand(draws, *tensor.shape), step)])

    with _one_thread():
        results = map_over_draws(function)(*map(with_draws, exact))
    truth = {name: value[0] for name, value in zip(names, results, strict=True)}
    moved = {name: (value[1:] - value[0]) * (unit / step) for name, value in zip(truth, results, strict=True)}
    return truth, moved


@contextmanager
def _one_thread() -> Iterator[None]:
    """For thousands of small products: if another process uses a core, their threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assert_within(got: Results, truth: Results, moved: Results, unit: float, longest: int) -> None:
    """``got`` is off from the truth by no more than a few times the movements; ``longest``: terms of the longest sum.

    A sum in the precision that is judged may have rounded each of its partial sums. Added up one after another, n terms
    are off by √(n/12) times what one rounding of each term moves, in root mean square. Sums in vectors or blocks have
    many partial sums at a time, so that √(1 + n/96) times is allowed. Sums of narrower numbers are kept in float32.
    """
    assert got, "nothing to judge"
    sum_factor = math.sqrt(1 + longest / 96) if unit <= unit_roundoff(torch.float32) else 1.0
    norms, draws, wrong = [], [], []
    for name, (error, truth_, moves) in _pooled(got, truth, moved).items():
        rounding = unit * truth_.abs()
        moves_norm = moves.flatten(1).norm(dim=1)
        norm = _ratio(error.norm(), moves_norm, rounding.norm()) / sum_factor
        largest = _ratio(error.abs().max(), moves.abs().flatten(1).amax(1), rounding.max()) / sum_factor
        norms.append(norm)
        draws.append(torch.tensor([_ratio(one, moves_norm, rounding.norm()) for one in moves_norm]))
        for measure, ratio in (("in norm", norm), ("in its largest element", largest)):
            if not ratio <= EACH:  # NaN is an error too
                wrong.append(f"{name}: off {measure} by {ratio:.3g} times what roundings move, allowed {EACH:g}")
    if norms:
        # Results of few numbers all move together: less in one draw, more in another.
        farthest = max(1.0, torch.stack(draws).square().mean(0).max().sqrt().item())
        together = math.sqrt(sum(norm**2 for norm in norms) / len(norms)) / farthest
        if not together <= TOGETHER:
            wrong.append(f"together: off by {together:.3g} times what roundings move, allowed {TOGETHER:g}")
    assert not wrong, "\n".join(wrong)


def _ratio(error: Tensor, moves: Tensor, rounding: Tensor) -> float:
    """The error over the movement; ``moves`` (draws,) are taken in root mean square."""
    allowed = (moves.square().mean() + rounding.square()).sqrt().item()
    return error.item() / allowed if allowed else (math.inf if error.item() else 0.0)


def _pooled(got: Results, truth: Results, moved: Results) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Error, truth and movements of each result; those of few numbers are joined, each scaled to a largest of 1."""
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
