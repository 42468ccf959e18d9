"""Training through ``transformers.Trainer``: two learning rates, scores of real predictions, checkpoints that survive."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import EvalPrediction, PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .base import ExtractionModel
from .batching import collate
from .config import ConfigError
from .data import Corpus, DataError, check_labels
from .extraction import found_in_rows
from .prediction import merged, report
from .scoring import score
from .tokenization import Example, WordTokenizer

logger = logging.getLogger(__name__)

BEST = "ner_f1+re_f1"
KEPT = ("ner_precision", "ner_recall", "re_precision", "re_recall")  # logged beside every F1


class CheckpointError(OSError):
    """A checkpoint could not be written. The message names the last one that is complete."""


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
        super().__post_init__()


class CascadeTrainer(Trainer):
    """``Trainer`` with a learning rate of its own for the trunk, and predictions, not logits, handed to the metrics."""

    args: CascadeTrainingArguments

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            model = self.model if model is None else model
            optimizer, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer_cls_and_kwargs = optimizer, {**options, "params": self.parameter_groups(model)}
        return super().create_optimizer(model)

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Trunk and the rest, each with and without weight decay, which biases and norms do not get."""
        decayed = set(self.get_decay_parameter_names(model))
        groups = []
        for in_trunk, rate in ((True, self.args.trunk_learning_rate), (False, self.args.learning_rate)):
            for decays, decay in ((True, self.args.weight_decay), (False, 0.0)):
                parameters = [
                    parameter
                    for name, parameter in model.named_parameters()
                    if parameter.requires_grad
                    and (name.removeprefix("module.").startswith("trunk.") == in_trunk)
                    and (name in decayed) == decays
                ]
                if parameters:
                    groups.append({"params": parameters, "lr": rate, "weight_decay": decay})
        return groups

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # safetensors and torch.save have exceptions of their own for a disk that is full
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            last = last_checkpoint(self.args.output_dir)
            raise CheckpointError(
                f"checkpoint {self.state.global_step} could not be written to {self.args.output_dir}: {error}; "
                + (f"the last complete one is {last}" if last else "there is no complete one")
            ) from error

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        loss, _, _ = super().prediction_step(model, inputs, True, ignore_keys)
        if prediction_loss_only:
            return loss, None, None
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            extraction = self.accelerator.unwrap_model(model).extract(inputs)
        return loss, extraction.rows(len(inputs["word_counts"])), inputs["example_ids"]


def scorer(model: ExtractionModel, corpus: Corpus, windows: Sequence[Example]) -> Callable[[EvalPrediction], dict]:
    """``Trainer``'s ``compute_metrics``: scores of what was found in ``windows`` of ``corpus``, and their sum ``BEST``."""
    sentences = list(corpus.sentences())

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        found = [((), ())] * len(windows)
        results = found_in_rows(prediction.predictions.tolist(), model.labels)
        for example, result in zip(prediction.label_ids.tolist(), results, strict=True):
            found[example] = result
        values = score(sentences, merged(sentences, windows, found)).as_dict()
        kept = {name: value for name, value in values.items() if name.startswith(KEPT) or name.endswith("_f1")}
        return {**kept, BEST: values["ner_f1"] + values["re_f1"]}

    return compute_metrics


def make_trainer(
    model: ExtractionModel,
    tokenizer: PreTrainedTokenizerBase,
    args: CascadeTrainingArguments,
    train: Corpus,
    dev: Corpus | None = None,
) -> CascadeTrainer:
    """A ``Trainer`` for the two corpora. What windows cost is logged.

    Raises:
        DataError: a label that the model does not know, or no sentence with words.
        ConfigError: ``args`` ask to score a dev corpus, and there is none; or several GPUs are to share one process.
    """
    if args.n_gpu > 1:
        raise ConfigError(
            f"{args.n_gpu} GPUs in one process: expected one; start with `torchrun --nproc_per_node {args.n_gpu}`, or "
            "choose a GPU with CUDA_VISIBLE_DEVICES"
        )
    if dev is None and args.eval_strategy != "no":
        raise ConfigError("eval_strategy: expected `no`, as there is no dev corpus")
    words = WordTokenizer(tokenizer, model.config)
    examples = {}
    for name, corpus in (("train", train), ("dev", dev)):
        if corpus is not None:
            check_labels(corpus, model.labels)
            examples[name] = words(list(corpus.sentences()), labelled=True)
            report(examples[name], corpus.source or name)
            if not examples[name].windows:
                raise DataError(f"{corpus.source or name}: expected sentences with words, found none")
    return CascadeTrainer(
        model=model,
        args=args,
        data_collator=collate,
        train_dataset=examples["train"].windows,
        eval_dataset=examples["dev"].windows if dev is not None else None,
        processing_class=tokenizer,
        compute_metrics=scorer(model, dev, examples["dev"].windows) if dev is not None else None,
    )


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The latest checkpoint in ``folder`` that was written to its end; None without one.

    A run that was killed, or whose disk filled, while it saved leaves part of a checkpoint: it is passed over, and said.
    """
    found = []
    for path in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        step = path.name.rpartition("-")[2]
        if not step.isdigit() or not path.is_dir():
            continue
        if _is_complete(path):
            found.append((int(step), path))
        else:
            logger.warning("%s is incomplete and is passed over", path)
    return max(found)[1] if found else None


def _is_complete(checkpoint: Path) -> bool:
    """``Trainer`` writes its state last: when that reads, the rest is there."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return True


def save_model(model: ExtractionModel, tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> None:
    """Saves a model with its tokenizer: into a new folder beside ``folder``, then in its place. All of it or nothing:
    when the disk fills, what was there before stays.

    Raises:
        CheckpointError: it could not be written.
    """
    folder = Path(os.path.realpath(folder))
    mark = secrets.token_hex(4)
    written, replaced = (folder.with_name(f".{folder.name}.{mark}.{kind}") for kind in ("new", "old"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(written)
        tokenizer.save_pretrained(written)
        if folder.exists():
            folder.rename(replaced)
        try:
            written.rename(folder)
        except OSError:
            if replaced.exists():
                replaced.rename(folder)
            raise
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the model could not be written to {folder}: {error}") from error
    finally:
        shutil.rmtree(written, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
