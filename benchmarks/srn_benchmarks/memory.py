"""Memory of a training step: the peak of all tensors, as torch's allocator reports it, and a formula to hold it to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.profiler import ProfilerActivity, profile

from srn_kernels import layout

from .shapes import TASKS, Shape


def peak_bytes(call: Callable[[], object], threads: int) -> int:
    """The most bytes that tensors made during ``call`` held at any moment, what it returns included.

    From the CPU allocator's own records of every tensor made and freed, so exact and the same each time. Tensors from
    before the call do not count, nor does what oneDNN and MKL take from the system by themselves.
    """

    def recorded() -> int:
        torch.set_num_threads(threads)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as records:
            kept = call()
        del kept
        changes = [event for event in records.profiler.kineto_results.events() if event.name() == "[memory]"]
        assert changes, "the profiler has recorded no allocation"
        held = most = 0
        for event in sorted(changes, key=lambda event: event.start_ns()):
            held += event.nbytes()
            most = max(most, held)
        return most

    # The profiler's first use must be on the main thread. The call itself gets a thread of its own: kernels keep their
    # workspace by thread, and one that an earlier call left behind would not be counted.
    with profile(activities=[ProfilerActivity.CPU]):
        pass
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(recorded).result()


def formula(shape: Shape) -> dict[str, int]:
    """Bytes of a training step's results, saved activations and gradients, those of gates and cells too, for all rows.

    No memories are returned. Temporaries (the memories that a backward pass computes anew), the workspace and copies come
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
