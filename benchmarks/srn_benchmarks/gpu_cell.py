"""The cell on a GPU: a layer beside nn.LSTM at one size or many, its recurrence alone, and packed sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from srn_kernels import backends, layout

from .cell import EAGER, Checkable, Run, check, name_of
from .gpu_queue import Bench
from .gpu_tables import BACKWARD, FORWARD, GPU_PACKED, GPU_STEP, LONG, LONG_PRODUCTS, SHORT, SHORT_PRODUCTS
from .gpu_timing import interleaved
from .packed import Packed
from .precision import tf32
from .results import TIMED, Case
from .shapes import TASKS, Shape
from .tables import LSTM

ROUNDS, EAGER_ROUNDS = (5, 60), 3

CACHES, MOST_SETS = 2, 24
"""How many times the second-level cache the inputs of a call are together, and the most of them."""

# -- the workloads -----------------------------------------------------------------------------------------------------


class Rotating:
    """A run on the next of several inputs in each call: a single one would stay in the cache, as real ones do not."""

    def __init__(self, run: Run) -> None:
        self.run = run
        fresh = [torch.randn_like(run.input, requires_grad=run.shape.training) for _ in range(sets(run.input) - 1)]
        self.inputs = cycle([run.input, *fresh])

    def __call__(self) -> Sequence[Tensor]:
        self.run.input = self.run.wanted[0] = next(self.inputs)
        return self.run()


class RotatingPacked:
    """The same of packed sentences."""

    def __init__(self, run: Packed) -> None:
        self.run = run
        count = sets(*(batch.data for batch in run.batches))
        copies = [[with_data(batch, torch.randn_like(batch.data)) for batch in run.batches] for _ in range(count - 1)]
        self.batches = cycle([run.batches, *copies])

    def __call__(self) -> Sequence[Tensor]:
        self.run.batches = next(self.batches)
        return self.run()


class BackwardAlone:
    """The backward pass of a run, over and over: the graphs of several forward passes are kept."""

    def __init__(self, run: Run) -> None:
        forward = [run.input, torch.randn_like(run.input, requires_grad=True)]
        self.grad, self.parameters = run.grad, run.wanted[1:]
        self.graphs = cycle([(run.rnn(input)[0], input) for input in forward])

    def __call__(self) -> Sequence[Tensor]:
        output, input = next(self.graphs)
        return torch.autograd.grad(output, [input, *self.parameters], self.grad, retain_graph=True)


class Products:
    """The products over all rows that stand before a recurrence, or (``training``) after it, and nothing else.

    Before it x W_ihᵀ + b; after it the gradients of the input, of W_ih, W_hh and W_mc, and of the biases.
    """

    def __init__(self, shape: Shape, implementation: str) -> None:
        srn = implementation != LSTM
        self.training = shape.training
        rows, hidden, input = shape.batch * shape.steps, shape.hidden_size, shape.input_size
        gates = (layout.gate_blocks(TASKS) if srn else 4) * hidden

        def draw(*size: int) -> Tensor:
            return torch.randn(size, dtype=shape.dtype, device=shape.device)

        self.x, self.w_ih, self.b = draw(rows, input), draw(gates, input), draw(gates)
        if shape.training:
            self.dz, self.h = draw(rows, gates), draw(rows, hidden)
            self.mixed = (draw(rows, hidden), draw(rows, layout.memory_count(TASKS) * hidden)) if srn else None

    def __call__(self) -> None:
        if not self.training:
            torch.addmm(self.b, self.x, self.w_ih.t())
            return
        torch.mm(self.dz, self.w_ih)
        torch.mm(self.dz.t(), self.x)
        torch.mm(self.dz.t(), self.h)
        self.dz.sum(0)
        if self.mixed is not None:
            dc, s = self.mixed
            torch.mm(dc.t(), s)
            dc.sum(0)


def sets(*inputs: Tensor) -> int:
    """How many sets of such inputs are to be rotated."""
    cache = torch.cuda.get_device_properties(inputs[0].device).L2_cache_size if inputs[0].is_cuda else 0
    return max(2, min(MOST_SETS, math.ceil(CACHES * cache / sum(input.nbytes for input in inputs))))


def with_data(packed: PackedSequence, data: Tensor) -> PackedSequence:
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


# -- the measurements --------------------------------------------------------------------------------------------------


def measure_shape(bench: Bench, table: str, shape: Shape, *, eager: bool = False, budget: float) -> None:
    """``nn.LSTM`` and every backend (and the eager loop) on a shape, timed in the same rounds."""
    with tf32(shape.tf32):
        names = [LSTM, *[EAGER] * eager, *serving(bench, table, shape)]
        right = {
            name: (case, Rotating(run))
            for name, case, run in checked(bench, table, shape, names, lambda name: Run(shape, name), shape.work)
        }
        _time(bench, right, budget)


def measure_packed(bench: Bench, shape: Shape, lengths: tuple[int, ...], *, budget: float) -> None:
    """The same over packed sequences of ``lengths``, in batches of ``shape.batch``, forward."""

    def work(name: str) -> dict[str, int]:
        return {"tokens": sum(lengths)}

    with tf32(shape.tf32):
        names = [LSTM, EAGER, *serving(bench, GPU_PACKED, shape)]
        right = {
            name: (case, RotatingPacked(run))
            for name, case, run in checked(
                bench, GPU_PACKED, shape, names, lambda name: Packed(shape, lengths, name), work
            )
        }
        _time(bench, right, budget)


def measure_step(bench: Bench, shape: Shape, *, budget: float) -> None:
    """What a step takes: a pass over twice the steps less one over the steps, each with its products apart.

    The difference is of ``shape.steps`` steps and has no launch, no start and no end in it. Forward is the pass without
    gradients; with ``shape.training`` it is the backward pass alone.
    """
    longer = replace(shape, steps=2 * shape.steps)
    whole: Callable[[Run], Callable[[], object]] = BackwardAlone if shape.training else Rotating
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    cases: dict[str, Case] = {}
    with tf32(shape.tf32):
        names = [LSTM, *serving(bench, GPU_STEP, shape)]
        build, kind = lambda name: Run(longer, name), BACKWARD if shape.training else FORWARD
        for name, case, run in checked(bench, GPU_STEP, shape, names, build, shape.work, kind):
            cases[name] = case
            calls[name, LONG], calls[name, SHORT] = whole(run), whole(Run(shape, name))
            calls[name, LONG_PRODUCTS], calls[name, SHORT_PRODUCTS] = Products(longer, name), Products(shape, name)
        seconds = interleaved(
            calls, bench.clock, budget=budget, rounds=ROUNDS, turn=lambda name_and_part: bench.turn(name_and_part[0])
        )
    for name, case in cases.items():
        case.seconds = seconds[name, SHORT]
        case.beside = {part: seconds[name, part] for part in (LONG, SHORT_PRODUCTS, LONG_PRODUCTS)}
        case.status = TIMED


def serving(bench: Bench, table: str, shape: Shape) -> list[str]:
    """The backends that take part and serve the shape; for each other one there is a note with its reason."""
    served = []
    for name in bench.backends:
        if reason := backends.refusal(backends.BACKENDS[name], shape.problem()):
            bench.results.note(table, f"not in the table: {name} on {shape.precision}: {reason}")
        else:
            served.append(name)
    return served


def checked(
    bench: Bench,
    table: str,
    shape: Shape,
    names: Sequence[str],
    build: Callable[[str], Checkable],
    work: Callable[[str], Mapping[str, int]],
    kind: str | None = None,
) -> Iterator[tuple[str, Case, Checkable]]:
    """Opens a case for each implementation, builds it and checks it; yields those that are right.

    One that is wrong stays a failed case, and a note says how wrong it is. ``kind`` is the pass that is timed, where it is
    another than the one that is checked.
    """
    for name in names:
        label = LSTM if name == LSTM else name_of(name)
        case = Case(table, shape.labels(label), dict(work(name)), dict(work(LSTM)))
        case.labels |= {} if kind is None else {"pass": kind}
        bench.results.cases.append(case)
        bench.turn(name)
        run = build(name)
        try:
            check(run)
        except AssertionError as error:
            bench.results.note(table, f"wrong, so not timed: {label} on {shape}: {str(error).splitlines()[0]}")
        else:
            yield name, case, run


def _time(bench: Bench, right: Mapping[str, tuple[Case, Callable[[], object]]], budget: float) -> None:
    """Times what was found right; the eager loop, which is slow, in a few rounds only."""
    calls = {name: call for name, (_, call) in right.items()}
    few = {EAGER: EAGER_ROUNDS} if EAGER in calls else {}
    seconds = interleaved(calls, bench.clock, budget=budget, rounds=ROUNDS, few=few, turn=bench.turn)
    for name, (case, _) in right.items():
        case.seconds = seconds[name]
        if name != LSTM and LSTM in seconds:
            case.baseline_seconds = seconds[LSTM][: len(case.seconds)]
        case.status = TIMED
