"""A small run, made up: numbers that are easy to follow by hand."""

from __future__ import annotations

from srn_benchmarks.results import TIMED, Case, Results
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
