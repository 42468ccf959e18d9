"""Tensors without padding: rows laid end to end, spans as columns, batches, and the sequences that a trunk reads."""

from .batch import Batch, Example, collate
from .ragged import Ragged
from .sequences import Sequences, plain, splice
from .spans import NO_LABEL, Spans

__all__ = ["NO_LABEL", "Batch", "Example", "Ragged", "Sequences", "Spans", "collate", "plain", "splice"]
