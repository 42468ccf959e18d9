"""Every table as a list of columns: a header, and what it says of a case. A pure function of the results file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from statistics import median

from . import names, verdicts
from .bars import bars, per_step, recurrence
from .results import FAILED, MEASURED, TIMED, Case, Results, over_baseline
from .text import NOTHING, Table, inverse, number, percent, ratio, scaled

Text = Callable[[Case, Sequence[Case]], str]
"""What a column says of a case; it is given all cases of the table too."""

PAPER = {names.ONE_BY_ONE: 9.04, names.LATE: 295.04}
"""Sentences a second in Table 4 of arXiv 2202.07281, by the row of ours that follows the same procedure."""


@dataclass(frozen=True)
class Kind:
    """A kind of table: one row per case, in columns by their headers.

    ``words`` say what a row is; rows that agree in all but the last stand together. ``numbers`` are shown for a case
    that was timed or measured, and for any other its status. ``optional`` ones are shown if a case was to be measured
    beside what names them; ``quoted`` ones always. With ``across``, a header and a label, the table has a row for each
    place and a column for each value of the label, with the first number. ``closing`` makes the last notes.
    """

    heading: str
    words: Mapping[str, Text]
    numbers: Mapping[str, Text]
    optional: Mapping[str, tuple[str, Text]] = field(default_factory=dict)
    quoted: Mapping[str, Text] = field(default_factory=dict)
    across: tuple[str, str] | None = None
    closing: Callable[[Sequence[Case]], list[str]] = lambda cases: []

    def table(self, title: str, cases: Sequence[Case]) -> Table:
        shown = [column for name, column in self.optional.items() if any(name in case.beside for case in cases)]
        numbers = dict([*self.numbers.items(), *shown])
        ceilings = [rate for case in cases if (rate := case.rate_beside(names.CEILING, "flops")) is not None]
        if ceilings:
            title += f", ceiling {number(median(ceilings) / 1e9)} GFLOP/s"
        if self.across is not None:
            return self._grid(title, cases, *self.across)
        places: dict[tuple[str, ...], list[list[str]]] = {}
        for case in cases:
            words, quoted = ([text(case, cases) for text in some.values()] for some in (self.words, self.quoted))
            measured = _measured(numbers, case, cases)
            places.setdefault(tuple(words[:-1]), []).append([*words, *measured, *quoted])
        rows = [row for place in places.values() for row in place]
        return Table(title, [*self.words, *numbers, *self.quoted], rows, words=len(self.words))

    def _grid(self, title: str, cases: Sequence[Case], header: str, label: str) -> Table:
        """Without the rows of ``nn.LSTM``, with which the others are compared."""
        rows: dict[tuple[str, ...], dict[int, str]] = {}
        for case in cases:
            if case.name != names.LSTM:
                words = tuple(text(case, cases) for text in self.words.values())
                rows.setdefault(words, {})[int(case.labels[label])] = _measured(self.numbers, case, cases)[0]
        values = sorted({value for row in rows.values() for value in row})
        cells = [[*words, *(row.get(value, NOTHING) for value in values)] for words, row in rows.items()]
        return Table(title, [*self.words, *(f"{header} {value}" for value in values)], cells, words=len(self.words))


def _measured(numbers: Mapping[str, Text], case: Case, cases: Sequence[Case]) -> list[str]:
    if case.status in (TIMED, MEASURED):
        return [text(case, cases) for text in numbers.values()]
    return [case.status.upper() if case.status == FAILED else case.status] + [NOTHING] * (len(numbers) - 1)


# -- what columns say --------------------------------------------------------------------------------------------------


def _label(name: str) -> Text:
    return lambda case, cases: str(case.labels[name])


def _name(case: Case, cases: Sequence[Case]) -> str:
    return f"{case.name} (unproved)" if case.labels.get("unproved") else case.name


def _time_over_float32(unit: str) -> tuple[str, Text]:
    """A column, and its header."""
    return "time over float32", lambda case, cases: ratio(inverse(case.over_beside(names.FLOAT32, unit)))


def _per(unit: str) -> Text:
    """Microseconds."""
    return lambda case, cases: scaled(inverse(case.rate(unit)), 1e6)


def _rate_over(baseline: str, unit: str) -> Text:
    return lambda case, cases: ratio(over_baseline(case, cases, baseline, unit))


def _time_over(baseline: str, unit: str) -> Text:
    return lambda case, cases: ratio(inverse(over_baseline(case, cases, baseline, unit)))


def _stage(name: str) -> Text:
    """Milliseconds a sentence."""

    def text(case: Case, cases: Sequence[Case]) -> str:
        seconds = case.stages.get(name)
        return NOTHING if seconds is None else number(seconds / case.work["sentences"] * 1e3)

    return text


def _peak_over(other: Callable[[Case, Sequence[Case]], int | None]) -> Text:
    def text(case: Case, cases: Sequence[Case]) -> str:
        divisor = other(case, cases)
        return ratio(case.bytes["peak"] / divisor if divisor else None) if case.status == MEASURED else NOTHING

    return text


def _lstm_peak(case: Case, cases: Sequence[Case]) -> int | None:
    return next((one.bytes["peak"] for one in cases if one.name == names.LSTM and one.status == MEASURED), None)


def _step(part: int) -> Text:
    """Microseconds of a whole step (0) or of its products (1)."""
    return lambda case, cases: scaled((per_step(case) or (None, None))[part], 1e6)


def _paper_ratio(case: Case, cases: Sequence[Case]) -> str:
    return ratio(PAPER[names.LATE] / PAPER[case.name]) if case.name in PAPER else NOTHING


MS: Mapping[str, Text] = {
    "ms": lambda case, cases: scaled(case.median_seconds, 1e3),
    "±": lambda case, cases: percent(case.spread),
}
GFLOPS: Mapping[str, Text] = {"GFLOP/s": lambda case, cases: scaled(case.rate("flops"), 1e-9)}
PLACE = {"pass": _label("pass"), "B": _label("batch"), "T": _label("steps")}
SIZES = PLACE | {"H": _label("hidden_size")}
NAME = {"implementation": _name}

# -- the tables --------------------------------------------------------------------------------------------------------

GPU_NUMBERS = {**MS, "µs/step": _per("steps"), f"time over {names.LSTM}": _time_over(names.LSTM, "steps")}

KINDS: Mapping[str, Kind] = {
    names.FUSION: Kind(
        "Early versus late fusion: ours beside Table 4 of arXiv 2202.07281",
        {"procedure": _label("implementation")},
        {
            "sentences/s": lambda case, cases: number(case.rate("sentences")),
            "±": MS["±"],
            "passes/s": lambda case, cases: number(case.rate("passes")),
            "passes": lambda case, cases: str(case.work["passes"]),
            "ratio to late": _time_over(names.LATE, "sentences"),
            **{f"{name} ms": _stage(name) for name in ("tokenize", "encode", "decode")},
        },
        optional={names.FLOAT32: _time_over_float32("sentences")},
        quoted={
            "paper": lambda case, cases: f"{PAPER[case.name]:.2f}" if case.name in PAPER else NOTHING,
            "paper's ratio": _paper_ratio,
        },
    ),
    names.CELL: Kind(
        "The cell: SRN against nn.LSTM",
        PLACE | NAME,
        {**MS, **GFLOPS, "µs/step": _per("steps"), f"GFLOP/s over {names.LSTM}": _rate_over(names.LSTM, "flops")},
        optional={
            names.CEILING: ("of the ceiling", lambda case, cases: percent(case.over_beside(names.CEILING, "flops"))),
            names.FLOAT32: _time_over_float32("flops"),
        },
    ),
    names.STREAMING: Kind(
        "The cell, streaming: a step at a time",
        NAME,
        {
            "µs/step": _per("steps"),
            "±": MS["±"],
            **GFLOPS,
            f"time over {names.LSTM_CELL}": _time_over(names.LSTM_CELL, "steps"),
            f"GFLOP/s over {names.LSTM_CELL}": _rate_over(names.LSTM_CELL, "flops"),
        },
    ),
    names.PACKED: Kind(
        "The cell, packed sentences",
        NAME,
        {
            **MS,
            "µs/token": _per("tokens"),
            "µs/token, equal lengths": lambda case, cases: scaled(inverse(case.baseline_rate("tokens")), 1e6),
            "over equal lengths": lambda case, cases: ratio(inverse(case.speedup("tokens"))),
            "tokens": lambda case, cases: str(case.work["tokens"]),
            "padded over real tokens": lambda case, cases: ratio(case.work["padded"] / case.work["tokens"]),
        },
    ),
    names.MEMORY: Kind(
        "The cell, memory of a training step",
        NAME,
        {
            "peak MB": lambda case, cases: scaled(case.bytes.get("peak"), 1e-6),
            "formula MB": lambda case, cases: scaled(case.bytes.get("formula"), 1e-6),
            "peak over formula": _peak_over(lambda case, cases: case.bytes.get("formula")),
            f"peak over {names.LSTM}": _peak_over(_lstm_peak),
        },
    ),
    names.SWEEP: Kind(
        f"The cell over sizes: GFLOP/s over {names.LSTM}",
        PLACE | NAME,
        {f"GFLOP/s over {names.LSTM}": verdicts.text},
        across=("H", "hidden_size"),
        closing=verdicts.counts,
    ),
    names.GPU_SMOKE: Kind("On a GPU: first contact, small calls", SIZES | NAME, {**MS, "µs/step": _per("steps")}),
    names.GPU_CELL: Kind("The cell on a GPU: SRN beside nn.LSTM", SIZES | NAME, GPU_NUMBERS),
    names.GPU_STEP: Kind(
        "The cell on a GPU: a step's recurrence",
        {"pass": _label("pass"), "B": _label("batch")} | NAME,
        {
            "µs/step": _step(0),
            "products, µs/step": _step(1),
            "recurrence, µs/step": lambda case, cases: scaled(recurrence(case), 1e6),
        },
    ),
    names.GPU_PARTS: Kind(
        "The cell on a GPU: where the time of a step goes",
        {"pass": _label("pass"), "exchange": _label("exchange"), "part": _label("part")},
        {
            "cycles/step": lambda case, cases: number(case.work["cycles"] / case.work["steps"]),
            "of the step": lambda case, cases: percent(case.work["cycles"] / case.work["all cycles"]),
        },
    ),
    names.GPU_PACKED: Kind(
        "The cell on a GPU: packed sentences",
        NAME,
        {**MS, "µs/token": _per("tokens"), f"time over {names.LSTM}": _time_over(names.LSTM, "tokens")},
    ),
    names.GPU_SWEEP: Kind("The cell on a GPU, over sizes", SIZES | NAME, GPU_NUMBERS),
}
"""By name, in the order in which they are shown."""


@dataclass(frozen=True)
class Section:
    """All tables of one kind, and the notes that hold for them."""

    kind: str
    heading: str
    tables: Sequence[Table]
    notes: Sequence[str]


def sections(results: Results) -> list[Section]:
    """The tables that the run has cases for; for a run on a GPU, first what was reached."""
    made = []
    if results.notes.get(names.BARS) or any(results.of(kind) for kind in names.GPU_TABLES):
        headers = ["what", "precision", "implementation", "to reach", "measured", "reached"]
        table = Table("in this run", headers, bars(results), words=4)
        made.append(Section(names.BARS, "On a GPU: what was to be reached", [table], results.notes.get(names.BARS, [])))
    for name, kind in KINDS.items():
        if cases := results.of(name):
            tables = [kind.table(title, group) for title, group in settings(cases)]
            made.append(Section(name, kind.heading, tables, [*results.notes.get(name, []), *kind.closing(cases)]))
    return made


def settings(cases: Sequence[Case]) -> Iterator[tuple[str, list[Case]]]:
    """Cases by device, precision (float32 first) and threads, with a title for each group."""

    def setting(case: Case) -> tuple[str, bool, str, int]:
        precision = str(case.labels["precision"])
        return str(case.labels["device"]), precision != "float32", precision, int(case.labels["threads"])

    for (device, _, precision, threads), group in groupby(sorted(cases, key=setting), key=setting):
        yield f"{device}, {precision}, {threads} thread{'s' if threads > 1 else ''}", list(group)
