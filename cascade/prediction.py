"""Prediction: sentences in, the same sentences with entities and relations out, in batches of similar length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from numbers import Integral
from typing import Annotated, Any

import torch
from torch import profiler
from transformers import PreTrainedTokenizerBase

from .data import Corpus, Document, Sentence
from .model import ConfigError, ExtractionModel
from .model.findings import Found
from .tensors import Batch, Example, collate
from .tokenization import WordTokenizer
from .windows import merged, report

LARGEST = 2**31
BATCHES_AHEAD = 32  # read before the first is predicted: sentences of similar length are sought among these


class Predictor:
    """Finds entities and relations with a model, on its own device and without dropout.

    Sentences are grouped by length, and what is found does not depend on how they are batched; scores do by a rounding.
    """

    def __init__(
        self,
        model: ExtractionModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: Annotated[int, "Sentences a batch."] = 32,
        object_batch_size: Annotated[int | None, "Subjects a pass of the object turn; None: up to 256."] = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """``dtype``: that of the products, by autocast; None: that of the weights.

        Raises ConfigError: a size that is none.
        """
        for name, size in (("batch_size", batch_size), ("object_batch_size", object_batch_size)):
            if size is not None and not (isinstance(size, Integral) and 1 <= size < LARGEST):
                raise ConfigError(f"{name}: expected a number from 1 on and below {LARGEST}, found {size!r}")
        self.model = model
        self.tokenizer = WordTokenizer(tokenizer, model.config)
        self.batch_size = batch_size
        self.object_batch_size = object_batch_size
        self.dtype = dtype

    def __call__(self, sentences: Corpus | Iterable[Sentence]) -> list[Sentence]:
        """The sentences, in their order, with what was found replacing what they held.

        Only those of a corpus have a context, if the model reads one; others are read with what they say is around them.
        """
        found, lost = self.found(sentences)
        report(lost)
        return found

    def found(self, sentences: Corpus | Iterable[Sentence]) -> tuple[list[Sentence], Counter[str]]:
        """As a call, and what was lost, by reason, which a call logs."""
        lost: Counter[str] = Counter()
        return list(self._predicted(self._given(sentences), lost)), lost

    def documents(self, documents: Iterable[Document]) -> Iterator[tuple[Document, list[Sentence]]]:
        """Each of the documents, in their order, with its sentences as a call gives them.

        Lazy: it holds ``BATCHES_AHEAD`` batches at a time, and the rest of the document in which they end.
        """
        lost: Counter[str] = Counter()
        for chunk in chunks(documents, self.batch_size * BATCHES_AHEAD):
            context = self.model.config.context
            found = self._predicted((one for document in chunk for one in document.in_context(context)), lost)
            for document in chunk:
                yield document, list(islice(found, len(document.sentences)))
        report(lost)

    def repeatedly(self, sentences: Corpus | Iterable[Sentence]) -> Callable[[], list[Sentence]]:
        """A function that predicts the same sentences each time, as a call does, with what the model's configuration then
        says. What does not depend on that, the first reading of every sentence, is computed once and kept, unless the
        model's are large (``keeps_readings``). What was lost is logged after the first time."""
        sentences = list(self._given(sentences))
        examples = self.tokenizer(sentences)
        kept = list(self._readings(examples.windows)) if self.model.keeps_readings else None
        unsaid = [examples.lost]

        def predict() -> list[Sentence]:
            lost: Counter[str] = Counter()
            readings = self._readings(examples.windows) if kept is None else kept
            found = self._found_in(sentences, examples.windows, readings, lost)
            if unsaid:
                report(unsaid.pop() + lost)
            return found

        return predict

    def _given(self, sentences: Corpus | Iterable[Sentence]) -> Iterable[Sentence]:
        return sentences.sentences(self.model.config.context) if isinstance(sentences, Corpus) else sentences

    def _predicted(self, sentences: Iterable[Sentence], lost: Counter[str]) -> Iterator[Sentence]:
        """Adds to ``lost`` what was lost, by reason."""
        sentences = iter(sentences)
        while chunk := list(islice(sentences, self.batch_size * BATCHES_AHEAD)):
            with profiler.record_function("cascade.tokenize"):
                examples = self.tokenizer(chunk)
            lost.update(examples.lost)
            yield from self._found_in(chunk, examples.windows, self._readings(examples.windows), lost)

    def _readings(self, windows: Sequence[Example]) -> Iterator[tuple[list[Example], Any]]:
        """Batches of windows of similar length, and what the model's ``read`` makes of each."""
        by_length = sorted(windows, key=lambda window: len(window["input_ids"]))
        for first in range(0, len(by_length), self.batch_size):
            batched = by_length[first : first + self.batch_size]
            batch = {name: tensor.to(self.model.device) for name, tensor in collate(batched).items()}
            yield batched, self.model.read(Batch.of(batch))

    def _found_in(
        self,
        sentences: Sequence[Sentence],
        windows: Sequence[Example],
        readings: Iterable[tuple[list[Example], Any]],
        lost: Counter[str],
    ) -> list[Sentence]:
        """The sentences with what is in their windows."""
        found: list[Found] = [((), ())] * len(windows)
        # around several batches: it rounds a weight once, where it is first used
        with torch.autocast(self.model.device.type, self.dtype) if self.dtype else nullcontext():
            for batched, reading in readings:
                extraction = self.model.find(reading, object_batch_size=self.object_batch_size)
                if extraction.unmarked:
                    lost["entities left unmarked, for want of positions in the trunk"] += extraction.unmarked
                for window, result in zip(batched, extraction.found(len(batched), self.model.labels), strict=True):
                    found[window["example_id"]] = result
        return merged(sentences, windows, found, self.model.config.overlaps)


def chunks(documents: Iterable[Document], sentences: int) -> Iterator[list[Document]]:
    """The documents, as many at a time as hold so many sentences."""
    chunk: list[Document] = []
    count = 0
    for document in documents:
        chunk.append(document)
        count += len(document.sentences)
        if count >= sentences:
            yield chunk
            chunk, count = [], 0
    if chunk:
        yield chunk
