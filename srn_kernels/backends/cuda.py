"""The persistent CUDA backend: one launch for all steps of all directions, weights on chip (``csrc/cuda``)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from srn_kernels import gradients, native
from srn_kernels.backends.dense import contiguous, dense_rows
from srn_kernels.backends.problem import Backend, Problem
from srn_kernels.gradients import DirectionGradients, Incoming, RowGradients, Saved
from srn_kernels.layout import DirectionCall, Steps
from srn_kernels.reference import Direction
from srn_kernels.transfer import to_device

DEVICE_TYPE = "cuda"
NOT_BUILT = "this build has no CUDA kernels: no nvcc was found, or it was switched off (SRN_KERNELS_CUDA)"
_DTYPES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}


class CUDABackend(Backend):
    """The recurrence as a persistent kernel; the products over all rows, before and after it, are torch's."""

    name = "cuda"
    needs_proof = True
    sources = ("csrc/cell.h", "csrc/srn.h", "csrc/cuda/*", "csrc/python/cuda.cpp", "srn_kernels/backends/cuda.py")

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
        device = _index(problem.device)
        key = problem.dtype, problem.tasks, problem.directions, problem.batch, problem.hidden_size, device
        return _plan("forward", *key)[1] or _plan("backward", *key)[1]

    def forward(self, calls: Sequence[DirectionCall], outs: Sequence[Direction], memories: bool, save: bool) -> None:
        launch = _Launch("forward", calls)
        if not launch.steps:
            for call, out in zip(calls, outs, strict=True):
                out.h_n.copy_(call.h0)
                out.c_n.copy_(call.c0)
            return
        for call, out in zip(launch.calls, outs, strict=True):
            z = F.linear(call.input, call.weights.ih, call.weights.b_ih)  # (S, G·H)
            launch.add(
                z=z,
                h0=call.h0,
                c0=call.c0,
                output=out.output,
                h_n=out.h_n,
                c_n=out.c_n,
                memories=out.memories if memories else None,
                gates=out.gates if save else None,
                cells=out.cells if save else None,
                output_stride=out.output.stride(0),
                memories_row_stride=out.memories.stride(0),
                memory_stride=out.memories.stride(1),
            )
        launch.run()

    def backward(
        self,
        calls: Sequence[DirectionCall],
        saved: Sequence[Saved],
        grads: Sequence[Incoming],
        need_input: bool,
        need_weights: bool,
    ) -> list[DirectionGradients]:
        launch = _Launch("backward", calls)
        rows = []
        for call, own, grad in zip(launch.calls, saved, grads, strict=True):
            output, memories = dense_rows(grad.output), dense_rows(grad.memories)
            rows.append(
                RowGradients(
                    dz=torch.empty_like(own.gates),
                    dc=torch.empty_like(own.cells),
                    s=own.cells.new_empty(len(own.cells), call.weights.mc.shape[1]),
                    dh=None,
                    m=None,
                    grad_h0=torch.empty_like(call.h0),
                    grad_c0=torch.empty_like(call.c0),
                )
            )
            launch.add(
                c0=call.c0,
                gates=own.gates.contiguous(),
                cells=own.cells.contiguous(),
                grad_output=output,
                grad_output_stride=0 if output is None else output.stride(0),
                grad_h_n=None if grad.h_n is None else grad.h_n.contiguous(),
                grad_c_n=None if grad.c_n is None else grad.c_n.contiguous(),
                grad_memories=memories,
                grad_memories_row_stride=0 if memories is None else memories.stride(0),
                grad_memory_stride=0 if memories is None else memories.stride(1),
                dz=rows[-1].dz,
                dc=rows[-1].dc,
                s=rows[-1].s,
                grad_h0=rows[-1].grad_h0,
                grad_c0=rows[-1].grad_c0,
            )
        if launch.steps:
            launch.run()
        else:
            for of_rows, grad in zip(rows, grads, strict=True):
                _copy_or_zero(of_rows.grad_h0, grad.h_n)
                _copy_or_zero(of_rows.grad_c0, grad.c_n)
        return [
            gradients.finish(of_rows, call, own, need_input, need_weights)
            for of_rows, call, own in zip(rows, launch.calls, saved, strict=True)
        ]

    def forward_direction(self, call: DirectionCall, out: Direction, memories: bool, save: bool) -> None:
        self.forward([call], [out], memories, save)

    def backward_direction(
        self, call: DirectionCall, saved: Saved, grad: Incoming, need_input: bool, need_weights: bool
    ) -> DirectionGradients:
        return self.backward([call], [saved], [grad], need_input, need_weights)[0]


class _Launch:
    """A launch under way: its directions are added one by one, and kept alive until it is enqueued."""

    def __init__(self, pass_: str, calls: Sequence[DirectionCall]) -> None:
        first = calls[0]
        self.steps = len(first.steps)
        self.calls = [contiguous(call) for call in calls]
        self._pass = pass_
        self._device = first.input.device
        self._batch, self._hidden = first.c0.shape
        self._dtype, self._tasks = first.input.dtype, first.tasks
        self._lengths = first.steps
        self._directions: list[Any] = []
        self._kept: list[Tensor | None] = []

    def add(self, **buffers: Tensor | int | None) -> None:
        """The next direction: its buffers and strides, as ``csrc/cuda/persistent.h`` names them."""
        call = self.calls[len(self._directions)]
        weights = call.weights
        own = kernels().DirectionWeights(
            hh=weights.hh.data_ptr(), mc=weights.mc.data_ptr(), b_hh=_address(weights.b_hh), b_mc=_address(weights.b_mc)
        )
        kind = kernels().ForwardDirection if self._pass == "forward" else kernels().BackwardDirection
        self._kept += [buffer for buffer in buffers.values() if not isinstance(buffer, int)]
        self._directions.append(
            kind(
                own,
                reverse=call.reverse,
                **{name: b if isinstance(b, int) else _address(b) for name, b in buffers.items()},
            )
        )

    def run(self) -> None:
        count, index = len(self._directions), _index(self._device)
        plan, reason = _plan(self._pass, self._dtype, self._tasks, count, self._batch, self._hidden, index)
        if plan is None:
            raise RuntimeError(reason)  # a backend is asked first whether it serves a call
        mailbox = torch.empty(plan.mailbox_words(count), dtype=torch.int32, device=self._device)
        offsets = _offsets(self._lengths, self._batch, self._device)
        sizes = kernels().Sizes(
            dtype=_DTYPES[self._dtype],
            tasks=self._tasks,
            directions=count,
            steps=self.steps,
            batch=self._batch,
            hidden=self._hidden,
        )
        launch = kernels().forward if self._pass == "forward" else kernels().backward
        launch(
            plan,
            sizes,
            offsets=_address(offsets),
            mailbox=mailbox.data_ptr(),
            directions=self._directions,
            device=index,
            stream=_stream(self._device),
        )


def kernels() -> Any:
    """The kernels' part of the native library; None in a build without them."""
    return getattr(native.module(), "cuda", None)


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


def _stream(device: torch.device) -> int:
    return torch.cuda.current_stream(device).cuda_stream


def tf32_allowed() -> bool:
    """Whether float32 may be multiplied as TF32, by the switch that ``nn.LSTM`` follows; it may unless it is changed."""
    return torch.backends.cudnn.rnn.fp32_precision == "tf32"


@lru_cache(maxsize=256)
def _plan(
    pass_: str, dtype: torch.dtype, tasks: int, directions: int, batch: int, hidden: int, device: int
) -> tuple[Any, str | None]:
    """The kernels' plan for a pass, or None and the reason why there is none. The number of steps does not matter."""
    sizes = kernels().Sizes(
        dtype=_DTYPES[dtype], tasks=tasks, directions=directions, steps=1, batch=batch, hidden=hidden
    )
    return kernels().plan(pass_, sizes, device)


def _offsets(steps: Steps, batch: int, device: torch.device) -> Tensor | None:
    """The first row of each step, and their number, (T + 1) int32; None for equal lengths. The host does not wait."""
    if steps.sizes[-1] == batch:
        return None
    return to_device(torch.tensor(steps.offsets, dtype=torch.int32, device="cpu"), device)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _copy_or_zero(target: Tensor, source: Tensor | None) -> None:
    if source is None:
        target.zero_()
    else:
        target.copy_(source)
