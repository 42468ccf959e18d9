"""The passes of one direction: launched step by step, or replayed for a shape that has come before."""

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


def forward(call: DirectionCall, out: Direction) -> None:
    """One direction forward, into ``out``."""
    _run(
        call,
        ("forward", out.memories is None, out.cells is None),
        allocate=lambda for_graph, device: tensors.forward_tensors(call, out, for_graph, device),
        fill=lambda t, for_graph: tensors.fill_forward(t, call, for_graph),
        work=lambda module, t: module.forward(t, call.steps, call.tasks, call.cell_clip, call.reverse),
        drain=lambda t, for_graph: tensors.drain_forward(t, out),
    )


def backward(
    call: DirectionCall, saved: Saved, grad: Incoming, need_input: bool, need_weights: bool
) -> DirectionGradients:
    """One direction backward."""

    def finish(t: recurrence.Backward, for_graph: bool) -> DirectionGradients:
        rows = tensors.drain_backward(t, call, for_graph)
        return gradients.finish(rows, call, saved, need_input, need_weights)

    return _run(
        call,
        ("backward", grad.output is None, grad.memories is None),
        allocate=lambda for_graph, device: tensors.backward_tensors(call, saved, grad, for_graph, device),
        fill=lambda t, for_graph: tensors.fill_backward(t, call, saved, grad, for_graph),
        work=lambda module, t: module.backward(t, call.steps, call.tasks, call.cell_clip, call.reverse),
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
    """Allocates, fills, works and drains; ``key`` is what decides the launches of ``work`` besides the call's sizes."""
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
                    kept = entry.tensors
                    fill(kept, True)
                    GRAPHS.run(entry, lambda: work(module, kept))
                    return drain(kept, True)
    t = allocate(False, device)
    fill(t, False)
    work(module, t)
    return drain(t, False)


def _in_one_launch(call: DirectionCall) -> bool:
    """Whether one kernel runs all steps. Unequal lengths must be on the GPU: a user's graph cannot copy them."""
    sizes = call.steps.sizes
    ragged = bool(sizes) and sizes[0] != sizes[-1]
    recorded = ragged and call.input.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    return fused.serves(call) and not recorded


def _launches(call: DirectionCall) -> tuple[Hashable, ...]:
    """The parts of a call that decide its launches; not the input's size, as its product is outside the recurrence."""
    weights = call.weights
    shapes = call.h0.shape, call.c0.shape, weights.b_mc is None, weights.hr is None
    return (
        *shapes,
        call.input.dtype,
        call.tasks,
        call.cell_clip,
        call.reverse,
        _lengths(call.steps),
        graphs.stream_key(call.input.device),
        graphs.arithmetic_key(),
    )


def _lengths(steps: Steps) -> Hashable:
    """The batch sizes, in short form where all lengths are equal."""
    if steps.sizes and steps.sizes[0] == steps.sizes[-1]:
        return len(steps), steps.sizes[0]
    return steps.batch_sizes.numpy().tobytes()
