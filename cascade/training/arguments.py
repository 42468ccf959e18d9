"""Arguments of a training: those of ``transformers``, one more, and defaults for this task."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

BEST = "ner_f1+re_f1"


@dataclass
class CascadeTrainingArguments(TrainingArguments):
    """``transformers.TrainingArguments`` with a learning rate for the trunk, and defaults for this task."""

    trunk_learning_rate: float = field(
        default=2e-5, metadata={"help": "Learning rate of the trunk; learning_rate is that of everything else."}
    )
    learning_rate: float = field(default=5e-4, metadata={"help": "Learning rate of everything but the trunk."})
    num_train_epochs: float = field(default=50, metadata={"help": "Epochs to train."})
    warmup_steps: float = field(
        default=0.1, metadata={"help": "Steps of linear warm-up; below 1, a share of all steps."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to score the dev file: no, steps or epoch."})
    save_strategy: str = field(
        default="epoch", metadata={"help": "When to save a checkpoint: no, steps, epoch or best."}
    )
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints to keep, the best one among them."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the checkpoint that scored best."})
    metric_for_best_model: str | None = field(default=BEST, metadata={"help": "What decides which checkpoint is best."})

    def __post_init__(self) -> None:
        # our examples are dictionaries whose fields the collator needs, none of them an argument of `forward`
        self.remove_unused_columns = False
        self.label_names = ["example_ids"]
        # else bfloat16 would be refused where there is only a CPU
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        super().__post_init__()
