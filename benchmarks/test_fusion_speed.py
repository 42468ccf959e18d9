"""Early versus late fusion in sentences a second (Table 4 of arXiv 2202.07281), over a trunk of SciBERT's shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from srn_benchmarks import corpus
from srn_benchmarks.fusion import BATCH, PROCEDURES, SCIBERT, TINY, Setting, Workload, settings
from srn_benchmarks.options import SMOKE_NOTE, Options, synchronize
from srn_benchmarks.results import Case, Results
from srn_benchmarks.stage_timer import StageTimer
from srn_benchmarks.tables import FUSION, LATE, ONE_BY_ONE
from srn_benchmarks.timing import measure

from cascade import Extraction

PART = 32
"""Sentences that two cores get through in time; a GPU takes all."""

SMOKE_PART = 40
"""More than one batch."""

BUDGET, ROUNDS = 30.0, (3, 20)

SCIERC_PASSES = {ONE_BY_ONE: 1862, LATE: 551}
"""On the whole of SciERC test, counted from its gold spans by hand."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize(
        ("setting", "procedure"),
        [
            pytest.param(
                setting, procedure, id=f"{setting}-{procedure}", marks=pytest.mark.benchmark(group=f"fusion {setting}")
            )
            for setting in settings(Options.of(metafunc.config).devices)
            for procedure in PROCEDURES
        ],
    )


@lru_cache(maxsize=1)
def workload(setting: Setting, options: Options) -> Workload:
    part = options.sentences or (PART if setting.device == "cpu" and not options.full else None)
    if options.smoke:
        return Workload(setting, corpus.load(SMOKE_PART), TINY)
    return Workload(setting, corpus.load(part), SCIBERT)


def notes(results: Results, work: Workload, options: Options) -> None:
    """What the reader of the table must know."""
    config = work.models["late"].trunk.config
    if options.smoke:
        results.note(FUSION, SMOKE_NOTE)
    results.note(FUSION, f"{work.setting.device}: {work.corpus.describe()}")
    results.note(
        FUSION,
        f"trunk: BERT, {config.num_hidden_layers} layers, {config.hidden_size} wide, {config.vocab_size} pieces, random "
        f"weights; {work.pieces_per_word():.2f} pieces a word",
    )
    results.note(FUSION, f"batches of {BATCH} in file order, padded to their longest, no bucketing by length")
    results.note(
        FUSION, "gold spans drive the subject and object turns; every turn is decoded from its logits all the same"
    )
    results.note(FUSION, "heads set for as many starts and ends to fire as gold has; encoder: SRN, three tasks")
    results.note(
        FUSION,
        "tokenization and decoding are included; tokenize, encode (trunk, SRN, fusion) and decode: ms a sentence",
    )
    results.note(
        FUSION, "ratio: how many times faster late is; median over rounds, in each of which late ran just before"
    )
    results.note(FUSION, "the paper: sentences/s on SciERC test, an RTX 2080 Ti, batch size 32")
    results.note(
        FUSION, "checked first: passes counted, spans inside their sentences, a batch's logits those of single reads"
    )
    if len(work.corpus.sentences) < len(work.corpus.every):
        results.note(FUSION, f"left out on {work.setting.device}, and done with --full: the rest of the corpus")


def test_fusion(
    benchmark: BenchmarkFixture,
    open_case: Callable[..., Case],
    options: Options,
    results: Results,
    setting: Setting,
    procedure: str,
) -> None:
    work = workload(setting, options)
    notes(results, work, options)
    sentences = len(work.corpus.sentences)
    labels = {
        "implementation": procedure,
        "device": setting.device,
        "precision": setting.precision,
        "threads": options.threads,
        "batch": BATCH,
    }
    done = {"sentences": sentences, "passes": work.expected_passes(procedure)}
    case = open_case(FUSION, labels, done, {"sentences": sentences, "passes": work.expected_passes(LATE)})
    if work.corpus.name == corpus.SCIERC and sentences == SCIERC_PASSES[LATE] and procedure in SCIERC_PASSES:
        assert work.expected_passes(procedure) == SCIERC_PASSES[procedure]
    backend = work.check_agreement(procedure)
    if backend:
        case.labels["backend"] = backend
        results.note(FUSION, f"SRN backend on {setting}: {backend}")

    timers: list[StageTimer] = []

    def run() -> list[Extraction]:
        timers.append(StageTimer(synchronize(torch.device(setting.device))))
        return work.run(procedure, timers[-1])

    measure(
        benchmark,
        case,
        run,
        None if procedure == LATE else lambda: work.run(LATE),
        check=lambda done: work.check(procedure, done),
        synchronize=synchronize(torch.device(setting.device)),
        budget=BUDGET,
        rounds=ROUNDS,
    )
    case.stages = mean_stages(timers[-len(case.seconds) :])


def mean_stages(timers: list[StageTimer]) -> dict[str, float]:
    """Seconds a round, by stage."""
    return {stage: sum(timer.seconds[stage] for timer in timers) / len(timers) for stage in timers[0].seconds}
