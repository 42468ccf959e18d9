"""What a run was asked for on the command line, and the devices that it takes place on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from .shapes import Shape, shapes

REPORT_DIR = Path(".benchmarks") / "report"
"""Under the project's root, where git ignores it."""

SMOKE_NOTE = "--benchmark-disable: everything was checked on tiny sizes, and nothing was timed"


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("speed tables", "the speed tables of srn-kernels")
    group.addoption(
        "--full", action="store_true", help="every shape, and the whole corpus: takes tens of minutes on two cores"
    )
    group.addoption("--sentences", type=int, help="size of the part of the corpus that fusion is timed on")
    group.addoption("--report-dir", type=Path, help=f"where results, report and plots go (default: {REPORT_DIR})")


@dataclass(frozen=True)
class Options:
    """``smoke``: check everything on tiny sizes and time nothing, as ``--benchmark-disable`` asks for."""

    full: bool
    smoke: bool
    sentences: int | None
    report_dir: Path
    threads: int
    devices: tuple[str, ...]

    @classmethod
    def of(cls, config: pytest.Config) -> Options:
        sentences = config.getoption("sentences")
        if sentences is not None and sentences < 1:
            raise pytest.UsageError(f"--sentences: expected a number above 0, found {sentences}")
        disabled = config.getoption("benchmark_disable") and not config.getoption("benchmark_enable")
        return cls(
            full=config.getoption("full") and not disabled,
            smoke=disabled,
            sentences=sentences,
            report_dir=config.getoption("report_dir") or config.rootpath / REPORT_DIR,
            threads=torch.get_num_threads(),
            devices=("cpu", "cuda") if torch.cuda.is_available() else ("cpu",),
        )

    def cell_shapes(self) -> list[Shape]:
        return shapes(self.devices, self.threads, full=self.full, smoke=self.smoke)


def synchronize(device: torch.device) -> Callable[[], object]:
    """Waits for what was asked of ``device``; on a CPU there is nothing to wait for."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None
