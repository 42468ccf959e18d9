"""A saved model with all that it takes to use it: texts in, entities and relations out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from tqdm.auto import tqdm

from srn_kernels import native

from .creation import load_model
from .data import DataError, Document, document_from_words, split_text, text_record, words_record
from .data.text import ENGLISH
from .model import ConfigError, ExtractionModel
from .prediction import Predictor

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
Input = str | Sequence[str]
"""A text; or, among several inputs, the words of one sentence."""


class Cascade:
    """Finds entities and relations in texts, or in sentences of words::

        cascade = Cascade.from_pretrained("run")
        cascade("Lotte Brandt lives in Tartu.")
        cascade(["One text.", "Another."])
        cascade([["Words", "of", "a", "sentence", "."]])

    A text's record has character offsets (``cascade.data.text_record``), a sentence's counts words
    (``words_record``). Everything found has a score, a probability.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        dtype: str = "auto",
        batch_size: int = 32,
        object_batch_size: int | None = None,
        **options: Any,
    ) -> Cascade:
        """The model in ``folder``: a training's output folder, its model's, or a checkpoint.

        Args:
            device: such as ``cpu`` or ``cuda:1``; None: a GPU where there is one.
            dtype: precision of the products: ``float32``, ``bfloat16`` or ``float16``; ``auto``: that of the weights, or
                bfloat16 on a CPU that has such products.
            batch_size, object_batch_size: as of ``Predictor``.
            options: override fields of the configuration, as of ``load_model``.

        Raises:
            ConfigError: invalid options, a device that is not there, or another kind of model.
            DataError: a tokenizer that does not fit.
            OSError: no model there, or not all of one.
        """
        return cls(load_predictor(folder, device, dtype, options, batch_size, object_batch_size))

    def __call__(
        self, inputs: str | Iterable[Input], *, language: str | None = None, progress: bool = False
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """The record of a text (a string), or a list of those of several inputs: texts, or sentences, each a list of words. So
        a list of strings is of texts.

        ``language``, an ISO 639 code (None: English), says how texts are split. ``progress`` shows on the standard error
        how many are done. Raises DataError for a language that is no code and for half a surrogate pair, TypeError for an
        input of another kind.
        """
        if isinstance(inputs, str):
            [record] = self.stream([inputs], language=language)
            return record
        total = len(inputs) if isinstance(inputs, Sized) else None
        return list(tqdm(self.stream(inputs, language=language), total=total, disable=not progress))

    def stream(self, inputs: Iterable[Input], *, language: str | None = None) -> Iterator[dict[str, Any]]:
        """The record of each of any number of inputs, in their order, as a call gives them; about a thousand sentences are
        held."""

        if isinstance(inputs, str | Mapping):
            raise TypeError(f"inputs: expected texts, or sentences as lists of words, found {type(inputs).__name__}")

        def documents() -> Iterator[Document]:
            for place, given in enumerate(inputs):
                try:
                    yield _document(given, language or ENGLISH)
                except (DataError, TypeError) as error:
                    raise type(error)(f"inputs[{place}]: {error}") from error

        for document, sentences in self.predictor.documents(documents()):
            words_alone = any(sentence.offsets is None for sentence in document.sentences)
            yield words_record(sentences[0]) if words_alone else text_record(document.key, sentences)


def _document(given: Input, language: str) -> Document:
    """A text, which is its own key, or a sentence of words."""
    if isinstance(given, str):
        return Document(given, split_text(given, language))
    if not (isinstance(given, Sequence) and all(isinstance(word, str) for word in given)):
        kinds = sorted({type(word).__name__ for word in given}) if isinstance(given, Sequence) else []
        found = type(given).__name__ + (f" of {', '.join(kinds)}" if kinds else "")
        raise TypeError(f"expected a text or the words of a sentence, found {found}")
    return document_from_words([given], "")


def load_predictor(
    folder: str | os.PathLike[str],
    device: str | torch.device | None,
    dtype: str,
    options: dict[str, Any],
    batch_size: int = 32,
    object_batch_size: int | None = None,
) -> Predictor:
    """As ``Cascade.from_pretrained``."""
    if dtype not in PRECISIONS:
        raise ConfigError(f"dtype: expected one of {', '.join(PRECISIONS)}, found {dtype!r}")
    weights = torch.float32 if dtype == "float32" else "auto"
    model, tokenizer = load_model(folder, dtype=weights, **options)
    model = _on_device(model, None if device is None else str(device))
    sizes = {"batch_size": batch_size, "object_batch_size": object_batch_size}
    return Predictor(model, tokenizer, dtype=_products(dtype, model), **sizes)


def _products(dtype: str, model: ExtractionModel) -> torch.dtype | None:
    """The precision of products that ``dtype`` means for a model; None: that of its weights."""
    if dtype != "auto":
        return None if dtype == "float32" else getattr(torch, dtype)
    half = model.device.type == "cpu" and model.dtype == torch.float32 and native.multiplies_bfloat16()
    return torch.bfloat16 if half else None


def _on_device(model: ExtractionModel, device: str | None) -> ExtractionModel:
    if device is not None and device.startswith("meta"):
        raise ConfigError("device: expected one that computes, found meta")
    try:
        return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (RuntimeError, AssertionError) as error:  # what torch raises for a missing device
        raise ConfigError(f"device: {error}") from error
