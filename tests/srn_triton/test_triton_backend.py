"""Where the Triton backend is usable, why elsewhere not, and that ``auto`` does not take it unproved."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch
from srn.cases import Case, draw

from srn_kernels import backends
from srn_kernels.backends import Problem, triton
from srn_kernels.backends.triton import pointwise

from .device import DEVICE, draw_here

BACKEND = backends.BACKENDS["triton"]


def problem(**changes: object) -> Problem:
    call = draw_here(Case(), torch.float32)
    return call.layer_call().problem._replace(**changes)


def test_it_comes_before_the_backends_of_the_cpu() -> None:
    names = list(backends.BACKENDS)
    assert names.index("triton") < names.index("cpu") < names.index("reference")
    assert BACKEND.needs_proof


def test_here_it_can_be_had() -> None:
    assert BACKEND.unavailable() is None
    assert triton.interpreted() == (DEVICE.type == "cpu") == pointwise.INTERPRETED


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tasks", [1, 3, 6])
def test_it_serves_every_size_and_dtype(dtype: torch.dtype, tasks: int) -> None:
    assert (
        BACKEND.unsupported(problem(dtype=dtype, tasks=tasks, ragged=True, projection=True, hidden_size=5000)) is None
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dtype": torch.complex64}, "it computes in torch.float64, torch.float32.*the tensors are torch.complex64"),
        ({"device": torch.device("meta")}, "it runs on .*, the tensors are on meta"),
        ({"batch": 1 << 20, "hidden_size": 1 << 12}, "at most 2147482624 hidden units, this has 1048576 x 4096"),
    ],
)
def test_what_it_cannot_serve_it_names(changes: dict[str, object], reason: str) -> None:
    assert re.search(reason, BACKEND.unsupported(problem(**changes)))


def test_auto_never_takes_it_on_a_cpu() -> None:
    call = draw(Case(), torch.float32)
    with backends.record() as ran:
        call.run()
    assert ran == ["cpu"]


@pytest.mark.parametrize(
    ("hip", "available", "capability", "reason"),
    [
        ("6.4", True, (9, 4), "torch is built for ROCm, and the kernels are tested on CUDA alone"),
        (None, False, (9, 0), "torch finds no CUDA GPU"),
        (None, True, (7, 5), "Triton needs a GPU of compute capability 8.0, Some GPU has 7.5"),
        (None, True, (8, 0), None),
    ],
)
def test_without_a_gpu_that_will_do_it_says_why(
    hip: str | None, available: bool, capability: tuple[int, int], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    monkeypatch.setattr(triton, "interpreted", lambda: False)
    triton._no_gpu.cache_clear()
    try:
        assert BACKEND.unavailable() == reason
        gpu = problem(device=torch.device("cuda", 1))
        assert BACKEND.unsupported(gpu) == (reason if reason and "capability" in reason else None)
        assert BACKEND.unsupported(problem(device=torch.device("cpu"))) == (
            "it runs on CUDA GPUs, the tensors are on cpu"
        )
    finally:
        monkeypatch.undo()
        triton._no_gpu.cache_clear()


def run(code: str) -> str:
    """The output of a new process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_triton_is_not_imported_before_it_is_needed() -> None:
    code = """
import sys, torch, srn_kernels
reasons = [backend.unavailable() for backend in srn_kernels.backends.BACKENDS.values()]
print("triton" in sys.modules)
srn_kernels.SRN(2, 3)(torch.randn(4, 1, 2))  # torch may import Triton now, for its compiler
print("srn_kernels.backends.triton.pointwise" in sys.modules)
"""
    assert run(code).split() == ["False", "False"]


def test_without_triton_the_package_works_and_says_so() -> None:
    code = """
import importlib.util, sys, torch
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "triton" else find(name, *rest)
sys.modules["triton"] = None  # importing it raises ImportError
import srn_kernels
srn_kernels.SRN(2, 3)(torch.randn(4, 1, 2))
try:
    srn_kernels.SRN(2, 3, backend="triton")(torch.randn(4, 1, 2))
except RuntimeError as error:
    print(error)
"""
    assert run(code) == "backend 'triton' cannot serve this call: Triton is not installed: pip install triton"
