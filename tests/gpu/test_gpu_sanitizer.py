"""Small calls of each GPU backend under ``compute-sanitizer``: bad accesses, races in shared memory, barriers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

FOLDERS = (os.path.join(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin"), os.environ.get("PATH", ""))
PROGRAM = shutil.which("compute-sanitizer", path=os.pathsep.join(FOLDERS))
TOOLS = ("memcheck", "racecheck", "synccheck")
FOUND = 86
"""The exit status by which the sanitizer says that it has found something."""

LIMIT = 150.0
"""Seconds. The tools of a backend run side by side."""


@pytest.fixture(scope="module")
def runs(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[subprocess.Popen, Path]]]:
    """The running tools and their logs, all started at once."""
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    folder, started = tmp_path_factory.mktemp(backend), {}
    for tool in TOOLS:
        log = folder / f"{tool}.log"
        command = [PROGRAM, "--tool", tool, "--error-exitcode", str(FOUND), "--print-limit", "20"]
        command += ["--num-cuda-barriers", "64"]  # of a block, at most: counted by the tool itself, it may find too few
        command += [sys.executable, str(Path(__file__).with_name("sanitized.py")), backend]
        with log.open("w") as output:
            started[tool] = (subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment), log)
    yield started
    for process, _ in started.values():
        process.kill()
        process.wait()


@pytest.mark.skipif(PROGRAM is None, reason="needs compute-sanitizer, in CUDA_HOME or on PATH")
@pytest.mark.parametrize("tool", TOOLS)
def test_the_sanitizer_finds_nothing(tool: str, runs: dict[str, tuple[subprocess.Popen, Path]]) -> None:
    process, log = runs[tool]
    try:
        status = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{tool} was not done after {LIMIT:.0f} s:\n{log.read_text()[-4000:]}")
    text = log.read_text()
    if "Device not supported" in text:
        pytest.skip("compute-sanitizer does not support this machine's GPU")
    assert status == 0, text[-4000:]
    assert "calls, forward and backward" in text
