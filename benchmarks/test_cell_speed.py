"""The cell's table: SRN on every usable backend beside nn.LSTM and the eager loop; forward, and forward + backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from srn_benchmarks.cell import Run, Shape, check, implementations, name_of, refusals
from srn_benchmarks.options import SMOKE_NOTE, Options, synchronize
from srn_benchmarks.results import Case, Results
from srn_benchmarks.tables import CELL, LSTM
from srn_benchmarks.timing import measure

BUDGET, FULL_BUDGET = 2.0, 4.0
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
    results.note(CELL, "SRN returns what nn.LSTM returns (no memories); the input's product is part of every time")
    results.note(
        CELL,
        "checked first: error against float64, at most twice the eager loop's in the same precision and 4 epsilons",
    )
    if not options.full:
        results.note(CELL, "left out, and done with --full: T 128, one and two threads on a CPU, bfloat16")
    for line in refusals(shapes):
        results.note(CELL, line)


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
    threads(shape.threads)
    run = Run(shape, implementation)
    check(run)
    measure(
        benchmark,
        case,
        run,
        None if implementation == LSTM else Run(shape, LSTM),
        synchronize=synchronize(torch.device(shape.device)),
        budget=FULL_BUDGET if options.full else BUDGET,
        rounds=ROUNDS,
    )
