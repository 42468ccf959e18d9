"""The order of a training's examples: at random, but those of a batch of similar length, so that little is padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

BATCHES_A_POOL = 16  # at most, among which lengths are sought: 8 % of what is read is padding; at random 46 % is
POOLS = 4  # at least, or the same examples would share a batch in every epoch


class SimilarLengths(Sampler[int]):
    """Indices of all examples, of which each ``batch_size`` in a row are of similar length.

    Each epoch (``set_epoch``) shuffles the examples, sorts them by length within pools of several batches, and shuffles
    the batches. It depends on the seed and on the epoch alone, so that a resumed training sees the same.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = torch.tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self), generator=generator)
        pool_size = max(min(len(self) // (self.batch_size * POOLS), BATCHES_A_POOL), 1) * self.batch_size
        batches = [
            batch
            for pool in order.split(pool_size)
            for batch in pool[torch.argsort(self.lengths[pool], stable=True)].split(self.batch_size)
        ]
        # one that is not full can only be the last, or those behind it would be cut elsewhere
        full, rest = (batches, []) if len(batches[-1]) == self.batch_size else (batches[:-1], batches[-1:])
        mixed = [full[n] for n in torch.randperm(len(full), generator=generator).tolist()]
        yield from torch.cat(mixed + rest).tolist()


class EachEpoch(TrainerCallback):
    """Tells the sampler its epoch. Trainer and accelerate do, too, but do not reach it behind what skips the batches that
    are done when several processes resume within an epoch."""

    def __init__(self, sampler: SimilarLengths) -> None:
        self.sampler = sampler

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.sampler.set_epoch(int(state.epoch or 0))
