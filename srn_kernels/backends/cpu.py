"""The native CPU backend: hands tensors to the kernels of ``csrc/cpu`` as raw addresses."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from srn_kernels import gradients, native
from srn_kernels.backends.problem import Backend, Problem
from srn_kernels.gradients import DirectionGradients, Incoming, RowGradients, Saved
from srn_kernels.layout import DirectionCall, DirectionWeights
from srn_kernels.reference import Direction

_DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}


class CPUBackend(Backend):
    """The recurrence in C++; the products over all rows of the backward pass are torch's."""

    name = "cpu"

    def unavailable(self) -> str | None:
        return native.missing()

    def unsupported(self, problem: Problem) -> str | None:
        if problem.device.type != "cpu":
            return f"it runs on the CPU, the tensors are on {problem.device}"
        if problem.dtype not in _DTYPES:
            return f"it computes in {', '.join(map(str, _DTYPES))}, the tensors are {problem.dtype}"
        if problem.tasks > native.module().MAX_TASKS:
            return f"it serves at most {native.module().MAX_TASKS} tasks, these are {problem.tasks}"
        return None

    def forward(self, call: DirectionCall, out: Direction, memories: bool, save: bool) -> None:
        call = _contiguous(call)
        shape = _shape(call)
        workspace = _workspace(shape.forward_workspace)
        native.module().forward(
            shape,
            _addresses(call.weights),
            input=call.input.data_ptr(),
            h0=call.h0.data_ptr(),
            c0=call.c0.data_ptr(),
            output=out.output.data_ptr(),
            output_stride=out.output.stride(0),
            h_n=out.h_n.data_ptr(),
            c_n=out.c_n.data_ptr(),
            memories=out.memories.data_ptr() if memories else 0,
            memories_row_stride=out.memories.stride(0),
            memory_stride=out.memories.stride(1),
            gates=out.gates.data_ptr() if save else 0,
            cells=out.cells.data_ptr() if save else 0,
            workspace=_aligned(workspace),
        )

    def backward(
        self, call: DirectionCall, saved: Saved, grad: Incoming, need_input: bool, need_weights: bool
    ) -> DirectionGradients:
        call = _contiguous(call)
        gates, cells = saved.gates.contiguous(), saved.cells.contiguous()
        shape = _shape(call)
        rows = RowGradients(
            dz=torch.empty_like(gates),
            dc=torch.empty_like(cells),
            s=cells.new_empty(cells.shape[0], call.weights.mc.shape[1]),
            dh=cells.new_empty(cells.shape[0], call.h0.shape[1]) if call.weights.hr is not None else None,
            grad_h0=torch.empty_like(call.h0),
            grad_c0=torch.empty_like(call.c0),
        )
        grad_output, grad_memories = _dense_rows(grad.output), _dense_rows(grad.memories)
        grad_h_n = None if grad.h_n is None else grad.h_n.contiguous()
        grad_c_n = None if grad.c_n is None else grad.c_n.contiguous()
        workspace = _workspace(shape.backward_workspace)
        native.module().backward(
            shape,
            _addresses(call.weights),
            c0=call.c0.data_ptr(),
            gates=gates.data_ptr(),
            cells=cells.data_ptr(),
            grad_output=_address(grad_output),
            grad_output_stride=0 if grad_output is None else grad_output.stride(0),
            grad_h_n=_address(grad_h_n),
            grad_c_n=_address(grad_c_n),
            grad_memories=_address(grad_memories),
            grad_memories_row_stride=0 if grad_memories is None else grad_memories.stride(0),
            grad_memory_stride=0 if grad_memories is None else grad_memories.stride(1),
            dz=rows.dz.data_ptr(),
            dc=rows.dc.data_ptr(),
            s=rows.s.data_ptr(),
            dh=_address(rows.dh),
            grad_h0=rows.grad_h0.data_ptr(),
            grad_c0=rows.grad_c0.data_ptr(),
            workspace=_aligned(workspace),
        )
        return gradients.finish(rows, call, saved, need_input, need_weights)


def _shape(call: DirectionCall):
    return native.module().Shape(
        dtype=_DTYPES[call.input.dtype],
        tasks=call.tasks,
        steps=len(call.steps),
        batch=call.h0.shape[0],
        rows=call.input.shape[0],
        input=call.input.shape[1],
        hidden=call.weights.hidden_size,
        state=call.h0.shape[1],
        projection=call.weights.hr is not None,
        reverse=call.reverse,
        threads=torch.get_num_threads(),
        batch_sizes=call.steps.batch_sizes.data_ptr(),
    )


def _contiguous(call: DirectionCall) -> DirectionCall:
    """The call with every tensor dense: what the kernels take."""
    weights = DirectionWeights(*(None if weight is None else weight.contiguous() for weight in call.weights))
    return call._replace(
        input=call.input.contiguous(), h0=call.h0.contiguous(), c0=call.c0.contiguous(), weights=weights
    )


def _addresses(weights: DirectionWeights):
    return native.module().Weights(**{name: _address(w) for name, w in weights._asdict().items()})


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _dense_rows(tensor: Tensor | None) -> Tensor | None:
    """The tensor with a dense last dimension; other strides may be anything."""
    return tensor if tensor is None or tensor.shape[-1] < 2 or tensor.stride(-1) == 1 else tensor.contiguous()


_KEPT_BYTES = 1 << 26
_kept = threading.local()


def _workspace(size: int) -> Tensor:
    """Memory for one call. Each thread keeps its own for the next call, up to a size.

    New memory costs more than the shortest calls take: the system clears it page by page.
    """
    size += native.module().ALIGNMENT
    if size > _KEPT_BYTES:
        return torch.empty(size, dtype=torch.uint8, device="cpu")
    if getattr(_kept, "memory", None) is None or _kept.memory.numel() < size:
        _kept.memory = torch.empty(size, dtype=torch.uint8, device="cpu")
    return _kept.memory


def _aligned(workspace: Tensor) -> int:
    alignment = native.module().ALIGNMENT
    return -(-workspace.data_ptr() // alignment) * alignment
