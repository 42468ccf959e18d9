"""The tables of what is measured of the cell on a CPU besides its shapes: streaming, packed sentences, memory."""

from __future__ import annotations

from collections.abc import Sequence

from .results import MEASURED, Case, over_baseline
from .text import Table, inverse, percent, ratio, scaled, unless_missing

STREAMING, PACKED, MEMORY = "streaming", "packed", "memory"

LSTM, LSTM_CELL = "nn.LSTM", "nn.LSTMCell"
"""The rows that the others are measured against."""


def streaming_table(title: str, cases: Sequence[Case]) -> Table:
    """A row an implementation of the single step; ratios of time, and of GFLOP/s, over nn.LSTMCell."""
    over = [f"{what} over {LSTM_CELL}" for what in ("time", "GFLOP/s")]
    rows = []
    for case in cases:
        measured = [
            scaled(inverse(case.rate("steps")), 1e6),
            percent(case.spread),
            scaled(case.rate("flops"), 1e-9),
            ratio(inverse(over_baseline(case, cases, LSTM_CELL, "steps"))),
            ratio(over_baseline(case, cases, LSTM_CELL, "flops")),
        ]
        rows.append([str(case.labels["implementation"]), *unless_missing(case, measured)])
    return Table(title, ["implementation", "µs/step", "±", "GFLOP/s", *over], rows, words=1)


def packed_table(title: str, cases: Sequence[Case]) -> Table:
    """A row an implementation; the ratio is of a token's time, over the same implementation's at equal lengths."""
    headers = ["implementation", "ms", "±", "µs/token", "µs/token, equal lengths", "over equal lengths"]
    headers += ["tokens", "padded over real tokens"]
    rows = []
    for case in cases:
        measured = [
            scaled(case.median_seconds, 1e3),
            percent(case.spread),
            scaled(inverse(case.rate("tokens")), 1e6),
            scaled(inverse(case.baseline_rate("tokens")), 1e6),
            ratio(inverse(case.speedup("tokens"))),
            str(case.work["tokens"]),
            ratio(case.work["padded"] / case.work["tokens"]),
        ]
        rows.append([str(case.labels["implementation"]), *unless_missing(case, measured)])
    return Table(title, headers, rows, words=1)


def memory_table(title: str, cases: Sequence[Case]) -> Table:
    """A row an implementation; no formula for nn.LSTM."""
    peaks = {str(case.labels["implementation"]): case.bytes["peak"] for case in cases if case.status == MEASURED}
    lstm = peaks.get(LSTM)
    rows = []
    for case in cases:
        name = str(case.labels["implementation"])
        peak, formula = peaks.get(name), case.bytes.get("formula")
        measured = [
            scaled(peak, 1e-6),
            scaled(formula, 1e-6),
            ratio(peak / formula if peak and formula else None),
            ratio(peak / lstm if peak and lstm else None),
        ]
        rows.append([name, *unless_missing(case, measured)])
    headers = ["implementation", "peak MB", "formula MB", "peak over formula", f"peak over {LSTM}"]
    return Table(title, headers, rows, words=1)
