"""Fixtures of the packaging tests: a source tree that builds in seconds, and an environment neutral to builds."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest
import standin

# The variables of the caller's environment that affect a build.
STEERING = {"CUDACXX", "CUDA_HOME", "CUDAARCHS", "TORCH_CUDA_ARCH_LIST", "SRN_KERNELS_CUDA", "MAX_JOBS", "CMAKE_ARGS"}


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment without CUDA or variables that affect a build, with this interpreter's build tools on PATH."""
    kept = {name: value for name, value in os.environ.items() if name not in STEERING}
    path = os.pathsep.join([sysconfig.get_path("scripts"), kept["PATH"]])
    return kept | {"PATH": path, "SRN_KERNELS_CUDA": "OFF"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source tree with stand-ins for the kernels."""
    return standin.copy_tree(tmp_path / "tree")
