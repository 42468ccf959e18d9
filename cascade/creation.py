"""New models from a pretrained trunk, saved models from a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from .data import LabelSet
from .markers import reserve_markers
from .model import CascadeConfig, CascadeModel, ConfigError, ExtractionModel, TableConfig, TableModel

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
        ConfigError: invalid options. OSError: no trunk or no tokenizer there.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"architecture: expected one of {', '.join(ARCHITECTURES)}, found {architecture!r}")
    config_class, model_class = ARCHITECTURES[architecture]
    unknown = set(options) - set(vars(config_class()))
    if unknown:
        raise ConfigError(f"options: the {architecture} architecture has no {', '.join(sorted(unknown))}")
    if os.sep in str(trunk)[:2] and not Path(trunk).is_dir():  # a path, which the Hub would reject as a bad name
        raise FileNotFoundError(f"{trunk}: expected the folder of a trunk, found nothing by that name")
    tokenizer = load_tokenizer(trunk)
    encoder = AutoModel.from_pretrained(trunk, dtype=torch.float32)  # training starts from full precision
    if options.get("fusion") == "early":
        options["marker_ids"] = reserve_markers(tokenizer, labels.entity_types)
    if len(tokenizer) > encoder.get_input_embeddings().num_embeddings:
        encoder.resize_token_embeddings(len(tokenizer))
    config = config_class(
        trunk=encoder.config.to_dict(),  # a copy: a configuration resets the attention of those inside it
        entity_types=labels.entity_types,
        relation_types=labels.relation_types,
        max_pieces=positions(encoder),
        pad_token_id=tokenizer.pad_token_id or 0,
        **options,
    )
    return model_class(config, encoder), tokenizer


def load_model(
    folder: str | os.PathLike[str], *, dtype: torch.dtype | str = "auto", **options: Any
) -> tuple[ExtractionModel, PreTrainedTokenizerBase]:
    """A saved model, in eval mode, and its tokenizer.

    ``folder`` is what ``save_model`` wrote, a checkpoint of ``Trainer``, or the ``output_dir`` of a finished training.
    ``options`` override fields of the configuration (``backend``, ``overlaps``, ``thresholds``, ``restrict_to_entities``).

    Raises:
        ConfigError: the folder holds another kind of model, or the options are invalid. OSError: it holds none.
    """
    folder = _model_folder(Path(folder))
    try:
        config = AutoConfig.from_pretrained(folder)
    except ValueError as error:  # a config.json without a model_type, or of one that transformers does not know
        raise ConfigError(f"{folder / 'config.json'}: expected the configuration of a saved model: {error}") from error
    classes = {known.model_type: model_class for known, model_class in ARCHITECTURES.values()}
    if config.model_type not in classes:
        raise ConfigError(f"{folder}: expected a model of type {' or '.join(classes)}, found {config.model_type!r}")
    model = classes[config.model_type].from_pretrained(folder, dtype=dtype, **options)
    model.config.check()
    return model.eval(), load_tokenizer(folder)


def _model_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected the folder of a saved model, found nothing by that name")
    for place in (folder, folder / FINAL_MODEL):
        if (place / "config.json").is_file():
            return place
    raise FileNotFoundError(f"{folder}: expected a saved model, found no config.json in it or in its {FINAL_MODEL}/")


def load_tokenizer(source: str | os.PathLike[str]) -> PreTrainedTokenizerBase:
    """A tokenizer that splits words given one by one as it would within a text."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    if getattr(tokenizer, "add_prefix_space", None) is False:
        # byte-level tokenizers mark the space before a word, which words given one by one do not have
        tokenizer = AutoTokenizer.from_pretrained(source, add_prefix_space=True)
    return tokenizer


def positions(trunk: PreTrainedModel) -> int | None:
    """How many pieces a sequence of ``trunk`` may have; None where its configuration sets no limit."""
    limit = getattr(trunk.config, "max_position_embeddings", None)
    if not limit or limit < 1:
        return None
    for name, module in trunk.named_modules():
        # RoBERTa and models like it count positions from the padding index on
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return limit - module.padding_idx - 1
    return limit
