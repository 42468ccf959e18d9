"""Every kernel compiles for every architecture, keeps its working set in registers, and takes what the record says."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srn_kernels.backends.triton import fused, pointwise

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "benchmarks" / "results" / "compiled" / "triton.json"
COMMAND = "python benchmarks/triton_resources.py --json"

SPILLING = {
    ("memories_forward", "float64", 3): 8,  # in the slow path of the exponential
    (
        "memories_backward",
        "float64",
        4,
    ): 256,  # gates and gradients of four tasks are more than a thread's 255 registers
    ("fused_forward", "bfloat16", 3): 64,  # the gates of a step at once, four units to a thread
    ("fused_backward", "bfloat16", 3): 512,
    ("fused_backward", "float32", 3): 64,
}
"""Kernels that may keep something outside of registers: most bytes of a thread."""


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    """What :data:`COMMAND` prints in a new process, because here the kernels may be interpreted."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, *COMMAND.split()[1:], "--jobs", "2"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def recorded() -> dict[str, Any]:
    return json.loads(RECORD.read_text("utf-8"))


def keyed(kernels: list[dict[str, Any]]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for kernel in kernels:
        yield tuple(kernel[name] for name in ("kernel", "dtype", "tasks", "width", "whole", "architecture")), kernel


def test_every_kernel_is_compiled_for_every_architecture(compiled: dict[str, Any]) -> None:
    found = dict(keyed(compiled["kernels"]))
    assert len(found) == len(compiled["kernels"])
    for architecture in (80, 90, 100, 120):
        for kernel in ("memories_forward", "state_forward", "state_backward", "memories_backward"):
            for dtype in ("float64", "float32", "float16", "bfloat16"):
                assert (kernel, dtype, 3, 0, True, architecture) in found
        for kernel in ("fused_forward", "fused_backward"):
            assert (kernel, "float32", 3, 32, True, architecture) in found
            assert (kernel, "bfloat16", 3, 64, True, architecture) in found
    for tasks in (1, 2, 3, 4, 5):
        assert ("memories_backward", "float32", tasks, 0, True, 90) in found


def test_nothing_is_spilled_but_what_is_known(compiled: dict[str, Any]) -> None:
    spilling = [
        kernel
        for kernel in compiled["kernels"]
        if kernel["stack"] + kernel["local"] > SPILLING.get((kernel["kernel"], kernel["dtype"], kernel["tasks"]), 0)
    ]
    assert spilling == []


def test_programs_fit_on_a_multiprocessor(compiled: dict[str, Any]) -> None:
    for kernel in compiled["kernels"]:
        threads = 32 * (fused.WARPS if kernel["width"] else pointwise.WARPS)
        assert 0 < kernel["registers"] * threads <= 65536
        assert kernel["shared"] <= (4096 if kernel["width"] else 0)


def test_the_record_is_of_what_is_compiled(compiled: dict[str, Any]) -> None:
    record = recorded()
    if compiled["triton"] != record["triton"]:
        pytest.skip(f"the record is of Triton {record['triton']}, this is {compiled['triton']}")
    before, now = dict(keyed(record["kernels"])), dict(keyed(compiled["kernels"]))
    changed = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
    assert changed == [], f"run `{COMMAND} > {RECORD.relative_to(ROOT)}`"


def test_the_record_is_of_the_pinned_triton() -> None:
    pins = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()]
    assert f"triton=={recorded()['triton']}" in pins


def test_the_table_shows_what_a_record_says() -> None:
    kernel = {"kernel": "k", "dtype": "float32", "tasks": 3, "width": 0, "whole": True, "architecture": 80}
    kernel |= {"registers": 40, "stack": 0, "local": 0, "shared": 0}
    other = kernel | {"architecture": 90, "registers": 255, "stack": 16, "local": 8}
    spec = importlib.util.spec_from_file_location("triton_resources", ROOT / "benchmarks" / "triton_resources.py")
    resources = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, resources)  # where dataclasses look for their module
        spec.loader.exec_module(resources)
    text = resources.table({"triton": "3.6.0", "kernels": [kernel, other]})
    assert text.splitlines() == [
        "Triton 3.6.0, registers of a thread:",
        "",
        "| kernel | dtype | tasks | hidden | optional | sm_80 | sm_90 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| k | float32 | 3 | any | all | 40 | 255 + 24 B |",
    ]
