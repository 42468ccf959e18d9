"""Times one case through pytest-benchmark, its baseline run in the same rounds, so that their ratio outlives noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from pytest_benchmark.fixture import BenchmarkFixture

from .results import NOT_TIMED, TIMED, Case

_T = TypeVar("_T")

SETTLING = 0.05
"""Seconds. A call shorter than this is first repeated untimed for as long, so that it is timed in the state of caches,
allocator and clock that it makes for itself, and not in the one that the other implementation left behind."""


@dataclass(frozen=True)
class Companion:
    """What else is timed in each round of a case, and the work it does there.

    ``settles``: it is first repeated as :data:`SETTLING` says, before the case is. What does not touch the caches need
    not be, and runs after the case has settled, right before it.
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
    synchronize: Callable[[], object] = lambda: None,
    budget: float,
    rounds: tuple[int, int],
) -> None:
    """Fills ``case`` with as many rounds as fit ``budget`` seconds, within ``rounds`` (least, most).

    Each round runs ``baseline``, what is to be measured ``beside``, then ``run``, and times them all; pytest-benchmark
    times ``run`` alone. One round before them warms up; ``check`` gets what ``run`` returned in it, and raises if that
    is wrong. With ``--benchmark-disable`` ``run`` is run and checked once, and the case is ``not timed``. What the case
    is also goes into ``extra_info``.
    """
    benchmark.extra_info.update(case.labels | case.work)
    if benchmark.disabled:
        check(benchmark.pedantic(run))
        case.status = NOT_TIMED
        return

    def timed(call: Callable[[], _T]) -> tuple[float, _T]:
        synchronize()
        start = perf_counter()
        result = call()
        synchronize()
        return perf_counter() - start, result

    others: list[tuple[Callable[[], object], bool, list[float]]] = []  # what runs before, whether it settles, its times
    if baseline is not None:
        others.append((baseline, True, case.baseline_seconds))
    for name, companion in (beside or {}).items():
        case.beside_work[name] = dict(companion.work)
        others.append((companion.run, companion.settles, case.beside.setdefault(name, [])))

    warm_up = {call: timed(call)[0] for call, _, _ in others}
    warm_up[run], result = timed(run)
    check(result)

    def settle(call: Callable[[], object]) -> None:
        if warm_up[call] < SETTLING:
            spent = 0.0
            while spent < SETTLING:
                spent += timed(call)[0]

    def before_round() -> None:
        for call, settles, seconds in others:
            if settles:
                settle(call)
                seconds.append(timed(call)[0])
        settle(run)
        for call, settles, seconds in others:
            if not settles:
                seconds.append(timed(call)[0])
        synchronize()

    def round() -> None:
        run()
        synchronize()

    settling = {run, *(call for call, settles, _ in others if settles)}
    seconds = sum(once + SETTLING * (once < SETTLING and call in settling) for call, once in warm_up.items())
    benchmark.pedantic(round, setup=before_round, rounds=rounds_within(budget, seconds, rounds))
    case.seconds = list(benchmark.stats.stats.data)
    case.status = TIMED


def rounds_within(budget: float, seconds: float, bounds: tuple[int, int]) -> int:
    """How many rounds of ``seconds`` fit ``budget``, but at least and at most ``bounds``."""
    least, most = bounds
    return max(least, min(most, math.floor(budget / max(seconds, 1e-9))))
