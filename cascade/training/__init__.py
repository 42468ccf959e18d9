"""Training with ``transformers.Trainer``: two learning rates, scores of real predictions, checkpoints that survive."""

from .arguments import BEST, CascadeTrainingArguments
from .checkpoints import CheckpointError, last_checkpoint, save_model
from .trainer import CascadeTrainer, make_trainer, scorer

__all__ = [
    "BEST",
    "CascadeTrainer",
    "CascadeTrainingArguments",
    "CheckpointError",
    "last_checkpoint",
    "make_trainer",
    "save_model",
    "scorer",
]
