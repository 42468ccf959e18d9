"""Memory of a training step: the peak of all tensors, as torch's allocator reports it, beside a formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.profiler import ProfilerActivity, profile

from srn_kernels import layout
from srn_kernels.backends.cpu import workspaces

from ..bench import Bench
from ..names import LSTM
from ..registry import Item
from ..results import MEASURED
from ..shapes import TASKS, Shape
from ..text import scaled
from .calls import Call, check, labels, refusals


def peak_bytes(call: Callable[[], object], threads: int) -> int:
    """The most bytes that tensors made during ``call`` held at any moment, what it returns included.

    From the CPU allocator's records of every tensor made and freed, so exact and the same each time. Tensors from
    before the call do not count, nor does what oneDNN and MKL take from the system by themselves; the workspace does,
    which the kernels keep from one call to the next.
    """
    workspaces.forget()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as records:
            kept = call()
        del kept
    finally:
        torch.set_num_threads(before)
    changes = [event for event in records.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert changes, "the profiler has recorded no allocation"
    held = most = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def formula(shape: Shape) -> dict[str, int]:
    """Bytes of a training step's results, saved activations and gradients, those of gates and cells too, for all rows.

    No memories are returned. Temporaries (the memories that a backward pass recomputes), the workspace and copies come
    on top; a pass that takes the rows in parts holds the gradients of gates and cells of a part only.
    """
    rows, hidden, width = shape.batch * shape.steps, shape.hidden_size, shape.dtype.itemsize
    gates = layout.gate_blocks(TASKS) * hidden
    parameters = sum(
        torch.Size(each).numel()
        for each in layout.parameter_shapes(shape.input_size, hidden, proj_size=0, tasks=TASKS, bias=True)
    )
    elements = {
        "outputs S·H": rows * hidden,
        "saved gates S·G·H": rows * gates,
        "saved cells S·H": rows * hidden,
        "gradients of gates S·G·H": rows * gates,
        "gradients of cells S·H": rows * hidden,
        "gradient of the input S·D": rows * shape.input_size,
        "gradients of the parameters": parameters,
    }
    return {name: count * width for name, count in elements.items()}


def notes(table: str, shapes: Sequence[Shape], bench: Bench) -> list[str]:
    shape, parts = shapes[0], formula(shapes[0])
    return [
        shape.sizes(),
        f"B {shape.batch}, T {shape.steps}, S = B·T rows: forward and backward of one call, no memories returned",
        (
            "peak: the most that tensors made in the call held at any moment, from the records of torch's CPU allocator: "
            "results, saved activations, temporaries and the kernels' workspace; not the caller's input, parameters and "
            "incoming gradient, nor what oneDNN and MKL take from the system themselves"
        ),
        "formula, MB (10⁶ bytes): " + ", ".join(f"{part} {scaled(size, 1e-6)}" for part, size in parts.items()),
        (
            "temporaries (the memories computed again), copies and the workspace come on top of the formula; a backward pass in "
            "parts holds the gradients of gates and cells of a part only"
        ),
        "checked first: every gradient, held to float64 as in the cell's table",
        *refusals(shapes, bench.options.backends),
    ]


def measure(bench: Bench, item: Item, implementation: str) -> None:
    shape = item.shape
    case = bench.open(item.table, labels(shape, implementation), {})
    call = Call(shape, implementation)
    check(call)
    case.bytes = {"peak": peak_bytes(call, shape.threads)}
    if implementation != LSTM:
        case.bytes["formula"] = sum(formula(shape).values())
    case.status = MEASURED
