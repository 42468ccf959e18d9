"""Prediction: sentences in, the same sentences with entities and relations out, in batches of similar length."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Annotated, Any

import torch
from torch import profiler
from transformers import PreTrainedTokenizerBase

from .data import Corpus, Entity, Sentence
from .model import ExtractionModel
from .model.findings import Found
from .tensors import Example, collate
from .tokenization import WordTokenizer
from .windows import merged

logger = logging.getLogger(__name__)


class Predictor:
    """Finds entities and relations with a model (in eval mode, on its own device).

    Sentences are grouped by length, and the answer does not depend on how they are batched.
    """

    def __init__(
        self,
        model: ExtractionModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: Annotated[int, "Sentences a batch."] = 32,
        object_batch_size: Annotated[int | None, "Subjects a pass of the object turn; None: all of a batch."] = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """``dtype``: that of the products, by autocast; None: that of the weights."""
        if batch_size < 1:
            raise ValueError(f"batch_size: expected a number above 0, found {batch_size}")
        self.model = model
        self.tokenizer = WordTokenizer(tokenizer, model.config)
        self.batch_size = batch_size
        self.object_batch_size = object_batch_size
        self.dtype = dtype

    def __call__(self, sentences: Corpus | Iterable[Sentence]) -> list[Sentence]:
        """The sentences, in their order, with what was found replacing what they held."""
        sentences = list(sentences.sentences() if isinstance(sentences, Corpus) else sentences)
        with profiler.record_function("cascade.tokenize"):
            examples = self.tokenizer(sentences)
        examples.report()
        # around all batches: it rounds a weight once, where it is first used
        with torch.autocast(self.model.device.type, self.dtype) if self.dtype else nullcontext():
            found = self._found(examples.windows)
        return merged(sentences, examples.windows, found)

    def _found(self, windows: Sequence[Example]) -> list[Found]:
        """What is in each of all windows, in batches of similar length."""
        by_length = sorted(windows, key=lambda window: len(window["input_ids"]))
        found: list[Found] = [((), ())] * len(windows)
        unmarked = 0
        for first in range(0, len(by_length), self.batch_size):
            batched = by_length[first : first + self.batch_size]
            batch = {name: tensor.to(self.model.device) for name, tensor in collate(batched).items()}
            extraction = self.model.extract(batch, object_batch_size=self.object_batch_size)
            unmarked += extraction.unmarked
            for window, result in zip(batched, extraction.found(len(batched), self.model.labels), strict=True):
                found[window["example_id"]] = result
        if unmarked:
            logger.warning("%d entities were left unmarked, for want of positions in the trunk", unmarked)
        return found


def text_record(text: str, sentences: Sequence[Sentence]) -> dict[str, Any]:
    """What was found in sentences of ``text`` (with their ``offsets``), by characters: JSON's types, ends exclusive.

    ``{"text", "entities": [{"start", "end", "text", "type"}], "relations": [{"subject", "object", "type"}]}``, where
    subject and object look like entities; their type is None if the span is not an entity.
    """

    def span(sentence: Sentence, entity: Entity) -> dict[str, Any]:
        start, end = sentence.offsets[entity.start][0], sentence.offsets[entity.end][1]
        return {"start": start, "end": end, "text": text[start:end], "type": entity.label or None}

    return {
        "text": text,
        "entities": [span(sentence, entity) for sentence in sentences for entity in sentence.entities],
        "relations": [
            {
                "subject": span(sentence, relation.subject),
                "object": span(sentence, relation.object),
                "type": relation.label,
            }
            for sentence in sentences
            for relation in sentence.relations
        ],
    }
