"""Writes a run down: as text for the terminal, as Markdown with plots, and into marked places of a page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from .machine import summary
from .plots import write_plots
from .results import Results
from .tables import Section, sections

RESULTS, REPORT = "results.json", "report.md"

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


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


def fill_page(page: Path, files: Sequence[Path]) -> str:
    """The text of ``page`` with what stands between its markers made anew from results files, one after another.

    Plots are expected beside each results file, and are linked relative to the page.

    Raises:
        PageError: the page has no markers, or not once each in order.
        ResultsError: a results file cannot be read.
    """
    text = page.read_text("utf-8")
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed) or BEGIN in rest or END in before + after:
        raise PageError(f"{page}: expected the line {BEGIN} and, after it, the line {END}, once each")
    parts = []
    for file in files:
        plots = [os.path.relpath(plot, page.parent) for plot in sorted(file.parent.glob("*.svg"))]
        parts.append(markdown(Results.read(file), plots, level=3))
    body = "\n".join(parts) if parts else "No results have been committed yet.\n"
    return f"{before}{BEGIN}\n\n{body}\n{END}{after}"
