"""The order of a training's examples: all of them, at random, and little padding."""

from __future__ import annotations

import random

import pytest
from accelerate.data_loader import BatchSamplerShard, skip_first_batches
from torch.utils.data import BatchSampler, DataLoader
from transformers import TrainerState

from cascade.training.sampling import EachEpoch, SimilarLengths


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


def test_several_processes_that_resume_within_an_epoch_go_on_with_its_order() -> None:
    """What skips the batches that are done hides the sampler from Trainer and accelerate."""
    lengths, epoch = drawn(96, 0), 3
    sampler = SimilarLengths(lengths, 4, seed=0)
    sampler.set_epoch(epoch)
    expected = list(BatchSampler(sampler, 4, drop_last=False))
    resumed = SimilarLengths(lengths, 4, seed=0)
    shards = [
        skip_first_batches(
            DataLoader(range(96), batch_sampler=BatchSamplerShard(BatchSampler(resumed, 4, False), 2, process)), 5
        )
        for process in (0, 1)
    ]
    EachEpoch(resumed).on_epoch_begin(None, TrainerState(epoch=3.4), None)
    read = [[batch.tolist() for batch in shard] for shard in shards]
    assert read == [expected[process::2][5:] for process in (0, 1)]


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
