"""One direction of a layer, step by step: torch's matrix products and between them the pointwise kernels.

A step forward is ``h W_hhᵀ``, gates and memories, ``s W_mcᵀ``, state; a step backward is its mirror. The loops allocate
nothing, wait for nothing and read nothing back, so that they can be recorded in a CUDA graph: all tensors are made
beforehand (:class:`Forward`, :class:`Backward`), each dense unless its comment says otherwise.

Step t works on the first ``sizes[t]`` rows of the carried state: rows of sequences that have ended, or not begun, keep
what they hold. So the state ends up as every sequence's final state, and its gradient as that of the initial state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from srn_kernels.backends.triton import pointwise
from srn_kernels.layout import Steps


class Weights(NamedTuple):
    """What the recurrence needs of a direction's parameters."""

    hh: Tensor  # (G·H, P)
    mc: Tensor  # (H, M·H)
    b_mc: Tensor | None  # (H)
    hr: Tensor | None  # (P, H)


class Forward(NamedTuple):
    """Tensors of the forward recurrence."""

    weights: Weights
    z: Tensor  # (S, G·H), the input's part of the gates before activation; activated afterwards, if saved
    h: Tensor  # (B, P), initial state; afterwards the final one
    c: Tensor  # (B, H), the same, in the arithmetic's dtype
    output: Tensor  # (S, P), written; rows may be strided
    memories: Tensor | None  # (S, M, H), written; rows and memories may be strided
    cells: Tensor | None  # (S, H), written; None if gates and cells are not saved
    s: Tensor  # (B, M·H), scratch
    product: Tensor  # (B, H), scratch
    m: Tensor | None  # (B, H), scratch; with a projection only


class Backward(NamedTuple):
    """Tensors of the backward recurrence; those written by row are :class:`srn_kernels.gradients.RowGradients`'s."""

    weights: Weights
    gates: Tensor  # (S, G·H)
    cells: Tensor  # (S, H)
    c0: Tensor  # (B, H)
    grad_output: Tensor | None  # (S, P); rows may be strided
    grad_memories: Tensor | None  # (S, M, H); rows and memories may be strided
    dh: Tensor  # (B, P), gradient of the final state; afterwards of the initial one
    dc: Tensor  # (B, H), the same, in the arithmetic's dtype
    dz: Tensor  # (S, G·H), written; may be ``gates``
    dc_rows: Tensor  # (S, H), written
    s: Tensor  # (S, M·H), written
    dh_rows: Tensor | None  # (S, P), written; with a projection only
    m: Tensor | None  # (S, H), written; with a projection only
    ds: Tensor  # (B, M·H), scratch
    dm: Tensor | None  # (B, H), scratch; with a projection only


def arithmetic(dtype: torch.dtype) -> torch.dtype:
    """What the kernels compute in, and what is carried from step to step between them."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class _Part:
    """The first n rows of carried and scratch tensors, cut once for each n; ``part(n)`` is a tuple of them."""

    def __init__(self, *tensors: Tensor | None) -> None:
        self._tensors = tensors
        self._cut: dict[int, tuple[Tensor | None, ...]] = {}

    def __call__(self, n: int) -> tuple[Tensor | None, ...]:
        if n not in self._cut:
            self._cut[n] = tuple(None if tensor is None else tensor[:n] for tensor in self._tensors)
        return self._cut[n]


def _rows(tensor: Tensor | None, steps: Steps) -> Sequence[Tensor | None]:
    """The rows of each step."""
    return [None] * len(steps) if tensor is None else tensor.split(list(steps.sizes))


def _strides(tensor: Tensor | None) -> tuple[int, int]:
    """The strides of the first two dimensions."""
    return (0, 0) if tensor is None else (tensor.stride(0), tensor.stride(1))


def forward(t: Forward, steps: Steps, tasks: int, cell_clip: float | None, reverse: bool) -> None:
    """The forward recurrence."""
    hidden, masks = t.c.shape[1], pointwise.masks(tasks)
    hh, mc = t.weights.hh.t(), t.weights.mc.t()
    hr = None if t.weights.hr is None else t.weights.hr.t()
    save, output_row, memories_strides = t.cells is not None, t.output.stride(0), _strides(t.memories)
    of_all = _Part(t.h, t.c, t.s, t.product, t.m)
    of_rows = [_rows(tensor, steps) for tensor in (t.z, t.output, t.memories, t.cells)]
    for step in steps.order(reverse):
        n = steps.sizes[step]
        units, grid = n * hidden, _grid(n * hidden)
        h, c, s, product, m = of_all(n)
        z, output, memories, cells = (rows[step] for rows in of_rows)
        z.addmm_(h, hh)
        pointwise.memories_forward[grid](
            z, c, s, memories, units, hidden, *memories_strides, save, masks, tasks, pointwise.BLOCK,
            num_warps=pointwise.WARPS,
        )  # fmt: skip
        torch.mm(s, mc, out=product)
        written = (h, output) if hr is None else (m, None)
        pointwise.state_forward[grid](
            product, t.weights.b_mc, z, c, *written, cells, units, hidden, output_row, cell_clip, tasks, pointwise.BLOCK,
            num_warps=pointwise.WARPS,
        )  # fmt: skip
        if hr is not None:
            torch.mm(m, hr, out=h)
            output.copy_(h)


def backward(t: Backward, steps: Steps, tasks: int, cell_clip: float | None, reverse: bool) -> None:
    """The backward recurrence."""
    hidden, masks = t.c0.shape[1], pointwise.masks(tasks)
    hh, mc, hr = t.weights.hh, t.weights.mc, t.weights.hr
    grad_output_row, grad_memories_strides = _strides(t.grad_output)[0], _strides(t.grad_memories)
    of_all = _Part(t.dh, t.dc, t.ds, t.dm)
    of_rows = [
        _rows(tensor, steps)
        for tensor in (t.gates, t.cells, t.grad_output, t.grad_memories, t.dz, t.dc_rows, t.s, t.dh_rows, t.m)
    ]
    for step in steps.order(not reverse):
        n = steps.sizes[step]
        units, grid = n * hidden, _grid(n * hidden)
        before = step + 1 if reverse else step - 1  # the step that this one continues
        continued = steps.sizes[before] if 0 <= before < len(steps) else 0
        dh, dc, ds, dm = of_all(n)
        gates, cells, grad_output, grad_memories, dz, dc_rows, s, dh_rows, m = (rows[step] for rows in of_rows)
        if hr is None:
            incoming = dh, grad_output
        else:
            if grad_output is None:
                dh_rows.copy_(dh)
            else:
                torch.add(dh, grad_output, out=dh_rows)
            torch.mm(dh_rows, hr, out=dm)
            incoming = dm, None
        pointwise.state_backward[grid](
            gates, cells, *incoming, dc, dc_rows, dz, m, units, hidden, grad_output_row, cell_clip, tasks, pointwise.BLOCK,
            num_warps=pointwise.WARPS,
        )  # fmt: skip
        torch.mm(dc_rows, mc, out=ds)
        pointwise.memories_backward[grid](
            gates, of_rows[1][before] if continued else t.c0, t.c0, ds, grad_memories, dc, dz, s, units, continued,
            hidden, *grad_memories_strides, masks, tasks, pointwise.BLOCK,
            num_warps=pointwise.WARPS,
        )  # fmt: skip
        torch.mm(dz, hh, out=dh)


def _grid(units: int) -> tuple[int]:
    return (-(-units // pointwise.BLOCK),)
