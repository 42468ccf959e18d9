"""Times one case through pytest-benchmark, its baseline run in the same rounds, so that their ratio outlives noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

from pytest_benchmark.fixture import BenchmarkFixture

from .results import NOT_TIMED, TIMED, Case

_T = TypeVar("_T")

SETTLING = 0.05
"""Seconds. A call shorter than this is first repeated untimed for as long, so that it is timed in the state of caches,
allocator and clock that it makes for itself, and not in the one that the other implementation left behind."""


def measure(
    benchmark: BenchmarkFixture,
    case: Case,
    run: Callable[[], _T],
    baseline: Callable[[], object] | None = None,
    *,
    check: Callable[[_T], object] = lambda result: None,
    synchronize: Callable[[], object] = lambda: None,
    budget: float,
    rounds: tuple[int, int],
) -> None:
    """Fills ``case`` with as many rounds as fit ``budget`` seconds, within ``rounds`` (least, most).

    Each round runs ``baseline``, then ``run``, and times both; pytest-benchmark times ``run`` alone. One round before
    them warms up; ``check`` gets what ``run`` returned in it, and raises if that is wrong. With ``--benchmark-disable``
    ``run`` is run and checked once, and the case is ``not timed``. What the case is also goes into ``extra_info``.
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

    warm_up = {}
    if baseline is not None:
        warm_up[baseline], _ = timed(baseline)
    warm_up[run], result = timed(run)
    check(result)

    def settle(call: Callable[[], object]) -> None:
        if warm_up[call] < SETTLING:
            spent = 0.0
            while spent < SETTLING:
                spent += timed(call)[0]

    def before_round() -> None:
        if baseline is not None:
            settle(baseline)
            case.baseline_seconds.append(timed(baseline)[0])
        settle(run)
        synchronize()

    def round() -> None:
        run()
        synchronize()

    seconds = sum(once + SETTLING * (once < SETTLING) for once in warm_up.values())
    benchmark.pedantic(round, setup=before_round, rounds=rounds_within(budget, seconds, rounds))
    case.seconds = list(benchmark.stats.stats.data)
    case.status = TIMED


def rounds_within(budget: float, seconds: float, bounds: tuple[int, int]) -> int:
    """How many rounds of ``seconds`` fit ``budget``, but at least and at most ``bounds``."""
    least, most = bounds
    return max(least, min(most, math.floor(budget / max(seconds, 1e-9))))
