"""The general GPU backend: torch's matrix products, and between them Triton kernels for everything else of a step.

Serves any size, number of tasks, dtype and lengths on any GPU that Triton serves. Triton is imported when it is first
needed; without it, or without a GPU, the backend says so. Under ``TRITON_INTERPRET=1`` the kernels run in
Triton's interpreter, on CPU tensors and very slowly: for checks, not for use.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

from srn_kernels.backends.backend import Backend
from srn_kernels.call import LayerCall, Problem
from srn_kernels.gradients import DirectionGradients, Incoming, Saved
from srn_kernels.reference import Direction

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_OLDEST = (8, 0)
"""Compute capability of the oldest GPUs that Triton supports."""
_MOST_UNITS = 2**31 - 2**10
"""Hidden units of a step: the kernels count them in 32 bits."""


class TritonBackend(Backend):
    """The recurrence one step at a time: four launches per step, recorded as CUDA graphs for shapes that recur."""

    name = "triton"
    needs_proof = True
    sources: tuple[str, ...] = (
        *("srn_kernels/backends/buffers.py", "srn_kernels/backends/triton/*.py"),
        *("srn_kernels/gradients.py", "srn_kernels/transfer.py"),
    )

    def unavailable(self) -> str | None:
        return _unavailable()

    def unsupported(self, problem: Problem) -> str | None:
        kind = "cpu" if interpreted() else "cuda"
        if problem.device.type != kind:
            where = "in Triton's interpreter it runs on the CPU" if kind == "cpu" else "it runs on CUDA GPUs"
            return f"{where}, the tensors are on {problem.device}"
        if problem.dtype not in _DTYPES:
            return f"it computes in {', '.join(map(str, _DTYPES))}, the tensors are {problem.dtype}"
        if problem.batch * problem.hidden_size > _MOST_UNITS:
            return (
                f"a step of it has at most {_MOST_UNITS} hidden units, this has {problem.batch} x {problem.hidden_size}"
            )
        return _too_old(problem.device) if kind == "cuda" else None

    def forward(self, call: LayerCall, outs: Sequence[Direction]) -> None:
        from srn_kernels.backends.triton import passes  # imports Triton

        with _on(call.problem.device):
            for direction, out in zip(call.directions, outs, strict=True):
                passes.forward(direction, out)

    def backward(
        self, call: LayerCall, saved: Sequence[Saved], grads: Sequence[Incoming], need_input: bool, need_weights: bool
    ) -> list[DirectionGradients]:
        from srn_kernels.backends.triton import passes

        with _on(call.problem.device):
            return [
                passes.backward(*of_one, need_input, need_weights)
                for of_one in zip(call.directions, saved, grads, strict=True)
            ]


def interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter. This is fixed when they are first imported."""
    if f"{__name__}.pointwise" in sys.modules:
        from srn_kernels.backends.triton import pointwise

        return pointwise.INTERPRETED
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on")


def _unavailable() -> str | None:
    if not _installed():
        return "Triton is not installed: pip install triton"
    return None if interpreted() else _no_gpu()


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def _no_gpu() -> str | None:
    if torch.version.hip is not None:
        return "torch is built for ROCm, and the kernels are tested on CUDA alone"
    if not torch.cuda.is_available():
        return "torch finds no CUDA GPU"
    reasons = [_too_old(torch.device("cuda", index)) for index in range(torch.cuda.device_count())]
    return reasons[0] if all(reasons) else None


def _too_old(device: torch.device) -> str | None:
    capability = torch.cuda.get_device_capability(device)
    if capability >= _OLDEST:
        return None
    needed, found = (".".join(map(str, version)) for version in (_OLDEST, capability))
    return f"Triton needs a GPU of compute capability {needed}, {torch.cuda.get_device_name(device)} has {found}"


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Makes the tensors' device the current one: Triton launches there, wherever its arguments are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
