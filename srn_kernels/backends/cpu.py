"""The native CPU backend: hands tensors to the kernels of ``csrc/cpu`` as raw addresses."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from srn_kernels import gradients, native
from srn_kernels.backends import buffers
from srn_kernels.backends.backend import Backend
from srn_kernels.call import DirectionCall, LayerCall, Problem
from srn_kernels.gradients import DirectionGradients, Incoming, RowGradients, Saved
from srn_kernels.layout import DirectionWeights, Steps
from srn_kernels.reference import Direction

_DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}


class CPUBackend(Backend):
    """The kernels in C++; bfloat16's products over all rows of the backward pass are torch's."""

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

    def forward(self, call: LayerCall, outs: Sequence[Direction]) -> None:
        for direction, out in zip(call.directions, outs, strict=True):
            _forward(buffers.dense_call(direction), out)

    def backward(
        self, call: LayerCall, saved: Sequence[Saved], grads: Sequence[Incoming], need_input: bool, need_weights: bool
    ) -> list[DirectionGradients]:
        results = []
        for direction, of_forward, grad in zip(call.directions, saved, grads, strict=True):
            dense = (
                buffers.dense_call(direction),
                buffers.dense_saved(of_forward),
                buffers.dense_gradients(grad),
                need_input,
                need_weights,
            )
            shape = _shape(dense[0])
            results.append(_backward(shape, *dense) if shape.sums_over_rows else _backward_in_parts(*dense))
        return results


def _forward(call: DirectionCall, out: Direction) -> None:
    shape = _shape(call)
    workspace = workspaces.take(shape.forward_workspace + native.module().ALIGNMENT)
    native.module().forward(
        shape,
        input=call.input.data_ptr(),
        workspace=_aligned(workspace),
        **buffers.forward_fields(call, out),
    )
    workspaces.give_back(workspace)


def _backward_in_parts(
    call: DirectionCall, saved: Saved, grad: Incoming, need_input: bool, need_weights: bool
) -> DirectionGradients:
    """Goes back through the steps about a thousand rows at a time.

    What lies between the recurrence and the products over all rows is held for these rows only: it takes more memory
    per row than all that the forward pass saved.
    """
    parts = _parts(call.steps, call.reverse)
    if len(parts) < 2:
        return _backward_of_part(call, saved, grad, need_input, need_weights)
    input = torch.empty_like(call.input) if need_input else None
    h0, c0 = torch.empty_like(call.h0), torch.empty_like(call.c0)
    total: list[Tensor] | None = None
    exact = call.input.dtype != torch.bfloat16  # else the parts are summed in float32, in separate tensors
    carried: tuple[Tensor, Tensor] | None = None  # gradients of the state between this part and the one before
    for first, last in parts:
        rows = slice(call.steps.offsets[first], call.steps.offsets[last])
        part = call._replace(
            input=call.input[rows],
            h0=_state_before(call.h0, saved.output, call, first, last),
            c0=_state_before(call.c0, saved.cells, call, first, last),
            steps=Steps(call.steps.batch_sizes[first:last], rows.stop - rows.start, call.steps.sizes[first]),
        )
        done = _backward_of_part(
            part,
            Saved(*(tensor[rows] for tensor in saved)),
            Incoming(
                output=None if grad.output is None else grad.output[rows],
                h_n=_state_gradient(grad.h_n, carried and carried[0], part.h0),
                c_n=_state_gradient(grad.c_n, carried and carried[1], part.c0),
                memories=None if grad.memories is None else grad.memories[rows],
            ),
            need_input,
            need_weights,
            total if exact else None,
        )
        continued = _rows_before(call, first, last)
        carried = done.h0[:continued], done.c0[:continued]
        batch = len(part.h0)
        h0[continued:batch], c0[continued:batch] = done.h0[continued:], done.c0[continued:]
        if input is not None:
            input[rows] = done.input
        if done.weights is not None:
            total = done.weights if exact else _add(total, done.weights)
        del done  # frees its gradients before the next part
    weights = None if total is None else [one.to(call.input.dtype) for one in total]
    return DirectionGradients(input, h0, c0, weights)


_PART_ROWS = 1024
"""Rows of a part of the backward pass: enough for efficient products, and to outweigh the fixed cost of a part."""


def _parts(steps: Steps, reverse: bool) -> list[tuple[int, int]]:
    """The steps in parts of about ``_PART_ROWS`` rows, from the first step to the last, in the backward order."""
    parts, first = [], 0
    for last in range(1, len(steps) + 1):
        if last == len(steps) or steps.offsets[last + 1] - steps.offsets[first] > _PART_ROWS:
            parts.append((first, last))
            first = last
    return parts if reverse else parts[::-1]


def _rows_before(call: DirectionCall, first: int, last: int) -> int:
    """How many of a part's sequences come from another part, and not from their initial state."""
    sizes = call.steps.sizes
    if call.reverse:
        return sizes[last] if last < len(sizes) else 0
    return sizes[first] if first > 0 else 0


def _state_before(initial: Tensor, states: Tensor, call: DirectionCall, first: int, last: int) -> Tensor:
    """Each sequence's state before a part: the initial one, or that of the step visited before the part."""
    before, batch = _rows_before(call, first, last), call.steps.sizes[first]
    row = call.steps.offsets[last if call.reverse else first - 1]
    return torch.cat([states[row : row + before], initial[before:batch]]) if before else initial[:batch]


def _state_gradient(final: Tensor | None, carried: Tensor | None, state: Tensor) -> Tensor | None:
    """The gradient of each sequence's state after a part: carried back to it, or that of the final state."""
    if carried is None:
        return final if final is None else final[: len(state)]
    rest = state.new_zeros(state.shape) if final is None else final
    return torch.cat([carried[: len(state)], rest[len(carried) : len(state)]])


def _add(total: list[Tensor] | None, more: list[Tensor]) -> list[Tensor]:
    """Sums gradients of the weights in float32."""
    if total is None:
        return [one.float() for one in more]
    return [one.add_(other) for one, other in zip(total, more, strict=True)]


def _backward_of_part(
    call: DirectionCall,
    saved: Saved,
    grad: Incoming,
    need_input: bool,
    need_weights: bool,
    total: list[Tensor] | None = None,
) -> DirectionGradients:
    """The recurrence, and then torch's products."""
    rows = buffers.empty_row_gradients(call, saved)
    _run_backward(_shape(call), call, saved, grad, rows, None, None)
    return gradients.finish(rows, call, saved, need_input, need_weights, total)


def _backward(
    shape, call: DirectionCall, saved: Saved, grad: Incoming, need_input: bool, need_weights: bool
) -> DirectionGradients:
    """The recurrence and the products over all rows in one call."""
    h0, c0 = torch.empty_like(call.h0), torch.empty_like(call.c0)
    input = torch.empty_like(call.input) if need_input else None
    weights = None
    if need_weights:
        weights = DirectionWeights(*(None if weight is None else torch.empty_like(weight) for weight in call.weights))
    _run_backward(shape, call, saved, grad, RowGradients(None, None, None, None, None, h0, c0), input, weights)
    if weights is not None and weights.b_ih is not None and weights.b_hh is not None:
        weights.b_hh.copy_(weights.b_ih)  # both are added to the same gates
    return DirectionGradients(input, h0, c0, None if weights is None else weights.flat())


def _run_backward(
    shape,
    call: DirectionCall,
    saved: Saved,
    grad: Incoming,
    rows: RowGradients,
    input: Tensor | None,
    weights: DirectionWeights | None,
) -> None:
    """Fills ``rows`` and, where the kernels have the products over them, the gradients of the input and the weights."""
    workspace = workspaces.take(shape.backward_workspace + native.module().ALIGNMENT)
    native.module().backward(
        shape,
        dh=buffers.address(rows.dh),
        m=buffers.address(rows.m),
        workspace=_aligned(workspace),
        **buffers.backward_fields(call, saved, grad, rows),
        **buffers.product_fields(call, saved, input, weights),
    )
    workspaces.give_back(workspace)


def _shape(call: DirectionCall):
    (batch, state), weights = call.h0.shape, call.weights
    sizes = batch, call.input.shape[1], weights.hidden_size, state
    options = call.input.dtype, call.tasks, weights.hr is not None, call.reverse
    shape = _kept_shape if call.steps.kept else _native_shape
    return shape(call.steps, sizes, options, torch.get_num_threads())


@lru_cache(maxsize=64)
def _kept_shape(steps: Steps, sizes: tuple[int, ...], options: tuple, threads: int):
    return _native_shape(steps, sizes, options, threads)


def _native_shape(steps: Steps, sizes: tuple[int, ...], options: tuple, threads: int):
    """The shape points into the memory of ``steps``."""
    batch, input_size, hidden, state = sizes
    dtype, tasks, projection, reverse = options
    return native.module().Shape(
        dtype=_DTYPES[dtype],
        tasks=tasks,
        steps=len(steps),
        batch=batch,
        rows=steps.offsets[-1],
        input=input_size,
        hidden=hidden,
        state=state,
        projection=projection,
        reverse=reverse,
        threads=threads,
        batch_sizes=steps.batch_sizes.data_ptr(),
    )


class Workspaces:
    """Memory for calls, kept from one to the next, whichever thread makes it: at most ``most`` bytes in all.

    New memory takes longer than the shortest calls: the system clears it page by page.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Begins again: also in a forked process, where a thread that held the lock is no more."""
        self._free: list[Tensor] = []
        self._lock = threading.Lock()

    def kept(self) -> int:
        """Bytes that no call has at the moment."""
        return sum(memory.numel() for memory in self._free)

    def take(self, size: int) -> Tensor:
        """At least ``size`` bytes, for nobody else until they are given back."""
        with self._lock:
            # The last one first: it may be in a cache, and is nearly always the only one.
            for index in range(len(self._free) - 1, -1, -1):
                if self._free[index].numel() >= size:
                    return self._free.pop(index)
        return torch.empty(size, dtype=torch.uint8, device="cpu")

    def give_back(self, memory: Tensor) -> None:
        """For the next call; the oldest make room. After an error nothing is given back, and the memory is freed."""
        with self._lock:
            self._free.append(memory)
            if len(self._free) > 1 or memory.numel() > self._most:
                while self.kept() > self._most:
                    self._free.pop(0)


workspaces = Workspaces(1 << 27)  # enough for a backward pass at H 1024, most of it weights
os.register_at_fork(after_in_child=lambda: workspaces.forget())


def _aligned(workspace: Tensor) -> int:
    alignment = native.module().ALIGNMENT
    return -(-workspace.data_ptr() // alignment) * alignment
