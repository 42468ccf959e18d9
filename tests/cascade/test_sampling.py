"""The order of a training's examples: all of them, at random, and little padding."""

from __future__ import annotations

import random

import pytest

from cascade.training.sampling import SimilarLengths


def drawn(count: int, seed: int) -> list[int]:
    """Lengths as of sentences: most are near 25, some near 100."""
    draw = random.Random(seed)
    return [max(3, round(draw.gammavariate(4, 7))) for _ in range(count)]


def padded(lengths: list[int], order: list[int], size: int) -> float:
    """How much is read for each piece there is."""
    batches = [[lengths[n] for n in order[first : first + size]] for first in range(0, len(order), size)]
    return sum(max(batch) * len(batch) for batch in batches) / sum(lengths)


@pytest.mark.parametrize("count", [1, 7, 8, 20, 127, 1000])
def test_every_example_comes_once_an_epoch_in_another_order(count: int) -> None:
    sampler = SimilarLengths(drawn(count, 0), 8, seed=3)
    orders = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(count)) and len(sampler) == count
        assert orders[-1] == list(sampler)
    assert count <= 8 or orders[0] != orders[1]
    assert count <= 8 or list(SimilarLengths(drawn(count, 0), 8, seed=4)) != orders[0]


def test_batches_are_of_similar_length_and_their_order_is_not_that_of_lengths() -> None:
    lengths = drawn(1861, 1)
    sampler = SimilarLengths(lengths, 16, seed=0)
    order = list(sampler)
    at_random = random.Random(0).sample(range(len(lengths)), len(lengths))
    assert padded(lengths, at_random, 16) > 1.6
    assert padded(lengths, order, 16) < 1.15
    longest = [max(lengths[n] for n in order[first : first + 16]) for first in range(0, len(order), 16)]
    quarters = [sum(longest[n::4]) for n in range(4)]
    halves = [sum(longest[: len(longest) // 2]), sum(longest[len(longest) // 2 :])]
    assert max(quarters) < 1.3 * min(quarters) and max(halves) < 1.3 * min(halves)
