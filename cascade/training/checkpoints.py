"""Checkpoints and models on disk: which one is complete, and saving so that a full disk or a kill loses nothing."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..files import replacing
from ..model import ExtractionModel

logger = logging.getLogger(__name__)


class CheckpointError(OSError):
    """A checkpoint could not be written. The message names the last one that is complete."""


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The latest checkpoint in ``folder`` that was written to its end; None without one.

    A run that was killed or filled the disk while saving leaves part of a checkpoint: it is passed over with a warning.
    """
    found = []
    for path in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        step = path.name.rpartition("-")[2]
        if not step.isdigit() or not path.is_dir():
            continue
        if is_complete(path):
            found.append((int(step), path))
        else:
            logger.warning("%s is incomplete and is passed over", path)
    return max(found)[1] if found else None


def is_complete(checkpoint: Path) -> bool:
    """``Trainer`` writes its state last: when that reads, the rest is there."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return True


def save_model(
    model: ExtractionModel, tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str], card: str | None = None
) -> None:
    """Saves a model with its tokenizer, and ``card`` as its README. All of it or nothing: when the disk fills, what was
    there before stays.

    Raises:
        CheckpointError: it could not be written.
    """
    folder = Path(os.path.realpath(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder) as written:
            model.save_pretrained(written)
            tokenizer.save_pretrained(written)
            if card is not None:
                (written / "README.md").write_text(card, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the model could not be written to {folder}: {error}") from error
