"""Late fusion end to end on a GPU, over the trunk alone and over early fusion, with each backend in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch

from cascade import Extraction

from .corpus import load
from .fusion import BATCH, SCIBERT, Setting, Workload
from .gpu_queue import Bench
from .gpu_timing import interleaved
from .precision import tf32
from .results import TIMED, Case
from .stage_timer import StageTimer
from .tables import FUSION, LATE


@lru_cache(maxsize=1)
def workload(setting: Setting) -> Workload:
    """On the whole corpus; one serves the items of every backend."""
    return Workload(setting, load(None), SCIBERT)


def measure_fusion(
    bench: Bench,
    work: Workload,
    backend: str,
    procedures: Sequence[str],
    *,
    rounds: tuple[int, int],
    budget: float,
) -> None:
    """The procedures with SRNs on ``backend``, checked, and timed by the host's clock in the same rounds as late fusion.

    The device is waited for at the end of each, not between its stages, which so overlap as they do in use.
    """
    bench.results.note(FUSION, f"{work.setting.device}: {work.corpus.describe()}; batches of {BATCH} in file order")
    sentences = len(work.corpus.sentences)
    calls = {LATE: _call(work, LATE)} | {name: _call(work, name) for name in procedures}
    cases: dict[str, Case] = {}
    bench.turn(backend)
    with tf32(False), work.on(backend):
        for name in procedures:
            own, late = ({"sentences": sentences, "passes": work.expected_passes(one)} for one in (name, LATE))
            cases[name] = Case(FUSION, _labels(work.setting, backend, name), own, late)
            bench.results.cases.append(cases[name])
            ran = work.check_agreement(name)
            assert ran in ("", backend), f"{name}: asked for {backend}, ran {ran}"
            work.check(name, calls[name]())
        seconds = interleaved(calls, bench.wall, budget=budget, rounds=rounds)
    for name, case in cases.items():
        case.seconds, case.status = seconds[name], TIMED
        if name != LATE:
            case.baseline_seconds = seconds[LATE]


def _call(work: Workload, procedure: str) -> Callable[[], list[Extraction]]:
    return lambda: work.run(procedure, StageTimer())


def _labels(setting: Setting, backend: str, procedure: str) -> dict[str, str | int]:
    return {
        "implementation": procedure,
        "device": setting.device,
        "precision": f"{setting.precision}, SRN {backend}",
        "threads": torch.get_num_threads(),
        "batch": BATCH,
        "backend": backend,
    }
