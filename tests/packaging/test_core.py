"""The C++ tests (csrc/tests) under sanitizers: the CPU core, and the body of the persistent GPU kernels on the host."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pybind11
import pytest
from standin import ROOT, run

from srn_kernels import native

# Beside the portable kernels, which every build has, only the best set of this processor: compiling one with sanitizers
# takes more than a minute. Those for bfloat16 build upon avx512, which stands for them here; docs/building.md says how
# to check them all.
STANDS_FOR = {"avx512bf16": "avx512", "amx": "avx512"}
SHAPES = 48  # each dtype with each number of tasks, with and without projection, in both directions: once


def build(folder: Path, environment: dict[str, str], sanitizers: str, isa: str, *targets: str) -> None:
    for tool in ("cmake", "ninja", os.environ.get("CXX", "c++")):
        if shutil.which(tool, path=environment["PATH"]) is None:
            pytest.skip(f"needs {tool}")
    configure = [
        *("cmake", "-S", ROOT, "-B", folder, "-G", "Ninja"),
        *("-DSRN_TESTS=ON", f"-DSRN_SANITIZE={sanitizers}", "-DSRN_WERROR=ON", "-DSRN_CUDA=OFF"),
        f"-DSRN_ISAS={isa}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    for command in (configure, ["cmake", "--build", folder, "--target", *targets]):
        done = run(command, environment, folder)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_sanitizers_find_nothing_in_the_core(tmp_path: Path, environment: dict[str, str]) -> None:
    isa = native.module().cpu_isa()
    isa = STANDS_FOR.get(isa, isa)
    elementary = f"srn_elementary_test_{isa}"
    build(tmp_path, environment, "address,undefined", isa, "srn_core_test", elementary)

    for name in {"portable", isa}:
        done = run([tmp_path / "srn_core_test", SHAPES], environment | {"SRN_KERNELS_ISA": name}, tmp_path)
        assert done.returncode == 0, done.stdout
        assert f"{name}: {SHAPES} shapes, 0 failures" in done.stdout
    done = run([tmp_path / elementary, 10007], environment, tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(" 0 failures") == 8  # two functions, two types, vectors and scalars


@pytest.mark.slow
def test_no_race_between_the_blocks_of_a_persistent_kernel(tmp_path: Path, environment: dict[str, str]) -> None:
    """With each block as host threads its body is right and shares nothing without a barrier or a mailbox word."""
    build(tmp_path, environment, "thread", "portable", "srn_persistent_test")
    shapes = 12  # each dtype with each number of tasks, twice
    done = run([tmp_path / "srn_persistent_test", shapes], environment, tmp_path)
    assert done.returncode == 0, done.stdout
    assert f"{shapes} shapes, 0 failures" in done.stdout
    assert "ThreadSanitizer" not in done.stdout
