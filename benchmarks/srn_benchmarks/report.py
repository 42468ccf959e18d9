"""Reports a run: as text for the terminal, as Markdown with plots, and between the markers of a page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from .highlights import highlights
from .machine import summary
from .plots import write_plots
from .results import Results
from .tables import Section, sections

RESULTS, REPORT = "results.json", "report.md"

PARTS = ("highlights", "results")
"""What a page may show: the few numbers of :mod:`.highlights`, and all tables."""


def markers(part: str) -> tuple[str, str]:
    """The lines of a page that enclose a part."""
    return f"<!-- {part}: begin -->", f"<!-- {part}: end -->"


class PageError(ValueError):
    """A page without a pair of markers. The message names the page and the markers."""


def lines(results: Results) -> Iterator[str]:
    """The tables for a terminal."""
    for section in sections(results):
        yield from section_lines(section)
    yield summary(results.machine)


def section_lines(section: Section) -> Iterator[str]:
    yield section.heading
    for table in section.tables:
        yield ""
        yield f"[{table.title}]"
        yield from table.text().splitlines()
    yield ""
    yield from section.notes
    yield ""


def markdown(results: Results, plots: Sequence[str] = (), level: int = 2) -> str:
    """The tables for a page; ``plots`` are addresses of pictures, by the name of their section's kind."""
    parts = []
    for section in sections(results):
        parts.append(f"{'#' * level} {section.heading}")
        for table in section.tables:
            parts += [f"**{table.title}**", table.text("github")]
        parts += [f"![{section.heading}]({plot})" for plot in plots if Path(plot).stem == section.kind]
        if section.notes:
            parts.append("\n".join(f"- {note}" for note in section.notes))
    parts.append(f"Measured on: {summary(results.machine)}.")
    return "\n\n".join(parts) + "\n"


def write(results: Results, folder: Path) -> list[Path]:
    """Results, report and plots into ``folder``, which is made if need be; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / RESULTS)
    plots = write_plots(results, folder)
    (folder / REPORT).write_text(markdown(results, [plot.name for plot in plots]), "utf-8")
    return [folder / RESULTS, folder / REPORT, *plots]


def shortest(results: Results) -> str:
    """The highlights, for a page; nothing if none of them was measured."""
    table = highlights(results)
    return f"{table.text('github')}\n\nMeasured on: {summary(results.machine)}.\n" if table.rows else ""


def fill_page(page: Path, files: Sequence[Path]) -> str:
    """The text of ``page``, with what is between its markers rebuilt from results files, one after another.

    Plots are expected beside each results file, and are linked relative to the page.

    Raises:
        PageError: the page has no markers, or not once each in order.
        ResultsError: a results file cannot be read.
    """
    text = page.read_text("utf-8")
    shown = [part for part in PARTS if any(marker in text for marker in markers(part))]
    if not shown:
        raise PageError(f"{page}: expected the lines {' and '.join(markers('results'))}, or those of highlights")
    for part in shown:
        bodies = []
        for file in files:
            plots = [os.path.relpath(plot, page.parent) for plot in sorted(file.parent.glob("*.svg"))]
            results = Results.read(file)
            bodies.append(markdown(results, plots, level=3) if part == "results" else shortest(results))
        body = "\n".join(filter(None, bodies)) or "No results have been committed yet.\n"
        text = put_between(page, text, markers(part), body)
    return text


def put_between(page: Path, text: str, lines: tuple[str, str], body: str) -> str:
    """The ``text`` of a page with ``body`` between two of its lines.

    Raises:
        PageError: they are not there, once each, the first before the second.
    """
    begin, end = lines
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed) or begin in rest or end in before + after:
        raise PageError(f"{page}: expected the line {begin} and, after it, the line {end}, once each")
    return f"{before}{begin}\n\n{body}\n{end}{after}"
