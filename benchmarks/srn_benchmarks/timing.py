"""Times one case through pytest-benchmark, its baseline run in the same rounds, so that their ratio survives noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

import torch
from pytest_benchmark.fixture import BenchmarkFixture

from .results import NOT_TIMED, TIMED, Case

_T = TypeVar("_T")

MOST_CALLS = 50
"""Of a burst."""


@dataclass(frozen=True)
class Clock:
    """``seconds`` runs a call a number of times, and returns what one took, and what the last returned.

    A call shorter than ``settling`` seconds is first repeated untimed for as long, so that it is timed in the state of
    caches, allocator and clocks that it makes for itself, and not in that of another implementation. One shorter than
    ``burst`` is repeated for about as long, and the burst timed as one. ``warm_ups`` calls come first.
    """

    seconds: Callable[[Callable[[], Any], int], tuple[float, Any]]
    settling: float
    burst: float = 0.0
    warm_ups: int = 1


def by_wall(call: Callable[[], _T], times: int, wait: Callable[[], object] = lambda: None) -> tuple[float, _T]:
    """By the host's clock; ``wait`` waits for a GPU."""
    wait()
    start = perf_counter()
    for _ in range(times):
        result = call()
    wait()
    return (perf_counter() - start) / times, result


def by_events(call: Callable[[], _T], times: int) -> tuple[float, _T]:
    """By the GPU's clock, from when it reaches the burst until it is done; gaps between launches count."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(times):
        result = call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e-3 / times, result


HOST = Clock(by_wall, settling=0.05)
HOST_AND_DEVICE = Clock(partial(by_wall, wait=torch.cuda.synchronize), settling=0.05)
DEVICE = Clock(by_events, settling=5e-3, burst=5e-3, warm_ups=3)
"""The second call of a shape may be recorded as a CUDA graph, and is not typical either."""


def clock_of(device: str) -> Clock:
    return DEVICE if device == "cuda" else HOST


@dataclass(frozen=True)
class Companion:
    """What else is timed in each round of a case, and the work it does there.

    ``settles``: it is first repeated as its clock's ``settling`` says, before the case is. One that does not touch the
    caches need not be, and runs right before the case, once that has settled.
    """

    run: Callable[[], object]
    work: Mapping[str, float]
    settles: bool = True


def measure(
    benchmark: BenchmarkFixture,
    case: Case,
    run: Callable[[], _T],
    baseline: Callable[[], object] | None = None,
    *,
    beside: Mapping[str, Companion] | None = None,
    check: Callable[[_T], object] = lambda result: None,
    clock: Clock = HOST,
    budget: float,
    rounds: tuple[int, int],
) -> None:
    """Fills ``case`` with as many rounds as fit ``budget`` seconds, within ``rounds`` (least, most).

    Each round runs ``baseline``, what is to be measured ``beside``, then ``run``, and times them all. Before the rounds
    all warm up; ``check`` gets what ``run`` returned there, and raises if that is wrong. With ``--benchmark-disable``
    ``run`` is run and checked once, and the case is ``not timed``. Labels and work also go into ``extra_info``.
    """
    benchmark.extra_info.update(case.labels | case.work)
    if benchmark.disabled:
        check(benchmark.pedantic(run))
        case.status = NOT_TIMED
        return

    others: list[tuple[Callable[[], object], bool, list[float]]] = []  # what runs before, whether it settles, its times
    if baseline is not None:
        others.append((baseline, True, case.baseline_seconds))
    for name, companion in (beside or {}).items():
        case.beside_work[name] = dict(companion.work)
        others.append((companion.run, companion.settles, case.beside.setdefault(name, [])))

    once: dict[Callable[[], object], float] = {}
    for call in [*(call for call, _, _ in others), run]:
        for _ in range(clock.warm_ups):
            once[call], result = clock.seconds(call, 1)
    check(result)
    times = {call: max(1, min(MOST_CALLS, math.floor(clock.burst / max(taken, 1e-9)))) for call, taken in once.items()}

    def settle(call: Callable[[], object]) -> None:
        if once[call] < clock.settling:
            spent = 0.0
            while spent < clock.settling:
                spent += max(clock.seconds(call, 1)[0], 1e-9)

    def before_round() -> None:
        for call, settles, seconds in others:
            if settles:
                settle(call)
                seconds.append(clock.seconds(call, times[call])[0])
        settle(run)
        for call, settles, seconds in others:
            if not settles:
                seconds.append(clock.seconds(call, times[call])[0])

    def round() -> None:
        case.seconds.append(clock.seconds(run, times[run])[0])

    settling = {run, *(call for call, settles, _ in others if settles)}
    seconds = sum(
        taken * times[call] + clock.settling * (taken < clock.settling and call in settling)
        for call, taken in once.items()
    )
    benchmark.pedantic(round, setup=before_round, rounds=rounds_within(budget, seconds, rounds))
    case.status = TIMED


def rounds_within(budget: float, seconds: float, bounds: tuple[int, int]) -> int:
    """How many rounds of ``seconds`` fit ``budget``, but at least and at most ``bounds``."""
    least, most = bounds
    return max(least, min(most, math.floor(budget / max(seconds, 1e-9))))
