"""A small run, made up: numbers that are easy to follow by hand."""

from __future__ import annotations

from srn_benchmarks.cpu_tables import LSTM_CELL
from srn_benchmarks.results import MEASURED, TIMED, Case, Results
from srn_benchmarks.tables import LATE, LSTM, ONE_BY_ONE

SETTING = {"device": "cpu", "precision": "float32", "threads": 2}

MACHINE = {
    "processor": "Sample",
    "cores": 2,
    "threads": 2,
    "isa": "avx2",
    "torch_isa": "AVX2",
    "gpus": [],
    "python": "3.11",
    "torch": "2.13",
    "srn_kernels": "0.1",
    "commit": "abc",
    "date": "2026-01-01T00:00:00+00:00",
}


def fusion(name: str, passes: int, seconds: float, late: float) -> Case:
    """32 sentences; half the time goes into encoding."""
    work = {"sentences": 32, "passes": passes}
    baseline = [] if name == LATE else [late]
    stages = {"tokenize": seconds / 4, "encode": seconds / 2, "decode": seconds / 4}
    return Case("fusion", {"implementation": name} | SETTING, work, work, TIMED, [seconds], baseline, stages)


def cell(name: str, flops: int, seconds: float, lstm: float) -> Case:
    """32 steps; nn.LSTM does 10^9 flops."""
    labels = {"implementation": name, "pass": "forward", "batch": 8, "steps": 32} | SETTING
    baseline = [] if name == LSTM else [lstm]
    work = {"flops": flops, "steps": 32}
    return Case("cell", labels, work, {"flops": 10**9, "steps": 32}, TIMED, [seconds], baseline)


def sample() -> Results:
    """Early is 8 times slower than late; the SRN does 3 times the flops of nn.LSTM in twice its time."""
    cases = [
        cell(LSTM, 10**9, 0.01, 0.01),
        cell("SRN cpu", 3 * 10**9, 0.02, 0.01),
        fusion(ONE_BY_ONE, 108, 8.0, 1.0),
        fusion(LATE, 32, 1.0, 1.0),
    ]
    return Results(MACHINE, {"fusion": ["batches of 32"], "cell": ["D 768"]}, cases)


def on_a_cpu() -> Results:
    """The tables of the cell on a CPU: a step of the SRN takes 4 times nn.LSTMCell's time for 3 times its flops."""

    def stream(name: str, flops: int, seconds: float) -> Case:
        baseline = [] if name == LSTM_CELL else [0.001]
        work, lstm = {"flops": flops, "steps": 10}, {"flops": 10**6, "steps": 10}
        return Case("streaming", {"implementation": name} | SETTING, work, lstm, TIMED, [seconds], baseline)

    def memory(name: str, **size: int) -> Case:
        return Case("memory", {"implementation": name} | SETTING, {}, status=MEASURED, bytes=size)

    packed = Case(
        "packed",
        {"implementation": "SRN cpu"} | SETTING,
        {"tokens": 1000, "padded": 1500},
        {"tokens": 100},
        TIMED,
        [0.05],
        [0.004],
    )
    cases = [
        stream(LSTM_CELL, 10**6, 0.001),
        stream("SRNCell cpu", 3 * 10**6, 0.004),
        packed,
        memory(LSTM, peak=10**8),
        memory("SRN cpu", peak=3 * 10**8, formula=2 * 10**8),
    ]
    return Results(MACHINE, {"packed": ["in file order"]}, cases)
