"""Plots of the fusion table, of the cell's and of a GPU's sweep as SVG, the same bytes for the same results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from .gpu_plots import sweep
from .results import TIMED, Case, Results, over_baseline
from .tables import CELL, FUSION, GPU_SWEEP, HEADINGS, LATE, LSTM, PAPER, settings

OURS, THEIRS = "#2f6f8f", "#c0562f"
PALETTE = ("#d9a441", OURS, THEIRS, "#5b8c5a", "#7a5c9e")


def write_plots(results: Results, folder: Path) -> list[Path]:
    """``fusion.svg``, ``cell.svg`` and ``gpu_sweep.svg``, each if its table has a timed case."""
    written = []
    for kind, draw in ((FUSION, _fusion), (CELL, _cell), (GPU_SWEEP, sweep)):
        groups = [(title, [c for c in own if c.status == TIMED]) for title, own in settings(results.of(kind))]
        groups = [(title, own) for title, own in groups if own]
        if groups:
            figure = draw(groups)
            figure.suptitle(HEADINGS[kind], fontsize=11)
            path = folder / f"{kind}.svg"
            with matplotlib.rc_context({"svg.hashsalt": kind}):
                FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})
            written.append(path)
    return written


def _fusion(groups: Sequence[tuple[str, list[Case]]]) -> Figure:
    """How long a sentence takes, in units of late fusion's time: what two machines can compare."""
    figure = Figure(figsize=(8, 0.6 + 2.2 * len(groups)), layout="constrained")
    for axes, (title, cases) in zip(_rows(figure, len(groups)), groups, strict=True):
        names = [str(case.labels["implementation"]) for case in cases]
        rates = [over_baseline(case, cases, LATE, "sentences") for case in cases]
        times = [1 / rate if rate else 0.0 for rate in rates]
        _bars(axes, [y - 0.2 for y in range(len(cases))], times, OURS, "ours")
        paper = [(y + 0.2, PAPER[LATE] / PAPER[name]) for y, name in enumerate(names) if name in PAPER]
        _bars(axes, [y for y, _ in paper], [value for _, value in paper], THEIRS, "the paper's")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("time of a sentence over late fusion's")
        axes.legend(frameon=False)
    return figure


def _bars(axes: Axes, places: Sequence[float], values: Sequence[float], color: str, label: str) -> None:
    drawn = axes.barh(places, values, height=0.38, color=color, label=label)
    axes.bar_label(drawn, fmt="%.2f", padding=3, fontsize=8)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)


def _cell(groups: Sequence[tuple[str, list[Case]]]) -> Figure:
    """GFLOP/s over nn.LSTM's by shape, a bar an implementation: the ratios within rounds, as in the table."""
    width = max(8, 1.1 * max(len(_shapes(own)) for _, own in groups))
    figure = Figure(figsize=(width, 0.4 + 3 * len(groups)), layout="constrained")
    for axes, (title, cases) in zip(_rows(figure, len(groups)), groups, strict=True):
        shapes = _shapes(cases)
        names = [name for name in dict.fromkeys(str(case.labels["implementation"]) for case in cases) if name != LSTM]
        bar = 0.8 / max(len(names), 1)
        for index, name in enumerate(names):
            heights = dict.fromkeys(shapes, 0.0)
            for case in cases:
                if case.labels["implementation"] == name:
                    alike = [other for other in cases if _shape(other) == _shape(case)]
                    heights[_shape(case)] = over_baseline(case, alike, LSTM, "flops") or 0.0
            places = [x + (index - (len(names) - 1) / 2) * bar for x in range(len(shapes))]
            axes.bar(places, heights.values(), bar, label=name, color=PALETTE[index % len(PALETTE)])
        axes.axhline(1, color="black", linewidth=0.8, linestyle="--", label=LSTM)
        axes.set_xticks(range(len(shapes)), shapes, fontsize=8)
        axes.set_ylabel("GFLOP/s over nn.LSTM")
        axes.set_title(title, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _rows(figure: Figure, count: int) -> list[Axes]:
    return list(figure.subplots(count, 1, squeeze=False)[:, 0])


def _shapes(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(map(_shape, cases)))


def _shape(case: Case) -> str:
    passes = str(case.labels["pass"]).replace("+", "\n+ ")  # on one line, neighbours would run into each other
    return f"{passes}\nB {case.labels['batch']}, T {case.labels['steps']}"
