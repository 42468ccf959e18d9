"""What is measured of the cell, on any device: a shape for each place in a table, most important first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from . import names
from .options import Options
from .shapes import TINY, Shape

STREAM_STEPS = 64
"""Calls in a round: a single one is too short to be timed well."""

SWEPT_HIDDEN = (64, 128, 256, 300, 512, 768, 1024)
SWEPT_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""On a GPU; on a CPU see :func:`swept_shapes`."""

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16, "tf32": torch.float32, "float32": torch.float32}


@dataclass(frozen=True)
class Item:
    """A shape whose implementations are rows of a table."""

    table: str
    shape: Shape

    def __str__(self) -> str:
        return f"{self.table}-{self.shape}"


def items(options: Options) -> list[Item]:
    found: list[Item] = []
    if "cpu" in options.devices:
        found += on_cpu(options.threads, full=options.full, few=options.tiny)
    if "cuda" in options.devices:
        found += on_gpu(options.gpu, options.threads, full=options.full, stamped=options.stamped is not None)
    if options.tiny:
        found = [replace(item, shape=tiny(item)) for item in found]
    return list(dict.fromkeys(found))


def tiny(item: Item) -> Shape:
    swept = item.table in names.GPU_TABLES and item.table != names.GPU_PACKED
    batch = min(3, item.shape.batch) if swept else item.shape.batch
    return replace(item.shape, batch=batch, steps=min(5, item.shape.steps), **TINY)


def on_cpu(threads: int, *, full: bool, few: bool = False) -> list[Item]:
    shapes = smoke_shapes(threads) if few else full_shapes(threads) if full else default_shapes(threads)
    swept = swept_shapes(threads)[:1] if few else swept_shapes(threads) if full else []
    return [
        *(Item(names.CELL, shape) for shape in shapes),
        Item(names.STREAMING, Shape("cpu", torch.float32, 1, False, 1, STREAM_STEPS)),
        Item(names.PACKED, Shape("cpu", torch.float32, threads, False, 32, 32)),
        Item(names.MEMORY, Shape("cpu", torch.float32, 1, True, 32, 128)),
        *(Item(names.SWEEP, shape) for shape in swept),
    ]


def smoke_shapes(threads: int) -> list[Shape]:
    kinds = (torch.float32, False), (torch.float32, True), (torch.bfloat16, False)
    return [Shape("cpu", dtype, threads, training, 3, 5) for dtype, training in kinds]


def default_shapes(threads: int) -> list[Shape]:
    """What fits two cores in three minutes: float32 on one and two threads, and one setting of bfloat16 on all."""
    float32 = [
        Shape("cpu", torch.float32, count, training, batch, steps)
        for count in sorted({1, min(2, threads)})
        for training in (False, True)
        for batch, steps in ((1, 32), (8, 32), (32, 32), (32, 128))
    ]
    return [*float32, Shape("cpu", torch.bfloat16, threads, False, 32, 32)]


def left_out(threads: int) -> str:
    """What a run without ``full`` lacks."""
    parts = ["T 128 at B 1 and 8"]
    if threads > 2:
        parts.append(f"float32 on all {threads} threads of the CPU")
    return "; ".join([*parts, "bfloat16, but for forward at B 32, T 32 on all threads", "the sweep of sizes"])


def full_shapes(threads: int) -> list[Shape]:
    """Two lengths; one, two and all threads; half precision too."""
    return [
        Shape("cpu", dtype, count, training, batch, steps)
        for dtype in (torch.float32, torch.bfloat16)
        for count in sorted({1, min(2, threads), threads})
        for training in (False, True)
        for batch in (1, 8, 32)
        for steps in (32, 128)
    ]


def swept_shapes(threads: int) -> list[Shape]:
    """float32 on two threads: small and large layers, single sequences and batches, a step at a time and many."""
    return [
        Shape("cpu", torch.float32, min(2, threads), training, batch, steps, hidden_size=hidden)
        for training in (False, True)
        for batch in (1, 4, 16, 64)
        for hidden in (64, 128, 256, 300, 512, 1024)
        for steps in (1, 16, 128)
    ]


def on_gpu(device: str, threads: int, *, full: bool, stamped: bool = False) -> Iterator[Item]:
    """D 768, H 300, B 32, T 128 in every precision; H 256 too, where cuDNN is at its best; with ``full`` many sizes."""

    def shape(precision: str, training: bool = False, **sizes: int) -> Shape:
        usual = {"batch": names.PAPER_BATCH, "steps": 128, "hidden_size": names.PAPER_HIDDEN} | sizes
        return Shape(device, PRECISIONS[precision], threads, training, **usual, tf32=precision == "tf32")

    for precision in ("bfloat16", "float16", "tf32"):
        yield Item(names.GPU_SMOKE, shape(precision, True, batch=3, steps=5, input_size=8, hidden_size=16))
        yield Item(names.GPU_SMOKE, shape(precision, True, steps=32))
    for training in (False, True):
        yield Item(names.GPU_CELL, shape("bfloat16", training))
    for training in (False, True):
        yield Item(names.GPU_STEP, shape("bfloat16", training))
    if stamped:
        yield Item(names.GPU_PARTS, shape("bfloat16", True))
    for precision, sizes in (("float16", {}), ("tf32", {}), ("float16", {"hidden_size": 256}), ("float32", {})):
        for training in (False, True):
            yield Item(names.GPU_CELL, shape(precision, training, **sizes))
    for precision in ("bfloat16", "tf32"):
        yield Item(names.GPU_PACKED, shape(precision))
    if full:
        for training in (False, True):
            for hidden in SWEPT_HIDDEN:
                yield Item(names.GPU_SWEEP, shape("bfloat16", training, hidden_size=hidden))
            for batch in SWEPT_BATCHES:
                yield Item(names.GPU_SWEEP, shape("bfloat16", training, batch=batch))
