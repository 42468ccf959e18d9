"""The persistent CUDA backend: one launch for all steps of all directions, weights on chip (``csrc/cuda``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from srn_kernels import gradients, native
from srn_kernels.backends import buffers
from srn_kernels.backends.backend import Backend
from srn_kernels.call import LayerCall, Problem
from srn_kernels.gradients import DirectionGradients, Incoming, Saved
from srn_kernels.layout import Steps
from srn_kernels.reference import Direction
from srn_kernels.transfer import to_device

DEVICE_TYPE = "cuda"
NOT_BUILT = "this build has no CUDA kernels: no nvcc was found, or it was switched off (SRN_KERNELS_CUDA)"
FORWARD, BACKWARD = "forward", "backward"
EXCHANGE, EXCHANGES = "SRN_KERNELS_EXCHANGE", ("mailbox", "cluster")
"""Environment variable: how the blocks of a team exchange numbers, by default through global memory."""
_DTYPES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}


class CUDABackend(Backend):
    """The recurrence as a persistent kernel; the products over all rows, before and after it, are torch's."""

    name = "cuda"
    needs_proof = True
    sources: tuple[str, ...] = (
        *("csrc/cell.h", "csrc/srn.h", "csrc/cuda/*", "csrc/python/bindings.h", "csrc/python/cuda.cpp"),
        *("srn_kernels/backends/buffers.py", "srn_kernels/backends/cuda.py"),
        *("srn_kernels/gradients.py", "srn_kernels/transfer.py"),
    )

    def unavailable(self) -> str | None:
        reason = native.missing()
        if reason is not None:
            return reason
        if kernels() is None:
            return NOT_BUILT
        if not torch.cuda.is_available():
            return "torch finds no CUDA GPU"
        return None

    def unsupported(self, problem: Problem) -> str | None:
        least, most = kernels().LEAST_TASKS, kernels().MOST_TASKS
        if problem.device.type != DEVICE_TYPE:
            return f"it runs on a CUDA GPU, the tensors are on {problem.device}"
        if problem.dtype not in _DTYPES:
            return f"it computes in {', '.join(map(str, _DTYPES))}, the tensors are {problem.dtype}"
        if problem.dtype == torch.float32 and not tf32_allowed():
            return "it multiplies float32 as TF32, which torch.backends.cudnn.rnn.fp32_precision does not allow"
        if problem.projection:
            return "it has no projection (proj_size)"
        if not least <= problem.tasks <= most:
            return f"it serves {least} to {most} tasks, these are {problem.tasks}"
        if problem.rows == 0:
            return None
        return _plan(FORWARD, problem)[1] or _plan(BACKWARD, problem)[1]

    def forward(self, call: LayerCall, outs: Sequence[Direction]) -> None:
        if not _steps(call):
            for direction, out in zip(call.directions, outs, strict=True):
                out.h_n.copy_(direction.h0)
                out.c_n.copy_(direction.c0)
            return
        calls = [buffers.dense_call(direction) for direction in call.directions]
        z = [F.linear(one.input, one.weights.ih, one.weights.b_ih) for one in calls]  # each (S, G·H)
        _launch(
            FORWARD,
            call,
            [
                {"z": its_z.data_ptr(), "reverse": one.reverse, **buffers.forward_fields(one, out)}
                for one, its_z, out in zip(calls, z, outs, strict=True)
            ],
        )

    def backward(
        self, call: LayerCall, saved: Sequence[Saved], grads: Sequence[Incoming], need_input: bool, need_weights: bool
    ) -> list[DirectionGradients]:
        calls = [buffers.dense_call(direction) for direction in call.directions]
        saved = [buffers.dense_saved(one) for one in saved]
        grads = [buffers.dense_gradients(one) for one in grads]
        rows = [buffers.empty_row_gradients(one, its_saved) for one, its_saved in zip(calls, saved, strict=True)]
        if _steps(call):
            of_each = zip(calls, saved, grads, rows, strict=True)
            _launch(BACKWARD, call, [{"reverse": one[0].reverse, **buffers.backward_fields(*one)} for one in of_each])
        else:
            for its_rows, grad in zip(rows, grads, strict=True):
                _copy_or_zero(its_rows.grad_h0, grad.h_n)
                _copy_or_zero(its_rows.grad_c0, grad.c_n)
        return [
            gradients.finish(its_rows, one, its_saved, need_input, need_weights)
            for its_rows, one, its_saved in zip(rows, calls, saved, strict=True)
        ]


def _steps(call: LayerCall) -> int:
    return len(call.directions[0].steps)


def _launch(pass_: str, call: LayerCall, directions: list[buffers.Fields]) -> None:
    """Enqueues a pass over the directions of a layer, whose buffers the caller keeps until then."""
    problem = call.problem
    plan, reason = _plan(pass_, problem)
    if plan is None:
        raise RuntimeError(reason)  # a backend is asked first whether it serves a call
    mailbox = torch.empty(plan.mailbox_words(problem.directions), dtype=torch.int32, device=problem.device)
    offsets = _offsets(call.directions[0].steps, problem.batch, problem.device)
    launch = kernels().forward if pass_ == FORWARD else kernels().backward
    launch(
        plan,
        _sizes(_key(problem), _steps(call)),
        offsets=buffers.address(offsets),
        mailbox=mailbox.data_ptr(),
        directions=directions,
        device=_index(problem.device),
        stream=_stream(problem.device),
    )


def kernels() -> Any:
    """The kernels' part of the native library; None in a build without them."""
    return getattr(native.module(), "cuda", None)


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


def _stream(device: torch.device) -> int:
    return torch.cuda.current_stream(device).cuda_stream


def exchange() -> str:
    """The exchange that the environment asks for.

    Raises:
        ValueError: there is no such exchange.
    """
    asked = os.environ.get(EXCHANGE) or EXCHANGES[0]
    if asked not in EXCHANGES:
        raise ValueError(f"{EXCHANGE} should be {' or '.join(EXCHANGES)}, got {asked!r}")
    return asked


def tf32_allowed() -> bool:
    """Whether float32 may be multiplied as TF32, by the switch that ``nn.LSTM`` follows, which is on by default."""
    return torch.backends.cudnn.rnn.fp32_precision == "tf32"


class _Key(NamedTuple):
    """The parts of a problem that decide the kernels' plan; the number of steps does not."""

    dtype: torch.dtype
    tasks: int
    directions: int
    batch: int
    hidden: int


def _key(problem: Problem) -> _Key:
    return _Key(problem.dtype, problem.tasks, problem.directions, problem.batch, problem.hidden_size)


def _sizes(key: _Key, steps: int) -> Any:
    return kernels().Sizes(**key._asdict() | {"dtype": _DTYPES[key.dtype], "steps": steps})


def _plan(pass_: str, problem: Problem) -> tuple[Any, str | None]:
    """The kernels' plan for a pass, or None and the reason why there is none."""
    return _kept_plan(pass_, _key(problem), exchange(), _index(problem.device))


@lru_cache(maxsize=256)
def _kept_plan(pass_: str, key: _Key, exchange: str, device: int) -> tuple[Any, str | None]:
    return kernels().plan(pass_, _sizes(key, steps=1), exchange, device)


def _offsets(steps: Steps, batch: int, device: torch.device) -> Tensor | None:
    """The first row of each step, then their number, (T + 1) int32; None for equal lengths. The host does not wait."""
    if steps.sizes[-1] == batch:
        return None
    return to_device(torch.tensor(steps.offsets, dtype=torch.int32, device="cpu"), device)


def _copy_or_zero(target: Tensor, source: Tensor | None) -> None:
    if source is None:
        target.zero_()
    else:
        target.copy_(source)
