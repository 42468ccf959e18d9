"""Training with ``transformers.Trainer``: two learning rates, scores of real predictions, checkpoints that survive."""

from .arguments import BEST, CascadeTrainingArguments
from .card import model_card, tell_thresholds
from .checkpoints import CheckpointError, check_resumed, claimed, is_complete, last_checkpoint, save_model
from .trainer import CascadeTrainer, make_trainer, scorer

__all__ = [
    "BEST",
    "CascadeTrainer",
    "CascadeTrainingArguments",
    "CheckpointError",
    "check_resumed",
    "claimed",
    "is_complete",
    "last_checkpoint",
    "make_trainer",
    "model_card",
    "save_model",
    "scorer",
    "tell_thresholds",
]
