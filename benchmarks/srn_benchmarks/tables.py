"""The tables, as headers and rows of text, from a run's results: a pure function of the results file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from .cpu_tables import LSTM, MEMORY, PACKED, STREAMING, memory_table, packed_table, streaming_table
from .gpu_tables import (
    GPU_CELL,
    GPU_PACKED,
    GPU_STEP,
    GPU_SWEEP,
    bars,
    bars_table,
    gpu_cell_table,
    gpu_packed_table,
    gpu_step_table,
)
from .results import Case, Results, over_baseline
from .text import NOTHING, Table, inverse, number, percent, ratio, scaled, unless_missing

FUSION, CELL, BARS = "fusion", "cell", "bars"

LATE = "late"
"""The row that the others are measured against; in the cell's table it is nn.LSTM's."""

CEILING, FLOAT32 = "ceiling", "float32"
"""What the cell's rows are measured beside: the processor's multiply-adds, and the same implementation in float32."""

TRUNK, BATCHED = "trunk alone", "early, batched"
ONE_BY_ONE = "early, one object pass at a time"

PAPER = {ONE_BY_ONE: 9.04, LATE: 295.04}
"""Sentences a second in Table 4 of arXiv 2202.07281, by the row of ours that follows the same procedure."""

HEADINGS = {
    FUSION: "Early versus late fusion: ours beside Table 4 of arXiv 2202.07281",
    CELL: "The cell: SRN against nn.LSTM",
    STREAMING: "The cell, streaming: a step at a time",
    PACKED: "The cell, packed sentences",
    MEMORY: "The cell, memory of a training step",
    BARS: "On a GPU: what was to be reached",
    GPU_CELL: "The cell on a GPU: SRN beside nn.LSTM",
    GPU_STEP: "The cell on a GPU: a step's recurrence",
    GPU_PACKED: "The cell on a GPU: packed sentences",
    GPU_SWEEP: "The cell on a GPU, over sizes",
}

GPU_TABLES = {
    GPU_CELL: gpu_cell_table,
    GPU_STEP: gpu_step_table,
    GPU_PACKED: gpu_packed_table,
    GPU_SWEEP: gpu_cell_table,
}


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
    """What the run has cases for: fusion first, then the cell; of a GPU's own run, before all, what was reached."""
    builders = {
        FUSION: fusion_table,
        CELL: cell_table,
        STREAMING: streaming_table,
        PACKED: packed_table,
        MEMORY: memory_table,
        **GPU_TABLES,
    }
    made = []
    if any(results.of(kind) for kind in GPU_TABLES):
        found = bars(results, late=LATE, trunk=TRUNK, early=BATCHED)
        made.append(Section(BARS, [bars_table(found)], results.notes.get(BARS, [])))
    for kind, build in builders.items():
        if cases := results.of(kind):
            tables = [build(title, own) for title, own in settings(cases)]
            made.append(Section(kind, tables, results.notes.get(kind, [])))
    return made


def settings(cases: Sequence[Case]) -> Iterator[tuple[str, list[Case]]]:
    """Cases by device, precision (float32 first) and threads, with a title for each group."""

    def setting(case: Case) -> tuple[str, bool, str, int]:
        precision = str(case.labels["precision"])
        return str(case.labels["device"]), precision != "float32", precision, int(case.labels["threads"])

    for (device, _, precision, threads), own in groupby(sorted(cases, key=setting), key=setting):
        yield f"{device}, {precision}, {threads} thread{'s' if threads > 1 else ''}", list(own)


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
            number(case.rate("sentences")),
            percent(case.spread),
            number(case.rate("passes")),
            str(case.work["passes"]),
            ratio(inverse(over_late)),
            *(_stage(case, stage) for stage in ("tokenize", "encode", "decode")),
        ]
        quoted = [NOTHING, NOTHING] if paper is None else [f"{paper:.2f}", ratio(PAPER[LATE] / paper)]
        rows.append([name, *unless_missing(case, measured), *quoted])
    return Table(title, headers, rows, words=1)


def cell_table(title: str, cases: Sequence[Case]) -> Table:
    """A row an implementation and shape. The ratio is of GFLOP/s, over nn.LSTM on the same shape.

    There is a column for the ceiling, which the title then names, and one for the time over float32's, if any of the
    cases was to be measured beside these.
    """
    beside = [name for name in (CEILING, FLOAT32) if any(name in case.beside for case in cases)]
    headers = ["pass", "B", "T", "implementation", "ms", "±", "GFLOP/s", "µs/step", "GFLOP/s over nn.LSTM"]
    headers += [{CEILING: "of the ceiling", FLOAT32: "time over float32"}[name] for name in beside]
    ceilings = [rate for case in cases if (rate := case.rate_beside(CEILING, "flops")) is not None]
    if ceilings:
        title += f", ceiling {number(median(ceilings) / 1e9)} GFLOP/s"
    rows = []

    def shape(case: Case) -> tuple[str | int, ...]:
        return tuple(case.labels[name] for name in ("pass", "batch", "steps"))

    by_shape: dict[tuple[str | int, ...], list[Case]] = {}
    for case in cases:
        by_shape.setdefault(shape(case), []).append(case)
    for values, own in by_shape.items():
        for case in own:
            name = str(case.labels["implementation"])
            last = {
                CEILING: percent(case.over_beside(CEILING, "flops")),
                FLOAT32: ratio(inverse(case.over_beside(FLOAT32, "flops"))),
            }
            measured = [
                scaled(case.median_seconds, 1e3),
                percent(case.spread),
                scaled(case.rate("flops"), 1e-9),
                scaled(inverse(case.rate("steps")), 1e6),
                ratio(over_baseline(case, own, LSTM, "flops")),
                *(last[name] for name in beside),
            ]
            rows.append([*map(str, values), name, *unless_missing(case, measured)])
    return Table(title, headers, rows, words=4)


def _stage(case: Case, stage: str) -> str:
    """Milliseconds a sentence."""
    seconds = case.stages.get(stage)
    return NOTHING if seconds is None else number(seconds / case.work["sentences"] * 1e3)
