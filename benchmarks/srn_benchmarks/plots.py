"""Plots of the fusion table, the cell's and the sweeps of sizes as SVG; the same results give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .names import CELL, FUSION, GPU_SWEEP, LATE, LSTM, PAPER_BATCH, PAPER_HIDDEN, SWEEP
from .results import TIMED, Case, Results, over_baseline
from .tables import KINDS, PAPER, settings
from .verdicts import BAR

OURS, THEIRS = "#2f6f8f", "#c0562f"
PALETTE = ("#d9a441", OURS, THEIRS, "#5b8c5a", "#7a5c9e")
SWEEP_COLORS = {LSTM: THEIRS, "SRN triton": "#d9a441", "SRN cuda": OURS}

Groups = Sequence[tuple[str, list[Case]]]
"""Timed cases with the title of their axes."""


def write_plots(results: Results, folder: Path) -> list[Path]:
    """``fusion.svg``, ``cell.svg``, ``sweep.svg`` and ``gpu_sweep.svg``, each if its table has a timed case."""
    written = []
    for kind, draw in ((FUSION, _fusion), (CELL, _cell), (SWEEP, _sweep), (GPU_SWEEP, _gpu_sweep)):
        groups = [(title, [c for c in cases if c.status == TIMED]) for title, cases in settings(results.of(kind))]
        groups = [(title, cases) for title, cases in groups if cases]
        if groups:
            figure = draw(groups)
            figure.suptitle(KINDS[kind].heading, fontsize=11)
            path = folder / f"{kind}.svg"
            with matplotlib.rc_context({"svg.hashsalt": kind}):
                FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})
            written.append(path)
    return written


def _axes(height: float, groups: Groups, width: float = 8) -> tuple[Figure, list[Axes]]:
    """Axes one below another, one for each group."""
    figure = Figure(figsize=(width, 0.5 + height * len(groups)), layout="constrained")
    found = list(figure.subplots(len(groups), 1, squeeze=False)[:, 0])
    for axes, (title, _) in zip(found, groups, strict=True):
        _plain(axes, title)
    return figure, found


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _names(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(case.name for case in cases))


def _fusion(groups: Groups) -> Figure:
    """How long a sentence takes, in units of late fusion's time, which two machines can compare."""
    figure, rows = _axes(2.2, groups)
    for axes, (_, cases) in zip(rows, groups, strict=True):
        rates = [over_baseline(case, cases, LATE, "sentences") for case in cases]
        paper = {y: PAPER[LATE] / PAPER[case.name] for y, case in enumerate(cases) if case.name in PAPER}
        ours = {y: 1 / rate if rate else 0.0 for y, rate in enumerate(rates)}
        for values, shift, color, label in ((ours, -0.2, OURS, "ours"), (paper, 0.2, THEIRS, "the paper's")):
            bars = axes.barh([y + shift for y in values], values.values(), height=0.38, color=color, label=label)
            axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        axes.margins(x=0.12)
        axes.set_yticks(range(len(cases)), [case.name for case in cases])
        axes.invert_yaxis()
        axes.set_xlabel("time of a sentence over late fusion's")
        axes.legend(frameon=False)
    return figure


def _cell(groups: Groups) -> Figure:
    """GFLOP/s over nn.LSTM's by shape, one bar per implementation: the ratios within rounds, as in the table."""
    figure, rows = _axes(3, groups, width=max(8, 1.1 * max(len(set(map(_shape, cases))) for _, cases in groups)))
    for axes, (_, cases) in zip(rows, groups, strict=True):
        shapes = list(dict.fromkeys(map(_shape, cases)))
        names = [name for name in _names(cases) if name != LSTM]
        bar = 0.8 / max(len(names), 1)
        for index, name in enumerate(names):
            ratios = {_shape(case): over_baseline(case, cases, LSTM, "flops") for case in cases if case.name == name}
            places = [x + (index - (len(names) - 1) / 2) * bar for x in range(len(shapes))]
            heights = [ratios.get(shape) or 0.0 for shape in shapes]
            axes.bar(places, heights, bar, label=name, color=PALETTE[index % len(PALETTE)])
        axes.axhline(1, color="black", linewidth=0.8, linestyle="--", label=LSTM)
        axes.set_xticks(range(len(shapes)), shapes, fontsize=8)
        axes.set_ylabel("GFLOP/s over nn.LSTM")
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _shape(case: Case) -> str:
    passes = str(case.labels["pass"]).replace("+", "\n+ ")  # on one line, neighbours would run into each other
    return f"{passes}\nB {case.labels['batch']}, T {case.labels['steps']}"


def _sweep(groups: Groups) -> Figure:
    """GFLOP/s over nn.LSTM's by hidden size: a row of axes per setting and pass, a column per T, a line per B."""
    rows = _by_pass(groups)
    columns = sorted({int(case.labels["steps"]) for _, cases in rows for case in cases})
    figure = Figure(figsize=(4 * len(columns), 0.5 + 3 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (title, cases) in zip(grid, rows, strict=True):
        for axes, steps in zip(line, columns, strict=True):
            _plain(axes, f"{title}, T {steps}")
            _ratios(axes, [case for case in cases if case.labels["steps"] == steps])
    return figure


def _ratios(axes: Axes, cases: Sequence[Case]) -> None:
    lines: dict[str, dict[int, float]] = {}
    for case in cases:
        if case.name != LSTM and (ratio := over_baseline(case, cases, LSTM, "flops")) is not None:
            lines.setdefault(f"{case.name}, B {case.labels['batch']}", {})[int(case.labels["hidden_size"])] = ratio
    for (label, line), color in zip(lines.items(), cycle(PALETTE)):
        axes.plot(*zip(*sorted(line.items()), strict=True), marker="o", markersize=4, label=label, color=color)
    axes.axhline(BAR, color="black", linewidth=0.8, linestyle="--", label=f"{BAR:g} of {LSTM}")
    axes.set(xscale="log", xlabel="H", ylabel=f"GFLOP/s over {LSTM}")
    axes.set_ylim(bottom=0)
    _ticks(axes, {place for line in lines.values() for place in line})
    axes.legend(frameon=False, fontsize=7)


def _by_pass(groups: Groups) -> list[tuple[str, list[Case]]]:
    return [
        (f"{title}, {kind}", [case for case in cases if case.labels["pass"] == kind])
        for title, cases in groups
        for kind in dict.fromkeys(str(case.labels["pass"]) for case in cases)
    ]


def _gpu_sweep(groups: Groups) -> Figure:
    """Milliseconds by hidden and by batch size: a row of axes per setting and pass, a line per implementation."""
    rows = _by_pass(groups)
    figure = Figure(figsize=(9, 0.4 + 3.2 * len(rows)), layout="constrained")
    for (left, right), (title, cases) in zip(figure.subplots(len(rows), 2, squeeze=False), rows, strict=True):
        by_hidden = [case for case in cases if case.labels["batch"] == PAPER_BATCH]
        by_batch = [case for case in cases if case.labels["hidden_size"] == PAPER_HIDDEN]
        _lines(left, by_hidden, lambda case: int(case.labels["hidden_size"]), f"H, at B {PAPER_BATCH}", title)
        _lines(right, by_batch, lambda case: int(case.labels["batch"]), f"B, at H {PAPER_HIDDEN}", title)
    return figure


def _lines(axes: Axes, cases: Sequence[Case], place: Callable[[Case], int], label: str, title: str) -> None:
    _plain(axes, title)
    for name in _names(cases):
        line = sorted((case for case in cases if case.name == name), key=place)
        times = [case.median_seconds * 1e3 for case in line]
        axes.plot(list(map(place, line)), times, marker="o", markersize=4, label=name, color=SWEEP_COLORS.get(name))
    ticks = {place(case) for case in cases}
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="ms")
    _ticks(axes, ticks)
    if ticks:
        axes.legend(frameon=False, fontsize=8)


def _ticks(axes: Axes, places: set[int]) -> None:
    ticks = sorted(places)
    axes.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
