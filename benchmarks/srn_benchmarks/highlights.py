"""The few numbers of a run that the README shows: cells of the tables, by the headers of their columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import names
from .results import MEASURED, TIMED, Results
from .tables import KINDS
from .text import Table

PAPER_SIZES = {"implementation": "SRN cpu", "precision": "float32", "batch": 32, "steps": 128}


@dataclass(frozen=True)
class Highlight:
    """One or two columns of a row of ``table``: the row with these ``labels`` and the most threads."""

    what: str
    table: str
    labels: Mapping[str, object]
    columns: tuple[str, ...]

    def texts(self, results: Results) -> list[str] | None:
        """A row; None if this was not measured."""
        cases = [
            case
            for case in results.of(self.table)
            if case.status in (TIMED, MEASURED) and self.labels.items() <= case.labels.items()
        ]
        if not cases:
            return None
        best = max(cases, key=lambda case: case.labels["threads"])
        threads = f"{best.labels['threads']} thread{'s' if best.labels['threads'] > 1 else ''}"
        alike = [case for case in results.of(self.table) if case.labels["threads"] == best.labels["threads"]]
        said = [f"{KINDS[self.table].numbers[column](best, alike)} {column}" for column in self.columns]
        return [self.what, threads, *said, *[""] * (2 - len(said))]


HIGHLIGHTS = (
    Highlight(
        "`SRN` forward, B 32, T 128",
        names.CELL,
        PAPER_SIZES | {"pass": names.FORWARD},
        ("GFLOP/s", f"GFLOP/s over {names.LSTM}"),
    ),
    Highlight(
        "forward and backward",
        names.CELL,
        PAPER_SIZES | {"pass": names.TRAINING},
        ("GFLOP/s", f"GFLOP/s over {names.LSTM}"),
    ),
    Highlight("memory of that", names.MEMORY, PAPER_SIZES, ("peak MB", f"peak over {names.LSTM}")),
    Highlight(
        "`SRNCell`, a step at a time",
        names.STREAMING,
        {"implementation": "SRNCell cpu"},
        ("µs/step", f"GFLOP/s over {names.LSTM_CELL}"),
    ),
    Highlight("late fusion", names.FUSION, {"implementation": names.LATE}, ("sentences/s",)),
    *(
        Highlight(
            title,
            names.FUSION,
            {"implementation": name},
            ("sentences/s", "ratio to late"),
        )
        for name, title in (
            (names.PACKED_FUSION, "packed fusion"),
            (names.BATCHED, "early fusion, batched"),
            (names.ONE_BY_ONE, "early fusion, one object pass at a time"),
        )
    ),
)


def highlights(results: Results) -> Table:
    """One row per highlight that was measured."""
    rows = [row for one in HIGHLIGHTS if (row := one.texts(results)) is not None]
    return Table("highlights", ["", "", "", "beside"], rows, words=4)
