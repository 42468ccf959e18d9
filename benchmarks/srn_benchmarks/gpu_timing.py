"""Times several calls on a GPU by turns, a short burst of each in every round, so that their ratios outlive noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TypeVar

import torch

from .timing import rounds_within

_Name = TypeVar("_Name")

BURST = 5e-3
"""Seconds. A shorter call is repeated for about as long, and the burst timed as one."""

MOST_CALLS = 50

SLOW = 0.05
"""Seconds. A call that takes longer needs no other before it to be timed in a state of its own making."""
COLD = 5.0
"""Seconds. A first call that takes less is not counted on to be typical: it may have compiled something."""

Clock = Callable[[Callable[[], object], int], float]
"""Runs a call so many times, and returns the seconds that one took."""


def by_events(call: Callable[[], object], times: int) -> float:
    """By the device's clock, from when it reaches the burst until it has done it; gaps between launches count."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(times):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e-3 / times


def by_wall(call: Callable[[], object], times: int) -> float:
    """By the host's clock, for calls that the host has a large part in; the device is waited for before and after."""
    torch.cuda.synchronize()
    start = perf_counter()
    for _ in range(times):
        call()
    torch.cuda.synchronize()
    return (perf_counter() - start) / times


def interleaved(
    calls: Mapping[_Name, Callable[[], object]],
    clock: Clock,
    *,
    budget: float,
    rounds: tuple[int, int],
    few: Mapping[_Name, int] | None = None,
    turn: Callable[[_Name], object] = lambda name: None,
) -> dict[_Name, list[float]]:
    """The seconds of a call by name and round; as many rounds as fit ``budget`` seconds, within ``rounds``.

    A round times every call in the order given, a short one after an untimed call of its own, which brings caches and
    clocks to the state that it makes for itself. What is named in ``few`` takes part in so many rounds only, the first ones.
    ``turn`` hears whose turn it is.
    """
    few, once, times, seconds = few or {}, {}, {}, 0.0
    for name, call in calls.items():
        turn(name)
        once[name] = clock(call, 1)
        if once[name] < COLD:
            once[name] = max(clock(call, 1), 1e-9)
        times[name] = max(1, min(MOST_CALLS, math.floor(BURST / once[name])))
        seconds += 0.0 if name in few else once[name] * (times[name] + (once[name] < SLOW))
    found: dict[_Name, list[float]] = {name: [] for name in calls}
    for round in range(rounds_within(budget, seconds, rounds)):
        for name, call in calls.items():
            if round < few.get(name, round + 1):
                turn(name)
                if once[name] < SLOW:
                    call()
                found[name].append(clock(call, times[name]))
    return found
