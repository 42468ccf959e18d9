"""The heads of a model with random weights: what they compute, and how to make them find as much as there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from cascade import CascadeModel, Given
from cascade.model.config import TURNS


@contextmanager
def traced_edges(model: CascadeModel) -> Iterator[dict[str, list[Tensor]]]:
    """Collects the start and end logits, (N, 2K), of every call of each turn while it is open."""
    logits: dict[str, list[Tensor]] = {turn: [] for turn in TURNS}

    def keep(turn: str) -> Callable[..., None]:
        return lambda module, inputs, output: logits[turn].append(output.detach())

    handles = [model.heads[turn].edges.register_forward_hook(keep(turn)) for turn in TURNS]
    try:
        yield logits
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def calibrate(model: CascadeModel, tensors: Mapping[str, Tensor]) -> None:
    """Sets the heads so that in each turn as many starts, and as many ends, fire in a batch as gold has.

    Random weights would let everything fire or nothing, and decoding cost accordingly. The labels share the count, the
    end head becomes a copy of the start head, so that starts meet ends, and every match fires.
    """
    given = Given.gold(tensors)
    width = int(tensors["word_counts"].max()) + 1
    gold = {"entity": len(given.entities), "subject": len(given.subjects.unique(width)), "object": len(given.objects)}
    for head in model.heads.values():
        labels = len(head.edges.bias) // 2
        head.edges.weight[labels:] = head.edges.weight[:labels]
        head.edges.bias[labels:] = head.edges.bias[:labels]
        head.match.out.bias.fill_(1.0)
    with traced_edges(model) as logits:
        model.extract(tensors, given)
    for turn, parts in logits.items():
        if parts:
            edges = torch.cat(parts)  # (N, 2K)
            model.heads[turn].edges.bias += middle_shift(edges, -(-2 * gold[turn] // edges.shape[1]))


def middle_shift(logits: Tensor, count: int) -> Tensor:
    """What to add to each column of ``logits`` (N, C) so that its ``count`` highest are above 0, half way to the next.

    Shape (C,); ``count`` is brought between 1 and N - 1.
    """
    count = min(max(count, 1), len(logits) - 1)
    highest = logits.topk(count + 1, dim=0).values
    return -(highest[count - 1] + highest[count]) / 2
