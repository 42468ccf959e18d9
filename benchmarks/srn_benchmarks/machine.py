"""Where a run took place: processor, threads, instruction sets, versions, commit and date."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import cpuinfo
import torch

from srn_kernels import info

from .commit import present_commit


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
    }


def summary(machine: dict[str, Any]) -> str:
    """One line for people."""
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads",
        f"native instruction set: {machine['isa'] or 'none (not built)'}",
        *(f"GPU: {name}" for name in machine["gpus"]),
        f"torch {machine['torch']} ({machine['torch_isa']})",
        f"Python {machine['python']}",
        f"srn-kernels {machine['srn_kernels']}, commit {machine['commit']}",
        machine["date"],
    ]
    return "; ".join(parts)
