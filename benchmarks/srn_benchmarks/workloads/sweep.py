"""The sweep of sizes on a CPU: one layer beside ``nn.LSTM``, and how long reading its weights takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..bench import Bench
from ..names import CEILING, LSTM, WEIGHTS
from ..registry import Item
from ..results import TIMED
from ..shapes import Shape
from ..timing import HOST
from ..verdicts import BAR
from . import ceiling, reading
from .calls import CHECKED, Call, check, labels, refusals

BUDGET, ROUNDS = 0.8, (3, 100)
"""The largest calls take seconds; hundreds of cases are to fit a quarter of an hour."""

CHECKED_STEPS = 16
"""The most that the check reads: the float64 reference would take longer over 128 than all that is timed."""

CLOCK = replace(HOST, burst=5e-3)
"""A call of one step is too short to be timed well by itself."""


def notes(table: str, shapes: Sequence[Shape], bench: Bench) -> list[str]:
    return [
        f"one layer, one direction, D {shapes[0].input_size}, three tasks, equal lengths",
        "medians over rounds, in each of which nn.LSTM ran just before; short calls are timed many at a time",
        (
            f"bound, where it is below {BAR:g}x: the most that the ratio can be, for the longer of two times: reading the "
            "recurrent weights, (G + M)·H² numbers, at every step and the input's once, in each pass; all flops at the "
            "ceiling"
        ),
        f"verdicts: yes, at least {BAR:g}x; bound, less, and the bound is too; no, less without such a bound",
        f"{CHECKED}; on at most {CHECKED_STEPS} steps",
        *refusals(shapes, bench.options.backends),
    ]


def measure(bench: Bench, item: Item, implementation: str) -> None:
    shape, lstm = item.shape, implementation == LSTM
    case = bench.open(item.table, labels(shape, implementation), shape.work(implementation), shape.work(LSTM))
    check(Call(replace(shape, steps=min(CHECKED_STEPS, shape.steps)), implementation))
    companion = None if lstm else ceiling.companion(shape.threads)
    bench.time(
        case,
        Call(shape, implementation),
        None if lstm else Call(shape, LSTM),
        beside={CEILING: companion} if companion else None,
        clock=CLOCK,
        budget=BUDGET,
        rounds=ROUNDS,
    )
    if case.status == TIMED and not lstm:
        case.least_seconds[WEIGHTS] = reading.least_seconds(shape)
        bench.note(item.table, reading.note(shape))
