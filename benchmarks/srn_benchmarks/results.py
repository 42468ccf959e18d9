"""What a benchmark run leaves behind: its cases, where they ran, and the arithmetic that the tables are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

FORMAT = 1
"""Version of the results file; a reader refuses another."""

FAILED, NOT_TIMED, TIMED = "failed", "not timed", "timed"


class ResultsError(ValueError):
    """A results file that cannot be read. The message names the file and says what was expected."""


@dataclass
class Case:
    """One implementation on one workload. ``failed`` from the moment it is opened until all its checks have passed.

    ``labels`` say what it is, ``work`` what one round does (``flops``, ``steps``, ``sentences``, ``passes``).
    ``seconds`` has an item a round; so has ``baseline_seconds``, of the baseline run just before it in the same round
    (empty for a case that has none). ``stages`` are seconds a round, by stage.
    """

    table: str
    labels: dict[str, str | int]
    work: dict[str, int]
    baseline_work: dict[str, int] = field(default_factory=dict)
    status: str = FAILED
    seconds: list[float] = field(default_factory=list)
    baseline_seconds: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def median_seconds(self) -> float | None:
        """The median round; None unless the case was timed."""
        return median(self.seconds) if self.status == TIMED else None

    @property
    def spread(self) -> float | None:
        """Half the distance between the quartiles over the median: the noise of the rounds."""
        if self.status != TIMED or len(self.seconds) < 2:
            return None
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / 2 / median(self.seconds)

    def rate(self, unit: str) -> float | None:
        """Work of that unit a second, by the median round."""
        seconds = self.median_seconds
        return None if seconds is None else self.work[unit] / seconds

    def speedup(self, unit: str) -> float | None:
        """This case's rate over its baseline's: the median of the ratios within each round.

        Both are measured within moments of each other, so what slows the machine for a while slows both.
        """
        if self.status != TIMED or not self.baseline_seconds:
            return None
        work = self.work[unit] / self.baseline_work[unit]
        return work * median(b / s for s, b in zip(self.seconds, self.baseline_seconds, strict=True))


@dataclass
class Results:
    """A run: ``machine`` as :func:`machine.describe` gives it, ``notes`` by table, ``cases`` in the order they ran."""

    machine: dict[str, Any]
    notes: dict[str, list[str]] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)

    def of(self, table: str) -> list[Case]:
        return [case for case in self.cases if case.table == table]

    def note(self, table: str, text: str) -> None:
        """Adds a line under a table, once."""
        lines = self.notes.setdefault(table, [])
        if text not in lines:
            lines.append(text)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Raises ResultsError for a file that is none, or of another format."""
        try:
            content = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ResultsError(f"{path}: expected a results file, {error}") from error
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            raise ResultsError(f"{path}: expected a results file of format {FORMAT}")
        return cls(content["machine"], content["notes"], [Case(**case) for case in content["cases"]])
