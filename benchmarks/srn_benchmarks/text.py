"""A table as text, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """``rows`` of text under ``headers``, for the setting named by ``title``; the first ``words`` columns are words."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int

    def text(self, style: str = "simple") -> str:
        """The table without its title; ``style`` is one of tabulate's."""
        align = ["left" if column < self.words else "right" for column in range(len(self.headers))]
        return tabulate(self.rows, self.headers, tablefmt=style, disable_numparse=True, colalign=align)


def number(value: float | None) -> str:
    """Three significant digits, without an exponent."""
    if value is None:
        return NOTHING
    for bound, digits in ((0.1, 4), (1, 3), (10, 2), (100, 1)):
        if abs(value) < bound:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"


def scaled(value: float | None, factor: float) -> str:
    """:func:`number` of a value in another unit."""
    return number(None if value is None else value * factor)


def percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1%}"


def ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}x" if value < 10 else f"{value:.1f}x"


def inverse(value: float | None) -> float | None:
    return None if value is None else 1 / value
