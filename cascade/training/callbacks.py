"""What a training says of numbers that mean nothing: a loss that is not finite, scores that are all 0."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)


class Doubts(TrainerCallback):
    """Warns once when a logged loss is not finite, and at the end when no checkpoint was better than another."""

    def __init__(self) -> None:
        self.diverged = False

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        losses = [(name, value) for name, value in (logs or {}).items() if name.endswith("loss")]
        broken = [f"{name} {value}" for name, value in losses if not math.isfinite(value)]
        if broken and not self.diverged and state.is_world_process_zero:
            logger.warning(
                "step %d: %s: expected a finite number; the training has diverged, and a lower learning_rate or "
                "trunk_learning_rate may keep the next one from it",
                state.global_step,
                ", ".join(broken),
            )
        self.diverged |= bool(broken)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        best = state.best_model_checkpoint
        useless = args.load_best_model_at_end and args.greater_is_better and best and state.best_metric == 0
        if useless and state.is_world_process_zero:
            logger.warning(
                "%s was 0 at every evaluation: no checkpoint is better than another, and the latest is taken, %s",
                args.metric_for_best_model,
                Path(best).name,
            )
