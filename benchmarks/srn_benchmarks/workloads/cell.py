"""The cell: one layer beside ``nn.LSTM``, on a CPU beside its ceiling too, on a GPU at many sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from srn_kernels import native

from ..bench import Bench
from ..names import CEILING, CELL, FLOAT32, GPU_CELL, GPU_SMOKE, GPU_SWEEP, LSTM
from ..registry import Item, left_out
from ..shapes import Shape
from ..timing import Companion, clock_of
from . import ceiling
from .calls import CHECKED, UNPROVED, Call, Rotating, check, implementations, labels, refusals

BUDGET, FULL_BUDGET, GPU_BUDGET = 1.2, 4.0, 0.6
"""Seconds for the rounds of a case."""

ROUNDS, GPU_ROUNDS = (5, 300), (5, 60)

PAIRED = "medians over rounds, in each of which nn.LSTM ran just before; ±: half the distance of the quartiles"
CLOCK = "time: between two CUDA events around a burst of calls, launches included, the input's product too"
ROTATED = "each call reads another input than the last, of as many as fill the second-level cache twice, at most 24"
PRECISION = "tf32: float32 tensors, TF32 allowed to all, nn.LSTM and the eager loop too"
GPU_NOTES = (CLOCK, PAIRED, ROTATED, CHECKED, UNPROVED, PRECISION)


def notes(table: str, shapes: Sequence[Shape], bench: Bench) -> list[str]:
    """What the reader of the table must know; ``shapes`` are all of its shapes."""
    absent = refusals(shapes, bench.options.backends)
    if table != CELL:
        inputs = " and ".join(str(size) for size in sorted({shape.input_size for shape in shapes}))
        return [f"one layer, one direction, D {inputs}, three tasks", *GPU_NOTES, *absent]
    found = [
        f"{shapes[0].sizes()}, equal lengths",
        "ms: median of the rounds; ±: half the distance of the quartiles; B sequences of T steps in a call",
        "the ratio is the median over rounds, in each of which nn.LSTM ran just before the implementation",
    ]
    if any(CEILING in columns(shape) for shape in shapes):
        found.append(
            "ceiling: float32 multiply-adds in registers, of the native kernels' instruction set, on as many threads; of "
            "the ceiling: GFLOP/s over it, the median over rounds, in each of which it was timed just before"
        )
        found += [f"no ceiling: {reason}"] if (reason := native.missing()) else []
    if any(FLOAT32 in columns(shape) for shape in shapes):
        found.append("time over float32: over the same implementation's in float32, timed in the same rounds")
    found += ["SRN returns what nn.LSTM returns (no memories); the input's product is part of every time", CHECKED]
    if not bench.options.full:
        found.append(f"left out, and done with --full: {left_out(bench.options.threads)}")
    return found + absent


def columns(shape: Shape) -> list[str]:
    """What the shape's rows on a CPU are measured beside, nn.LSTM apart."""
    return [CEILING] if shape.dtype == torch.float32 else [FLOAT32]


def companion(column: str, shape: Shape, implementation: str) -> Companion | None:
    """What fills a column, checked; None if it cannot run here."""
    if column == CEILING:
        return ceiling.companion(shape.threads)
    shape = replace(shape, dtype=torch.float32)
    if implementation not in implementations(shape):
        return None
    call = Call(shape, implementation)
    check(call)
    return Companion(call, shape.work(implementation))


def measure(bench: Bench, item: Item, implementation: str) -> None:
    shape, on_cpu = item.shape, item.table == CELL
    case = bench.open(item.table, labels(shape, implementation), shape.work(implementation), shape.work(LSTM))
    case.beside = {column: [] for column in columns(shape) if on_cpu}
    call = Call(shape, implementation)
    check(call)
    found = {column: companion(column, shape, implementation) for column in case.beside}
    prepare: Callable[[Call], Callable[[], object]] = (lambda call: call) if on_cpu else Rotating
    bench.time(
        case,
        prepare(call),
        None if LSTM == implementation or item.table == GPU_SMOKE else prepare(Call(shape, LSTM)),
        beside={column: one for column, one in found.items() if one is not None},
        clock=clock_of(shape.device),
        budget=budget(bench, item),
        rounds=ROUNDS if on_cpu else GPU_ROUNDS,
    )


def budget(bench: Bench, item: Item) -> float:
    if item.table == GPU_SMOKE:
        return 0.0
    if item.table in (GPU_CELL, GPU_SWEEP):
        return GPU_BUDGET
    return FULL_BUDGET if bench.options.full else BUDGET
