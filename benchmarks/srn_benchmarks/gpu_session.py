"""A whole run on a GPU: tests, record, tables, and a summary, each step whatever became of the one before."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import time
from typing import TextIO

from srn_kernels import backends
from srn_kernels.backends import proof

from . import machine, report
from .gpu_items import items
from .gpu_measure import STATE, run_measuring, supervise
from .gpu_process import Ending
from .gpu_record import ground, record_passed
from .gpu_state import State
from .gpu_tables import GPU_SWEEP
from .gpu_tests import Outcome, run_tests
from .results import Results
from .tables import BARS, sections

REPORTING = 20.0
"""Seconds kept for the report."""

TABLES_LEAST = 100.0
"""Seconds kept for the tables while tests run."""


@dataclass
class Session:
    """``folder``: where everything goes; ``deadline``: seconds since the epoch, by which the run is to be over."""

    folder: Path
    log: TextIO
    deadline: float
    seed: int | None = None
    say: Callable[[str], object] = print
    outcomes: list[Outcome] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def remark(self, text: str) -> None:
        """Says something that belongs into the report too."""
        self.remarks.append(text)
        self.say(text)

    def usable(self) -> list[str]:
        """The GPU backends that can run here; the others are remarked upon."""
        names = []
        for name, backend in backends.BACKENDS.items():
            if backend.needs_proof:
                if reason := backend.unavailable():
                    self.remark(f"{name} cannot be used here: {reason}")
                else:
                    names.append(name)
        return names

    def test(self, name: str, until: float) -> Outcome:
        return run_tests(name, self.folder, self.log, deadline=until, seed=self.seed, say=self.say)

    def measure(self) -> Ending:
        return run_measuring(self.folder, self.log, self.deadline - REPORTING / 2, self.say)

    def run_tests(self, names: Sequence[str], *, tables_follow: bool) -> None:
        until = self.deadline - REPORTING - TABLES_LEAST * tables_follow
        for name in names:
            if time() >= until:
                self.outcomes.append(Outcome(name, problem="no time was left for its tests"))
            else:
                self.say(f"testing {name}")
                self.outcomes.append(self.test(name, until))
            self.remark(f"GPU tests of {self.outcomes[-1]}")

    def record(self, commit: str | None, names: Sequence[str], *, tables_follow: bool) -> None:
        """Tests, and records what passed; a copy of the new records goes into the folder."""
        before = ground(names, commit)
        self.run_tests(names, tables_follow=tables_follow)
        made = record_passed(self.outcomes, before, proof.FILE, self.remark)
        (self.folder / "proof.json").write_text(json.dumps([asdict(one) for one in made], indent=2) + "\n", "utf-8")

    def run_tables(self, names: Sequence[str]) -> None:
        """Every table, without the backends whose tests have not passed."""
        failed = [outcome.backend for outcome in self.outcomes if not outcome.all_passed]
        for name in failed:
            self.remark(f"{name} is in no table: its tests have not all passed")
        kept = [name for name in names if name not in failed]
        state = State(kept, self.deadline - REPORTING)
        state.write(self.folder / STATE)
        supervise(self.folder, self.measure, self.say)
        state = State.read(self.folder / STATE)
        for name, reason in state.dropped.items():
            self.remark(f"{name} was left out when the process {reason}; see log.txt")
        for key, reason in state.lost.items():
            self.remark(f"not measured: {key}: {reason}")
        if missing := [item for item in items(kept) if state.is_open(item.key)]:
            self.remark(f"not measured, for want of time: {'; '.join(dict.fromkeys(item.group for item in missing))}")

    def attempt(self, part: str, run: Callable[[], object]) -> None:
        """Runs a part; if it raises, that is remarked upon, and the run goes on."""
        try:
            run()
        except Exception as error:  # noqa: BLE001  the other parts' results are still wanted
            traceback.print_exc(file=self.log)
            self.broken.append(part)
            self.remark(f"{part}: broken off, {type(error).__name__}: {error}")

    @property
    def passed(self) -> bool:
        """Whether every test passed, and nothing broke off."""
        return not self.broken and all(outcome.all_passed for outcome in self.outcomes)

    def finish(self) -> None:
        """Report, results and plots into the folder; onto the terminal the tables and, last, a summary."""
        file = self.folder / report.RESULTS
        results = Results.read(file) if file.exists() else Results(machine.describe())
        for remark in self.remarks:
            results.note(BARS, remark)
        self.attempt("report", lambda: self._write(results))
        (self.folder / STATE).unlink(missing_ok=True)
        self._show(results)

    def _write(self, results: Results) -> None:
        report.write(results, self.folder)
        if not any(section.kind == BARS for section in sections(results)):  # whose notes the remarks are
            page = self.folder / report.REPORT
            remarks = "\n".join(f"- {remark}" for remark in self.remarks)
            page.write_text(f"{remarks}\n\n{page.read_text('utf-8')}", "utf-8")

    def _show(self, results: Results) -> None:
        bars = "no table was measured"
        for section in sections(results):
            if section.kind == BARS:
                bars = "\n".join(table.text() for table in section.tables)
            elif section.kind != GPU_SWEEP:  # which is long, and has a plot
                self.say(f"\n{section.heading}")
                for table in section.tables:
                    self.say(f"\n[{table.title}]\n{table.text()}")
        self.say(f"\n{machine.summary(results.machine)}")
        self.say("\n".join(["", "Summary", *self.remarks]))
        self.say(f"\n{bars}")
