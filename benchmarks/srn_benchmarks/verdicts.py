"""The bar of the sweep of sizes on a CPU: 0.9 of nn.LSTM's GFLOP/s, unless reading the weights forbids it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .names import CEILING, LSTM, WEIGHTS
from .results import Case, over_baseline
from .text import ratio

BAR = 0.9
VERDICTS = YES, BOUND, NO, NOT_MEASURED = "yes", "bound", "no", "not measured"


def bound(case: Case) -> float | None:
    """The most that its GFLOP/s over nn.LSTM's can be, if it reads all weights and does its flops at the ceiling."""
    reading, ceiling = case.least_seconds.get(WEIGHTS), case.rate_beside(CEILING, "flops")
    lstm = case.baseline_rate("flops")
    if reading is None or ceiling is None or lstm is None:
        return None
    flops = case.work["flops"]
    return flops / max(reading, flops / ceiling) / lstm


def forbidden(case: Case) -> bool:
    most = bound(case)
    return most is not None and most < BAR


def verdict(case: Case, cases: Sequence[Case]) -> str:
    value = over_baseline(case, cases, LSTM, "flops")
    if value is None:
        return NOT_MEASURED
    return YES if value >= BAR else BOUND if forbidden(case) else NO


def text(case: Case, cases: Sequence[Case]) -> str:
    """The ratio, and its bound where that is below the bar; a ``no`` where it should have been reached and was not."""
    value = ratio(over_baseline(case, cases, LSTM, "flops"))
    if forbidden(case):
        return f"{value} (bound {ratio(bound(case))})"
    return f"{value} (no)" if verdict(case, cases) == NO else value


def counts(cases: Sequence[Case]) -> list[str]:
    """A note: how many sizes had each verdict."""
    found = Counter(verdict(case, cases) for case in cases if case.name != LSTM)
    return (
        [f"at least {BAR:g}x: {', '.join(f'{name} {found[name]}' for name in VERDICTS if found[name])}"]
        if found
        else []
    )
