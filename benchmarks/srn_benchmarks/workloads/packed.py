"""Packed sentences: a corpus' many lengths, in batches of packed sequences, forward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ..bench import Bench
from ..names import LSTM, PACKED
from ..options import Options
from ..registry import Item
from ..shapes import Shape
from ..timing import clock_of
from .calls import Call, Rotating, check, labels, refusals
from .cell import BUDGET, GPU_BUDGET, GPU_NOTES, GPU_ROUNDS, ROUNDS


class Packed(Call):
    """One call reads sequences of all ``lengths``, in batches of ``shape.batch``.

    ``shape.steps`` is not used here: it is the length of the equal sequences that these are compared with. The batches
    are in the order given, packed before they are timed, as ``pack_padded_sequence(enforce_sorted=False)`` does.
    """

    def draw(self) -> list[PackedSequence]:
        return [
            pack_padded_sequence(
                torch.randn(len(batch), max(batch), self.shape.input_size),
                torch.tensor(batch),
                batch_first=True,
                enforce_sorted=False,
            )
            for batch in batches(self.lengths, self.shape.batch)
        ]

    @property
    def passes(self) -> int:
        return len(self.inputs)

    @torch.no_grad()
    def __call__(self) -> Sequence[Tensor]:
        """The output's rows and the state of every batch."""
        results: list[Tensor] = []
        for batch in self.inputs:
            output, state = self.module(batch)
            assert isinstance(output, PackedSequence)
            results += [output.data, *state]
        return results


def batches(lengths: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """The lengths of each batch, in order; the last may be smaller."""
    return [tuple(lengths[first : first + size]) for first in range(0, len(lengths), size)]


def padded_tokens(lengths: Sequence[int], size: int) -> int:
    """Steps that the same batches have when each is padded to its longest."""
    return sum(len(batch) * max(batch) for batch in batches(lengths, size))


@lru_cache(maxsize=1)
def sentences(options: Options) -> tuple[str, tuple[int, ...]]:
    """The corpus' name, and the lengths of its sentences."""
    from ..corpus import load  # takes seconds, which tables without a corpus need not wait for

    read = load(options.few_sentences)
    return read.name, tuple(len(sentence.words) for sentence in read.sentences)


def notes(table: str, shapes: Sequence[Shape], bench: Bench) -> list[str]:
    shape, (name, lengths) = shapes[0], sentences(bench.options)
    found = [
        shape.sizes(),
        f"{name}: {len(lengths)} sentences of {min(lengths)} to {max(lengths)} words; forward, without gradients",
        f"batches of {shape.batch} in file order, packed beforehand by pack_padded_sequence(enforce_sorted=False)",
    ]
    if table == PACKED:
        found += [
            (
                f"equal lengths: the same implementation on B {shape.batch}, T {shape.steps}; the ratio is of a token's "
                "time, the median over rounds, in each of which both ran"
            ),
            "padded over real tokens: how many times the steps there are if batches are padded to their longest",
            "checked first: outputs and states, packed and of equal lengths, held to float64 as in the cell's table",
        ]
    else:
        found += GPU_NOTES
    return found + refusals(shapes, bench.options.backends)


def measure(bench: Bench, item: Item, implementation: str) -> None:
    """Beside equal lengths on a CPU, beside ``nn.LSTM`` on a GPU."""
    shape, (_, lengths) = item.shape, sentences(bench.options)
    tokens, work = sum(lengths), {"tokens": sum(lengths), "padded": padded_tokens(lengths, shape.batch)}
    equal = {"tokens": shape.batch * shape.steps}
    case = bench.open(
        item.table, labels(shape, implementation), work, equal if item.table == PACKED else {"tokens": tokens}
    )
    call = Packed(shape, implementation, lengths)
    check(call)
    if item.table == PACKED:
        baseline = Call(shape, implementation)
        check(baseline)
        bench.time(case, call, baseline, budget=BUDGET, rounds=ROUNDS)
    else:
        lstm = None if implementation == LSTM else Rotating(Packed(shape, LSTM, lengths))
        clock = clock_of(shape.device)
        bench.time(case, Rotating(call), lstm, clock=clock, budget=GPU_BUDGET, rounds=GPU_ROUNDS)
