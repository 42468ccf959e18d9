"""A small run, made up: numbers that are easy to follow by hand."""

from __future__ import annotations

from srn_benchmarks.names import (
    BACKWARD,
    BATCHED,
    CEILING,
    FORWARD,
    GPU_CELL,
    GPU_PACKED,
    GPU_STEP,
    GPU_SWEEP,
    LATE,
    LONG,
    LONG_PRODUCTS,
    LSTM,
    LSTM_CELL,
    ONE_BY_ONE,
    SHORT_PRODUCTS,
    SWEEP,
    TRAINING,
    TRUNK,
    WEIGHTS,
)
from srn_benchmarks.results import FAILED, MEASURED, TIMED, Case, Results

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


def over_sizes() -> Results:
    """The sweep: nn.LSTM has 100 GFLOP/s, the ceiling is 400; the weights of H 300 alone take long to read."""

    def size(name: str, hidden: int, seconds: float, reading: float = 0.0, status: str = TIMED) -> Case:
        sizes = {"pass": FORWARD, "batch": 1, "steps": 16, "hidden_size": hidden}
        flops, baseline = (10**9, []) if name == LSTM else (3 * 10**9, [0.01])
        case = Case(SWEEP, {"implementation": name} | SETTING | sizes, {"flops": flops}, {"flops": 10**9}, status)
        case.seconds, case.baseline_seconds = [seconds], baseline
        if name != LSTM:
            case.beside, case.beside_work = {CEILING: [0.01]}, {CEILING: {"flops": 4 * 10**9}}
            case.least_seconds = {WEIGHTS: reading}
        return case

    cases = [
        *(size(LSTM, hidden, 0.01) for hidden in (64, 300, 512, 1024)),
        size("SRN cpu", 64, 0.02),
        size("SRN cpu", 300, 0.06, reading=0.05),
        size("SRN cpu", 512, 0.06, reading=0.01),
        size("SRN cpu", 1024, 0.06, status=FAILED),
    ]
    cases.append(size("SRN cpu", 64, 0.02))
    cases[-1].labels["steps"] = 1
    return Results(MACHINE, {SWEEP: ["D 768"]}, cases)


# -- a run on a GPU --------------------------------------------------------------------------------------------------

GPU_SETTING = {"device": "cuda", "precision": "bfloat16", "threads": 2}
CUDA, TRITON = "SRN cuda", "SRN triton"


def gpu_labels(name: str, kind: str = FORWARD, batch: int = 32, hidden: int = 300) -> dict[str, str | int]:
    sizes = {"pass": kind, "batch": batch, "steps": 128, "input_size": 768, "hidden_size": hidden}
    return {"implementation": name, **GPU_SETTING, **sizes}


def gpu_cell(name: str, seconds: float, table: str = GPU_CELL, **sizes: object) -> Case:
    """128 steps; nn.LSTM takes two milliseconds."""
    work, baseline = {"steps": 128}, [] if name == LSTM else [0.002]
    return Case(table, gpu_labels(name, **sizes), work, work, TIMED, [seconds], baseline)


def step(name: str, kind: str, whole: float, products: float) -> Case:
    """Takes microseconds per step; the first 128 steps take a millisecond more, for launches."""
    short, long = 1e-3 + 128e-6 * whole, 1e-3 + 256e-6 * whole
    beside = {LONG: [long], SHORT_PRODUCTS: [128e-6 * products], LONG_PRODUCTS: [256e-6 * products]}
    return Case(GPU_STEP, gpu_labels(name, kind), {"steps": 128}, {"steps": 128}, TIMED, [short], beside=beside)


def packed(name: str, seconds: float) -> Case:
    work, baseline = {"tokens": 1000}, [] if name == LSTM else [0.01]
    return Case(GPU_PACKED, gpu_labels(name), work, work, TIMED, [seconds], baseline)


def fused(name: str, seconds: float, late: float) -> Case:
    labels = {"implementation": name, **GPU_SETTING, "precision": "bfloat16 (autocast), SRN cuda", "backend": "cuda"}
    work, baseline = {"sentences": 551, "passes": 551}, [] if name == LATE else [late]
    return Case("fusion", labels, work, work, TIMED, [seconds], baseline)


def on_a_gpu() -> Results:
    cases = [
        gpu_cell(LSTM, 0.002),
        gpu_cell(CUDA, 0.001),
        gpu_cell(LSTM, 0.006, kind=TRAINING),
        gpu_cell(CUDA, 0.003, kind=TRAINING),
        step(LSTM, FORWARD, 8.0, 0.1),
        step(CUDA, FORWARD, 1.5, 0.25),
        step(CUDA, BACKWARD, 4.0, 1.5),
        packed(LSTM, 0.01),
        packed(CUDA, 0.004),
        fused(LATE, 0.02, 0.02),
        fused(TRUNK, 0.019, 0.02),
        fused(BATCHED, 0.07, 0.02),
        *(gpu_cell(LSTM, 0.002, GPU_SWEEP, hidden=hidden) for hidden in (64, 300)),
        *(gpu_cell(CUDA, 0.001, GPU_SWEEP, hidden=hidden) for hidden in (64, 300)),
        gpu_cell(CUDA, 0.001, GPU_SWEEP, batch=1),
    ]
    cases[3].baseline_seconds = [0.006]
    return Results(MACHINE, {GPU_CELL: ["a note"]}, cases)
