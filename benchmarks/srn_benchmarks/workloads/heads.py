"""The heads of a model with random weights: what they compute, and how to make them find as much as there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from cascade import CascadeModel, Given
from cascade.model.config import TURNS


@contextmanager
def traced_matches(model: CascadeModel) -> Iterator[dict[str, list[Tensor]]]:
    """Collects the logits of spans, (P, K), of every call of each turn while it is open."""
    logits: dict[str, list[Tensor]] = {turn: [] for turn in TURNS}

    def keep(turn: str) -> Callable[..., None]:
        return lambda module, inputs, output: logits[turn].append(output.detach())

    handles = [model.heads[turn].match.out.register_forward_hook(keep(turn)) for turn in TURNS]
    try:
        yield logits
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def calibrate(model: CascadeModel, tensors: Mapping[str, Tensor]) -> None:
    """Sets the heads so that each turn finds as many spans in a batch as gold has.

    Random weights would let everything count or nothing, and decoding cost accordingly. The labels share the count.
    """
    given = Given.gold(tensors)
    width = int(tensors["word_counts"].max()) + 1
    gold = {"entity": len(given.entities), "subject": len(given.subjects.unique(width)), "object": len(given.objects)}
    with traced_matches(model) as logits:
        model.extract(tensors, given)
    for turn, parts in logits.items():
        if parts:
            spans = torch.cat(parts)  # (P, K)
            model.heads[turn].match.out.bias += middle_shift(spans, -(-gold[turn] // spans.shape[1]))


def middle_shift(logits: Tensor, count: int) -> Tensor:
    """What to add to each column of ``logits`` (N, C) so that its ``count`` highest are above 0, half way to the next.

    Shape (C,); ``count`` is brought between 1 and N - 1.
    """
    count = min(max(count, 1), len(logits) - 1)
    highest = logits.topk(count + 1, dim=0).values
    return -(highest[count - 1] + highest[count]) / 2
