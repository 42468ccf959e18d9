"""Checkpoints and models on disk: which one is complete, and saving so that a full disk or a kill loses nothing."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..files import lock, replacing
from ..loading import load_tokenizer
from ..model import ConfigError, ExtractionModel, ExtractorConfig
from .card import CARD

LOCK = "_lock"  # Trainer does not push such names to the Hub
OPTIMIZERS = ("optimizer*", "global_step*")  # Trainer's, and DeepSpeed's
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


# What may change when a training goes on: it affects learning or decoding, and not what the weights mean.
MAY_CHANGE = (
    *("dropout", "recurrent_dropout", "srn_init", "backend", "overlaps", "thresholds", "decision", "loss_divisor"),
    *("loss_weights", "match_spans", "candidate_subjects", "restrict_to_entities"),
    *("_name_or_path", "architectures", "dtype", "transformers_version", "initializer_range"),
)


def check_resumed(checkpoint: Path, config: ExtractorConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuses a checkpoint of another model than the one that is trained, whose weights would mean something else, and one
    without its optimizer, with which the learning rate would begin anew.

    Raises:
        ConfigError: labels, an option that decides the architecture, or the vocabulary differ, or there is no optimizer; the
            message tells which.
    """
    if not any(any(checkpoint.glob(pattern)) for pattern in OPTIMIZERS):
        raise ConfigError(
            f"resume_from_checkpoint: expected a checkpoint with its optimizer, found none in {checkpoint}: was it saved "
            "with save_only_model?"
        )
    what = f"resume_from_checkpoint: expected a checkpoint of the model that is trained, found {checkpoint}, whose"
    saved = json.loads((checkpoint / "config.json").read_text())
    if saved.get("model_type") != config.model_type:
        raise ConfigError(f"{what} model_type is {saved.get('model_type')!r}, not {config.model_type!r}")
    before, now = type(config).from_pretrained(checkpoint).to_dict(), config.to_dict()
    for trunk in (before["trunk"], now["trunk"]):
        for name in MAY_CHANGE:
            trunk.pop(name, None)
    for name in now:
        if name not in MAY_CHANGE and before.get(name) != now[name]:
            found = "another" if name == "trunk" else f"{before.get(name)!r}, not {now[name]!r}"
            raise ConfigError(f"{what} {name} is {found}")
    if load_tokenizer(checkpoint).get_vocab() != tokenizer.get_vocab():
        raise ConfigError(f"{what} vocabulary is another: was the training file or the trunk changed?")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Makes an output folder, and keeps other trainings out of it by a file that is locked. It goes again, with the parents that
    were made for it, if nothing was written to it.

    Raises:
        OSError: another training is writing to it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / LOCK
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if not lock(file):
            raise OSError(f"output_dir: another training is writing to {folder}")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                for each in made:
                    each.rmdir()


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
                (written / CARD).write_text(card, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the model could not be written to {folder}: {error}") from error
