"""What a run leaves behind: its cases, where they ran, and the arithmetic that the tables need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

FORMAT = 1
"""Version of the results file; a reader refuses another."""

FAILED, NOT_TIMED, TIMED, MEASURED = "failed", "not timed", "timed", "measured"
"""``measured`` is a case with something other than times: memory."""

SHAPE = ("device", "precision", "threads", "pass", "batch", "steps", "hidden_size")
"""The labels that two cases must share to be compared."""


class ResultsError(ValueError):
    """A results file that cannot be read. The message names the file and says what was expected."""


@dataclass
class Case:
    """One implementation on one workload. ``failed`` from the moment it is opened until all its checks have passed.

    ``labels`` say what it is, ``work`` what one round does (``flops``, ``steps``, ``sentences``, ``passes``).
    ``seconds`` has one item per round, as has ``baseline_seconds``, of the baseline run just before it in the same
    round (empty for a case that has none). ``stages`` are seconds per round, by stage. ``beside`` has the seconds per
    round of what else ran in each round, by name, and ``beside_work`` its work in a round; a name without seconds
    cannot run here. ``bytes`` is memory, by what it is for. ``least_seconds`` are those that a round takes at least, by
    what sets the bound.
    """

    table: str
    labels: dict[str, str | int]
    work: dict[str, int]
    baseline_work: dict[str, int] = field(default_factory=dict)
    status: str = FAILED
    seconds: list[float] = field(default_factory=list)
    baseline_seconds: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    beside: dict[str, list[float]] = field(default_factory=dict)
    beside_work: dict[str, dict[str, float]] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    least_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.labels["implementation"])

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

    def baseline_rate(self, unit: str) -> float | None:
        """Work of the baseline a second, by its median round."""
        if self.status != TIMED or not self.baseline_seconds:
            return None
        return self.baseline_work[unit] / median(self.baseline_seconds)

    def speedup(self, unit: str) -> float | None:
        """This case's rate over its baseline's, as :meth:`_over` takes it."""
        return self._over(self.baseline_seconds, self.baseline_work, unit)

    def rate_beside(self, name: str, unit: str) -> float | None:
        """Work a second of what ran beside this case under that name, by its median round."""
        seconds = self.beside.get(name)
        return self.beside_work[name][unit] / median(seconds) if self.status == TIMED and seconds else None

    def over_beside(self, name: str, unit: str) -> float | None:
        """This case's rate over that of what ran beside it under that name, as :meth:`_over` takes it."""
        return self._over(self.beside.get(name, ()), self.beside_work.get(name, {}), unit)

    def _over(self, seconds: Sequence[float], work: Mapping[str, float], unit: str) -> float | None:
        """This case's rate over another's: the median of the ratios within each round.

        Both are measured within moments of each other, so what slows the machine for a while slows both.
        """
        if self.status != TIMED or not seconds:
            return None
        return self.work[unit] / work[unit] * median(b / s for s, b in zip(self.seconds, seconds, strict=True))


def over_baseline(case: Case, cases: Sequence[Case], baseline: str, unit: str) -> float | None:
    """A case's rate over that of the row ``baseline`` among the ``cases`` of the same shape; 1 for that row itself.

    None unless both were checked and timed: a ratio to a row that is wrong, or was never checked, says nothing.
    """
    shape = [case.labels.get(label) for label in SHAPE]
    alike = (other for other in cases if [other.labels.get(label) for label in SHAPE] == shape)
    if not any(other.name == baseline and other.status == TIMED for other in alike):
        return None
    return 1.0 if case.name == baseline else case.speedup(unit)


@dataclass
class Results:
    """A run: ``machine`` as :func:`machine.describe` gives it, ``notes`` by table, ``cases`` in the order they ran."""

    machine: dict[str, Any]
    notes: dict[str, list[str]] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)

    def of(self, table: str) -> list[Case]:
        return [case for case in self.cases if case.table == table]

    def note(self, table: str, *texts: str) -> None:
        """Adds lines under a table, each once."""
        lines = self.notes.setdefault(table, [])
        lines += [text for text in dict.fromkeys(texts) if text not in lines]

    def add(self, other: Results) -> None:
        """Takes over what another process measured. Of a row that both have (``nn.LSTM``'s), a timed one is kept."""
        for table, texts in other.notes.items():
            self.note(table, *texts)
        for case in other.cases:
            same = [mine for mine in self.cases if (mine.table, mine.labels) == (case.table, case.labels)]
            if not same:
                self.cases.append(case)
            elif same[0].status != TIMED:
                self.cases[self.cases.index(same[0])] = case

    def write(self, path: Path) -> None:
        """In one step: a process killed while writing leaves the file that was there before."""
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n", "utf-8")
        whole.replace(path)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Raises ResultsError for a file that is not one of results, or of another format."""
        try:
            content = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ResultsError(f"{path}: expected a results file, {error}") from error
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            raise ResultsError(f"{path}: expected a results file of format {FORMAT}")
        return cls(content["machine"], content["notes"], [Case(**case) for case in content["cases"]])
