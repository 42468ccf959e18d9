"""What is measured on a GPU, most wanted first, and about how long each takes there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from srn_kernels.info import installed

from . import corpus
from .cell import CHECKED
from .fusion import Setting
from .gpu_cell import measure_packed, measure_shape, measure_step
from .gpu_fusion import measure_fusion, workload
from .gpu_queue import Bench, Item
from .gpu_tables import GPU_CELL, GPU_PACKED, GPU_STEP, GPU_SWEEP
from .results import Results
from .shapes import SWEPT_BATCH, SWEPT_HIDDEN, Shape
from .tables import BARS, BATCHED, FUSION, LATE, ONE_BY_ONE, TRUNK

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SETTING = Setting("cuda", torch.bfloat16)
HIDDEN = (64, 128, 256, 300, 512, 768, 1024)


def shape_of(precision: str, training: bool, device: str = "cuda") -> Shape:
    """D 768, H 300, B 32, T 128."""
    dtype = torch.float32 if precision == "tf32" else getattr(torch, precision)
    return Shape(device, dtype, torch.get_num_threads(), training, 32, 128, tf32=precision == "tf32")


def items(backends: Sequence[str]) -> list[Item]:
    """Everything, in order; needs no GPU until an item is run."""
    made = [_cell("bfloat16", False), _cell("bfloat16", True)]
    made += [_step(training) for training in (False, True)]
    made += [_packed("bfloat16")]
    made += [_fusion(name) for name in backends]
    made += [_cell(precision, training) for precision in ("float16", "tf32") for training in (False, True)]
    made += [_packed("tf32")]
    made += _sweep(training=False)
    made += [_one_by_one(name) for name in backends[:1]]
    return made + _sweep(training=True)


def _cell(precision: str, training: bool) -> Item:
    shape = shape_of(precision, training)

    def run(bench: Bench) -> None:
        measure_shape(bench, GPU_CELL, shape, eager=True, budget=2.0)

    return Item(f"the cell, {precision}, {_kind(training)}", 8.0, run)


def _step(training: bool) -> Item:
    shape = shape_of("bfloat16", training)
    return Item(
        f"a step, bfloat16, {'backward' if training else 'forward'}",
        8.0,
        lambda bench: measure_step(bench, shape, budget=3.0),
    )


def _packed(precision: str) -> Item:
    shape = shape_of(precision, training=False)

    def run(bench: Bench) -> None:
        read = corpus.load(None)
        lengths = tuple(len(sentence.words) for sentence in read.sentences)
        bench.results.note(GPU_PACKED, f"{read.name}: {len(lengths)} sentences, {sum(lengths)} words")
        measure_packed(bench, shape, lengths, budget=2.0)

    return Item(f"packed sentences, {precision}", 10.0, run)


def _fusion(backend: str) -> Item:
    def run(bench: Bench) -> None:
        measure_fusion(bench, workload(SETTING), backend, (LATE, TRUNK, BATCHED), rounds=(3, 15), budget=6.0)

    return Item(f"fusion, bfloat16, {backend}", 30.0, run, backend)


def _one_by_one(backend: str) -> Item:
    def run(bench: Bench) -> None:
        measure_fusion(bench, workload(SETTING), backend, (ONE_BY_ONE,), rounds=(2, 2), budget=0.0)

    return Item(f"fusion, one object pass at a time, {backend}", 90.0, run, backend)


def _sweep(training: bool) -> list[Item]:
    sizes = [(SWEPT_BATCH, hidden) for hidden in HIDDEN]
    sizes += [(batch, SWEPT_HIDDEN) for batch in BATCHES if batch != SWEPT_BATCH]
    return [_swept(batch, hidden, training) for batch, hidden in sizes]


def _swept(batch: int, hidden: int, training: bool) -> Item:
    shape = replace(shape_of("bfloat16", training), batch=batch, hidden_size=hidden)
    return Item(
        f"sizes, B {batch}, H {hidden}, {_kind(training)}",
        4.0,
        lambda bench: measure_shape(bench, GPU_SWEEP, shape, budget=0.6),
    )


def _kind(training: bool) -> str:
    return "training" if training else "forward"


def add_notes(results: Results) -> None:
    """What the reader of the tables must know."""
    if torch.cuda.is_available():
        gpu, cudnn = torch.cuda.get_device_properties(0), torch.backends.cudnn.version()
        results.note(
            BARS,
            f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}, {gpu.multi_processor_count} multiprocessors; torch "
            f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}, Triton {installed('triton')}",
        )
    sizes = "one layer, one direction, D 768, H 300, three tasks"
    rounds = (
        "medians over rounds, in each of which all of them ran, nn.LSTM first; ±: half the distance of the quartiles"
    )
    rotated = "each call reads another input than the last, of as many as fill the second-level cache twice, at most 24"
    clock = "time: between two CUDA events around a burst of calls, launches included, the input's product too"
    right = CHECKED
    names = "tf32: float32 tensors, TF32 allowed to all, nn.LSTM and the eager loop too"
    for table in (GPU_CELL, GPU_PACKED, GPU_SWEEP):
        for line in (sizes, clock, rounds, rotated, right):
            results.note(table, line)
    results.note(GPU_CELL, names)
    results.note(
        GPU_PACKED, "batches of 32 in file order, packed by pack_padded_sequence(enforce_sorted=False) beforehand"
    )
    results.note(GPU_SWEEP, "but for the sizes in the table: B 32 at each H, and H 300 at each B")
    results.note(
        GPU_STEP, f"{sizes}: a pass over 256 steps less one over 128, over 128: no launch, start or end is in it"
    )
    results.note(GPU_STEP, "forward: the pass without gradients; backward: the backward pass alone, on kept graphs")
    results.note(
        GPU_STEP,
        "products: those over all rows (before the recurrence x W_ihᵀ + b; after it the gradients of input, W_ih, W_hh, "
        "W_mc and biases), run by themselves, their difference taken alike; recurrence: the step less its products",
    )
    results.note(
        GPU_STEP, "nn.LSTM's backward has a copy in it, which autograd makes of cuDNN's memory for a kept graph"
    )
    results.note(
        FUSION, "the host's clock around all batches, tokenization and decoding included; bfloat16 by autocast"
    )
    results.note(
        BARS, "time and per step: lower is better; at B 32, T 128, D 768, H 300 unless the table says otherwise"
    )
