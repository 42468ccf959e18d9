"""What a measurement is given: the options, the results that its cases go into, and pytest-benchmark to time them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from . import timing
from .options import Options
from .report import RESULTS
from .results import Case, Results


@dataclass
class Bench:
    """``benchmark``: pytest-benchmark's fixture, requested only when something is timed."""

    options: Options
    results: Results
    benchmark: Callable[[], BenchmarkFixture]

    def open(self, *args: Any) -> Case:
        """Adds a case to the results, and writes these to their file, before any of it has run.

        So a case that fails, or takes the process down, is seen to have failed.
        """
        self.results.cases.append(Case(*args))
        self.options.report_dir.mkdir(parents=True, exist_ok=True)
        self.results.write(self.options.report_dir / RESULTS)
        return self.results.cases[-1]

    def note(self, table: str, *texts: str) -> None:
        """What the reader of a table must know; first, if so, that the numbers of the run say nothing."""
        self.results.note(table, *self.options.notes(), *texts)

    def time(self, case: Case, *args: Any, **settings: Any) -> None:
        """See :func:`timing.measure`; a rehearsal is as short as possible."""
        if self.options.rehearse:
            settings |= {"budget": 0.0, "rounds": (2, 2)}
        timing.measure(self.benchmark(), case, *args, **settings)
