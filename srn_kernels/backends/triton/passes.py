"""The passes of one direction: launched a step at a time, or replayed where the same shape has come before."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import ModuleType
from typing import Any, TypeVar

import torch

from srn_kernels import gradients
from srn_kernels.backends.triton import fused, graphs, recurrence, tensors
from srn_kernels.call import DirectionCall
from srn_kernels.gradients import DirectionGradients, Incoming, Saved
from srn_kernels.layout import Steps
from srn_kernels.reference import Direction

GRAPHS: graphs.GraphCache[Any] = graphs.GraphCache(
    graphs.CudaGraph, largest=graphs.LARGEST_BYTES, total=graphs.TOTAL_BYTES
)

Tensors = TypeVar("Tensors", recurrence.Forward, recurrence.Backward)
Result = TypeVar("Result")


def forward(call: DirectionCall, out: Direction, memories: bool, save: bool) -> None:
    """One direction forward, into ``out``."""
    _run(
        call,
        ("forward", memories, save),
        allocate=lambda own, device: tensors.forward_tensors(call, out, memories, save, own, device),
        fill=lambda t, own: tensors.fill_forward(t, call, own),
        work=lambda module, t: module.forward(t, call.steps, call.tasks, call.reverse),
        drain=lambda t, own: tensors.drain_forward(t, out),
    )


def backward(
    call: DirectionCall, saved: Saved, grad: Incoming, need_input: bool, need_weights: bool
) -> DirectionGradients:
    """One direction backward."""

    def finish(t: recurrence.Backward, own: bool) -> DirectionGradients:
        rows = tensors.drain_backward(t, call, own)
        return gradients.finish(rows, call, saved, need_input, need_weights)

    return _run(
        call,
        ("backward", grad.output is None, grad.memories is None),
        allocate=lambda own, device: tensors.backward_tensors(call, saved, grad, own, device),
        fill=lambda t, own: tensors.fill_backward(t, call, saved, grad, own),
        work=lambda module, t: module.backward(t, call.steps, call.tasks, call.reverse),
        drain=finish,
    )


def _run(
    call: DirectionCall,
    key: tuple[Hashable, ...],
    allocate: Callable[[bool, torch.device], Tensors],
    fill: Callable[[Tensors, bool], None],
    work: Callable[[ModuleType, Tensors], None],
    drain: Callable[[Tensors, bool], Result],
) -> Result:
    """Allocates, fills, works and drains; ``key`` is what decides the launches of ``work`` beside the call's sizes."""
    device = call.input.device
    if _in_one_launch(call):
        module = fused
    else:
        module = recurrence
        if graphs.wanted(device, len(call.steps)):
            with GRAPHS.tensors(
                (*key, *_launches(call)),
                size=lambda: tensors.size(allocate(True, torch.device("meta"))),
                build=lambda: allocate(True, device),
            ) as entry:
                if entry is not None:
                    own = entry.tensors
                    fill(own, True)
                    GRAPHS.run(entry, lambda: work(module, own))
                    return drain(own, True)
    t = allocate(False, device)
    fill(t, False)
    work(module, t)
    return drain(t, False)


def _in_one_launch(call: DirectionCall) -> bool:
    """Whether one kernel runs all steps. It reads unequal lengths on the GPU, where a graph cannot take them from us."""
    sizes = call.steps.sizes
    ragged = bool(sizes) and sizes[0] != sizes[-1]
    recorded = ragged and call.input.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    return fused.serves(call) and not recorded


def _launches(call: DirectionCall) -> tuple[Hashable, ...]:
    """What of a call decides its launches; not the input's size, as its product is taken outside of the recurrence."""
    weights = call.weights
    shapes = call.h0.shape, call.c0.shape, weights.b_mc is None, weights.hr is None
    return (
        *shapes,
        call.input.dtype,
        call.tasks,
        call.reverse,
        _lengths(call.steps),
        graphs.stream_key(call.input.device),
        graphs.arithmetic_key(),
    )


def _lengths(steps: Steps) -> Hashable:
    """The batch sizes, in few words where all lengths are equal."""
    if steps.sizes and steps.sizes[0] == steps.sizes[-1]:
        return len(steps), steps.sizes[0]
    return steps.batch_sizes.numpy().tobytes()
