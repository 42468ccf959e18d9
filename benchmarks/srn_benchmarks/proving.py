"""The outcome of a backend's GPU tests, and the record that lets ``auto`` use it where all of them have passed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import torch

from srn_kernels import __version__, backends
from srn_kernels.backends import proof
from srn_kernels.info import installed

from .machine import present_commit
from .process import Ending


@dataclass(frozen=True)
class Outcome:
    """``broken``: how the tests' process ended, if not as it should; ``failures``: the names of tests."""

    passed: int = 0
    skipped: int = 0
    failures: tuple[str, ...] = ()
    broken: str | None = None

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.passed + other.passed,
            self.skipped + other.skipped,
            self.failures + other.failures,
            self.broken or other.broken,
        )

    @property
    def problem(self) -> str | None:
        """Why they have not all passed, in a few words; None where they have."""
        if self.failures:
            return f"{len(self.failures)} of {self.passed + len(self.failures) + self.skipped} tests failed"
        return self.broken

    def __str__(self) -> str:
        counts = f"{self.passed} passed, {len(self.failures)} failed, {self.skipped} skipped"
        return counts if self.problem is None else f"{self.problem}; {counts}"


def outcome(ending: Ending, junit: Path) -> Outcome:
    """From how pytest ended, and from its JUnit file."""
    broken = f"the tests' process {ending.text}{ending.last_test}"
    if not junit.exists():
        return Outcome(broken=broken)
    cases = list(ElementTree.parse(junit).getroot().iter("testcase"))
    failures = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases if case not in failures)
    passed = len(cases) - len(failures) - skipped
    names = tuple(str(case.get("name")) for case in failures)
    if ending.status == 0:
        broken = None if passed else "no test ran"
    return Outcome(passed, skipped, names, broken)


@dataclass(frozen=True)
class Ground:
    """What is tested, read before the tests: the commit, and the digest of each backend's sources."""

    commit: str
    digests: Mapping[str, str]


def ground(names: Sequence[str], commit: str | None) -> Ground:
    return Ground(commit or present_commit(), {name: proof.digest(backends.BACKENDS[name]) for name in names})


def record_passed(
    outcomes: Mapping[str, Outcome], before: Ground, file: Path, say: Callable[[str], object] = print
) -> list[proof.Record]:
    """Adds a record for each backend all of whose tests have passed, and for no other; says which, and why not."""
    made = []
    for name, found in outcomes.items():
        if found.problem is not None:
            say(f"no record of {name}: {found.problem}")
        elif proof.digest(backends.BACKENDS[name]) != before.digests[name]:
            say(f"no record of {name}: its sources have changed while they were tested")
        else:
            made.append(_record(name, found, before))
            proof.add(made[-1], file)
            say(f"recorded: {name} on {made[-1].gpu}, compute capability {made[-1].capability}, in {file}")
    return made


def _record(name: str, found: Outcome, before: Ground) -> proof.Record:
    properties = torch.cuda.get_device_properties(0)
    return proof.Record(
        backend=name,
        capability=f"{properties.major}.{properties.minor}",
        gpu=properties.name,
        date=datetime.now(UTC).date().isoformat(),
        version=__version__,
        commit=before.commit,
        digest=before.digests[name],
        torch=str(torch.__version__),
        triton=installed("triton"),
        cuda=torch.version.cuda,
        passed=found.passed,
        skipped=found.skipped,
    )
