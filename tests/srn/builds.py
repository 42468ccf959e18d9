"""Builds of the native sources for a test, as the modules that Python loads."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pybind11
import pytest

from srn_kernels.backends import cuda

ROOT = Path(__file__).parents[2]


def build(folder: Path, *names: str, source: Path = ROOT) -> list[Path]:
    """The modules ``names``, CMake targets in ``source``: portable kernels, compiled in half the usual time."""
    for tool in ("cmake", "ninja"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    configure = [
        *("cmake", "-S", source, "-B", folder, "-G", "Ninja"),
        *("-DSRN_TESTS=ON", "-DSRN_CUDA=OFF", "-DSRN_ISAS=portable", "-DCMAKE_CXX_FLAGS_RELEASE=-O1"),
        *(f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DPython_EXECUTABLE={sys.executable}"),
    ]
    for command in (configure, ["cmake", "--build", folder, "--target", *names]):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return [path for name in names for path in folder.glob(f"{name}.*.so")]


_count = itertools.count()


@cache
def load(path: Path) -> ModuleType:
    """The module at ``path``, loaded once, beside whatever else is loaded."""
    # Under a new name: pybind11 returns what it has already made under an old one.
    name = f"loaded_{next(_count)}.{path.name.split('.')[0]}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve_on_host(patch: pytest.MonkeyPatch, kernels: ModuleType) -> None:
    """Makes the backend ``cuda`` serve CPU tensors with the persistent kernels of ``srn_persistent_host``."""
    patch.setattr(cuda, "kernels", lambda: kernels)
    patch.setattr(cuda, "DEVICE_TYPE", "cpu")
    patch.setattr(cuda, "_index", lambda device: 0)
    patch.setattr(cuda, "_stream", lambda device: 0)
    patch.setattr(cuda.CUDABackend, "unavailable", lambda self: None)
    cuda._kept_plan.cache_clear()
