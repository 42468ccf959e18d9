"""Reading the registers and spills of CUDA kernels, and comparing them with the record."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RECORD = json.loads((ROOT / "benchmarks/results/compiled/cuda.json").read_text())

PRINTED = """
Fatbin elf code:
================
arch = sm_90
code version = [1,8]

Resource usage:
 Common:
  GLOBAL:0
 Function _ZN3srn3gpu10persistent15backward_kernelINS1_8BFloat16ELi16ELi3ELNS_10persistent8ExchangeE0EEEvNS_10persistent12BackwardCallENS4_4PlanE:
  REG:254 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:856 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _ZN3srn3gpu10persistent14forward_kernelINS1_13TensorFloat32ELi8ELi2ELN3srn10persistent8ExchangeE0EEEvNS_10persistent11ForwardCallENS4_4PlanE:
  REG:240 STACK:16 SHARED:0 LOCAL:0 CONSTANT[0]:856 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _ZN9somethingElseEv:
  REG:8 STACK:8 SHARED:0 LOCAL:0
Fatbin elf code:
arch = sm_100
 Function _ZN3srn3gpu10persistent14forward_kernelINS1_7Float16ELi8ELi3ELNS3_8ExchangeE1EEEvNS_10persistent11ForwardCallENS4_4PlanE:
  REG:239 STACK:0 SHARED:0
"""


@pytest.fixture(scope="module")
def resources() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cuda_resources", ROOT / "benchmarks/cuda_resources.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_reads_kernels_by_architecture(resources: ModuleType) -> None:
    assert list(resources.parse(PRINTED)) == [
        resources.Usage(90, "backward", "mailbox", "bfloat16", 16, 3, registers=254, stack=0),
        resources.Usage(90, "forward", "mailbox", "float32", 8, 2, registers=240, stack=16),
        resources.Usage(100, "forward", "cluster", "float16", 8, 3, registers=239, stack=0),
    ]


def test_a_spill_is_wrong_with_any_compiler(resources: ModuleType) -> None:
    found = list(resources.parse(PRINTED))
    (problem,) = resources.wrong(found, "another nvcc", {"nvcc": "nvcc 13", "kernels": []})
    assert "registers=240, stack=16" in problem and problem.endswith("spills")


def test_the_same_compiler_gives_what_is_recorded(resources: ModuleType) -> None:
    found = [usage for usage in resources.parse(PRINTED) if not usage.stack]
    record = {"nvcc": "nvcc 13", "kernels": [vars(usage) for usage in found]}
    assert resources.wrong(found, "nvcc 13", record) == []
    record["kernels"][0] = record["kernels"][0] | {"registers": 250}
    problems = resources.wrong(found, "nvcc 13", record)
    assert len(problems) == 2 and "not recorded" in problems[0] and "not in the module" in problems[1]


def test_a_module_without_kernels_is_wrong(resources: ModuleType) -> None:
    assert resources.wrong([], "", RECORD) == ["the module has no CUDA kernels"]


def test_the_record_is_whole_and_without_spills(resources: ModuleType) -> None:
    """Both passes, three dtypes, 8 rows with two tasks, 8 and 16 with three, on every default architecture; and
    the kernels for clusters, where there are any."""
    kernels = [resources.Usage(**kernel) for kernel in RECORD["kernels"]]
    for architecture in (80, 90, 100, 120):
        compiled = [k for k in kernels if k.architecture == architecture]
        assert len({(k.kernel, k.dtype, k.rows, k.tasks) for k in compiled if k.exchange == "mailbox"}) == 2 * 3 * 3
        clusters = {(k.kernel, k.dtype, k.rows, k.tasks) for k in compiled if k.exchange == "cluster"}
        assert len(clusters) == (0 if architecture < 90 else 2 * 3)
    assert len(kernels) == 4 * 18 + 3 * 6
    assert all(kernel.stack == 0 for kernel in kernels)


def test_the_documented_table_is_the_record(resources: ModuleType) -> None:
    text = (ROOT / "docs/gpu-kernels.md").read_text()
    assert resources.table([resources.Usage(**kernel) for kernel in RECORD["kernels"]]) in text
