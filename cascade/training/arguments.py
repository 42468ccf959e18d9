"""Arguments of a training: those of ``transformers``, one more, and defaults for this task."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from ..model import ConfigError

BEST = "ner_f1+re_f1"
# What torch and transformers check late, in words of their own, or never.
AT_LEAST_0 = (
    *("learning_rate", "trunk_learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm", "warmup_steps"),
    *("neftune_noise_alpha", "num_train_epochs", "dataloader_num_workers", "seed", "data_seed", "eval_delay"),
)
AT_LEAST_1 = (
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    *("eval_accumulation_steps", "save_total_limit"),
)
BELOW_1 = ("adam_beta1", "adam_beta2")
# What these models cannot make use of: the only value there is, and why.
UNUSABLE: dict[str, tuple[object, str]] = {
    "bf16_full_eval": (False, "the saved model would lose digits (`bf16` computes in bfloat16)"),
    "fp16_full_eval": (False, "the saved model would lose digits (`fp16` computes in float16)"),
    "eval_do_concat_batches": (True, "scores are of all batches together"),
    "label_smoothing_factor": (0.0, "the losses are of decisions between yes and no"),
}
END = 2**31  # what numbers are below: a larger one is a typing error


@dataclass
class CascadeTrainingArguments(TrainingArguments):
    """``transformers.TrainingArguments`` with a learning rate for the trunk, and defaults for this task.

    Raises:
        ConfigError: a number out of its range.
        ValueError: arguments that contradict each other.
    """

    trunk_learning_rate: float = field(
        default=2e-5, metadata={"help": "Learning rate of the trunk; learning_rate is that of everything else."}
    )
    output_dir: str | None = field(default=None, metadata={"help": "Folder for checkpoints and, at last, the model."})
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "Checkpoint to go on from: its folder, or `last`: the last complete one."}
    )
    learning_rate: float = field(default=5e-4, metadata={"help": "Learning rate of everything but the trunk."})
    num_train_epochs: float = field(default=50, metadata={"help": "Epochs to train."})
    warmup_steps: float = field(
        default=0.1, metadata={"help": "Steps of linear warm-up; below 1, a share of all steps."}
    )
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={
            "help": "Order of the examples: group_by_length, batches of similar length, shuffled; random or sequential.",
            "choices": ["random", "sequential", "group_by_length", "batch_rebalance"],
        },
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to score the dev file: no, steps or epoch."})
    save_strategy: str = field(
        default="epoch", metadata={"help": "When to save a checkpoint: no, steps, epoch or best."}
    )
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints to keep, the best one among them."})
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "End with the checkpoint that scored best, the later of equals."}
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Log the average of earlier losses in place of one that is not finite."}
    )
    metric_for_best_model: str | None = field(default=BEST, metadata={"help": "What decides which checkpoint is best."})

    def __post_init__(self) -> None:
        if self.output_dir is None:  # transformers would take a folder of its own choice
            raise ConfigError("output_dir: expected a folder for checkpoints and the model, found none")
        # our examples are dictionaries whose fields the collator needs, none of them an argument of `forward`
        self.remove_unused_columns = False
        self.label_names = ["example_ids"]
        # else bfloat16 would be refused where there is only a CPU
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        for names, least, end in ((AT_LEAST_0, 0, END), (AT_LEAST_1, 1, END), (BELOW_1, 0, 1)):
            for name in names:
                value = getattr(self, name)
                if value is not None and not least <= value < end:
                    raise ConfigError(f"{name}: expected a number from {least} on and below {end}, found {value}")
        if self.max_steps != -1 and not 1 <= self.max_steps < END:
            raise ConfigError(f"max_steps: expected -1 or a number from 1 on and below {END}, found {self.max_steps}")
        for name, (only, why) in UNUSABLE.items():
            if getattr(self, name) != only:
                raise ConfigError(f"{name}: expected {str(only).lower()}, as {why}, found {getattr(self, name)!r}")
        if "underflow_overflow" in (self.debug or ""):
            raise ConfigError(
                "debug: `underflow_overflow` fails on tensors of truth values, which these models pass on"
            )
        super().__post_init__()
