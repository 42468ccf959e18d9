"""The cell's pointwise mathematics as Triton kernels: two per forward step, two per backward step.

Between them lie the step's matrix products, which are torch's. A thread serves one hidden unit of one row; units are
counted through the rows of the step (unit ``i`` is column ``i % hidden`` of row ``i // hidden``), so that no thread
idles at the end of a row, whatever the hidden size. Arithmetic is in float32, for float64 in float64: in the dtype of
the carried cell state ``c`` or of its gradient ``dc``.

Pointers are to the first row of the step, n of them; matrices are dense, except those whose strides, in elements, are
arguments. A pointer may be None for what is not wanted, or not there. ``MASKS`` holds the subset of tasks behind each
memory (:func:`masks`); gates and memories are unrolled at compile time. Equation numbers are the paper's, other
notation that of :mod:`srn_kernels.layout`.

The kernels use no function of ``triton.language`` that is jitted itself (``tl.sigmoid``, ``tl.cdiv``, ``tl.zeros``):
whether those are interpreted was fixed when Triton was first imported, perhaps by other code.
"""

# ruff: noqa: RUF005, Triton's compiler knows no (*tuple, element)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl
from triton.runtime.jit import JITFunction

from srn_kernels import layout

BLOCK = 128
"""Hidden units, and threads, of a program: few, as the units of one step have the whole GPU to themselves."""
WARPS = BLOCK // 32

FORGET = tl.constexpr(layout.FORGET)
OUTPUT = tl.constexpr(layout.OUTPUT)
CANDIDATE = tl.constexpr(layout.CANDIDATE)
FIRST_MASTER = tl.constexpr(layout.FIRST_MASTER)


def masks(tasks: int) -> tuple[int, ...]:
    """The subset of tasks behind each memory, in memory order; bit i stands for task i."""
    return tuple(sum(1 << task for task in subset) for subset in layout.subsets(tasks))


def kernel(function: Callable[..., None]) -> Any:
    """``triton.jit`` for code that does not depend on the values of its arguments.

    Triton compiles a kernel again for integers that are 1 or multiples of 16, and for pointers that are. Sizes and
    views change from step to step here, so it would do so over and over, for nothing: a thread loads single elements.
    """
    names = [name for name, kind in function.__annotations__.items() if kind == "tl.constexpr"]
    code = function.__code__
    varying = [name for name in code.co_varnames[: code.co_argcount] if name not in names]
    return triton.jit(function, do_not_specialize=varying, do_not_specialize_on_alignment=varying)


# -- elementary functions ----------------------------------------------------------------------------------------------


@triton.jit
def sigmoid(x):
    """1 / (1 + e^-x): where e^-x overflows the quotient is 0, as it should be."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    """Accurate to a few units in the last place, near zero too; ±1 at ±inf.

    From e^-2|x|; and where that would cancel, from Lambert's continued fraction x / (1 + x² / (3 + x² / (5 + ...))),
    cut where its error below 0.625 is under a rounding: after 9 for float32 (2^-30), after 15 for float64 (2^-56).
    """
    size = tl.abs(x)
    square = x * x
    if x.dtype == tl.float64:
        above = 2027025.0 + square * (270270.0 + square * (6930.0 + square * 36.0))
        below = 2027025.0 + square * (945945.0 + square * (51975.0 + square * (630.0 + square)))
    else:
        above = 945.0 + square * (105.0 + square)
        below = 945.0 + square * (420.0 + square * 15.0)
    e = tl.exp(-2.0 * size)
    near = size < 0.625  # NaN is not, and passes through the exponential
    far = tl.where(x < 0, e - 1.0, 1.0 - e)
    return tl.where(near, x * above, far) / tl.where(near, below, 1.0 + e)


@triton.jit
def slope(y):
    """Derivative of the logistic function where its value is y."""
    return y * (1.0 - y)


# -- the cell ----------------------------------------------------------------------------------------------------------


@triton.jit
def mask_gate(masters, MASK: tl.constexpr, SIDE: tl.constexpr, SKIP: tl.constexpr, N: tl.constexpr):
    """A memory's gate on ĉ (side 0) or on the history (side 1), from the 2N master gates.

    Without the factor of task ``SKIP``: the size of the derivative by that factor; N skips none.
    """
    gate = 1.0
    for task in tl.static_range(N):
        if task != SKIP:
            if (MASK >> task) & 1:
                gate = gate * masters[SIDE * N + task]  # Eq. 4: shared, and inclusive
            elif (MASK & (MASK - 1)) == 0:
                gate = gate * (1.0 - masters[SIDE * N + task])  # Eq. 5: no other task's neurons
    return gate


@triton.jit
def add_master_gradients(grads, d, masters, MASK: tl.constexpr, N: tl.constexpr):
    """``grads`` of the 2N master gates plus what the gradient ``d`` of one memory adds to them.

    The factor that a side's gates share, ĉ or c̃, is left to the caller.
    """
    total = ()
    for master in tl.static_range(2 * N):
        grad = grads[master]
        if (MASK >> (master % N)) & 1:
            grad += d * mask_gate(masters, MASK, master // N, master % N, N)
        elif (MASK & (MASK - 1)) == 0:
            grad -= d * mask_gate(masters, MASK, master // N, master % N, N)
        total = total + (grad,)
    return total


@kernel
def memories_forward(
    z,  # (n, G·H), Eq. 1, 3 before activation; activated afterwards: all of it with SAVE, else the output gate alone
    c,  # (n, H), the state before the step
    s,  # (n, M·H), written: the memories before tanh
    memories,  # (n, M, H) or None, written: the memories
    units,  # n·H
    hidden,
    memories_row,
    memories_each,
    SAVE: tl.constexpr,
    MASKS: tl.constexpr,
    N: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """From the first product of a step to the operand of the second: Eq. 1-7, 10."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = unit < units
    row = (unit // hidden).to(tl.int64)
    column = unit % hidden
    dtype: tl.constexpr = c.dtype.element_ty
    z += row * ((FIRST_MASTER + 2 * N) * hidden) + column
    s += row * (len(MASKS) * hidden) + column

    history = sigmoid(tl.load(z + FORGET * hidden, mask=mask, other=0.0).to(dtype))
    if SAVE:
        tl.store(z + FORGET * hidden, history, mask=mask)
    history *= tl.load(c + unit, mask=mask, other=0.0)  # Eq. 2
    output = sigmoid(tl.load(z + OUTPUT * hidden, mask=mask, other=0.0).to(dtype))
    tl.store(z + OUTPUT * hidden, output, mask=mask)
    candidate = tanh(tl.load(z + CANDIDATE * hidden, mask=mask, other=0.0).to(dtype))
    if SAVE:
        tl.store(z + CANDIDATE * hidden, candidate, mask=mask)
    masters = ()
    for master in tl.static_range(2 * N):
        place = z + (FIRST_MASTER + master) * hidden
        gate = sigmoid(tl.load(place, mask=mask, other=0.0).to(dtype))
        if SAVE:
            tl.store(place, gate, mask=mask)
        masters = masters + (gate,)

    for memory in tl.static_range(len(MASKS)):
        gate = mask_gate(masters, MASKS[memory], 0, N, N)
        kept = mask_gate(masters, MASKS[memory], 1, N, N)
        value = kept * history + gate * candidate  # Eq. 6, 7
        tl.store(s + memory * hidden, value, mask=mask)
        if memories is not None:
            place = memories + row * memories_row + memory * memories_each + column
            tl.store(place, tanh(value), mask=mask)  # Eq. 10


@triton.jit
def clipped(state, CLIP: tl.constexpr):
    """Held to ± CLIP, unless that is None; NaN stays."""
    if CLIP is not None:
        state = tl.where(state > CLIP, CLIP, state)
        state = tl.where(state < -CLIP, -CLIP, state)
    return state


@triton.jit
def through_clip(gradient, state, CLIP: tl.constexpr):
    """The gradient of what was clipped to ``state``: none, where that is at its bound."""
    if CLIP is not None:
        gradient = tl.where((state >= CLIP) | (state <= -CLIP), 0.0, gradient)
    return gradient


@kernel
def state_forward(
    product,  # (n, H), the second product of the step
    bias,  # (H) or None
    gates,  # (n, G·H), only the output gate is read
    c,  # (n, H), written: the new state
    h,  # (n, H), written: the hidden units
    output,  # (n, H) or None, written: the same again
    cells,  # (n, H) or None, written: the new state again
    units,  # n·H
    hidden,
    output_row,
    CLIP: tl.constexpr,
    N: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """From the second product of a step to its state: Eq. 8, 9."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = unit < units
    row = (unit // hidden).to(tl.int64)
    column = unit % hidden
    dtype: tl.constexpr = c.dtype.element_ty
    state = tl.load(product + unit, mask=mask, other=0.0).to(dtype)
    if bias is not None:
        state += tl.load(bias + column, mask=mask, other=0.0).to(dtype)
    state = clipped(state, CLIP)
    gates += row * ((FIRST_MASTER + 2 * N) * hidden) + column
    gate = tl.load(gates + OUTPUT * hidden, mask=mask, other=0.0).to(dtype)
    value = gate * tanh(state)
    tl.store(c + unit, state, mask=mask)
    tl.store(h + unit, value, mask=mask)
    if output is not None:
        tl.store(output + row * output_row + column, value, mask=mask)
    if cells is not None:
        tl.store(cells + unit, state, mask=mask)


@kernel
def state_backward(
    gates,  # (n, G·H), only the output gate is read
    cells,  # (n, H)
    dh,  # (n, H), gradient of the hidden units, from the next step
    grad_output,  # (n, H) or None, to be added to it
    dc,  # (n, H), gradient of the new state, from the next step; complete afterwards
    dc_rows,  # (n, H), written: the same again
    dz,  # (n, G·H), only the output gate's is written; may be ``gates``
    m,  # (n, H) or None, written: the hidden units, recomputed
    units,  # n·H
    hidden,
    grad_output_row,
    CLIP: tl.constexpr,
    N: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Eq. 9 backwards: to the operand of the first product of a step."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = unit < units
    row = (unit // hidden).to(tl.int64)
    column = unit % hidden
    dtype: tl.constexpr = dc.dtype.element_ty
    d_hidden = tl.load(dh + unit, mask=mask, other=0.0).to(dtype)
    if grad_output is not None:
        d_hidden += tl.load(grad_output + row * grad_output_row + column, mask=mask, other=0.0).to(dtype)
    place = row * ((FIRST_MASTER + 2 * N) * hidden) + OUTPUT * hidden + column
    gate = tl.load(gates + place, mask=mask, other=0.0).to(dtype)
    state = tl.load(cells + unit, mask=mask, other=0.0).to(dtype)
    tanh_c = tanh(state)
    d_state = tl.load(dc + unit, mask=mask, other=0.0) + d_hidden * gate * (1.0 - tanh_c * tanh_c)
    d_state = through_clip(d_state, state, CLIP)
    tl.store(dc + unit, d_state, mask=mask)
    tl.store(dc_rows + unit, d_state, mask=mask)
    tl.store(dz + place, d_hidden * tanh_c * slope(gate), mask=mask)
    if m is not None:
        tl.store(m + unit, gate * tanh_c, mask=mask)


@kernel
def memories_backward(
    gates,  # (n, G·H), all but the output gate are read
    cells,  # (continued, H), the state before the step, of the rows that had a step before it
    c0,  # (n, H), the same of the rows from ``continued`` on
    ds,  # (n, M·H), the first product of the step
    grad_memories,  # (n, M, H) or None
    dc,  # (n, H), written: the gradient of the state before the step
    dz,  # (n, G·H), all but the output gate's are written; may be ``gates``
    s,  # (n, M·H), written: the memories before tanh, recomputed
    units,  # n·H
    continued,
    hidden,
    grad_memories_row,
    grad_memories_each,
    MASKS: tl.constexpr,
    N: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Eq. 1-7, 10 backwards: from the first product of a step to the operand of the second."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = unit < units
    row = (unit // hidden).to(tl.int64)
    column = unit % hidden
    dtype: tl.constexpr = dc.dtype.element_ty
    gates += row * ((FIRST_MASTER + 2 * N) * hidden) + column
    dz += row * ((FIRST_MASTER + 2 * N) * hidden) + column
    first_memory = row * (len(MASKS) * hidden) + column

    going_on = row < continued
    c_prev = tl.load(cells + unit, mask=mask & going_on, other=0.0).to(dtype)
    c_prev = tl.where(going_on, c_prev, tl.load(c0 + unit, mask=mask & (row >= continued), other=0.0).to(dtype))
    forget = tl.load(gates + FORGET * hidden, mask=mask, other=0.0).to(dtype)
    candidate = tl.load(gates + CANDIDATE * hidden, mask=mask, other=0.0).to(dtype)
    masters = ()
    for master in tl.static_range(2 * N):
        masters = masters + (tl.load(gates + (FIRST_MASTER + master) * hidden, mask=mask, other=0.0).to(dtype),)
    history = forget * c_prev

    d_candidate = tl.full([BLOCK], 0.0, dtype)
    d_history = d_candidate
    d_masters = (d_candidate,) * (2 * N)
    for memory in tl.static_range(len(MASKS)):
        gate = mask_gate(masters, MASKS[memory], 0, N, N)
        kept = mask_gate(masters, MASKS[memory], 1, N, N)
        value = kept * history + gate * candidate
        d = tl.load(ds + first_memory + memory * hidden, mask=mask, other=0.0).to(dtype)
        if grad_memories is not None:
            place = grad_memories + row * grad_memories_row + memory * grad_memories_each + column
            tanh_s = tanh(value)
            d += tl.load(place, mask=mask, other=0.0).to(dtype) * (1.0 - tanh_s * tanh_s)
        tl.store(s + first_memory + memory * hidden, value, mask=mask)
        d_candidate += gate * d
        d_history += kept * d
        d_masters = add_master_gradients(d_masters, d, masters, MASKS[memory], N)

    tl.store(dc + unit, d_history * forget, mask=mask)
    tl.store(dz + FORGET * hidden, d_history * c_prev * slope(forget), mask=mask)
    tl.store(dz + CANDIDATE * hidden, d_candidate * (1.0 - candidate * candidate), mask=mask)
    for master in tl.static_range(2 * N):
        d = d_masters[master] * (candidate if master < N else history) * slope(masters[master])
        tl.store(dz + (FIRST_MASTER + master) * hidden, d, mask=mask)


INTERPRETED = not isinstance(memories_forward, JITFunction)
"""Whether these kernels run in Triton's interpreter: ``TRITON_INTERPRET`` as it was when this module was imported."""
