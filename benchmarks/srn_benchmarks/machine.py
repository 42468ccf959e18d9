"""Where a run took place: processor, threads, instruction sets, GPU, versions, commit and date."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from typing import Any

import cpuinfo
import torch
from pytest_benchmark.utils import get_commit_info

from srn_kernels import info

UNVERSIONED = "unversioned"
"""The commit of a folder without version control."""


def describe() -> dict[str, Any]:
    """As plain data. No host name: results are made to be published."""
    software = info.collect()
    return {
        "processor": cpuinfo.get_cpu_info().get("brand_raw", "unknown"),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "isa": software["native"]["cpu_isa"],
        "torch_isa": torch.backends.cpu.get_cpu_capability(),
        "gpus": [device["name"] for device in software["devices"]],
        "python": software["python"],
        "torch": software["torch"]["version"],
        "srn_kernels": software["version"],
        "commit": present_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    } | ({"cuda": cuda(software["packages"]["triton"])} if software["devices"] else {})


def cuda(triton: str | None) -> str:
    """The versions that a GPU's results depend on."""
    gpu = torch.cuda.get_device_properties(0)
    return (
        f"compute capability {gpu.major}.{gpu.minor}, {gpu.multi_processor_count} multiprocessors, driver {driver()}, "
        f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, Triton {triton}"
    )


def driver() -> str:
    """The driver's version, which torch does not tell."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def present_commit() -> str:
    """The checkout's commit, shortened, and whether it has uncommitted changes; or ``unversioned``."""
    found = get_commit_info("srn-kernels")
    return found["id"][:12] + (" with uncommitted changes" if found["dirty"] else "")


def summary(machine: dict[str, Any]) -> str:
    """One line for people."""
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads",
        f"native instruction set: {machine['isa'] or 'none (not built)'}",
        *(f"GPU: {name}" for name in machine["gpus"]),
        *([machine["cuda"]] if "cuda" in machine else []),
        f"torch {machine['torch']} ({machine['torch_isa']})",
        f"Python {machine['python']}",
        f"srn-kernels {machine['srn_kernels']}, commit {machine['commit']}",
        machine["date"],
    ]
    return "; ".join(parts)
