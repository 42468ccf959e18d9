"""The tables, as headers and rows of text, from a run's results: a pure function of the results file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tabulate import tabulate

from .results import FAILED, TIMED, Case, Results

FUSION, CELL = "fusion", "cell"

LATE, LSTM = "late", "nn.LSTM"
"""The rows that the others are measured against."""

ONE_BY_ONE = "early, one object pass at a time"

PAPER = {ONE_BY_ONE: 9.04, LATE: 295.04}
"""Sentences a second in Table 4 of arXiv 2202.07281, by the row of ours that follows the same procedure."""

HEADINGS = {
    FUSION: "Early versus late fusion: ours beside Table 4 of arXiv 2202.07281",
    CELL: "The cell: SRN against nn.LSTM",
}

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """``rows`` of text under ``headers``, for one setting, which ``title`` names; the first ``words`` columns are words."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int

    def text(self, style: str = "simple") -> str:
        """The table without its title; ``style`` is one of tabulate's."""
        align = ["left" if column < self.words else "right" for column in range(len(self.headers))]
        return tabulate(self.rows, self.headers, tablefmt=style, disable_numparse=True, colalign=align)


@dataclass(frozen=True)
class Section:
    """All tables of one kind, and the notes that hold for them."""

    kind: str
    tables: Sequence[Table]
    notes: Sequence[str]

    @property
    def heading(self) -> str:
        return HEADINGS[self.kind]


def sections(results: Results) -> list[Section]:
    """What the run has cases for: fusion first, then the cell."""
    made = []
    for kind, build in ((FUSION, fusion_table), (CELL, cell_table)):
        if cases := results.of(kind):
            tables = [build(title, own) for title, own in settings(cases)]
            made.append(Section(kind, tables, results.notes.get(kind, [])))
    return made


def settings(cases: Sequence[Case]) -> Iterator[tuple[str, list[Case]]]:
    """Cases by device, precision and threads, with a title for each group."""

    def setting(case: Case) -> tuple[str, str, int]:
        return str(case.labels["device"]), str(case.labels["precision"]), int(case.labels["threads"])

    for (device, precision, threads), own in groupby(sorted(cases, key=setting), key=setting):
        yield f"{device}, {precision}, {threads} thread{'s' if threads > 1 else ''}", list(own)


def over_baseline(case: Case, cases: Sequence[Case], baseline: str, unit: str) -> float | None:
    """A case's rate over that of the row ``baseline`` among ``cases`` of the same setting; 1 for that row itself.

    None unless both were checked and timed: a ratio to a row that is wrong, or was never checked, says nothing.
    """
    if not any(other.labels["implementation"] == baseline and other.status == TIMED for other in cases):
        return None
    return 1.0 if case.labels["implementation"] == baseline else case.speedup(unit)


def fusion_table(title: str, cases: Sequence[Case]) -> Table:
    """A row a procedure. The ratio is how many times faster late fusion is; the paper's numbers are sentences a second."""
    headers = ["procedure", "sentences/s", "±", "passes/s", "passes", "ratio to late"]
    headers += ["tokenize ms", "encode ms", "decode ms", "paper", "paper's ratio"]
    rows = []
    for case in cases:
        name = str(case.labels["implementation"])
        paper = PAPER.get(name)
        over_late = over_baseline(case, cases, LATE, "sentences")
        measured = [
            _number(case.rate("sentences")),
            _percent(case.spread),
            _number(case.rate("passes")),
            str(case.work["passes"]),
            _ratio(over_late and 1 / over_late),
            *(_stage(case, stage) for stage in ("tokenize", "encode", "decode")),
        ]
        quoted = [NOTHING, NOTHING] if paper is None else [f"{paper:.2f}", _ratio(PAPER[LATE] / paper)]
        rows.append([name, *_unless_missing(case, measured), *quoted])
    return Table(title, headers, rows, words=1)


def cell_table(title: str, cases: Sequence[Case]) -> Table:
    """A row an implementation and shape. The ratio is of GFLOP/s, over nn.LSTM on the same shape."""
    headers = ["pass", "B", "T", "implementation", "ms", "±", "GFLOP/s", "µs/step", "GFLOP/s over nn.LSTM"]
    rows = []

    def shape(case: Case) -> tuple[str | int, ...]:
        return tuple(case.labels[name] for name in ("pass", "batch", "steps"))

    by_shape: dict[tuple[str | int, ...], list[Case]] = {}
    for case in cases:
        by_shape.setdefault(shape(case), []).append(case)
    for values, own in by_shape.items():
        for case in own:
            name = str(case.labels["implementation"])
            seconds, flops = case.median_seconds, case.rate("flops")
            measured = [
                _number(seconds and seconds * 1e3),
                _percent(case.spread),
                _number(flops and flops / 1e9),
                _number(seconds and seconds / case.work["steps"] * 1e6),
                _ratio(over_baseline(case, own, LSTM, "flops")),
            ]
            rows.append([*map(str, values), name, *_unless_missing(case, measured)])
    return Table(title, headers, rows, words=4)


def _unless_missing(case: Case, measured: list[str]) -> list[str]:
    """The numbers of a case that was timed; otherwise its status and nothing more."""
    if case.status == TIMED:
        return measured
    status = case.status.upper() if case.status == FAILED else case.status
    return [status] + [NOTHING] * (len(measured) - 1)


def _stage(case: Case, stage: str) -> str:
    """Milliseconds a sentence."""
    seconds = case.stages.get(stage)
    return NOTHING if seconds is None else _number(seconds / case.work["sentences"] * 1e3)


def _number(value: float | None) -> str:
    """Three significant digits, none of them an exponent."""
    if value is None:
        return NOTHING
    for bound, digits in ((0.1, 4), (1, 3), (10, 2), (100, 1)):
        if abs(value) < bound:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1%}"


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}x" if value < 10 else f"{value:.1f}x"
