"""The tables, bars and plot of a run on a GPU, from made-up results; and the clockwork that times by turns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from samples import MACHINE
from srn_benchmarks import gpu_timing
from srn_benchmarks.gpu_tables import (
    BACKWARD,
    FORWARD,
    GPU_CELL,
    GPU_PACKED,
    GPU_STEP,
    GPU_SWEEP,
    LONG,
    LONG_PRODUCTS,
    SHORT_PRODUCTS,
    TRAINING,
    bars,
    per_step,
    recurrence,
)
from srn_benchmarks.gpu_timing import interleaved
from srn_benchmarks.precision import tf32
from srn_benchmarks.report import write
from srn_benchmarks.results import TIMED, Case, Results
from srn_benchmarks.tables import BATCHED, LATE, LSTM, TRUNK, sections
from srn_benchmarks.text import NOTHING

SETTING = {"device": "cuda", "precision": "bfloat16", "threads": 2}
CUDA, TRITON = "SRN cuda", "SRN triton"


def labels(name: str, kind: str = FORWARD, batch: int = 32, hidden: int = 300) -> dict[str, str | int]:
    sizes = {"pass": kind, "batch": batch, "steps": 128, "input_size": 768, "hidden_size": hidden}
    return {"implementation": name, **SETTING, **sizes}


def cell(name: str, seconds: float, table: str = GPU_CELL, **sizes: object) -> Case:
    """128 steps beside nn.LSTM's two milliseconds."""
    work, baseline = {"steps": 128}, [] if name == LSTM else [0.002]
    return Case(table, labels(name, **sizes), work, work, TIMED, [seconds], baseline)


def step(name: str, kind: str, whole: float, products: float) -> Case:
    """Microseconds a step; the first 128 steps take a millisecond longer than that, for launches."""
    short, long = 1e-3 + 128e-6 * whole, 1e-3 + 256e-6 * whole
    beside = {LONG: [long], SHORT_PRODUCTS: [128e-6 * products], LONG_PRODUCTS: [256e-6 * products]}
    return Case(GPU_STEP, labels(name, kind), {"steps": 128}, {"steps": 128}, TIMED, [short], beside=beside)


def packed(name: str, seconds: float) -> Case:
    work, baseline = {"tokens": 1000}, [] if name == LSTM else [0.01]
    return Case(GPU_PACKED, labels(name), work, work, TIMED, [seconds], baseline)


def fused(name: str, seconds: float, late: float) -> Case:
    own = {"implementation": name, **SETTING, "precision": "bfloat16 (autocast), SRN cuda", "backend": "cuda"}
    work, baseline = {"sentences": 551, "passes": 551}, [] if name == LATE else [late]
    return Case("fusion", own, work, work, TIMED, [seconds], baseline)


def on_a_gpu() -> Results:
    cases = [
        cell(LSTM, 0.002),
        cell(CUDA, 0.001),
        cell(LSTM, 0.006, kind=TRAINING),
        cell(CUDA, 0.003, kind=TRAINING),
        step(LSTM, FORWARD, 8.0, 0.1),
        step(CUDA, FORWARD, 1.5, 0.25),
        step(CUDA, BACKWARD, 4.0, 1.5),
        packed(LSTM, 0.01),
        packed(CUDA, 0.004),
        fused(LATE, 0.02, 0.02),
        fused(TRUNK, 0.019, 0.02),
        fused(BATCHED, 0.07, 0.02),
        *(cell(LSTM, 0.002, GPU_SWEEP, hidden=hidden) for hidden in (64, 300)),
        *(cell(CUDA, 0.001, GPU_SWEEP, hidden=hidden) for hidden in (64, 300)),
        cell(CUDA, 0.001, GPU_SWEEP, batch=1),
    ]
    cases[3].baseline_seconds = [0.006]
    return Results(MACHINE, {GPU_CELL: ["a note"]}, cases)


def found(results: Results) -> dict[tuple[str, str, str], list[str]]:
    """The bars' texts: bound, value, verdict."""
    made = bars(results, LATE, TRUNK, BATCHED)
    return {(bar.what, bar.precision, bar.who): bar.texts()[3:] for bar in made}


def test_a_step_is_a_slope_less_that_of_its_products():
    case = step(CUDA, FORWARD, 1.5, 0.25)
    assert per_step(case) == (pytest.approx(1.5e-6), pytest.approx(0.25e-6))
    assert recurrence(case) == pytest.approx(1.25e-6)
    case.status = "failed"
    assert per_step(case) is recurrence(case) is None


def test_bars_say_what_was_reached():
    rows = found(on_a_gpu())
    assert rows["forward: time over nn.LSTM", "bfloat16", CUDA] == ["at most 1", "0.500", "yes"]
    assert rows["forward+backward: time over nn.LSTM", "bfloat16", CUDA] == ["at most 1", "0.500", "yes"]
    assert rows["forward: time over nn.LSTM", "tf32", CUDA] == ["at most 1", NOTHING, "not measured"]
    assert rows["forward: recurrence, µs a step", "bfloat16", CUDA] == ["at most 1.5", "1.25", "yes"]
    assert rows["backward: recurrence, µs a step", "bfloat16", CUDA] == ["at most 2", "2.50", "no"]
    assert rows["packed sentences: time over nn.LSTM", "bfloat16", CUDA] == ["at most 0.5", "0.400", "yes"]
    assert rows["late fusion over the trunk alone", "bfloat16", CUDA] == ["at least 0.9", "0.950", "yes"]
    assert rows["late fusion, sentences/s", "bfloat16", CUDA] == ["at least 30000", "27550", "no"]
    assert rows["late fusion over early, batched", "bfloat16", CUDA] == ["at most 4.3", "3.50", "yes"]
    assert {who for _, _, who in rows} == {CUDA}


def test_a_backend_that_failed_has_reached_nothing():
    results = on_a_gpu()
    results.cases.append(cell(TRITON, 0.001))
    results.cases[-1].status = "failed"
    rows = found(results)
    assert rows["forward: time over nn.LSTM", "bfloat16", TRITON] == ["at most 1", NOTHING, "not measured"]
    assert {rows[key][2] for key in rows if key[2] == TRITON} == {"not measured"}


def test_without_nn_lstm_there_is_no_ratio():
    results = on_a_gpu()
    results.cases[0].status = "failed"
    assert found(results)["forward: time over nn.LSTM", "bfloat16", CUDA][2] == "not measured"


def test_bars_of_a_run_that_measured_no_backend_are_there_and_empty():
    rows = found(Results(MACHINE, cases=[cell(LSTM, 0.002)]))
    assert {who for _, _, who in rows} == {NOTHING} and {texts[2] for texts in rows.values()} == {"not measured"}


def test_tables_of_a_gpu():
    by_kind = {section.kind: section for section in sections(on_a_gpu())}
    assert next(iter(by_kind)) == "bars" and by_kind[GPU_CELL].notes == ["a note"]
    table = by_kind[GPU_CELL].tables[0]
    row = next(
        dict(zip(table.headers, cells, strict=True)) for cells in table.rows if (cells[0], cells[4]) == (FORWARD, CUDA)
    )
    assert (row["ms"], row["µs/step"], row["time over nn.LSTM"], row["H"]) == ("1.00", "7.81", "0.50x", "300")
    steps = by_kind[GPU_STEP].tables[0]
    assert steps.rows[1] == [FORWARD, "32", CUDA, "1.50", "0.250", "1.25"]
    sentences = by_kind[GPU_PACKED].tables[0]
    assert sentences.rows[1] == [CUDA, "4.00", NOTHING, "4.00", "0.40x"]
    sizes = by_kind[GPU_SWEEP].tables[0]
    assert [row[-1] for row in sizes.rows if row[4] == CUDA] == ["0.50x", "0.50x", NOTHING]  # no nn.LSTM at B 1


def test_a_run_without_a_gpu_has_no_bars():
    assert sections(Results(MACHINE, cases=[fused(LATE, 0.02, 0.02)]))[0].kind == "fusion"


def test_files_and_plot_of_a_gpu(tmp_path: Path):
    written = write(on_a_gpu(), tmp_path)
    assert [path.name for path in written] == ["results.json", "report.md", "fusion.svg", "gpu_sweep.svg"]
    assert Results.read(written[0]) == on_a_gpu()
    text = written[1].read_text()
    assert text.startswith("## On a GPU: what was to be reached") and "](gpu_sweep.svg)" in text
    plot = written[3].read_text()
    write(on_a_gpu(), tmp_path)
    assert plot.startswith("<?xml") and written[3].read_text() == plot


# -- timing by turns ---------------------------------------------------------------------------------------------------


class Clock:
    """A clock that knows what each call takes, and writes down what was run."""

    def __init__(self, **seconds: float) -> None:
        self.ran: list[tuple[str, int]] = []
        self.calls = {name: (lambda name=name: self.ran.append((name, 0)) or name) for name in seconds}
        self.seconds = seconds

    def __call__(self, call, times: int) -> float:
        name = call()
        self.ran[-1] = (name, times)
        return self.seconds[name]


def test_every_round_has_a_turn_of_each():
    clock, turns = Clock(first=1e-3, second=1e-4), []
    found = interleaved(clock.calls, clock, budget=0.0, rounds=(3, 9), turn=turns.append)
    assert found == {"first": [1e-3] * 3, "second": [1e-4] * 3}
    assert clock.ran[:4] == [("first", 1), ("first", 1), ("second", 1), ("second", 1)]  # warming up
    assert clock.ran[4:] == [("first", 0), ("first", 5), ("second", 0), ("second", 50)] * 3
    assert turns == ["first", "second"] * 4


def test_slow_calls_are_timed_once_and_those_in_few_rounds_stop():
    clock = Clock(quick=1e-3, slow=0.5, slower=gpu_timing.COLD)
    found = interleaved(clock.calls, clock, budget=0.0, rounds=(3, 9), few={"slow": 2})
    assert {name: len(seconds) for name, seconds in found.items()} == {"quick": 3, "slow": 2, "slower": 3}
    assert [times for name, times in clock.ran if name == "slow"] == [1, 1, 1, 1]
    assert [times for name, times in clock.ran if name == "slower"] == [1, 1, 1, 1]  # warmed up once


def test_rounds_are_as_many_as_the_budget_holds():
    clock = Clock(only=0.1)
    assert len(interleaved(clock.calls, clock, budget=0.75, rounds=(2, 60))["only"]) == 7


def test_tf32_is_allowed_and_forbidden_and_put_back():
    flags = torch.backends.cuda.matmul, torch.backends.cudnn.rnn
    before = [flag.fp32_precision for flag in flags]
    for allowed in (True, False):
        with tf32(allowed):
            assert [flag.fp32_precision for flag in flags] == ["tf32" if allowed else "ieee"] * 2
    assert [flag.fp32_precision for flag in flags] == before
