"""The SRN in plain PyTorch, one line per equation: the specification that every backend is tested against.

Equation numbers are those of Wang, Le, Liu, Yokota, *Towards Effective Multi-Task Interaction for Entity-Relation
Extraction* (arXiv 2202.07281). Shapes are in the notation of :mod:`srn_kernels.layout`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from srn_kernels import layout
from srn_kernels.call import DirectionCall, LayerCall
from srn_kernels.layout import DirectionWeights


class Step(NamedTuple):
    """What one step of the cell produces for a batch of B rows."""

    h: Tensor  # (B, P), Eq. 9
    c: Tensor  # (B, H), Eq. 8
    memories: Tensor  # (B, M, H), tanh(s_S), Eq. 10
    gates: Tensor  # (B, G·H), activated, in gate order


def mask_gates(masters: Sequence[Tensor]) -> list[Tensor]:
    """One gate for each memory from the N master gates ρ_i, each (B, H), in memory order (Eq. 4, 5)."""
    gates = []
    for subset in layout.subsets(len(masters)):
        gate = masters[subset[0]]
        for task in subset[1:]:
            gate = gate * masters[task]  # Eq. 4: shared, and inclusive
        if len(subset) == 1:
            for task, master in enumerate(masters):
                if task not in subset:
                    gate = gate * (1 - master)  # Eq. 5: no other task's neurons
        gates.append(gate)
    return gates


def cell(z: Tensor, c_prev: Tensor, weights: DirectionWeights, tasks: int, cell_clip: float | None = None) -> Step:
    """The cell after its first product: ``z`` (B, G·H) are the gates before activation, ``c_prev`` (B, H)."""
    blocks = z.chunk(layout.gate_blocks(tasks), dim=-1)
    f = torch.sigmoid(blocks[layout.FORGET])  # Eq. 1
    o = torch.sigmoid(blocks[layout.OUTPUT])  # Eq. 1
    candidate = torch.tanh(blocks[layout.CANDIDATE])  # Eq. 1
    masters = [torch.sigmoid(block) for block in blocks[layout.FIRST_MASTER :]]  # Eq. 3
    history = f * c_prev  # Eq. 2
    on_candidate, on_history = mask_gates(masters[:tasks]), mask_gates(masters[tasks:])
    s = torch.stack([b * history + a * candidate for a, b in zip(on_candidate, on_history, strict=True)], dim=1)
    c = F.linear(s.flatten(1), weights.mc, weights.b_mc)  # (B, H), Eq. 8 of Eq. 6, 7
    if cell_clip is not None:
        c = c.clamp(-cell_clip, cell_clip)  # not the paper's
    h = o * torch.tanh(c)  # Eq. 9
    if weights.hr is not None:
        h = F.linear(h, weights.hr)
    return Step(h, c, torch.tanh(s), torch.cat([f, o, candidate, *masters], dim=-1))


class Direction(NamedTuple):
    """What one direction of a layer produces; the last two serve the backward pass. What is not wanted is None."""

    output: Tensor  # (S, P)
    h_n: Tensor  # (B, P)
    c_n: Tensor  # (B, H)
    memories: Tensor | None  # (S, M, H)
    gates: Tensor | None  # (S, G·H)
    cells: Tensor | None  # (S, H)


def direction(call: DirectionCall) -> Direction:
    """One direction of a layer over packed rows."""
    input, h, c, weights, steps, tasks, cell_clip, reverse = call
    z_input = F.linear(input, weights.ih, weights.b_ih)  # (S, G·H), hoisted out of the recurrence
    done: list[Step | None] = [None] * len(steps)
    for t in steps.order(reverse):
        n = steps.sizes[t]
        z = z_input[steps.rows(t)] + F.linear(h[:n], weights.hh, weights.b_hh)
        step = cell(z, c[:n], weights, tasks, cell_clip)
        h, c = torch.cat([step.h, h[n:]]), torch.cat([step.c, c[n:]])  # a finished sequence keeps its state
        done[t] = step
    if not done:
        hidden, state = weights.hidden_size, h.shape[-1]
        memories = layout.memory_count(tasks)
        empty = Step(
            input.new_empty(0, state),
            input.new_empty(0, hidden),
            input.new_empty(0, memories, hidden),
            input.new_empty(0, layout.gate_blocks(tasks) * hidden),
        )
        done = [empty]
        h, c = h.clone(), c.clone()  # the final state is never the caller's own tensor
    output, cells, memories, gates = (torch.cat(parts) for parts in zip(*done, strict=True))
    return Direction(output, h, c, memories, gates, cells)


class Layer(NamedTuple):
    """What a layer produces, directions side by side in the last dimension of ``output`` and ``memories``.

    What is not wanted is None.
    """

    output: Tensor  # (S, directions·P)
    h_n: Tensor  # (directions, B, P)
    c_n: Tensor  # (directions, B, H)
    memories: Tensor | None  # (S, M, directions·H)
    gates: Tensor | None  # (directions, S, G·H)
    cells: Tensor | None  # (directions, S, H)

    def wanted(self) -> list[Tensor]:
        """The tensors that are there, in their order."""
        return [tensor for tensor in self if tensor is not None]

    @classmethod
    def of(cls, wanted: Sequence[Any], memories: bool, save: bool) -> Layer:
        """The inverse, also for a gradient of each: ``memories`` and ``save`` say what was wanted."""
        rest = iter(wanted)
        there = (True, True, True, memories, save, save)
        return cls(*(next(rest) if is_there else None for is_there in there))


def layer(
    input: Tensor,
    h0: Tensor,
    c0: Tensor,
    weights: Sequence[Tensor],
    batch_sizes: Tensor | None,
    tasks: int,
    cell_clip: float | None = None,
) -> Layer:
    """One layer, all directions: ``input`` (S, D), ``h0`` (directions, B, P), ``c0`` (directions, B, H).

    ``weights`` and ``batch_sizes`` as :meth:`srn_kernels.call.LayerCall.of` takes them. Differentiable to any order by
    autograd.
    """
    call = LayerCall.of(input, h0, c0, weights, batch_sizes, tasks, cell_clip)
    done = [direction(one) for one in call.directions]
    return Layer(
        torch.cat([one.output for one in done], dim=-1),
        torch.stack([one.h_n for one in done]),
        torch.stack([one.c_n for one in done]),
        torch.cat([one.memories for one in done], dim=-1),
        torch.stack([one.gates for one in done]),
        torch.stack([one.cells for one in done]),
    )
