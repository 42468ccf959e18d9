"""What a run was asked for on the command line, and the devices that it takes place on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from srn_kernels.backends import BACKENDS

REPORT_DIR = Path(".benchmarks") / "report"
"""Under the project's root, where git ignores it."""

SMOKE_NOTE = "--benchmark-disable: everything was checked on tiny sizes, and nothing was timed"
REHEARSAL_NOTE = "--rehearse: the CPU stood for a GPU, on tiny sizes; no number here says anything"


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("speed tables", "the speed tables of srn-kernels")
    group.addoption(
        "--full",
        action="store_true",
        help="every shape, a sweep of sizes, and the whole corpus: takes over an hour on two cores",
    )
    group.addoption("--sentences", type=int, help="size of the part of the corpus that fusion is timed on")
    group.addoption("--report-dir", type=Path, help=f"where results, report and plots go (default: {REPORT_DIR})")
    group.addoption("--device", choices=("cpu", "cuda"), help="the tables of one device (default: of all there are)")
    group.addoption("--backend", action="append", help="a backend to measure (default: all that can run here)")
    group.addoption("--stamped", type=Path, help="a native module built with SRN_STAMPS: where the time of a step goes")
    group.addoption("--rehearse", action="store_true", help="the tables of a GPU, on the CPU and on tiny sizes")


@dataclass(frozen=True)
class Options:
    """``smoke``: check everything on tiny sizes and time nothing, as ``--benchmark-disable`` asks for."""

    full: bool
    smoke: bool
    rehearse: bool
    sentences: int | None
    report_dir: Path
    threads: int
    devices: tuple[str, ...]
    backends: tuple[str, ...] | None
    stamped: Path | None = None

    @classmethod
    def of(cls, config: pytest.Config) -> Options:
        sentences, device = config.getoption("sentences"), config.getoption("device")
        rehearse, backends = config.getoption("rehearse"), config.getoption("backend")
        if sentences is not None and sentences < 1:
            raise pytest.UsageError(f"--sentences: expected a number above 0, found {sentences}")
        if (stamped := config.getoption("stamped")) is not None and not stamped.is_file():
            raise pytest.UsageError(f"--stamped: there is no file {stamped}")
        if device == "cuda" and not rehearse and not torch.cuda.is_available():
            raise pytest.UsageError("--device cuda: torch finds no CUDA device")
        if unknown := [name for name in backends or () if name not in BACKENDS]:
            raise pytest.UsageError(f"--backend: expected one of {', '.join(BACKENDS)}, found {unknown[0]}")
        there = ("cuda",) if rehearse else ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
        disabled = config.getoption("benchmark_disable") and not config.getoption("benchmark_enable")
        return cls(
            full=config.getoption("full") and not disabled,
            smoke=disabled,
            rehearse=rehearse,
            sentences=sentences,
            report_dir=config.getoption("report_dir") or config.rootpath / REPORT_DIR,
            threads=torch.get_num_threads(),
            devices=there if device is None else (device,),
            backends=None if backends is None else tuple(backends),
            stamped=stamped,
        )

    @property
    def tiny(self) -> bool:
        return self.smoke or self.rehearse

    @property
    def few_sentences(self) -> int | None:
        """Sentences of a tiny run: more than one batch, or what the eager loop of a rehearsal gets through in time."""
        return 4 if self.rehearse else 40 if self.smoke else None

    @property
    def gpu(self) -> str:
        """The device that the tables of a GPU are made on."""
        return "cpu" if self.rehearse else "cuda"

    def notes(self) -> list[str]:
        """The notes for every table."""
        return [SMOKE_NOTE] * self.smoke + [REHEARSAL_NOTE] * self.rehearse
