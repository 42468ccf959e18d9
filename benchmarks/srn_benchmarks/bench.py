"""What a measurement is given: what was asked for, where its cases go, and pytest-benchmark to time them with."""

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
    """``benchmark``: pytest-benchmark's fixture, asked for by what is timed."""

    options: Options
    results: Results
    benchmark: Callable[[], BenchmarkFixture]

    def open(self, *args: Any) -> Case:
        """Enters a case into the results, and these into their file, before anything of it has run.

        So one that fails is seen to have failed, and so is one that takes the process down.
        """
        self.results.cases.append(Case(*args))
        self.options.report_dir.mkdir(parents=True, exist_ok=True)
        self.results.write(self.options.report_dir / RESULTS)
        return self.results.cases[-1]

    def note(self, table: str, *texts: str) -> None:
        """What the reader of a table must know; first, if the run is none to take numbers from, that."""
        self.results.note(table, *self.options.notes(), *texts)

    def time(self, case: Case, *args: Any, **settings: Any) -> None:
        """See :func:`timing.measure`; a rehearsal takes no longer than it must."""
        if self.options.rehearse:
            settings |= {"budget": 0.0, "rounds": (2, 2)}
        timing.measure(self.benchmark(), case, *args, **settings)
