"""The cell on a CPU beyond its table of shapes: streaming, packed sentences, and the memory of a training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from srn_benchmarks import corpus
from srn_benchmarks.cell import Run, check, implementations, name_of, refusals
from srn_benchmarks.cpu_tables import LSTM, LSTM_CELL, MEMORY, PACKED, STREAMING
from srn_benchmarks.memory import formula, peak_bytes
from srn_benchmarks.options import SMOKE_NOTE, Options
from srn_benchmarks.packed import Packed, padded_tokens
from srn_benchmarks.results import MEASURED, Case, Results
from srn_benchmarks.shapes import TINY, Shape
from srn_benchmarks.streaming import Stream
from srn_benchmarks.text import scaled
from srn_benchmarks.timing import measure

BUDGET, ROUNDS = 1.2, (5, 300)

STREAM_STEPS = 64
"""Calls in a round: a single one is too short to be timed well."""

SMOKE_SENTENCES = 40
"""More than one batch."""

each_implementation = pytest.mark.parametrize(
    "implementation", implementations(Shape("cpu", torch.float32, 1, False, 1, 1))
)


@lru_cache(maxsize=1)
def sentences(size: int | None) -> corpus.SpeedCorpus:
    return corpus.load(size)


def sized(shape: Shape, options: Options) -> Shape:
    """The shape, or in a smoke run a tiny one."""
    return replace(shape, steps=5, **TINY) if options.smoke else shape


def note(results: Results, table: str, options: Options, shape: Shape, *lines: str) -> None:
    """What the reader of the table must know."""
    sizes = f"one layer, one direction, D {shape.input_size}, H {shape.hidden_size}, three tasks"
    for line in [SMOKE_NOTE] * options.smoke + [sizes, *lines, *refusals([shape])]:
        results.note(table, line)


@each_implementation
@pytest.mark.benchmark(group="cell streaming")
def test_streaming(
    benchmark: BenchmarkFixture,
    open_case: Callable[..., Case],
    options: Options,
    results: Results,
    threads: Callable[[int], None],
    implementation: str,
) -> None:
    shape = sized(Shape("cpu", torch.float32, 1, False, 1, STREAM_STEPS), options)
    note(
        results,
        STREAMING,
        options,
        shape,
        f"B 1, T 1: a call a step, without gradients; a round is {shape.steps} calls, the state carried from one to the "
        "next",
        "ratios: medians over rounds, in each of which nn.LSTMCell ran just before",
        "checked first: outputs of every step, and the last state, held to float64 as in the cell's table",
    )
    name = LSTM_CELL if implementation == LSTM else name_of(implementation, "SRNCell")
    case = open_case(STREAMING, shape.labels(name), shape.work(implementation), shape.work(LSTM))
    threads(shape.threads)
    run = Stream(shape, implementation)
    check(run)
    baseline = None if implementation == LSTM else Stream(shape, LSTM)
    measure(benchmark, case, run, baseline, budget=BUDGET, rounds=ROUNDS)


@each_implementation
@pytest.mark.benchmark(group="cell packed")
def test_packed(
    benchmark: BenchmarkFixture,
    open_case: Callable[..., Case],
    options: Options,
    results: Results,
    threads: Callable[[int], None],
    implementation: str,
) -> None:
    shape = sized(Shape("cpu", torch.float32, options.threads, False, 32, 32), options)
    read = sentences(SMOKE_SENTENCES if options.smoke else None)
    lengths = tuple(len(sentence.words) for sentence in read.sentences)
    note(
        results,
        PACKED,
        options,
        shape,
        f"{read.name}: {len(lengths)} sentences of {min(lengths)} to {max(lengths)} words; forward, without gradients",
        f"batches of {shape.batch} in file order, packed beforehand by pack_padded_sequence(enforce_sorted=False)",
        f"equal lengths: the same implementation on B {shape.batch}, T {shape.steps}; the ratio is of a token's time, the "
        "median over rounds, in each of which both ran",
        "padded over real tokens: how many times the steps there are if batches are padded to their longest",
        "checked first: outputs and states, packed and of equal lengths, held to float64 as in the cell's table",
    )
    name = LSTM if implementation == LSTM else name_of(implementation)
    case = open_case(
        PACKED,
        shape.labels(name),
        {"tokens": sum(lengths), "padded": padded_tokens(lengths, shape.batch)},
        {"tokens": shape.batch * shape.steps},
    )
    threads(shape.threads)
    run, equal = Packed(shape, lengths, implementation), Run(shape, implementation)
    check(run)
    check(equal)
    measure(benchmark, case, run, equal, budget=BUDGET, rounds=ROUNDS)


@each_implementation
def test_memory(
    open_case: Callable[..., Case],
    options: Options,
    results: Results,
    threads: Callable[[int], None],
    implementation: str,
) -> None:
    shape = sized(Shape("cpu", torch.float32, 1, True, 32, 128), options)
    parts = formula(shape)
    note(
        results,
        MEMORY,
        options,
        shape,
        f"B {shape.batch}, T {shape.steps}, S = B·T rows: forward and backward of one call, no memories returned",
        "peak: the most that tensors made in the call held at any moment, from the records of torch's CPU allocator: "
        "results, saved activations, temporaries and the kernels' workspace; not the caller's input, parameters and "
        "incoming gradient, nor what oneDNN and MKL take from the system themselves",
        "formula, MB (10⁶ bytes): " + ", ".join(f"{part} {scaled(size, 1e-6)}" for part, size in parts.items()),
        "temporaries (the memories computed anew), copies and the workspace come on top of the formula; a backward pass in "
        "parts holds the gradients of gates and cells of a part only",
        "checked first: every gradient, held to float64 as in the cell's table",
    )
    case = open_case(MEMORY, shape.labels(LSTM if implementation == LSTM else name_of(implementation)), {})
    threads(shape.threads)
    run = Run(shape, implementation)
    check(run)
    case.bytes = {"peak": peak_bytes(run, shape.threads)}
    if implementation != LSTM:
        case.bytes["formula"] = sum(parts.values())
    case.status = MEASURED
