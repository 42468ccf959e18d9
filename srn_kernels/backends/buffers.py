"""A call's tensors as the native kernels take them: dense, and by address under the names of ``csrc/srn.h``.

A caller that takes addresses keeps the tensors until the kernels have run, or are enqueued.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from srn_kernels.call import DirectionCall
from srn_kernels.gradients import Incoming, RowGradients, Saved
from srn_kernels.layout import DirectionWeights
from srn_kernels.reference import Direction

Fields = dict[str, int | float | tuple[int, ...]]
"""Addresses, strides and numbers by name; 0 is a null pointer."""


def dense_call(call: DirectionCall) -> DirectionCall:
    """The call with every tensor dense."""
    tensors = (call.input, call.h0, call.c0, *call.weights)
    if all(tensor is None or tensor.is_contiguous() for tensor in tensors):
        return call
    weights = DirectionWeights(*map(_contiguous, call.weights))
    return call._replace(
        input=call.input.contiguous(), h0=call.h0.contiguous(), c0=call.c0.contiguous(), weights=weights
    )


def dense_saved(saved: Saved) -> Saved:
    """The saved tensors, with gates and cells dense."""
    return saved._replace(gates=saved.gates.contiguous(), cells=saved.cells.contiguous())


def dense_gradients(grad: Incoming) -> Incoming:
    """Incoming gradients of dense states, and of rows that are dense in their last dimension."""
    return Incoming(dense_rows(grad.output), _contiguous(grad.h_n), _contiguous(grad.c_n), dense_rows(grad.memories))


def dense_rows(tensor: Tensor | None) -> Tensor | None:
    """The tensor with a dense last dimension; other strides may be anything."""
    return tensor if tensor is None or tensor.shape[-1] < 2 or tensor.stride(-1) == 1 else tensor.contiguous()


def empty_row_gradients(call: DirectionCall, saved: Saved) -> RowGradients:
    """Empty tensors for the results of the backward recurrence."""
    cells, projection = saved.cells, call.weights.hr is not None
    return RowGradients(
        dz=torch.empty_like(saved.gates),
        dc=torch.empty_like(cells),
        s=cells.new_empty(cells.shape[0], call.weights.mc.shape[1]),
        dh=cells.new_empty(cells.shape[0], call.h0.shape[1]) if projection else None,
        m=torch.empty_like(cells) if projection else None,
        grad_h0=torch.empty_like(call.h0),
        grad_c0=torch.empty_like(call.c0),
    )


def forward_fields(call: DirectionCall, out: Direction) -> Fields:
    """``ForwardBuffers`` of a dense call."""
    return {
        "weights": _weights(call),
        "h0": call.h0.data_ptr(),
        "c0": call.c0.data_ptr(),
        "output": out.output.data_ptr(),
        "output_stride": out.output.stride(0),
        "h_n": out.h_n.data_ptr(),
        "c_n": out.c_n.data_ptr(),
        "memories": address(out.memories),
        "memories_row_stride": 0 if out.memories is None else out.memories.stride(0),
        "memory_stride": 0 if out.memories is None else out.memories.stride(1),
        "gates": address(out.gates),
        "cells": address(out.cells),
        "cell_clip": cell_clip(call),
    }


def backward_fields(call: DirectionCall, saved: Saved, grad: Incoming, rows: RowGradients) -> Fields:
    """``BackwardBuffers`` of a call, of what was saved and of gradients that are dense."""
    return {
        "weights": _weights(call),
        "c0": call.c0.data_ptr(),
        "gates": saved.gates.data_ptr(),
        "cells": saved.cells.data_ptr(),
        "grad_output": address(grad.output),
        "grad_output_stride": 0 if grad.output is None else grad.output.stride(0),
        "grad_h_n": address(grad.h_n),
        "grad_c_n": address(grad.c_n),
        "grad_memories": address(grad.memories),
        "grad_memories_row_stride": 0 if grad.memories is None else grad.memories.stride(0),
        "grad_memory_stride": 0 if grad.memories is None else grad.memories.stride(1),
        "dz": address(rows.dz),
        "dc": address(rows.dc),
        "s": address(rows.s),
        "grad_h0": rows.grad_h0.data_ptr(),
        "grad_c0": rows.grad_c0.data_ptr(),
        "cell_clip": cell_clip(call),
    }


def product_fields(call: DirectionCall, saved: Saved, input: Tensor | None, weights: DirectionWeights | None) -> Fields:
    """``BackwardParams`` for the products over all rows: their operands, and where the gradients go."""
    grads = DirectionWeights(*[None] * len(call.weights)) if weights is None else weights
    return {
        "input": call.input.data_ptr(),
        "h0": call.h0.data_ptr(),
        "output": saved.output.data_ptr(),
        "output_stride": saved.output.stride(0),
        "grad_input": address(input),
        "grad_ih": address(grads.ih),
        "grad_hh": address(grads.hh),
        "grad_b": address(grads.b_ih),
        "grad_mc": address(grads.mc),
        "grad_b_mc": address(grads.b_mc),
        "grad_hr": address(grads.hr),
    }


def cell_clip(call: DirectionCall) -> float:
    """The bound of the cell state as kernels take it: NaN for none, with which no comparison is true."""
    return math.nan if call.cell_clip is None else call.cell_clip


def address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _weights(call: DirectionCall) -> tuple[int, ...]:
    return tuple([0 if weight is None else weight.data_ptr() for weight in call.weights])


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()
