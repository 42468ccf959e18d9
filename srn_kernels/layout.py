"""The SRN's layout: order of gates and memories, parameter names and shapes, packed rows, and the flops of a step.

Everything that more than one implementation must agree on is defined here, and for the kernels in ``csrc/cell.h``.

Notation, used in every file: T steps, B sequences, S packed rows (the sum of ``batch_sizes``; T·B when all lengths are
equal), D input size, H hidden size, P state size (``proj_size`` or H), N tasks, G = 3 + 2N gate blocks,
M = 2^N - 1 memories.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import accumulate, combinations, pairwise
from typing import NamedTuple, overload

import torch
from torch import Tensor
from torch.nn import functional as F

FORGET, OUTPUT, CANDIDATE, FIRST_MASTER = 0, 1, 2, 3
"""Gate blocks: f, o, ĉ, then ρ̂_1..ρ̂_N (on the candidate) and ρ̃_1..ρ̃_N (on the filtered history)."""


def gate_blocks(tasks: int) -> int:
    """G: the number of gate blocks of H rows in ``weight_ih`` and ``weight_hh``."""
    return 3 + 2 * tasks


def memory_count(tasks: int) -> int:
    """M: one memory for every non-empty subset of the tasks."""
    return 2**tasks - 1


def subsets(tasks: int) -> tuple[tuple[int, ...], ...]:
    """The subset of tasks behind each memory, by size, then lexicographically (Eq. 10's e, s, o, es, eo, so, eso)."""
    return tuple(subset for size in range(1, tasks + 1) for subset in combinations(range(tasks), size))


def visible_memories(tasks: int, task: int) -> tuple[int, ...]:
    """Indices of the 2^(N-1) memories that a task can see, in memory order (Eq. 11)."""
    return tuple(index for index, subset in enumerate(subsets(tasks)) if task in subset)


def union_coefficients(tasks: int) -> tuple[int, ...]:
    """A coefficient for each memory, with which the gates of Eq. 4, 5 add up to the union 1 - ∏(1 - ρ_i) of the masters.

    The exclusive gates of single tasks have 1. Written out in products of masters they give k(-1)^(k-1) of each product of
    k ≥ 2, and the union has (-1)^(k+1): the inclusive gate of k tasks makes up the difference, (-1)^(k+1) (1 - k).
    """
    return tuple(1 if len(subset) == 1 else (-1) ** (len(subset) + 1) * (1 - len(subset)) for subset in subsets(tasks))


class DirectionWeights(NamedTuple):
    """The parameters of one direction of one layer; biases are all there or all None, ``hr`` only with a projection."""

    ih: Tensor  # (G·H, D)
    hh: Tensor  # (G·H, P)
    b_ih: Tensor | None  # (G·H)
    b_hh: Tensor | None  # (G·H)
    mc: Tensor  # (H, M·H), Eq. 8
    b_mc: Tensor | None  # (H)
    hr: Tensor | None  # (P, H)

    @property
    def hidden_size(self) -> int:
        return self.mc.shape[0]

    def flat(self) -> list[Tensor]:
        """The tensors that are there, in parameter order; the inverse of :func:`split_weights`."""
        return [weight for weight in self if weight is not None]


def parameter_names(layer: int, reverse: bool, bias: bool, projection: bool) -> list[str]:
    """Names of one direction's parameters, in the order of :class:`DirectionWeights` without absent ones."""
    names = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * bias
    names += ["weight_mc"] + ["bias_mc"] * bias + ["weight_hr"] * projection
    suffix = "_reverse" if reverse else ""
    return [f"{name}_l{layer}{suffix}" for name in names]


def parameter_shapes(
    input_size: int, hidden_size: int, proj_size: int, tasks: int, bias: bool
) -> list[tuple[int, ...]]:
    """Shapes to go with :func:`parameter_names`; ``proj_size`` 0 means no projection."""
    gates, state = gate_blocks(tasks) * hidden_size, proj_size or hidden_size
    shapes: list[tuple[int, ...]] = [(gates, input_size), (gates, state)] + [(gates,), (gates,)] * bias
    shapes += [(hidden_size, memory_count(tasks) * hidden_size)] + [(hidden_size,)] * bias
    return shapes + [(proj_size, hidden_size)] * (proj_size > 0)


def split_weights(weights: Sequence[Tensor], directions: int) -> list[DirectionWeights]:
    """Splits a flat list of parameters (one direction after another) by its length: 3, 4, 6 or 7 tensors per direction.

    Raises:
        ValueError: another number of tensors.
    """
    each, rest = divmod(len(weights), directions)
    if rest or each not in (3, 4, 6, 7):
        raise ValueError(f"expected 3, 4, 6 or 7 weights for each of {directions} directions, got {len(weights)}")
    split = []
    for first in range(0, len(weights), each):
        tensors = list(weights[first : first + each])
        hr = tensors.pop() if each in (4, 7) else None
        if each >= 6:
            ih, hh, b_ih, b_hh, mc, b_mc = tensors
        else:
            (ih, hh, mc), b_ih, b_hh, b_mc = tensors, None, None, None
        split.append(DirectionWeights(ih, hh, b_ih, b_hh, mc, b_mc, hr))
    return split


MOST_KEPT_STEPS = 4096
"""Of a call whose tables are kept for the next: they take some bytes a step, and longer calls do not feel their making."""


class Repeated(Sequence[int]):
    """A number, over and over: the list [value] * count, without its memory."""

    def __init__(self, value: int, count: int) -> None:
        self._value, self._places = value, range(count)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> Repeated: ...

    def __getitem__(self, place: int | slice) -> int | Repeated:
        found = self._places[place]
        return Repeated(self._value, len(found)) if isinstance(found, range) else self._value


class Steps:
    """Packed rows: step t is rows ``offsets[t]`` to ``offsets[t] + sizes[t]``, its row b belongs to sequence b.

    Equal lengths have no tables, but for ``batch_sizes`` once a kernel asks for it.
    """

    count: int
    sizes: Sequence[int]
    offsets: Sequence[int]

    def __init__(self, batch_sizes: Tensor | None, rows: int, batch: int) -> None:
        """Takes a PackedSequence's ``batch_sizes``, (T,) whole numbers, or None for ``batch`` equal lengths.

        Raises:
            ValueError: sizes that are not positive and non-increasing from ``batch``, or do not add up to ``rows``.
        """
        if batch_sizes is None:
            self.sizes = Repeated(batch, rows // batch if batch else 0)
            self.offsets = range(0, len(self.sizes) * batch + 1, batch or 1)
        else:
            self.batch_sizes = batch_sizes.to("cpu", torch.int64).contiguous()
            self.sizes = self.batch_sizes.tolist()
            self.offsets = [0, *accumulate(self.sizes)]
        self.count = len(self.sizes)
        if self.offsets[-1] != rows or (self.sizes and not (self.sizes[0] == batch and self.sizes[-1] > 0)):
            raise ValueError(
                f"batch_sizes should start at the batch size {batch}, stay positive and add up to the {rows} rows of "
                f"the input; they are {self.sizes[:3]}... of {len(self.sizes)} steps and add up to {self.offsets[-1]}"
            )
        if batch_sizes is not None and any(size < after for size, after in pairwise(self.sizes)):
            raise ValueError("batch_sizes should never increase: sequences are packed longest first")

    @classmethod
    def of(cls, batch_sizes: Tensor | None, rows: int, batch: int) -> Steps:
        """The same; those of equal lengths are made once, unless they are many."""
        if batch_sizes is None and rows <= MOST_KEPT_STEPS * batch:
            return _equal_steps(rows, batch)
        return cls(batch_sizes, rows, batch)

    @property
    def kept(self) -> bool:
        """Whether ``of`` gives this object each time: equal lengths, unless they are many."""
        return isinstance(self.sizes, Repeated) and self.count <= MOST_KEPT_STEPS

    @cached_property
    def batch_sizes(self) -> Tensor:
        """(T,) int64, on the CPU and contiguous: kernels read its memory."""
        return torch.full((len(self.sizes),), self.sizes[0] if self.sizes else 0, dtype=torch.int64, device="cpu")

    def __len__(self) -> int:
        return self.count

    def rows(self, step: int) -> slice:
        return slice(self.offsets[step], self.offsets[step + 1])

    def order(self, reverse: bool) -> range:
        """The steps as a direction visits them."""
        return range(len(self) - 1, -1, -1) if reverse else range(len(self))

    def previous(self, batch: int, reverse: bool) -> Tensor:
        """For each row, where its previous state lies in ``cat([initial state (B), every row's state (S)])``: (S,)."""
        # One empty step at each end: what lies before the first step visited is the initial state of every row.
        sizes = F.pad(self.batch_sizes, (1, 1))
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        step = torch.repeat_interleave(torch.arange(len(sizes)), sizes)  # (S,)
        row = torch.arange(len(step)) - offsets[step]
        before = step + 1 if reverse else step - 1
        return torch.where(row < sizes[before], batch + offsets[before] + row, row)


@lru_cache(maxsize=64)
def _equal_steps(rows: int, batch: int) -> Steps:
    return Steps(None, rows, batch)


def forward_flops(rows: int, input_size: int, hidden_size: int, tasks: int, state_size: int | None = None) -> int:
    """Floating-point operations of one direction of a layer over ``rows`` rows; a backward pass counts twice that."""
    state = hidden_size if state_size is None else state_size
    gates = gate_blocks(tasks) * hidden_size * (input_size + state)
    mixing = memory_count(tasks) * hidden_size * hidden_size
    projection = hidden_size * state if state != hidden_size else 0
    return 2 * rows * (gates + mixing + projection)
