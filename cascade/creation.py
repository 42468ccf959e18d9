"""New models from a pretrained trunk, saved models from a folder."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from .data import LabelSet, Sentence
from .files import replacing
from .loading import load_tokenizer, load_trunk, load_weights, loading
from .markers import reserve_markers
from .model import CascadeConfig, CascadeModel, ConfigError, ExtractionModel, TableConfig, TableModel
from .model.beside import check_beside
from .model.config import WITH_MARKERS
from .model.trunk import check_states, positions, vocabulary
from .spacing import WORDS
from .tokenization import WordTokenizer
from .vocabulary import check_vocabulary

logger = logging.getLogger(__name__)

FINAL_MODEL = "model"  # the folder of the finished model, in a training's output folder
ARCHITECTURES = {"cascade": (CascadeConfig, CascadeModel), "table": (TableConfig, TableModel)}


def create_model(
    trunk: str | os.PathLike[str], labels: LabelSet, *, architecture: str = "cascade", **options: Any
) -> tuple[ExtractionModel, PreTrainedTokenizerBase]:
    """A model over a pretrained trunk, its other weights random, and its tokenizer.

    Args:
        trunk: a Hugging Face encoder with its tokenizer: a folder, or a name on the Hub.
        architecture: ``cascade`` or ``table``.
        options: fields of ``CascadeConfig`` or ``TableConfig``.

    Raises:
        ConfigError: invalid options, or a trunk that cannot be one.
        DataError: its tokenizer cannot serve it.
        OSError: no trunk or no tokenizer there, or they cannot be loaded.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from cascade.data import sample_corpus
        >>> from cascade.tiny import make_tiny_trunk
        >>> corpus = sample_corpus()
        >>> with TemporaryDirectory() as folder:
        ...     make_tiny_trunk((word for sentence in corpus.sentences() for word in sentence.words), folder)
        ...     model, tokenizer = create_model(folder, corpus.labels(), fusion="early", hidden_size=64)
        >>> model.config.entity_types
        ['Organization', 'Person', 'Place', 'Product']
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"architecture: expected one of {', '.join(ARCHITECTURES)}, found {architecture!r}")
    config_class, model_class = ARCHITECTURES[architecture]
    unknown = set(options) - set(vars(config_class()))
    if unknown:
        raise ConfigError(f"options: the {architecture} architecture has no {', '.join(sorted(unknown))}")
    encoder = load_trunk(trunk)
    tokenizer = load_tokenizer(trunk)
    size = vocabulary(encoder)
    check_vocabulary(tokenizer, size)
    if options.get("fusion") in WITH_MARKERS:
        options["marker_ids"] = reserve_markers(tokenizer, labels.entity_types)
        last = max(index for pair in options["marker_ids"] for index in pair)
        if last >= size:
            encoder.resize_token_embeddings(last + 1)
    config = config_class(
        trunk=encoder.config.to_dict(),  # a copy: a configuration resets the attention of those inside it
        entity_types=labels.entity_types,
        relation_types=labels.relation_types,
        **{"max_pieces": positions(encoder), "pad_token_id": _padding(tokenizer, encoder), **options},
    )
    model = model_class(config, encoder)
    short, long = WordTokenizer(tokenizer, config)([Sentence(("a",)), Sentence(("a", *WORDS))]).windows[:2]
    with loading(trunk, "an encoder that reads pieces", ConfigError):
        check_states(encoder, short["input_ids"], long["input_ids"], config.pad_token_id)
    if getattr(config, "fusion", None) == "packed":
        check_beside(encoder, (short["input_ids"], long["input_ids"]), config.pad_token_id)
        if config.encoder == "none":
            logger.warning("fusion: `packed` is `late` with the encoder `none`, as nothing reads the markers")
    return model, tokenizer


def load_model(
    folder: str | os.PathLike[str], *, dtype: torch.dtype | str = "auto", **options: Any
) -> tuple[ExtractionModel, PreTrainedTokenizerBase]:
    """A saved model, in eval mode, and its tokenizer.

    ``folder`` is what ``save_model`` wrote, a checkpoint of ``Trainer``, or the ``output_dir`` of a finished training.
    ``options`` override fields of the configuration (``backend``, ``overlaps``, ``thresholds``, ``restrict_to_entities``).

    Raises:
        ConfigError: the folder holds another kind of model, or the options are invalid.
        DataError: its tokenizer does not fit.
        OSError: it holds none, or not all of one.
    """
    folder = _model_folder(Path(folder))
    # a config.json without a model_type, or of one that transformers does not know
    with loading(folder / "config.json", "the configuration of a saved model", ConfigError):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    classes = {known.model_type: model_class for known, model_class in ARCHITECTURES.values()}
    if config.model_type not in classes:
        raise ConfigError(f"{folder}: expected a model of type {' or '.join(classes)}, found {config.model_type!r}")
    unknown = set(options) - set(vars(config))
    if unknown:
        raise ConfigError(f"options: a model of type {config.model_type!r} has no {', '.join(sorted(unknown))}")
    config.update(options)
    config.check()
    model = load_weights(classes[config.model_type], folder, config=config, dtype=dtype)
    tokenizer = load_tokenizer(folder)
    WordTokenizer(tokenizer, model.config)  # refuses one that does not fit
    return model, tokenizer


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Raises OSError if nothing can be written to the folder of a saved model."""
    with tempfile.TemporaryFile(dir=_model_folder(Path(folder))):
        pass


def save_thresholds(folder: str | os.PathLike[str], thresholds: Sequence[float]) -> Path:
    """Writes the thresholds into the configuration of a saved model, and returns its file. All else there stays.

    Raises:
        OSError: ``folder`` holds no saved model, or cannot be written to.
    """
    path = _model_folder(Path(folder)) / "config.json"
    config = {**json.loads(path.read_text()), "thresholds": list(thresholds)}
    with replacing(path) as written:
        written.write_text(json.dumps(config, indent=2) + "\n")
    return path


def _model_folder(folder: Path) -> Path:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing by that name"
        raise FileNotFoundError(f"{folder}: expected the folder of a saved model, found {found}")
    for place in (folder, folder / FINAL_MODEL):
        if (place / "config.json").is_file():
            return place
    raise FileNotFoundError(f"{folder}: expected a saved model, found no config.json in it or in its {FINAL_MODEL}/")


def _padding(tokenizer: PreTrainedTokenizerBase, trunk: PreTrainedModel) -> int:
    """The piece that pads: the trunk's, as some trunks number positions by it, else the tokenizer's, else any."""
    size = vocabulary(trunk)
    known = (getattr(trunk.config, "pad_token_id", None), tokenizer.pad_token_id)
    return next((piece for piece in known if isinstance(piece, int) and 0 <= piece < size), 0)
