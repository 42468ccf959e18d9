"""A layer as a graph of PyTorch's own operators, a step after the other: what an exporter to ONNX is given."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from srn_kernels import layout, reference


def layer(
    input: Tensor,
    h0: Tensor,
    c0: Tensor,
    weights: Sequence[Tensor],
    batch_sizes: Tensor | None,
    tasks: int,
    cell_clip: float | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output (S, directions·P), h_n, c_n and memories (S, M, directions·H), as :func:`srn_kernels.srn_layer` has them.

    The graph has the number of steps that it was made with; the batch may stay open.

    Raises:
        NotImplementedError: sequences of different lengths, or an open number of steps.
    """
    batch = h0.shape[1]
    steps = input.shape[0] // batch
    if batch_sizes is not None or _is_open(steps):
        raise NotImplementedError(
            "SRN goes to ONNX as a graph of a fixed number of steps, the same for all sequences: export it without a "
            "PackedSequence, and leave the sequence length out of dynamic_shapes or dynamic_axes"
        )
    outputs, states, cells, memories = [], [], [], []
    for index, its_weights in enumerate(layout.split_weights(weights, int(h0.shape[0]))):
        z = F.linear(input, its_weights.ih, its_weights.b_ih).unflatten(0, (steps, batch))  # (T, B, G·H)
        h, c = h0[index], c0[index]
        done: list[reference.Step | None] = [None] * int(steps)  # which the older exporter counts in a tensor
        for t in range(len(done) - 1, -1, -1) if index else range(len(done)):
            step = reference.cell(
                z[t] + F.linear(h, its_weights.hh, its_weights.b_hh), c, its_weights, tasks, cell_clip
            )
            done[t], h, c = step, step.h, step.c
        outputs.append(torch.cat([step.h for step in done]))
        memories.append(torch.cat([step.memories for step in done]))
        states.append(h)
        cells.append(c)
    return torch.cat(outputs, dim=-1), torch.stack(states), torch.stack(cells), torch.cat(memories, dim=-1)


def _is_open(size: int | Tensor | torch.SymInt) -> bool:
    """Whether a graph leaves a size open; one that the batch has been divided out of may be a number after all."""
    if not isinstance(size, torch.SymInt):
        return False
    from torch.fx.experimental.symbolic_shapes import has_free_symbols  # which only an export has imported

    return has_free_symbols(size)
