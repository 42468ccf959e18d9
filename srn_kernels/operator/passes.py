"""What the operators do: the two passes of a layer on a backend of the registry; and the shapes of their results."""

from __future__ import annotations

import torch
from torch import Tensor

from srn_kernels import backends, layout
from srn_kernels.call import LayerCall
from srn_kernels.gradients import Incoming, Saved
from srn_kernels.operator.library import LIBRARY, not_compiled, without_autocast
from srn_kernels.reference import Direction, Layer


@torch.library.impl(LIBRARY, "layer", "CompositeExplicitAutograd")
@not_compiled
def _layer(
    input: Tensor,
    h0: Tensor,
    c0: Tensor,
    weights: list[Tensor],
    batch_sizes: Tensor | None,
    tasks: int,
    cell_clip: float | None,
    memories: bool,
    save: bool,
    backend: str,
) -> list[Tensor]:
    call = LayerCall.of(input, h0, c0, weights, batch_sizes, tasks, cell_clip)
    chosen = backends.select(call.problem, backend)
    out = _empty_layer(input, h0, c0, tasks, memories, save)
    backends.note_run(chosen)
    with without_autocast(input):
        chosen.forward(call, [_of_direction(out, index) for index in range(len(call.directions))])
    return out.wanted()


@torch.library.register_fake("srn_kernels::layer", lib=LIBRARY)
def _layer_shapes(input, h0, c0, weights, batch_sizes, tasks, cell_clip, memories, save, backend):
    return _empty_layer(input, h0, c0, tasks, memories, save).wanted()


def _empty_layer(input: Tensor, h0: Tensor, c0: Tensor, tasks: int, memories: bool, save: bool) -> Layer:
    """Outputs to be written."""
    rows = input.shape[0]
    directions, batch, state = h0.shape
    hidden = c0.shape[2]
    return Layer(
        output=input.new_empty(rows, directions * state),
        h_n=input.new_empty(directions, batch, state),
        c_n=input.new_empty(directions, batch, hidden),
        memories=input.new_empty(rows, layout.memory_count(tasks), directions * hidden) if memories else None,
        gates=input.new_empty(directions, rows, layout.gate_blocks(tasks) * hidden) if save else None,
        cells=input.new_empty(directions, rows, hidden) if save else None,
    )


def _of_direction(out: Layer, index: int) -> Direction:
    """One direction's part of a layer's outputs, as views."""
    directions = out.h_n.shape[0]
    return Direction(
        output=_direction_columns(out.output, index, directions),
        h_n=out.h_n[index],
        c_n=out.c_n[index],
        memories=None if out.memories is None else _direction_columns(out.memories, index, directions),
        gates=None if out.gates is None else out.gates[index],
        cells=None if out.cells is None else out.cells[index],
    )


def _direction_columns(tensor: Tensor, index: int, directions: int) -> Tensor:
    """The part of the last dimension that belongs to a direction, as a view."""
    if directions == 1:
        return tensor
    width = tensor.shape[-1] // directions
    return tensor.narrow(-1, index * width, width)


@torch.library.impl(LIBRARY, "layer_backward", "CompositeExplicitAutograd")
@not_compiled
def _layer_backward(
    grad_output: Tensor | None,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
    grad_memories: Tensor | None,
    input: Tensor,
    h0: Tensor,
    c0: Tensor,
    weights: list[Tensor],
    batch_sizes: Tensor | None,
    output: Tensor,
    gates: Tensor,
    cells: Tensor,
    tasks: int,
    cell_clip: float | None,
    need_input: bool,
    need_weights: bool,
    backend: str,
) -> list[Tensor]:
    call = LayerCall.of(input, h0, c0, weights, batch_sizes, tasks, cell_clip)
    chosen = backends.select(call.problem, backend)
    backends.note_run(chosen)
    directions = len(call.directions)
    saved = [
        Saved(_direction_columns(output, index, directions), gates[index], cells[index]) for index in range(directions)
    ]
    grads = [
        Incoming(
            output=None if grad_output is None else _direction_columns(grad_output, index, directions),
            h_n=None if grad_h_n is None else grad_h_n[index],
            c_n=None if grad_c_n is None else grad_c_n[index],
            memories=None if grad_memories is None else _direction_columns(grad_memories, index, directions),
        )
        for index in range(directions)
    ]
    with without_autocast(input):
        done = chosen.backward(call, saved, grads, need_input, need_weights)
    grads = [torch.stack([one.h0 for one in done]), torch.stack([one.c0 for one in done])]
    if need_input:
        grads.append(torch.stack([one.input for one in done]).sum(0) if len(done) > 1 else done[0].input)
    if need_weights:
        grads += [grad for one in done for grad in one.weights]
    return grads


@torch.library.register_fake("srn_kernels::layer_backward", lib=LIBRARY)
def _layer_backward_shapes(*arguments):
    input, h0, c0, weights = arguments[4:8]
    need_input, need_weights, _ = arguments[-3:]
    like = [h0, c0, *([input] if need_input else []), *(weights if need_weights else [])]
    return [tensor.new_empty(tensor.shape) for tensor in like]
