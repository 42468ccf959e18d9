"""Writes down which backends have passed their GPU tests: the records that let ``auto`` use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from srn_kernels import __version__, backends
from srn_kernels.backends import proof
from srn_kernels.info import installed

from .commit import present_commit
from .gpu_tests import Outcome


@dataclass(frozen=True)
class Ground:
    """What is on trial, read before the tests: the commit, and the digest of each backend's sources."""

    commit: str
    digests: Mapping[str, str]


def ground(names: Sequence[str], commit: str | None) -> Ground:
    return Ground(commit or present_commit(), {name: proof.digest(backends.BACKENDS[name]) for name in names})


def record_passed(
    outcomes: Sequence[Outcome], before: Ground, file: Path, say: Callable[[str], object] = print
) -> list[proof.Record]:
    """Adds a record for each backend all of whose tests have passed, and for no other; says which, and why not."""
    made = []
    for outcome in outcomes:
        if not outcome.all_passed:
            say(f"no record of {outcome.backend}: {outcome.problem}")
        elif proof.digest(backends.BACKENDS[outcome.backend]) != before.digests[outcome.backend]:
            say(f"no record of {outcome.backend}: its sources have changed while they were tested")
        else:
            made.append(_record(outcome, before))
            proof.add(made[-1], file)
            say(f"recorded: {outcome.backend} on {made[-1].gpu}, compute capability {made[-1].capability}, in {file}")
    return made


def _record(outcome: Outcome, before: Ground) -> proof.Record:
    properties = torch.cuda.get_device_properties(0)
    return proof.Record(
        backend=outcome.backend,
        capability=f"{properties.major}.{properties.minor}",
        gpu=properties.name,
        date=datetime.now(UTC).date().isoformat(),
        version=__version__,
        commit=before.commit,
        digest=before.digests[outcome.backend],
        torch=str(torch.__version__),
        triton=installed("triton"),
        cuda=torch.version.cuda,
        passed=outcome.passed,
        skipped=outcome.skipped,
    )
