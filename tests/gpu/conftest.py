"""What the GPU tests share: their backends, fresh random numbers, poisoned memory, and no error left behind."""

from __future__ import annotations

import os
import random
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from srn_kernels import backends
from srn_kernels.backends.cuda import EXCHANGE, EXCHANGES, CUDABackend

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS starts: deterministic mode demands it
sys.path.append(str(Path(__file__).parents[1]))  # for srn.cases and srn.accuracy
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # for srn_benchmarks.precision
pytest.register_assert_rewrite("srn.accuracy", "gpu_calls")

from srn_benchmarks.precision import tf32

NO_GPU = "needs a CUDA device that torch can use"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``backend``: every GPU backend, or those asked for; one that is unusable here is skipped with its reason."""
    if "backend" in metafunc.fixturenames:
        names = metafunc.config.getoption("--gpu-backend")
        names = [name for name, backend in backends.BACKENDS.items() if backend.needs_proof] if names is None else names
        values = [_parameter(name) for name in names] or [_skipped("none", "this version has no GPU backend")]
        metafunc.parametrize("backend", values, scope="module")  # for work that a file does once per backend


def _parameter(name: str) -> object:
    reason = backends.BACKENDS[backends.check_name(name)].unavailable() if torch.cuda.is_available() else NO_GPU
    return name if reason is None else _skipped(name, reason)


def _skipped(name: str, reason: str) -> object:
    return pytest.param(name, marks=pytest.mark.skip(reason=f"{name}: {reason}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if torch.cuda.is_available():
        terminalreporter.write_line(f"random numbers of the GPU tests: replay with --seed {config.option.gpu_seed}")


@pytest.fixture(params=EXCHANGES)
def exchange(request: pytest.FixtureRequest, backend: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way in which a backend's blocks exchange numbers; all but the first are used only on request."""
    if request.param != EXCHANGES[0] and backend != CUDABackend.name:
        pytest.skip(f"{backend} has no exchange to choose")
    monkeypatch.setenv(EXCHANGE, request.param)
    return request.param


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> int:
    """Replaces the fixture of this name that gives every run the same numbers."""
    seed = zlib.crc32(request.node.nodeid.encode()) ^ request.config.option.gpu_seed
    random.seed(seed)
    torch.manual_seed(seed)
    return seed


@pytest.fixture(autouse=True)
def device_state(request: pytest.FixtureRequest) -> Iterator[None]:
    """Memory that torch allocates without filling it starts as NaN, and float32 is float32.

    Afterwards it waits for the device, so that an error belongs to the test that caused it.
    """
    before, fill = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = True
    # Only a warning: what the tests themselves compute with need not be deterministic.
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(3, device="cuda").isnan().all()
    with tf32(False):
        yield
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.use_deterministic_algorithms(before)
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:  # from here on nothing works in this process, and every test would fail
        pytest.exit(f"the device failed in {request.node.nodeid}: {error}", returncode=3)
