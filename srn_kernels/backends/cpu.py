"""The native CPU backend: hands tensors to the kernels of ``csrc/cpu`` as raw addresses."""

from __future__ import annotations

import torch
from torch import Tensor

from srn_kernels import gradients, native
from srn_kernels.backends.problem import Backend, Grads, Problem
from srn_kernels.gradients import DirectionGradients, RowGradients
from srn_kernels.layout import DirectionWeights, Steps
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

    def forward(
        self,
        input: Tensor,
        h0: Tensor,
        c0: Tensor,
        weights: DirectionWeights,
        steps: Steps,
        tasks: int,
        reverse: bool,
        out: Direction,
        memories: bool,
        save: bool,
    ) -> None:
        kernels = native.module()
        input, h0, c0 = input.contiguous(), h0.contiguous(), c0.contiguous()
        weights = _contiguous(weights)
        shape = _shape(input, h0, weights, steps, tasks, reverse)
        workspace = _workspace(shape.forward_workspace)
        kernels.forward(
            shape,
            _addresses(weights),
            input=input.data_ptr(),
            h0=h0.data_ptr(),
            c0=c0.data_ptr(),
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
        self,
        input: Tensor,
        h0: Tensor,
        c0: Tensor,
        weights: DirectionWeights,
        steps: Steps,
        tasks: int,
        reverse: bool,
        saved: Direction,
        grad: Grads,
        need_input: bool,
        need_weights: bool,
    ) -> DirectionGradients:
        kernels = native.module()
        weights = _contiguous(weights)
        c0 = c0.contiguous()
        gates, cells = saved.gates.contiguous(), saved.cells.contiguous()
        shape = _shape(input, h0, weights, steps, tasks, reverse)
        rows, hidden = cells.shape
        row_gradients = RowGradients(
            dz=torch.empty_like(gates),
            dc=torch.empty_like(cells),
            s=cells.new_empty(rows, weights.mc.shape[1]),
            dh=cells.new_empty(rows, h0.shape[1]) if weights.hr is not None else None,
            grad_h0=torch.empty_like(h0, memory_format=torch.contiguous_format),
            grad_c0=torch.empty_like(c0),
        )
        grad_output, grad_memories = _dense_rows(grad.output), _dense_rows(grad.memories)
        grad_h_n = None if grad.h_n is None else grad.h_n.contiguous()
        grad_c_n = None if grad.c_n is None else grad.c_n.contiguous()
        workspace = _workspace(shape.backward_workspace)
        kernels.backward(
            shape,
            _addresses(weights),
            c0=c0.data_ptr(),
            gates=gates.data_ptr(),
            cells=cells.data_ptr(),
            grad_output=_address(grad_output),
            grad_output_stride=0 if grad_output is None else grad_output.stride(0),
            grad_h_n=_address(grad_h_n),
            grad_c_n=_address(grad_c_n),
            grad_memories=_address(grad_memories),
            grad_memories_row_stride=0 if grad_memories is None else grad_memories.stride(0),
            grad_memory_stride=0 if grad_memories is None else grad_memories.stride(1),
            dz=row_gradients.dz.data_ptr(),
            dc=row_gradients.dc.data_ptr(),
            s=row_gradients.s.data_ptr(),
            dh=_address(row_gradients.dh),
            grad_h0=row_gradients.grad_h0.data_ptr(),
            grad_c0=row_gradients.grad_c0.data_ptr(),
            workspace=_aligned(workspace),
        )
        return gradients.finish(
            row_gradients,
            weights,
            steps,
            tasks,
            reverse,
            input,
            h0,
            saved.output,
            gates,
            cells,
            need_input,
            need_weights,
        )


def _shape(input: Tensor, h0: Tensor, weights: DirectionWeights, steps: Steps, tasks: int, reverse: bool):
    return native.module().Shape(
        dtype=_DTYPES[input.dtype],
        tasks=tasks,
        steps=len(steps),
        batch=h0.shape[0],
        rows=input.shape[0],
        input=input.shape[1],
        hidden=weights.hidden_size,
        state=h0.shape[1],
        projection=weights.hr is not None,
        reverse=reverse,
        threads=torch.get_num_threads(),
        batch_sizes=steps.batch_sizes.data_ptr(),
    )


def _contiguous(weights: DirectionWeights) -> DirectionWeights:
    return DirectionWeights(*(None if weight is None else weight.contiguous() for weight in weights))


def _addresses(weights: DirectionWeights):
    return native.module().Weights(**{name: _address(w) for name, w in weights._asdict().items()})


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _dense_rows(tensor: Tensor | None) -> Tensor | None:
    """The tensor with a dense last dimension; other strides may be anything."""
    return tensor if tensor is None or tensor.shape[-1] < 2 or tensor.stride(-1) == 1 else tensor.contiguous()


def _workspace(size: int) -> Tensor:
    return torch.empty(size + native.module().ALIGNMENT, dtype=torch.uint8)


def _aligned(workspace: Tensor) -> int:
    alignment = native.module().ALIGNMENT
    return -(-workspace.data_ptr() // alignment) * alignment
