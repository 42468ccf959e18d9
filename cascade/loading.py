"""Loads trunks, tokenizers and saved models whole, or says in one sentence what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from .data import DataError
from .model import ConfigError
from .model.trunk import check_trunk

Source = str | os.PathLike[str]
LONGEST = 300  # characters of what a loader says


def load_trunk(source: Source) -> PreTrainedModel:
    """A pretrained trunk, in eval mode.

    Raises:
        ConfigError: it is none (``check_trunk``). OSError: it cannot be loaded, or lacks weights.
    """
    if os.sep in str(source)[:2] and not Path(source).is_dir():  # a path, which the Hub would reject as a bad name
        raise FileNotFoundError(f"{source}: expected the folder of a trunk, found nothing by that name")
    local = Path(source).is_dir()
    what = "a Hugging Face encoder" if local else "a folder, which is not there, or the name of an encoder on the Hub"
    # training starts from full precision
    trunk, info = _weights(AutoModel.from_pretrained, source, what, dtype=torch.float32)
    check_trunk(trunk)
    # no pooler is used, and what was trained to predict pieces has none
    _refuse(source, "missing", [name for name in info["missing_keys"] if name.split(".")[0] != "pooler"])
    return trunk


def load_weights(model_class: type[PreTrainedModel], folder: Path, **options: Any) -> PreTrainedModel:
    """A saved model, in eval mode, with exactly the weights that it was saved with.

    Raises:
        ConfigError: invalid options. OSError: it cannot be loaded; weights are missing, or left over.
    """
    model, info = _weights(model_class.from_pretrained, folder, "a saved model", **options)
    _refuse(folder, "missing", info["missing_keys"])
    _refuse(folder, "unknown to the model", info["unexpected_keys"])
    return model


def load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder, or of a name on the Hub.

    Raises:
        OSError: it cannot be loaded.
    """
    with loading(source, "a tokenizer"):
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)


@contextmanager
def loading(source: Source, what: str, error_class: type[Exception] = OSError) -> Iterator[None]:
    """Makes whatever goes wrong one sentence: loaders raise anything, from KeyError to the exceptions of safetensors."""
    try:
        yield
    except (ConfigError, DataError, MemoryError):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        name = [] if isinstance(error, OSError | ValueError) else [type(error).__name__]
        # the first line, and what it announces
        said = " ".join(lines) if lines and lines[0].endswith(":") else "".join(lines[:1])
        raise error_class(f"{source}: expected {what}: {': '.join([*name, said[:LONGEST]])}") from error


def _weights(
    load: Callable[..., Any], source: Source, what: str, **options: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model and what its loader found; its own report of that, a table, is not printed: errors here say more."""
    with _silent(), loading(source, what):
        model, info = load(
            source, output_loading_info=True, ignore_mismatched_sizes=True, trust_remote_code=False, **options
        )
    if info["mismatched_keys"]:
        name, found, expected = min(info["mismatched_keys"])
        raise OSError(f"{source}: weights: expected {name} of shape {tuple(expected)}, found {tuple(found)}")
    return model, info


@contextmanager
def _silent() -> Iterator[None]:
    """No warnings of transformers, and no bar of the weights that it has loaded, which stays on the screen."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _refuse(source: Source, how: str, names: Any) -> None:
    if names:
        raise OSError(
            f"{source}: weights: expected those of the configuration, found {len(names)} {how}, such as {min(names)}"
        )
