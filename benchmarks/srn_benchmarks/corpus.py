"""The corpus that is timed, or a part of it: SciERC test if it is there, else a generated one of its shape."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cascade.data import LabelSet, Sentence, read_corpus, synthetic_corpus

SCIERC = "SciERC test"
VARIABLE = "SCIERC_DIR"
"""Environment variable with the folder that holds ``test.json``."""

SEED = 0


@dataclass(frozen=True)
class SpeedCorpus:
    """``sentences`` to time, in file order; ``every`` sentence they were taken from, and the ``labels`` of these."""

    name: str
    sentences: Sequence[Sentence]
    every: Sequence[Sentence]
    labels: LabelSet

    def describe(self) -> str:
        words = sum(len(sentence.words) for sentence in self.sentences)
        part = f"all {len(self.every)} sentences"
        if len(self.sentences) < len(self.every):
            part = f"{len(self.sentences)} of {len(self.every)} sentences, drawn with seed {SEED}"
        expected = expected_passes(self.sentences)
        return (
            f"{self.name}: {part}, {words / len(self.sentences):.1f} words a sentence; "
            f"encoder passes expected: {expected['early']} early, {expected['late']} otherwise"
        )


def load(size: int | None) -> SpeedCorpus:
    """``size`` sentences, or all.

    Raises:
        DataError: SCIERC_DIR is set and there is no such corpus.
    """
    folder = os.environ.get(VARIABLE)
    if folder:
        name, corpus = SCIERC, read_corpus(Path(folder) / "test.json")
    else:
        name, corpus = (
            f"generated corpus of the shape of SciERC test ({VARIABLE} is not set)",
            synthetic_corpus(seed=SEED),
        )
    every = tuple(sentence for sentence in corpus.sentences() if sentence.words)
    if size is None or size >= len(every):
        return SpeedCorpus(name, every, every, corpus.labels())
    chosen = sorted(Random(SEED).sample(range(len(every)), size))
    return SpeedCorpus(name, [every[index] for index in chosen], every, corpus.labels())


def expected_passes(sentences: Sequence[Sentence]) -> dict[str, int]:
    """Sequences through the trunk when gold spans drive the turns, by fusion.

    Early fusion reads every sentence for its entities, those with an entity for subjects, and once for each subject; the
    pieces that packed fusion reads beside a sentence are not counted.
    """
    subjects = sum(len({relation.subject.span for relation in sentence.relations}) for sentence in sentences)
    return {
        "early": len(sentences) + sum(bool(sentence.entities) for sentence in sentences) + subjects,
        "late": len(sentences),
        "packed": len(sentences),
    }
