"""The backward pass in plain PyTorch, written out: what every kernel's backward computes, step by step.

The recurrence yields gradients by row (:class:`RowGradients`); everything that needs no recurrence then follows from
them in a few matrix products (:func:`finish`), which backends share; the CPU's has its own for float32 and float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from srn_kernels import layout
from srn_kernels.call import DirectionCall
from srn_kernels.layout import DirectionWeights, Steps
from srn_kernels.reference import mask_gates
from srn_kernels.transfer import to_device


class Saved(NamedTuple):
    """What the forward pass of one direction leaves for its backward pass."""

    output: Tensor  # (S, P)
    gates: Tensor  # (S, G·H), activated; a backend may choose the order of the numbers within a step's rows
    cells: Tensor  # (S, H)


class Incoming(NamedTuple):
    """Incoming gradients of one direction; None stands for zeros."""

    output: Tensor | None  # (S, P)
    h_n: Tensor | None  # (B, P)
    c_n: Tensor | None  # (B, H)
    memories: Tensor | None  # (S, M, H)


class RowGradients(NamedTuple):
    """What the backward recurrence of one direction leaves behind for each packed row.

    Where kernels do the products over rows as well, only the gradients of the initial states are there.
    """

    dz: Tensor  # (S, G·H), gates before activation
    dc: Tensor  # (S, H), the whole gradient of c_t, before it is clipped if it is
    s: Tensor  # (S, M·H), the memories before tanh, recomputed
    dh: Tensor | None  # (S, P), the whole gradient of h_t; with a projection only
    m: Tensor | None  # (S, H), the hidden units before the projection, recomputed; with a projection only
    grad_h0: Tensor  # (B, P)
    grad_c0: Tensor  # (B, H)


class DirectionGradients(NamedTuple):
    """Gradients of one direction; what was not asked for is None."""

    input: Tensor | None  # (S, D)
    h0: Tensor  # (B, P)
    c0: Tensor  # (B, H)
    weights: list[Tensor] | None  # as DirectionWeights.flat()


def mask_gates_backward(masters: Sequence[Tensor], grads: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the master gates from those of the memories' gates (Eq. 4, 5 differentiated)."""
    tasks = len(masters)
    result = [torch.zeros_like(master) for master in masters]
    for subset, grad in zip(layout.subsets(tasks), grads, strict=True):
        # The gate is a product with one factor for each task concerned, of slope +1 (ρ_i) or -1 (1 - ρ_j).
        factors = {task: (masters[task], 1) for task in subset}
        if len(subset) == 1:
            factors |= {task: (1 - masters[task], -1) for task in range(tasks) if task not in subset}
        for task, (_, slope) in factors.items():
            term = grad * slope
            for other, (factor, _) in factors.items():
                if other != task:
                    term = term * factor
            result[task] = result[task] + term
    return result


def recurrence(call: DirectionCall, saved: Saved, grad: Incoming) -> RowGradients:
    """The backward recurrence of one direction."""
    _, _, c0, weights, steps, tasks, cell_clip, reverse = call
    _, gates, cells = saved
    batch, hidden = c0.shape
    state = weights.hh.shape[1]
    blocks = gates.chunk(layout.gate_blocks(tasks), dim=-1)
    f, o, candidate = blocks[: layout.FIRST_MASTER]
    masters = blocks[layout.FIRST_MASTER :]
    c_prev = torch.cat([c0, cells])[to_device(steps.previous(batch, reverse), c0.device)]  # (S, H)
    history = f * c_prev
    on_candidate, on_history = mask_gates(masters[:tasks]), mask_gates(masters[tasks:])
    s = torch.stack([b * history + a * candidate for a, b in zip(on_candidate, on_history, strict=True)], dim=1)
    ds_output = None if grad.memories is None else grad.memories * (1 - torch.tanh(s) ** 2)  # Eq. 10

    dh_next = cells.new_zeros(batch, state) if grad.h_n is None else grad.h_n.clone()
    dc_next = torch.zeros_like(c0) if grad.c_n is None else grad.c_n.clone()
    dz, dc_rows, dh_rows = torch.empty_like(gates), torch.empty_like(cells), cells.new_empty(cells.shape[0], state)
    for t in steps.order(not reverse):
        n, rows = steps.sizes[t], steps.rows(t)
        dh = dh_next[:n] if grad.output is None else dh_next[:n] + grad.output[rows]
        dm = dh if weights.hr is None else dh @ weights.hr
        tanh_c = torch.tanh(cells[rows])
        dc = dc_next[:n] + dm * o[rows] * (1 - tanh_c**2)  # Eq. 9
        if cell_clip is not None:
            dc = dc.masked_fill(cells[rows].abs() >= cell_clip, 0)  # none goes through a state at its bound
        ds = (dc @ weights.mc).unflatten(1, (-1, hidden))  # (n, M, H), Eq. 8
        if ds_output is not None:
            ds = ds + ds_output[rows]
        ds_each = ds.unbind(1)
        d_candidate = sum(gate[rows] * d for gate, d in zip(on_candidate, ds_each, strict=True))  # Eq. 6, 7
        d_history = sum(gate[rows] * d for gate, d in zip(on_history, ds_each, strict=True))
        masters_t = [master[rows] for master in masters]
        d_masters = mask_gates_backward(masters_t[:tasks], [candidate[rows] * d for d in ds_each])
        d_masters += mask_gates_backward(masters_t[tasks:], [history[rows] * d for d in ds_each])
        activated = [
            (d_history * c_prev[rows], f[rows] * (1 - f[rows])),  # Eq. 2
            (dm * tanh_c, o[rows] * (1 - o[rows])),
            (d_candidate, 1 - candidate[rows] ** 2),
            *((d, master * (1 - master)) for d, master in zip(d_masters, masters_t, strict=True)),
        ]
        dz[rows] = torch.cat([d * slope for d, slope in activated], dim=-1)
        dc_rows[rows], dh_rows[rows] = dc, dh
        dh_next = torch.cat([dz[rows] @ weights.hh, dh_next[n:]])
        dc_next = torch.cat([d_history * f[rows], dc_next[n:]])
    m = None if weights.hr is None else o * torch.tanh(cells)  # Eq. 9
    return RowGradients(dz, dc_rows, s.flatten(1), None if weights.hr is None else dh_rows, m, dh_next, dc_next)


def _product(a: Tensor, b: Tensor, total: Tensor | None) -> Tensor:
    return a.t() @ b if total is None else total.addmm_(a.t(), b)


def _recurrent_weight_gradient(
    dz: Tensor, h0: Tensor, output: Tensor, steps: Steps, reverse: bool, total: Tensor | None
) -> Tensor:
    """The product of the gates' gradients with the states that they came from: (G·H, P)."""
    batch = h0.shape[0]
    if len(steps) == 0 or steps.sizes[-1] != batch:
        return _product(dz, torch.cat([h0, output])[to_device(steps.previous(batch, reverse), h0.device)], total)
    # With equal lengths the states before are the output, shifted by a step: no copy is needed.
    if reverse:
        return _product(dz[-batch:], h0, total).addmm_(dz[:-batch].t(), output[batch:])
    return _product(dz[:batch], h0, total).addmm_(dz[batch:].t(), output[:-batch])


def finish(
    rows: RowGradients,
    call: DirectionCall,
    saved: Saved,
    need_input: bool,
    need_weights: bool,
    total: list[Tensor] | None = None,
) -> DirectionGradients:
    """The products over all rows, as far as needed. ``total``: weight gradients of other rows, which are added to."""
    input, h0, _, weights, steps, _, _, reverse = call
    grad_input = rows.dz @ weights.ih if need_input else None
    if not need_weights:
        return DirectionGradients(grad_input, rows.grad_h0, rows.grad_c0, None)
    sums = None if total is None else layout.split_weights(total, 1)[0]
    bias = weights.b_ih is not None
    db = rows.dz.sum(0) if bias else None
    db_mc = rows.dc.sum(0) if bias else None
    if bias and sums is not None:
        db, db_mc = sums.b_ih.add_(db), sums.b_mc.add_(db_mc)  # type: ignore[union-attr, arg-type]
    d_hr = None
    if weights.hr is not None:
        d_hr = _product(rows.dh, rows.m, sums and sums.hr)  # type: ignore[arg-type]
    grads = DirectionWeights(
        ih=_product(rows.dz, input, sums and sums.ih),
        hh=_recurrent_weight_gradient(rows.dz, h0, saved.output, steps, reverse, sums and sums.hh),
        b_ih=db,
        b_hh=db.clone() if bias else None,  # type: ignore[union-attr]
        mc=_product(rows.dc, rows.s, sums and sums.mc),
        b_mc=db_mc,
        hr=d_hr,
    )
    return DirectionGradients(grad_input, rows.grad_h0, rows.grad_c0, grads.flat())
