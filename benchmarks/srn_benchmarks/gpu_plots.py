"""The plot of the cell on a GPU over sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .cpu_tables import LSTM
from .results import Case
from .shapes import SWEPT_BATCH, SWEPT_HIDDEN

COLORS = {LSTM: "#c0562f", "SRN triton": "#d9a441", "SRN cuda": "#2f6f8f"}


def sweep(groups: Sequence[tuple[str, list[Case]]]) -> Figure:
    """Milliseconds by hidden size and by batch size, a row of axes for each setting and pass, a line an implementation."""
    rows = [
        (f"{title}, {kind}", [case for case in cases if case.labels["pass"] == kind])
        for title, cases in groups
        for kind in dict.fromkeys(str(case.labels["pass"]) for case in cases)
    ]
    figure = Figure(figsize=(9, 0.4 + 3.2 * len(rows)), layout="constrained")
    for axes, (title, cases) in zip(figure.subplots(len(rows), 2, squeeze=False), rows, strict=True):
        by_hidden = [case for case in cases if case.labels["batch"] == SWEPT_BATCH]
        by_batch = [case for case in cases if case.labels["hidden_size"] == SWEPT_HIDDEN]
        _lines(axes[0], by_hidden, lambda case: int(case.labels["hidden_size"]), f"H, at B {SWEPT_BATCH}", title)
        _lines(axes[1], by_batch, lambda case: int(case.labels["batch"]), f"B, at H {SWEPT_HIDDEN}", title)
    return figure


def _lines(axes: Axes, cases: Sequence[Case], place: Callable[[Case], int], label: str, title: str) -> None:
    for name in dict.fromkeys(str(case.labels["implementation"]) for case in cases):
        own = sorted((case for case in cases if case.labels["implementation"] == name), key=place)
        times = [case.median_seconds * 1e3 for case in own]
        axes.plot([place(case) for case in own], times, marker="o", markersize=4, label=name, color=COLORS.get(name))
    ticks = sorted({place(case) for case in cases})
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(label)
    axes.set_ylabel("ms")
    axes.set_title(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    if ticks:
        axes.legend(frameon=False, fontsize=8)
