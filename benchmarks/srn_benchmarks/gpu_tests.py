"""Runs the GPU tests of one backend in a process of its own, and counts what came of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import TextIO
from xml.etree import ElementTree

from .gpu_build import ROOT
from .gpu_process import Ending, watch

SILENCE = 200.0
"""Seconds without a line: longer than the longest test, which waits for compute-sanitizer."""


@dataclass(frozen=True)
class Outcome:
    """``problem``: why the tests have not all passed, in a few words; None where they have. ``failures``: names."""

    backend: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    problem: str | None = None
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def all_passed(self) -> bool:
        return self.problem is None

    def __str__(self) -> str:
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped in {self.seconds:.0f} s"
        return f"{self.backend}: {counts if self.problem is None else f'{self.problem}; {counts}'}"


def run_tests(
    backend: str, folder: Path, log: TextIO, *, deadline: float, seed: int | None, say: Callable[[str], object] = print
) -> Outcome:
    """All of ``tests/gpu`` on one backend; what fails is said as it fails. JUnit's file is ``tests-BACKEND.xml``."""
    junit = folder.resolve() / f"tests-{backend}.xml"  # pytest runs in the checkout, wherever this does
    junit.unlink(missing_ok=True)
    started = time()
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-v", "-rs", "-p", "no:cacheprovider", "--color=no"]
    command += ["--gpu-backend", backend, f"--junitxml={junit}", "-o", "faulthandler_timeout=100"]
    command += [] if seed is None else ["--seed", str(seed)]
    last = [""]

    def hear(line: str) -> None:
        if line.startswith("tests/gpu/") and "::" in line:
            last[0] = line.split(" ")[0]
            if line.endswith("%]") and (" FAILED" in line or " ERROR" in line):
                say(line)
        elif "replay with --seed" in line:
            say(line)

    ending = watch(command, log, deadline=deadline, silence=SILENCE, environment=os.environ, folder=ROOT, hear=hear)
    return outcome(backend, ending, junit, last[0], time() - started)


def outcome(backend: str, ending: Ending, junit: Path, last: str = "", seconds: float = 0.0) -> Outcome:
    """From how pytest ended, and its file; ``last`` is the last test that was heard of."""
    if not junit.exists():
        return Outcome(
            backend, problem=f"the tests' process {ending.text}{f', at {last}' * bool(last)}", seconds=seconds
        )
    cases = list(ElementTree.parse(junit).getroot().iter("testcase"))
    failures = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases if case not in failures)
    passed = len(cases) - len(failures) - skipped
    if failures:
        problem = f"{len(failures)} of {len(cases)} tests failed"
    elif ending.status != 0:
        problem = f"the tests' process {ending.text}{f', at {last}' * bool(last)}"
    else:
        problem = None if passed else "no test ran"
    names = [str(case.get("name")) for case in failures]
    return Outcome(backend, passed, len(failures), skipped, problem, names, seconds)
