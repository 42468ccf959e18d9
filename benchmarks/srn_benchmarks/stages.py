"""A run on a GPU as a list of stages, the most telling first; each backend's part of one is a process of its own."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from srn_kernels import backends, native
from srn_kernels.backends import proof
from srn_kernels.backends.backend import Backend

from . import machine, report
from .names import BARS, GPU_CELL, GPU_PACKED, GPU_PARTS, GPU_SMOKE, GPU_STEP, GPU_SWEEP
from .process import Ending, run
from .proving import Ground, Outcome, ground, outcome, record_passed
from .results import Results
from .workloads.calls import EAGER

LOG, RECORDS = "log.txt", "proof.json"

COMPILING, MOST_WORKERS = ("triton",), 8
"""Backends whose tests compile for minutes, so that several processes run them; each has its own context on the GPU."""

STAMPED = "cuda"
"""The backend whose kernels can be built with stamps."""

CELL_FILE, FUSION_FILE = "benchmarks/test_cell_speed.py", "benchmarks/test_fusion_speed.py"
TESTS, SANITIZER = Path("tests/gpu"), "test_gpu_sanitizer.py"


@dataclass(frozen=True)
class Stage:
    """``seconds`` is the time that each of its processes may take; ``arguments`` are pytest's."""

    name: str
    what: str
    seconds: float
    arguments: tuple[str, ...]
    tests: bool = False
    """Whether it runs the GPU tests, and not benchmarks."""
    eager: bool = False
    """Whether the eager loop is measured too."""
    stamped: bool = False
    """Whether it needs a module with stamps, which only the persistent kernels have."""


STAGES = (
    Stage("smoke", "small calls, checked", 60, (CELL_FILE, "-k", GPU_SMOKE)),
    Stage(
        "speed",
        "the cell, a step and packed sentences beside nn.LSTM",
        120,
        (CELL_FILE, "-k", f"{GPU_CELL} or {GPU_STEP} or {GPU_PACKED}"),
        eager=True,
    ),
    Stage("parts", "where the time of a step goes", 60, (CELL_FILE, "-k", GPU_PARTS), stamped=True),
    Stage("tests", "the GPU tests", 240, (str(TESTS), f"--ignore-glob=*{SANITIZER}"), tests=True),
    Stage(
        "sanitizer", "some calls of each backend under compute-sanitizer", 240, (str(TESTS / SANITIZER),), tests=True
    ),
    Stage("fusion", "late, early and packed fusion end to end", 240, (FUSION_FILE,)),
    Stage("sizes", "the cell at many sizes", 240, (CELL_FILE, "-k", GPU_SWEEP, "--full")),
)


def unusable(backend: Backend) -> str | None:
    """Why a backend cannot run here, or not as its sources say; None where it can."""
    of_module = any(source.startswith("csrc/") for source in backend.sources)
    return backend.unavailable() or (native.stale() if of_module else None)


@dataclass
class Run:
    """``folder``: where everything goes, written after each process, so that a run that is ended leaves what it had."""

    folder: Path
    stages: Sequence[Stage]
    names: Sequence[str] | None = None
    record: bool = False
    commit: str | None = None
    seed: int | None = None
    rehearse: bool = False
    say: Callable[[str], object] = print
    stamped: Path | None = None
    results: Results = field(init=False)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failed: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / LOG).write_text("", "utf-8")
        for name in (report.RESULTS, RECORDS):  # of an earlier run
            (self.folder / name).unlink(missing_ok=True)
        self.results = Results(machine.describe())
        self.results.machine["commit"] = self.commit or self.results.machine["commit"]

    def remark(self, text: str) -> None:
        """Says something that belongs in the report too."""
        self.results.note(BARS, text)
        self.say(text)

    def usable(self) -> list[str]:
        """The GPU backends that can run here, of those asked for; the others are remarked upon."""
        wanted = self.names or [name for name, backend in backends.BACKENDS.items() if backend.needs_proof]
        reasons = {name: unusable(backends.BACKENDS[name]) for name in wanted}
        for name, reason in reasons.items():
            if reason:
                self.remark(f"{name} cannot be used here: {reason}")
        return [name for name, reason in reasons.items() if not reason]

    def go(self) -> bool:
        """Runs everything, even if a part fails; returns whether all went well."""
        self.say(machine.summary(self.results.machine))
        names = self.usable()
        self.failed = not names
        before = ground(names, self.commit) if self.record else None
        last_tests = [stage for stage in self.stages if stage.tests][-1:]
        for stage in self.stages:
            self.say(f"\n{stage.name}: {stage.what}")
            if stage.stamped and self.stamped is None:
                self.remark(f"{stage.name} left out: no module with stamps was given (--stamped)")
                continue
            for name in [name for name in [*names, *[EAGER] * stage.eager] if name == STAMPED or not stage.stamped]:
                self.attempt(f"{stage.name} of {name}", self.test if stage.tests else self.measure, stage, name)
                self.attempt("report", report.write, self.results, self.folder)
            if before and [stage] == last_tests:
                self.attempt("record", self.write_records, before)
                self.attempt("report", report.write, self.results, self.folder)
        self.show()
        return not self.failed

    def attempt(self, part: str, run: Callable[..., object], *arguments: object) -> None:
        """Runs a part; if it raises, that is remarked upon, and the run goes on."""
        try:
            self.failed |= run(*arguments) is False
        except Exception as error:  # noqa: BLE001  the other parts' results are still wanted
            self.failed = True
            self.remark(f"{part}: broken off, {type(error).__name__}: {error}")

    def write_records(self, before: Ground) -> None:
        """Records what passed, in the folder too."""
        made = record_passed(self.outcomes, before, proof.FILE, self.remark)
        content = json.dumps([asdict(one) for one in made], indent=2) + "\n"
        (self.folder / RECORDS).write_text(content, "utf-8")

    def measure(self, stage: Stage, name: str) -> bool:
        """A process that measures one backend: its results so far are taken over, however it ends."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            options = ["--device", "cuda", "--backend", name, "--report-dir", folder]
            stamped = ["--stamped", str(self.stamped)] if stage.stamped else []
            ending = self._pytest(stage, [*options, *stamped, *["--rehearse"] * self.rehearse])
            file = Path(folder) / report.RESULTS
            if file.exists():
                self.results.add(Results.read(file))
        at = ending.last_test if ending.status not in (0, 1) else ""  # 1: cases have failed, which the tables show
        self.remark(f"{stage.name} of {name} {ending.text}{at}, after {ending.seconds:.0f} s")
        return ending.status == 0

    def test(self, stage: Stage, name: str) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            junit = Path(folder) / "tests.xml"
            options = ["--gpu-backend", name, f"--junitxml={junit}", "-o", "faulthandler_timeout=100"]
            options += [] if self.seed is None else ["--seed", str(self.seed)]
            if name in COMPILING:
                options += ["-n", str(min(MOST_WORKERS, len(os.sched_getaffinity(0))))]
            ending = self._pytest(stage, options)
            found = outcome(ending, junit)
        self.outcomes[name] = self.outcomes.get(name, Outcome()) + found
        self.remark(f"{stage.name} of {name}: {found}, after {ending.seconds:.0f} s")
        for line in dict.fromkeys(line for line in ending.printed.splitlines() if "replay with --seed" in line):
            self.say(line)
        return self.outcomes[name].problem is None

    def _pytest(self, stage: Stage, options: Sequence[str]) -> Ending:
        command = [
            sys.executable,
            "-m",
            "pytest",
            *stage.arguments,
            "-v",
            "-rsfE",
            "--color=no",
            "-p",
            "no:cacheprovider",
        ]
        ending = run([*command, *options], self.folder / LOG, stage.seconds)
        for line in ending.printed.splitlines():
            if line.startswith(("FAILED ", "ERROR ")):
                self.say(line)
        return ending

    def show(self) -> None:
        """The tables, and last how the stages ended and what was reached. The sizes are many, and have a plot."""
        sections = report.sections(self.results)
        shown = [one for one in sections if one.kind not in (BARS, GPU_SWEEP)]
        for section in [*shown, *(one for one in sections if one.kind == BARS)]:
            self.say("\n".join(report.section_lines(section)))
