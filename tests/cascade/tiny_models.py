"""Small models over a tiny random trunk, and sentences to run them on."""

from __future__ import annotations

import tempfile
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import profiler
from transformers import PreTrainedTokenizerBase

from cascade import ExtractionModel, create_model
from cascade.data import Document, Entity, LabelSet, Relation, Sentence, sample_corpus
from cascade.tensors import collate
from cascade.tiny import make_tiny_trunk
from cascade.tokenization import WordTokenizer

_FOLDER = tempfile.TemporaryDirectory()

SAMPLE = sample_corpus("train")
LABELS = SAMPLE.labels()


@cache
def tiny_trunk(positions: int = 128, reserved: int = 64) -> Path:
    """A folder with a trunk and a tokenizer of the sample corpus's words."""
    folder = Path(_FOLDER.name) / f"{positions}-{reserved}"
    words = [word for sentence in SAMPLE.sentences() for word in sentence.words]
    make_tiny_trunk(words, folder, hidden_size=32, positions=positions, pieces=400, reserved=reserved)
    return folder


def tiny_model(
    labels: LabelSet = LABELS, positions: int = 128, reserved: int = 64, **options: Any
) -> tuple[ExtractionModel, PreTrainedTokenizerBase]:
    """An untrained model in eval mode, small unless ``options`` say otherwise."""
    options = {"hidden_size": 8, "dropout": 0.0, **options}
    if options.get("architecture") != "table":
        options = {"tag_size": 4, **options}
    model, tokenizer = create_model(tiny_trunk(positions, reserved), labels, **options)
    return model.eval(), tokenizer


def batch_of(model: ExtractionModel, tokenizer: PreTrainedTokenizerBase, sentences: list[Sentence]) -> dict:
    """The labelled batch of ``sentences``."""
    return collate(WordTokenizer(tokenizer, model.config)(sentences, labelled=True).windows)


def stages(profile: profiler.profile) -> dict[str, float]:
    """Microseconds of each stage that the cascade labels for the profiler."""
    events = {event.key: event.cpu_time_total for event in profile.key_averages()}
    return {name.removeprefix("cascade."): time for name, time in events.items() if name.startswith("cascade.")}


def eager(model: ExtractionModel) -> ExtractionModel:
    """The untrained model, its heads drawn so that about half of all starts, ends and matches fire.

    With the encoder ``none`` they differ from word to word; after an untrained recurrence all words look alike.
    """
    for name, parameter in model.named_parameters():
        if name.startswith(("fusion", "heads", "entity_table", "relation_table")):
            parameter.data.normal_(std=0.0 if name.endswith("bias") else 1.0)
            if parameter.dim() == 2:  # what all words share must not decide alone
                parameter.data -= parameter.data.mean(1, keepdim=True)
    return model


def nested_sentence() -> Sentence:
    """Nested entities, one of them the subject of one relation and the object of another."""
    outer, inner, person = Entity(1, 3, "Organization"), Entity(3, 3, "Place"), Entity(5, 6, "Person")
    return Sentence(
        ("The", "University", "of", "Tartu", "employs", "Lotte", "Brandt", "."),
        (outer, inner, person),
        (Relation(outer, inner, "LOCATED-IN"), Relation(person, outer, "WORKS-FOR")),
    )


def long_document() -> Document:
    """One sentence of 30 words, an entity at every third of them, each related to the next."""
    entities = tuple(Entity(n, n + 1, "Place") for n in range(0, 29, 3))
    relations = tuple(Relation(a, b, "PART-OF") for a, b in pairwise(entities))
    return Document("long", (Sentence(("Tartu",) * 30, entities, relations),))
