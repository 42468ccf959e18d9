"""The cell's table: SRN on every usable backend beside nn.LSTM and the eager loop; forward, and forward + backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from srn_benchmarks import ceiling
from srn_benchmarks.cell import CHECKED, Run, check, implementations, name_of, refusals
from srn_benchmarks.options import SMOKE_NOTE, Options, synchronize
from srn_benchmarks.results import Case, Results
from srn_benchmarks.shapes import Shape, left_out
from srn_benchmarks.tables import CEILING, CELL, FLOAT32, LSTM
from srn_benchmarks.timing import Companion, measure

from srn_kernels import native

BUDGET, FULL_BUDGET = 1.2, 4.0
"""Seconds for the rounds of a case."""

ROUNDS = (5, 300)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    options = Options.of(metafunc.config)
    pairs = [(shape, name) for shape in options.cell_shapes() for name in implementations(shape)]
    metafunc.parametrize(
        ("shape", "implementation"),
        [
            pytest.param(shape, name, id=f"{shape}-{name}", marks=pytest.mark.benchmark(group=f"cell {shape}"))
            for shape, name in pairs
        ],
    )


@pytest.fixture
def notes(options: Options, results: Results) -> None:
    """What the reader of the table must know."""
    shapes = options.cell_shapes()
    first = shapes[0]
    if options.smoke:
        results.note(CELL, SMOKE_NOTE)
    results.note(
        CELL, f"one layer, one direction, D {first.input_size}, H {first.hidden_size}, three tasks, equal lengths"
    )
    results.note(
        CELL, "ms: median of the rounds; ±: half the distance of the quartiles; B sequences of T steps in a call"
    )
    results.note(
        CELL, "the ratio is the median over rounds, in each of which nn.LSTM ran just before the implementation"
    )
    if any(CEILING in columns(shape) for shape in shapes):
        results.note(
            CELL,
            "ceiling: float32 multiply-adds in registers, of the native kernels' instruction set, on as many threads; of "
            "the ceiling: GFLOP/s over it, the median over rounds, in each of which it was timed just before",
        )
        if reason := native.missing():
            results.note(CELL, f"no ceiling: {reason}")
    if any(FLOAT32 in columns(shape) for shape in shapes):
        results.note(CELL, "time over float32: over the same implementation's in float32, timed in the same rounds")
    results.note(CELL, "SRN returns what nn.LSTM returns (no memories); the input's product is part of every time")
    results.note(
        CELL,
        CHECKED,
    )
    if not options.full:
        results.note(CELL, f"left out, and done with --full: {left_out(options.threads)}")
    for line in refusals(shapes):
        results.note(CELL, line)


def columns(shape: Shape) -> list[str]:
    """What the shape's rows are measured beside, nn.LSTM apart."""
    if shape.dtype != torch.float32:
        return [FLOAT32]
    return [CEILING] if shape.device == "cpu" else []


def companion(column: str, shape: Shape, implementation: str) -> Companion | None:
    """What fills a column, checked; None if it cannot be had here."""
    if column == CEILING:
        return ceiling.companion(shape.threads)
    shape = replace(shape, dtype=torch.float32)
    if implementation not in implementations(shape):
        return None
    run = Run(shape, implementation)
    check(run)
    return Companion(run, shape.work(implementation))


@pytest.mark.usefixtures("notes")
def test_cell(
    benchmark: BenchmarkFixture,
    open_case: Callable[..., Case],
    options: Options,
    threads: Callable[[int], None],
    shape: Shape,
    implementation: str,
) -> None:
    name = LSTM if implementation == LSTM else name_of(implementation)
    case = open_case(CELL, shape.labels(name), shape.work(implementation), shape.work(LSTM))
    case.beside = {column: [] for column in columns(shape)}
    threads(shape.threads)
    run = Run(shape, implementation)
    check(run)
    found = {column: companion(column, shape, implementation) for column in columns(shape)}
    measure(
        benchmark,
        case,
        run,
        None if implementation == LSTM else Run(shape, LSTM),
        beside={column: one for column, one in found.items() if one is not None},
        synchronize=synchronize(torch.device(shape.device)),
        budget=FULL_BUDGET if options.full else BUDGET,
        rounds=ROUNDS,
    )
