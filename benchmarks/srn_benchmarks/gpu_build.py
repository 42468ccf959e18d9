"""Builds the native module in place for the GPU at hand. Imports nothing of srn_kernels, which would load an old one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from .gpu_process import Ending, watch

ROOT = Path(__file__).resolve().parents[2]
SILENCE = 300.0
"""Seconds: a compiler says nothing while it works."""


def command() -> list[str]:
    return [sys.executable, "setup.py", "build_ext", "--inplace"]


def environment(capability: tuple[int, int], given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What is given, for the device's own architecture and all cores where it says nothing of them."""
    defaults = {
        "TORCH_CUDA_ARCH_LIST": "{}.{}".format(*capability),
        "MAX_JOBS": str(len(os.sched_getaffinity(0))),
    }
    return defaults | dict(given)


def build(capability: tuple[int, int], log: TextIO, deadline: float) -> Ending:
    """Compiles what has changed; nothing where all is up to date."""
    return watch(command(), log, deadline=deadline, silence=SILENCE, environment=environment(capability), folder=ROOT)
