"""``python -m srn_benchmarks.gpu_measure FOLDER``: measures what the state in FOLDER leaves open, and exits with 0.

A process of its own, so that a kernel that hangs or breaks the device takes this down and not the whole run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

import torch

from . import machine
from .gpu_build import ROOT
from .gpu_items import add_notes, items
from .gpu_process import OUT_OF_TIME, Ending, watch
from .gpu_queue import Bench, work_through
from .gpu_state import State
from .report import RESULTS
from .results import Results

STATE = "state.json"

SILENCE = 150.0
"""Seconds: longer than any item, all of its compilations included."""

MOST_PROCESSES = 6


def measure(folder: Path) -> None:
    """The inner process: goes on with the results that are there."""
    state = State.read(folder / STATE)
    file = folder / RESULTS
    if file.exists():
        results = Results.read(file)
    else:
        results = Results(machine.describe())
        add_notes(results)
    work_through(
        items(state.backends),
        state,
        Bench(results, state.taking_part),
        (file, folder / STATE),
        synchronize=torch.cuda.synchronize,
    )


def supervise(folder: Path, run: Callable[[], Ending], say: Callable[[str], object] = print) -> None:
    """The outer one: starts it again without what brought it down, until it ends by itself."""
    for _ in range(MOST_PROCESSES):
        ending = run()
        if ending.status == 0:
            return
        state = State.read(folder / STATE)
        if ending.text == OUT_OF_TIME:  # which is nobody's fault
            return
        going_on = bool(state.item)
        say(state.blame(ending.text))
        state.write(folder / STATE)
        if not going_on:
            return


def run_measuring(folder: Path, log: TextIO, deadline: float, say: Callable[[str], object] = print) -> Ending:
    command = [sys.executable, "-m", "srn_benchmarks.gpu_measure", str(folder.resolve())]

    def hear(line: str) -> None:
        if line.startswith(("measuring ", "given up: ", "no time for ")):
            say(line)

    return watch(command, log, deadline=deadline, silence=SILENCE, environment=environment(), folder=ROOT, hear=hear)


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Has the inner process import this checkout's packages."""
    path = [str(ROOT), str(ROOT / "benchmarks"), *filter(None, [given.get("PYTHONPATH")])]
    return dict(given) | {"PYTHONPATH": os.pathsep.join(path)}


if __name__ == "__main__":
    measure(Path(sys.argv[1]))
