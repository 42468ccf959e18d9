"""Turns a call's tensors into the recurrence's, and back: some are taken as they are, some copied, some new.

Each pass has three functions: ``*_tensors`` allocates, ``fill_*`` puts the call's data in, ``drain_*`` hands results
out. Without ``for_graph`` the recurrence reads and writes the call's memory wherever it can; with it every tensor
is new, so that a recorded graph can go on using them, and filling and draining copy.

Operands of matrix products start at multiples of ``ALIGNMENT`` bytes both ways: cuBLAS picks its kernel by alignment,
and another kernel may sum in another order. So a call gives the same bits whether it is replayed or not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from srn_kernels.backends.buffers import dense_rows
from srn_kernels.backends.triton.recurrence import Backward, Forward, Weights, arithmetic
from srn_kernels.call import DirectionCall
from srn_kernels.gradients import Incoming, RowGradients, Saved
from srn_kernels.reference import Direction

ALIGNMENT = 256
"""Bytes: the most that torch and cuBLAS distinguish; torch's allocator for GPUs gives 512."""


def forward_tensors(call: DirectionCall, out: Direction, for_graph: bool, device: torch.device) -> Forward:
    """Allocates for a forward pass, on ``device``: the call's, or ``meta`` to learn how much that would be."""
    rows, batch, hidden, state = _sizes(call)
    gates, kinds = call.weights.hh.shape[0], call.weights.mc.shape[1]
    dtype = call.input.dtype

    def new(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    return Forward(
        weights=_weights(call, for_graph, device),
        z=out.gates if out.gates is not None and not for_graph and _aligned(out.gates) else new(rows, gates),
        h=new(batch, state),
        c=new(batch, hidden, dtype=arithmetic(dtype)),
        output=new(rows, state) if for_graph else out.output,
        memories=new(rows, kinds // hidden, hidden) if for_graph and out.memories is not None else out.memories,
        cells=new(rows, hidden) if for_graph and out.cells is not None else out.cells,
        s=new(batch, kinds),
        product=new(batch, hidden),
        m=None if call.weights.hr is None else new(batch, hidden),
    )


def fill_forward(t: Forward, call: DirectionCall, for_graph: bool) -> None:
    """Puts in the state and the input's part of the gates (one product over all rows); for a graph the weights too."""
    weights = call.weights
    if for_graph:
        _fill_weights(t.weights, call)
    t.h.copy_(call.h0)
    t.c.copy_(call.c0)
    if weights.b_ih is None:
        torch.mm(call.input, weights.ih.t(), out=t.z)
    else:
        torch.addmm(weights.b_ih + weights.b_hh, call.input, weights.ih.t(), out=t.z)


def drain_forward(t: Forward, out: Direction) -> None:
    out.h_n.copy_(t.h)
    out.c_n.copy_(t.c)
    _copy(out.output, t.output)
    if t.memories is not None:
        _copy(out.memories, t.memories)
    if t.cells is not None:
        _copy(out.cells, t.cells)
        _copy(out.gates, t.z)


def backward_tensors(
    call: DirectionCall, saved: Saved, grad: Incoming, for_graph: bool, device: torch.device
) -> Backward:
    """Allocates for a backward pass, as :func:`forward_tensors` does."""
    rows, batch, hidden, state = _sizes(call)
    gates, kinds = call.weights.hh.shape[0], call.weights.mc.shape[1]
    projection = call.weights.hr is not None
    dtype = call.input.dtype

    def new(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    def given(tensor: Tensor | None) -> Tensor | None:
        return new(*tensor.shape) if for_graph and tensor is not None else dense_rows(tensor)

    dz = new(rows, gates)
    return Backward(
        weights=_weights(call, for_graph, device),
        gates=dz if for_graph else saved.gates.contiguous(),
        cells=new(rows, hidden) if for_graph else saved.cells.contiguous(),
        c0=new(batch, hidden) if for_graph else call.c0.contiguous(),
        grad_output=given(grad.output),
        grad_memories=given(grad.memories),
        dh=new(batch, state),
        dc=new(batch, hidden, dtype=arithmetic(dtype)),
        dz=dz,
        dc_rows=new(rows, hidden),
        s=new(rows, kinds),
        dh_rows=new(rows, state) if projection else None,
        m=new(rows, hidden) if projection else None,
        ds=new(batch, kinds),
        dm=new(batch, hidden) if projection else None,
    )


def fill_backward(t: Backward, call: DirectionCall, saved: Saved, grad: Incoming, for_graph: bool) -> None:
    """Puts in gradients of the final state; for a graph all else that the recurrence reads too."""
    for state, final in ((t.dh, grad.h_n), (t.dc, grad.c_n)):
        if final is None:
            state.zero_()
        else:
            state.copy_(final)
    if not for_graph:
        return
    _fill_weights(t.weights, call)
    given = (saved.gates, saved.cells, call.c0, grad.output, grad.memories)
    for target, source in zip((t.gates, t.cells, t.c0, t.grad_output, t.grad_memories), given, strict=True):
        if target is not None:
            target.copy_(source)


def drain_backward(t: Backward, call: DirectionCall, for_graph: bool) -> RowGradients:
    """The rows' gradients as they lie; those of the initial state leave the pass, so a graph's are copied."""
    grad_h0, grad_c0 = t.dh, t.dc.to(call.c0.dtype)
    if for_graph:
        grad_h0, grad_c0 = grad_h0.clone(), grad_c0.clone()
    return RowGradients(t.dz, t.dc_rows, t.s, t.dh_rows, t.m, grad_h0, grad_c0)


def size(tensors: Forward | Backward) -> int:
    """Bytes that the tensors of a graph hold."""
    each = {id(tensor): tensor for tensor in (*tensors.weights, *tensors[1:]) if tensor is not None}
    return sum(tensor.numel() * tensor.element_size() for tensor in each.values())


# -- parts -------------------------------------------------------------------------------------------------------------


def _sizes(call: DirectionCall) -> tuple[int, int, int, int]:
    """S, B, H, P."""
    return call.input.shape[0], *call.c0.shape, call.weights.hh.shape[1]


def _weights(call: DirectionCall, for_graph: bool, device: torch.device) -> Weights:
    given = _recurrent(call)
    if for_graph:
        return Weights(*(None if w is None else torch.empty(w.shape, dtype=w.dtype, device=device) for w in given))
    return Weights(*(None if w is None else _operand(w) for w in given))


def _fill_weights(weights: Weights, call: DirectionCall) -> None:
    for target, source in zip(weights, _recurrent(call), strict=True):
        if target is not None:
            target.copy_(source)


def _recurrent(call: DirectionCall) -> Weights:
    return Weights(call.weights.hh, call.weights.mc, call.weights.b_mc, call.weights.hr)


def _copy(target: Tensor, source: Tensor) -> None:
    """Copies, unless both are the same."""
    if target is not source:
        target.copy_(source)


def _aligned(tensor: Tensor) -> bool:
    return tensor.is_contiguous() and tensor.data_ptr() % ALIGNMENT == 0


def _operand(tensor: Tensor) -> Tensor:
    """The tensor, copied if it is not dense and aligned."""
    return tensor if _aligned(tensor) else tensor.clone(memory_format=torch.contiguous_format)
