"""Small hidden sizes: all steps of a direction in one kernel, forward and backward.

A program takes ``ROWS`` sequences through all their steps: programs never wait for each other, and a step costs no
launch. The weights are packed once per call into tiles of ``WIDTH`` x ``WIDTH``, the hidden size rounded up to a power
of two, one for each gate block and each memory. Three tasks have 16 of them, together 128 KiB at the largest size: they
fit into the caches of a multiprocessor, from where every step reads them.

``tl.dot`` computes the products, with sums in float32. It takes float32 operands as torch's switch for CUDA products
says (``torch.backends.cuda.matmul.fp32_precision``, ``torch.set_float32_matmul_precision``): whole, or as TF32.
"""

# ruff: noqa: RUF005, Triton's compiler knows no (*tuple, element)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from srn_kernels.backends.triton.pointwise import (
    CANDIDATE,
    FIRST_MASTER,
    FORGET,
    OUTPUT,
    add_master_gradients,
    clipped,
    kernel,
    mask_gate,
    masks,
    sigmoid,
    slope,
    tanh,
    through_clip,
)
from srn_kernels.backends.triton.recurrence import Backward, Forward
from srn_kernels.call import DirectionCall
from srn_kernels.layout import Steps

ROWS = 16
"""Sequences of a program: the fewest that ``tl.dot`` takes."""
WARPS = 8
WIDEST = {torch.float32: 32, torch.float16: 64, torch.bfloat16: 64}
"""By dtype, the largest hidden size served. All gates of a step are in registers at once: at twice these sizes
each thread would spill more than a kilobyte."""
MOST_TASKS = 3
MOST_SEQUENCES = 1 << 20
"""Places within a step are counted in 32 bits: 64 would take twice the registers."""


def serves(call: DirectionCall) -> bool:
    """Whether a direction is small enough; otherwise :mod:`srn_kernels.backends.triton.recurrence` takes it."""
    widest = WIDEST.get(call.input.dtype, 0)
    few = call.tasks <= MOST_TASKS and len(call.h0) <= MOST_SEQUENCES
    return few and call.weights.hr is None and call.weights.hidden_size <= widest


def forward(t: Forward, steps: Steps, tasks: int, cell_clip: float | None, reverse: bool) -> None:
    """The forward recurrence, as :func:`srn_kernels.backends.triton.recurrence.forward`; scratch is not touched."""
    (batch, hidden), width = t.c.shape, _width(t.c.shape[1])
    hh = t.weights.hh.view(-1, hidden, hidden).transpose(1, 2)  # (G, from, to)
    mc = t.weights.mc.view(hidden, -1, hidden).permute(1, 2, 0)  # (M, from, to)
    memories_row, memories_each = (0, 0) if t.memories is None else t.memories.stride()[:2]
    if len(steps):
        fused_forward[(triton.cdiv(batch, ROWS),)](
            t.z, t.h, t.c, t.output, t.memories, t.cells, _tiles(hh, width), _tiles(mc, width), t.weights.b_mc,
            *_lengths(steps, t.c.device), len(steps), batch, hidden, t.output.stride(0), memories_row, memories_each,
            t.cells is not None, reverse, _precision(), cell_clip, masks(tasks), tasks, width, ROWS,
            num_warps=WARPS,
        )  # fmt: skip


def backward(t: Backward, steps: Steps, tasks: int, cell_clip: float | None, reverse: bool) -> None:
    """The backward recurrence, as :func:`srn_kernels.backends.triton.recurrence.backward`; scratch is not touched."""
    (batch, hidden), width = t.dc.shape, _width(t.dc.shape[1])
    hh = t.weights.hh.view(-1, hidden, hidden)  # (G, from, to): the gradient goes from gates to states
    mc = t.weights.mc.view(hidden, -1, hidden).transpose(0, 1)  # (M, from, to)
    grad_output, grad_memories = _near(t.grad_output), _near(t.grad_memories)
    output_row = 0 if grad_output is None else grad_output.stride(0)
    memories_row, memories_each = (0, 0) if grad_memories is None else grad_memories.stride()[:2]
    if len(steps):
        fused_backward[(triton.cdiv(batch, ROWS),)](
            t.gates, t.cells, t.c0, grad_output, grad_memories, t.dh, t.dc, t.dz, t.dc_rows, t.s,
            _tiles(hh, width), _tiles(mc, width), *_lengths(steps, t.dc.device), len(steps), batch, hidden,
            output_row, memories_row, memories_each,
            reverse, _precision(), cell_clip, masks(tasks), tasks, width, ROWS,
            num_warps=WARPS,
        )  # fmt: skip


def _width(hidden: int) -> int:
    """The side of a tile: at least what ``tl.dot`` takes."""
    return max(16, triton.next_power_of_2(hidden))


def _tiles(weight: Tensor, width: int) -> Tensor:
    """(blocks, H, H) as dense tiles (blocks, width, width), padded with zeros."""
    rest = width - weight.shape[1]
    return F.pad(weight, (0, rest, 0, rest)).contiguous()


def _near(tensor: Tensor | None) -> Tensor | None:
    """An incoming gradient with its rows no farther apart than 32 bits can count over a step."""
    return tensor if tensor is None or tensor.stride(0) < (1 << 31) // MOST_SEQUENCES else tensor.contiguous()


def _precision() -> str:
    """How ``tl.dot`` takes float32: as torch's products do."""
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def _lengths(steps: Steps, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """The first row of each step and of one more, (T + 1), and the steps of each sequence, (B); None if all are equal.

    They come from pinned memory, so that the host need not wait for the GPU.
    """
    if steps.sizes[0] == steps.sizes[-1]:
        return None, None
    sizes = steps.batch_sizes
    lengths = (sizes[None, :] > torch.arange(steps.sizes[0])[:, None]).sum(1)
    both = torch.cat([torch.tensor(steps.offsets), lengths])
    if device.type == "cuda":
        both = both.pin_memory().to(device, non_blocking=True)
    return both[: len(sizes) + 1], both[len(sizes) + 1 :]


@kernel
def fused_forward(
    z,  # (S, G·H), the input's part of the gates before activation; activated afterwards with SAVE
    h,  # (B, H), initial state; afterwards the final one
    c,  # (B, H), the same, in float32
    output,  # (S, H), written
    memories,  # (S, M, H) or None, written
    cells,  # (S, H) or None, written with SAVE
    hh,  # (G, WIDTH, WIDTH)
    mc,  # (M, WIDTH, WIDTH)
    bias,  # (H) or None
    offsets,  # (T + 1) or None
    lengths,  # (B) or None
    steps,
    batch,
    hidden,
    output_row,
    memories_row,
    memories_each,
    SAVE: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
    CLIP: tl.constexpr,
    MASKS: tl.constexpr,
    N: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Eq. 1-10 of ``ROWS`` sequences."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, WIDTH)
    inside = (rows < batch)[:, None] & (columns < hidden)[None, :]
    state = rows[:, None] * hidden + columns[None, :]
    gate_place = rows[:, None] * ((FIRST_MASTER + 2 * N) * hidden) + columns[None, :]
    tile = tl.arange(0, WIDTH)[:, None] * WIDTH + columns[None, :]
    dtype: tl.constexpr = h.dtype.element_ty
    h_t = tl.load(h + state, mask=inside, other=0.0)  # (ROWS, WIDTH)
    c_t = tl.load(c + state, mask=inside, other=0.0)
    longest = steps
    if lengths is not None:
        longest = tl.load(lengths + tl.program_id(0) * ROWS).to(tl.int32)  # a program's first sequence is its longest
    for index in range(longest):
        step = longest - 1 - index if REVERSE else index
        size = batch
        first = tl.cast(step, tl.int64) * batch
        if offsets is not None:
            first = tl.load(offsets + step)
            size = (tl.load(offsets + step + 1) - first).to(tl.int32)
        valid = inside & (rows < size)[:, None]
        place = z + first * ((FIRST_MASTER + 2 * N) * hidden) + gate_place
        gates = ()
        for block in tl.static_range(FIRST_MASTER + 2 * N):
            before = tl.load(place + block * hidden, mask=valid, other=0.0).to(tl.float32)
            weight = tl.load(hh + block * (WIDTH * WIDTH) + tile)
            before = tl.dot(h_t, weight, before, input_precision=PRECISION)
            gate = tanh(before) if block == CANDIDATE else sigmoid(before)
            if SAVE:
                tl.store(place + block * hidden, gate, mask=valid)
            gates = gates + (gate,)
        history = gates[FORGET] * c_t  # Eq. 2
        masters = gates[FIRST_MASTER:]
        total = tl.full([ROWS, WIDTH], 0.0, tl.float32)
        if bias is not None:
            total += tl.load(bias + columns, mask=columns < hidden, other=0.0).to(tl.float32)[None, :]
        for memory in tl.static_range(len(MASKS)):
            gate = mask_gate(masters, MASKS[memory], 0, N, N)
            kept = mask_gate(masters, MASKS[memory], 1, N, N)
            value = kept * history + gate * gates[CANDIDATE]  # Eq. 6, 7
            if memories is not None:
                target = memories + first * memories_row + memory * memories_each
                target += rows[:, None] * memories_row + columns[None, :]
                tl.store(target, tanh(value), mask=valid)  # Eq. 10
            weight = tl.load(mc + memory * (WIDTH * WIDTH) + tile)
            total = tl.dot(value.to(dtype), weight, total, input_precision=PRECISION)  # Eq. 8
        total = clipped(total, CLIP)
        hidden_units = (gates[OUTPUT] * tanh(total)).to(dtype)  # Eq. 9
        tl.store(output + first * output_row + rows[:, None] * output_row + columns[None, :], hidden_units, mask=valid)
        if SAVE:
            tl.store(cells + first * hidden + state, total, mask=valid)
        h_t = tl.where(valid, hidden_units, h_t)
        c_t = tl.where(valid, total, c_t)
    tl.store(h + state, h_t, mask=inside)
    tl.store(c + state, c_t, mask=inside)


@kernel
def fused_backward(
    gates,  # (S, G·H)
    cells,  # (S, H)
    c0,  # (B, H)
    grad_output,  # (S, H) or None
    grad_memories,  # (S, M, H) or None
    dh,  # (B, H), gradient of the final state; afterwards of the initial one
    dc,  # (B, H), the same, in float32
    dz,  # (S, G·H), written
    dc_rows,  # (S, H), written
    s,  # (S, M·H), written
    hh,  # (G, WIDTH, WIDTH)
    mc,  # (M, WIDTH, WIDTH)
    offsets,  # (T + 1) or None
    lengths,  # (B) or None
    steps,
    batch,
    hidden,
    grad_output_row,
    grad_memories_row,
    grad_memories_each,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
    CLIP: tl.constexpr,
    MASKS: tl.constexpr,
    N: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Eq. 1-10 backwards, of ``ROWS`` sequences."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, WIDTH)
    inside = (rows < batch)[:, None] & (columns < hidden)[None, :]
    state = rows[:, None] * hidden + columns[None, :]
    gate_place = rows[:, None] * ((FIRST_MASTER + 2 * N) * hidden) + columns[None, :]
    tile = tl.arange(0, WIDTH)[:, None] * WIDTH + columns[None, :]
    dtype: tl.constexpr = dh.dtype.element_ty
    dh_t = tl.load(dh + state, mask=inside, other=0.0).to(tl.float32)  # (ROWS, WIDTH)
    dc_t = tl.load(dc + state, mask=inside, other=0.0)
    initial = tl.load(c0 + state, mask=inside, other=0.0).to(tl.float32)
    longest = steps
    if lengths is not None:
        longest = tl.load(lengths + tl.program_id(0) * ROWS).to(tl.int32)
    for index in range(longest):
        step = index if REVERSE else longest - 1 - index
        before = step + 1 if REVERSE else step - 1  # the step that this one continues, if any
        is_step = (before >= 0) & (before < steps)
        size = batch
        first = tl.cast(step, tl.int64) * batch
        size_before = tl.where(is_step, batch, 0)
        first_before = tl.cast(before, tl.int64) * batch
        if offsets is not None:
            first = tl.load(offsets + step)
            size = (tl.load(offsets + step + 1) - first).to(tl.int32)
            first_before = tl.load(offsets + before, mask=is_step, other=0)
            size_before = (tl.load(offsets + before + 1, mask=is_step, other=0) - first_before).to(tl.int32)
        valid = inside & (rows < size)[:, None]
        going_on = valid & (rows < size_before)[:, None]
        of_gates = gates + first * ((FIRST_MASTER + 2 * N) * hidden)
        of_dz = dz + first * ((FIRST_MASTER + 2 * N) * hidden)

        d_hidden = dh_t
        if grad_output is not None:
            target = grad_output + first * grad_output_row + rows[:, None] * grad_output_row + columns[None, :]
            d_hidden += tl.load(target, mask=valid, other=0.0).to(tl.float32)
        output = tl.load(of_gates + gate_place + OUTPUT * hidden, mask=valid, other=0.0).to(tl.float32)
        c_t = tl.load(cells + first * hidden + state, mask=valid, other=0.0).to(tl.float32)
        tanh_c = tanh(c_t)
        d_state = dc_t + d_hidden * output * (1.0 - tanh_c * tanh_c)  # Eq. 9
        d_state = through_clip(d_state, c_t, CLIP).to(dtype)
        tl.store(dc_rows + first * hidden + state, d_state, mask=valid)
        rounded = (d_hidden * tanh_c * slope(output)).to(dtype)
        tl.store(of_dz + gate_place + OUTPUT * hidden, rounded, mask=valid)
        weight = tl.load(hh + OUTPUT * (WIDTH * WIDTH) + tile)
        dh_before = tl.dot(rounded, weight, input_precision=PRECISION)

        c_prev = tl.load(cells + first_before * hidden + state, mask=going_on, other=0.0)
        c_prev = tl.where(going_on, c_prev.to(tl.float32), initial)
        forget = tl.load(of_gates + gate_place + FORGET * hidden, mask=valid, other=0.0).to(tl.float32)
        candidate = tl.load(of_gates + gate_place + CANDIDATE * hidden, mask=valid, other=0.0).to(tl.float32)
        history = forget * c_prev
        masters = ()
        for master in tl.static_range(2 * N):
            gate = tl.load(of_gates + gate_place + (FIRST_MASTER + master) * hidden, mask=valid, other=0.0)
            masters = masters + (gate.to(tl.float32),)
        d_candidate = tl.full([ROWS, WIDTH], 0.0, tl.float32)
        d_history = d_candidate
        d_masters = (d_candidate,) * (2 * N)
        for memory in tl.static_range(len(MASKS)):
            weight = tl.load(mc + memory * (WIDTH * WIDTH) + tile)
            d = tl.dot(d_state, weight, input_precision=PRECISION)  # Eq. 8
            gate = mask_gate(masters, MASKS[memory], 0, N, N)
            kept = mask_gate(masters, MASKS[memory], 1, N, N)
            value = kept * history + gate * candidate
            if grad_memories is not None:
                target = grad_memories + first * grad_memories_row + memory * grad_memories_each
                target += rows[:, None] * grad_memories_row + columns[None, :]
                tanh_s = tanh(value)
                d += tl.load(target, mask=valid, other=0.0).to(tl.float32) * (1.0 - tanh_s * tanh_s)  # Eq. 10
            target = s + first * (len(MASKS) * hidden) + memory * hidden
            tl.store(target + rows[:, None] * (len(MASKS) * hidden) + columns[None, :], value, mask=valid)
            d_candidate += gate * d
            d_history += kept * d
            d_masters = add_master_gradients(d_masters, d, masters, MASKS[memory], N)

        for block in tl.static_range(FIRST_MASTER + 2 * N):
            if block != OUTPUT:
                if block == FORGET:
                    d = d_history * c_prev * slope(forget)
                elif block == CANDIDATE:
                    d = d_candidate * (1.0 - candidate * candidate)
                else:
                    factor = candidate if block < FIRST_MASTER + N else history
                    d = d_masters[block - FIRST_MASTER] * factor * slope(masters[block - FIRST_MASTER])
                rounded = d.to(dtype)
                tl.store(of_dz + gate_place + block * hidden, rounded, mask=valid)
                weight = tl.load(hh + block * (WIDTH * WIDTH) + tile)
                dh_before = tl.dot(rounded, weight, dh_before, input_precision=PRECISION)
        dh_t = tl.where(valid, dh_before, dh_t)
        dc_t = tl.where(valid, d_history * forget, dc_t)
    tl.store(dh + state, dh_t, mask=inside)
    tl.store(dc + state, dc_t, mask=inside)
