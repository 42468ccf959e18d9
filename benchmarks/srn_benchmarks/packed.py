"""The packed workload: a corpus' sentences of many lengths, in batches of packed sequences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from srn_kernels.testing import off_by_one_rounding

from .cell import EAGER, build, in_float64, unit_of
from .shapes import Shape
from .tables import LSTM


class Packed:
    """One implementation over batches of ``shape.batch`` sequences of ``lengths``, which one call of this reads all.

    ``shape.steps`` is not used here: it is the length of the equal sequences that these are compared with. The batches
    are in the order given, packed before they are timed, as ``pack_padded_sequence(enforce_sorted=False)`` does.
    """

    def __init__(self, shape: Shape, lengths: tuple[int, ...], implementation: str) -> None:
        """``implementation`` is ``nn.LSTM`` or a backend's name."""
        self.shape = shape
        self.lengths = lengths
        self.implementation = implementation
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.rnn = build(shape, implementation).to(shape.device, shape.dtype)
            self.batches = [
                pack_padded_sequence(
                    torch.randn(len(own), max(own), shape.input_size).to(shape.device, shape.dtype),
                    torch.tensor(own),
                    batch_first=True,
                    enforce_sorted=False,
                )
                for own in batches(lengths, shape.batch)
            ]
        self.passes = len(self.batches)

    def in_float64(self, unit: float = 0.0) -> Packed:
        """The same calls in float64, an SRN's by the reference, from the same numbers, or from those off by ``unit``."""
        exact = Packed(self.shape, self.lengths, LSTM if self.implementation == LSTM else EAGER)
        exact.rnn = in_float64(self.rnn, exact.rnn, unit)
        exact.batches = [
            batch.double()._replace(data=off_by_one_rounding(batch.data.double(), unit)) for batch in self.batches
        ]
        return exact

    @torch.no_grad()
    def __call__(self) -> Sequence[Tensor]:
        """The output's rows and the state of every batch."""
        results: list[Tensor] = []
        for batch in self.batches:
            output, state = self.rnn(batch)
            assert isinstance(output, PackedSequence)
            results += [output.data, *state]
        return results

    def exact(self) -> Sequence[Tensor]:
        return _exact(self.shape, self.lengths, self.implementation == LSTM)

    def moved(self) -> Sequence[Tensor]:
        return _exact(self.shape, self.lengths, self.implementation == LSTM, unit_of(self.shape))


@lru_cache(maxsize=4)
def _exact(shape: Shape, lengths: tuple[int, ...], lstm: bool, unit: float = 0.0) -> Sequence[Tensor]:
    return Packed(shape, lengths, LSTM if lstm else EAGER).in_float64(unit)()


def batches(lengths: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """The lengths of each batch, in order; the last may be smaller."""
    return [tuple(lengths[first : first + size]) for first in range(0, len(lengths), size)]


def padded_tokens(lengths: Sequence[int], size: int) -> int:
    """Steps that the same batches have when each is padded to its longest."""
    return sum(len(own) * max(own) for own in batches(lengths, size))
