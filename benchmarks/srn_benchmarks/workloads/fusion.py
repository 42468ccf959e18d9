"""Early, late and packed fusion, Table 4 of arXiv 2202.07281: what is measured, how, and the notes under the table."""

from __future__ import annotations

from functools import lru_cache
from statistics import fmean

import torch

from cascade import Extraction
from srn_kernels import backends, native

from ..bench import Bench
from ..corpus import SCIERC, load
from ..names import BATCHED, FLOAT32, FUSION, LATE, ONE_BY_ONE, PACKED_FUSION, TRUNK
from ..options import Options
from ..timing import HOST, HOST_AND_DEVICE, Companion
from .procedures import BATCH, PROCEDURES, SCIBERT, TINY, Setting, Workload

PART = 32
"""Sentences that two cores get through in time; a GPU takes all."""

BUDGET, ROUNDS = 30.0, (3, 20)
GPU_BUDGET, GPU_ROUNDS, SLOW_ROUNDS = 6.0, (3, 15), (2, 2)
"""On a GPU one object pass at a time takes minutes."""

SCIERC_PASSES = {ONE_BY_ONE: 1862, LATE: 551}
"""On the whole of SciERC test, counted from its gold spans by hand."""


def settings(options: Options) -> list[Setting]:
    """float32 on a CPU, and bfloat16 if it has such products; on a GPU bfloat16 by each backend that is made for it and
    can run here."""
    dtypes = [torch.float32, *[torch.bfloat16] * native.multiplies_bfloat16()] if "cpu" in options.devices else []
    found = [Setting("cpu", dtype) for dtype in dtypes]
    if "cuda" in options.devices:
        names = [name for name, one in backends.BACKENDS.items() if one.needs_proof and one.unavailable() is None]
        names = [name for name in names if options.backends is None or name in options.backends]
        found += [Setting(options.gpu, torch.bfloat16, name) for name in names]
    return found


def procedures(setting: Setting) -> tuple[str, ...]:
    """On a GPU the most telling first."""
    return PROCEDURES if setting.backend == backends.AUTO else (LATE, TRUNK, PACKED_FUSION, BATCHED, ONE_BY_ONE)


@lru_cache(maxsize=1)
def workload(setting: Setting, options: Options) -> Workload:
    part = options.sentences or (PART if setting.device == "cpu" and not options.full else None)
    if options.tiny:
        return Workload(setting, load(options.few_sentences), TINY)
    return Workload(setting, load(part), SCIBERT)


def notes(work: Workload, options: Options) -> list[str]:
    """What the reader of the table must know."""
    config, device = work.models["late"].trunk.config, work.setting.device
    stages = "tokenize, encode (trunk, SRN, fusion) and decode: ms a sentence"
    if work.setting.backend != backends.AUTO:
        stages = "the host's clock around all batches: stages are not waited for one by one, and overlap as in use"
    found = [
        f"{device}: {work.corpus.describe()}",
        (
            f"trunk: BERT, {config.num_hidden_layers} layers, {config.hidden_size} wide, {config.vocab_size} pieces, random "
            f"weights; {work.pieces_per_word():.2f} pieces a word"
        ),
        f"batches of {BATCH} in file order, padded to their longest, no bucketing by length",
        "gold spans drive the subject and object turns; every turn is decoded from its logits all the same",
        "heads set to find as many spans as gold has, by their match; encoder: SRN, three tasks",
        f"tokenization and decoding are included; {stages}",
        "ratio: how many times faster late is; median over rounds, in each of which late ran just before",
        "the paper: sentences/s on SciERC test, an RTX 2080 Ti, batch size 32",
        "checked first: passes counted, spans inside their sentences, a batch's logits those of single reads",
    ]
    if device == "cpu" and work.setting.dtype != torch.float32:
        found.append("time over float32: over the same procedure's in float32, timed in the same rounds")
    elif device == "cpu" and not native.multiplies_bfloat16():
        found.append("not in the table: bfloat16 on cpu: the native kernels' instruction set has no products of it")
    if len(work.corpus.sentences) < len(work.corpus.every):
        found.append(f"left out on {device}, and done with --full: the rest of the corpus")
    return found


def measure(bench: Bench, setting: Setting, procedure: str) -> None:
    work, on_gpu = workload(setting, bench.options), setting.backend != backends.AUTO
    bench.note(FUSION, *notes(work, bench.options))
    sentences = len(work.corpus.sentences)
    labels = {
        "implementation": procedure,
        "device": setting.device,
        "precision": setting.precision,
        "threads": bench.options.threads,
        "batch": BATCH,
    } | ({"backend": setting.backend} if on_gpu else {})
    done, late = ({"sentences": sentences, "passes": work.expected_passes(name)} for name in (procedure, LATE))
    case = bench.open(FUSION, labels, done, late)
    beside = {}
    if not on_gpu and setting.dtype != torch.float32:
        beside[FLOAT32] = Companion(lambda: work.run(procedure, torch.float32), done)
    case.beside = {name: [] for name in beside}
    if work.corpus.name == SCIERC and sentences == SCIERC_PASSES[LATE] and procedure in SCIERC_PASSES:
        assert work.expected_passes(procedure) == SCIERC_PASSES[procedure]
    backend = work.check_agreement(procedure)
    if backend:
        case.labels["backend"] = backend
        bench.note(FUSION, f"SRN backend on {setting}: {backend}")

    stages: list[dict[str, float]] = []

    def run() -> list[Extraction]:
        found = work.run(procedure)
        stages.append(work.stages)
        return found

    bench.time(
        case,
        run,
        None if procedure == LATE else lambda: work.run(LATE),
        beside=beside,
        check=lambda done: work.check(procedure, done),
        clock=HOST_AND_DEVICE if setting.device == "cuda" else HOST,
        budget=GPU_BUDGET if on_gpu else BUDGET,
        rounds=(SLOW_ROUNDS if procedure == ONE_BY_ONE else GPU_ROUNDS) if on_gpu else ROUNDS,
    )
    if not on_gpu:  # where a stage may end before its work is done
        rounds = stages[-len(case.seconds) :]
        case.stages = {name: fmean(round[name] for round in rounds) for name in rounds[0]}
