"""``transformers.Trainer`` for these models: two learning rates, and scores of real predictions."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import EvalPrediction, PreTrainedTokenizerBase, Trainer, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from ..data import Corpus, DataError, with_known_labels
from ..model import ConfigError, ExtractionModel, Given
from ..scoring import Scores, score
from ..tensors import Batch, Example, collate
from ..tokenization import UNKNOWN, WordTokenizer
from ..windows import merged, report
from .arguments import BEST, CascadeTrainingArguments
from .callbacks import Doubts
from .checkpoints import CheckpointError, last_checkpoint
from .corpora import check_corpora
from .gathering import from_rectangle, to_rectangle
from .sampling import EachEpoch, SimilarLengths

# What torch, transformers and accelerate raise when they cannot do what an argument asks for.
SETTING_UP = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)
logger = logging.getLogger(__name__)

KEPT = ("ner_precision", "ner_recall", "re_precision", "re_recall")  # logged beside every F1


class _Begun(TrainerCallback):
    """Whether a training got as far as its first step; when it resumes, whether an optimizer that another run saved has
    taken one."""

    def __init__(self, resumes: bool = False) -> None:
        self.resumes = resumes
        self.steps = False
        self.taken = 0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.steps |= not self.resumes

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.steps = True
        self.taken += 1


@contextmanager
def _setting_up(begun: _Begun) -> Iterator[None]:
    """Until a training has ``begun``, what torch, transformers and accelerate raise becomes a ConfigError: they cannot do
    what an argument asks for. ``--log_level debug`` shows where."""
    try:
        yield
    except SETTING_UP as error:
        if begun.steps or isinstance(error, ConfigError | DataError):
            raise
        raise ConfigError(f"training cannot begin: {type(error).__name__}: {error}") from error


class CascadeTrainer(Trainer):
    """``Trainer`` with a separate learning rate for the trunk, and metrics of predictions, not of logits."""

    args: CascadeTrainingArguments

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> TrainOutput:
        """As ``Trainer.train``. Warns where there was nothing to do.

        Raises:
            ConfigError: what the arguments ask for cannot be set up, before the first step: an optimizer, a schedule, a
                package that is not there.
        """
        begun = _Begun(resumes=bool(resume_from_checkpoint))
        self.add_callback(begun)
        try:
            with _setting_up(begun):
                output = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        finally:
            self.remove_callback(begun)
        if not begun.taken:
            logger.warning("no step was taken: step %d of %d", self.state.global_step, self.state.max_steps)
        return output

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

    def _get_train_sampler(self, train_dataset: Sequence[Example] | None = None) -> Sampler | None:
        # transformers' own groups come in the order of their lengths: what was learned last would be of short sentences
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        lengths = [len(example["input_ids"]) for example in train_dataset or self.train_dataset]
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        # the processes wait for each other at every step
        together = self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        sampler = SimilarLengths(lengths, together, seed)
        self.remove_callback(EachEpoch)
        self.add_callback(EachEpoch(sampler))
        return sampler

    def get_eval_dataloader(self, eval_dataset: Sequence[Example] | None = None) -> DataLoader[dict[str, Tensor]]:
        """Of every example: ``dataloader_drop_last`` is meant for training."""
        drops, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drops

    def evaluation_loop(self, dataloader: DataLoader[Any], *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As ``Trainer.evaluation_loop``. Raises ValueError for other data than the dev corpus, whose scores these would not
        be: ``Predictor`` and ``score`` do that."""
        if self.compute_metrics is not None and dataloader.dataset is not self.eval_dataset:
            raise ValueError("data to score: expected the dev corpus that the trainer was made with, found another")
        return super().evaluation_loop(dataloader, *args, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Tensor]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor | None]:
        """The batches of a step, and the words in them and in those of the other processes: so the loss of a step does not
        depend on how it is divided among batches and processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches or not self.model_accepts_loss_kwargs:
            return batches, None
        words = torch.stack([batch["word_counts"].sum() for batch in batches]).sum().to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            words = self.accelerator.gather(words).sum()
        return batches, words

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # safetensors and torch.save raise their own exceptions when a disk is full
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            last = last_checkpoint(self.args.output_dir)
            raise CheckpointError(
                f"checkpoint {self.state.global_step} could not be written to {self.args.output_dir}: {error}; "
                + (f"the last complete one is {last}" if last else "there is no complete one")
            ) from error

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Whether this evaluation is the best so far. Of equal ones the later is: the first of many zeros knows least.

        ``best_metric`` stays on a tie, so that a callback for early stopping sees no progress.
        """
        if self.args.load_best_model_at_end and self.args.save_strategy == "steps" and not self.control.should_save:
            return False  # between two checkpoints: a score that no checkpoint has must not bar those that come
        if super()._determine_best_metric(metrics=metrics, trial=trial):
            return True
        name = f"eval_{(self.args.metric_for_best_model or '').removeprefix('eval_')}"
        tie = metrics.get(name) == self.state.best_metric is not None and math.isfinite(metrics.get("eval_loss", 0.0))
        if tie:
            self.state.best_global_step = self.state.global_step
        return tie

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if prediction_loss_only:
            return super().prediction_step(model, inputs, True, ignore_keys)
        inputs = self._prepare_inputs(inputs)
        model = self.accelerator.unwrap_model(model)
        reading = model.read(Batch.of(inputs))  # one for both: what the first turn reads is read once
        with torch.no_grad():
            loss = model.loss(reading, Given.gold(inputs)).loss
        extraction = model.find(reading)
        return loss, to_rectangle(extraction, len(inputs["word_counts"])), inputs["example_ids"]


def scorer(model: ExtractionModel, corpus: Corpus, windows: Sequence[Example]) -> Callable[[EvalPrediction], dict]:
    """``Trainer``'s ``compute_metrics``: scores of what was found in ``windows`` of ``corpus``, and ``BEST``."""
    sentences = list(corpus.sentences())

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        extraction = from_rectangle(torch.from_numpy(prediction.predictions))
        results = extraction.found(len(prediction.predictions), model.labels)
        by_window = dict(zip(prediction.label_ids.tolist(), results, strict=True))
        found = [by_window[window] for window in range(len(windows))]
        return metrics(score(sentences, merged(sentences, windows, found, model.config.overlaps)))

    return compute_metrics


def metrics(scores: Scores) -> dict[str, float]:
    """What a training logs of its scores, and ``BEST``; each can decide which checkpoint is best."""
    values = scores.as_dict()
    kept = {name: value for name, value in values.items() if name.startswith(KEPT) or name.endswith("_f1")}
    return {**kept, BEST: values["ner_f1"] + values["re_f1"]}


def check_best(args: CascadeTrainingArguments) -> None:
    """Raises ConfigError if what decides which checkpoint is best is nothing that scoring gives: after an epoch."""
    names = ("loss",) if args.prediction_loss_only else ("loss", *metrics(score((), ())))
    if (args.metric_for_best_model or "loss").removeprefix("eval_") not in names:
        raise ConfigError(
            f"metric_for_best_model: expected one of {', '.join(names)}, found {args.metric_for_best_model!r}"
        )


def make_trainer(
    model: ExtractionModel,
    tokenizer: PreTrainedTokenizerBase,
    args: CascadeTrainingArguments,
    train: Corpus,
    dev: Corpus | None = None,
) -> CascadeTrainer:
    """A ``Trainer`` for the two corpora. What windows cost is logged, and what makes scores mean less
    (``check_corpora``).

    Labels that only ``dev`` has count as missed in its scores, and are left out of its loss.

    Raises:
        DataError: a label of ``train`` that the model does not know, no entities in it, or no sentence with words, or
            none that the tokenizer knows.
        ConfigError: ``args`` ask for scores, and there is no dev corpus; or they drop the only batch; or several GPUs are to
            share one process.
    """
    if args.n_gpu > 1:
        raise ConfigError(
            f"{args.n_gpu} GPUs in one process: expected one; start with `torchrun --nproc_per_node {args.n_gpu}`, or "
            "choose a GPU with CUDA_VISIBLE_DEVICES"
        )
    if dev is None and args.eval_strategy != "no":
        raise ConfigError("eval_strategy: expected `no`, as there is no dev corpus")
    if args.save_strategy == "best" and args.eval_strategy == "no":
        raise ConfigError("save_strategy: expected `no`, `steps` or `epoch`, as nothing is scored, found `best`")
    if args.eval_strategy != "no":
        check_best(args)
    if args.gradient_checkpointing and getattr(model.config, "fusion", None) == "packed":
        raise ConfigError(
            "gradient_checkpointing: expected false, as packed fusion needs the keys and values that it drops, found true"
        )
    check_corpora(train, dev, model.labels, model.config.context)
    words = WordTokenizer(tokenizer, model.config)
    examples = {}
    for name, corpus in (("train", train), ("dev", dev)):
        if corpus is not None:
            examples[name] = words(
                with_known_labels(corpus.sentences(model.config.context), model.labels), labelled=True
            )
            report(examples[name].lost, corpus.source or name)
            if not examples[name].windows:
                raise DataError(f"{corpus.source or name}: expected sentences with words, found none")
            count = sum(len(sentence.words) for sentence in corpus.sentences())
            if examples[name].lost[UNKNOWN] == count:
                raise DataError(
                    f"{corpus.source or name}: expected words that the tokenizer knows, found none among {count}"
                )
    count = len(examples["train"].windows)
    together = args.train_batch_size * args.world_size
    if args.dataloader_drop_last and count < together:
        raise ConfigError(
            f"dataloader_drop_last: expected a whole batch of {together} sentences in {train.source or 'train'}, "
            f"found {count}"
        )
    with _setting_up(_Begun()):
        return CascadeTrainer(
            model=model,
            args=args,
            data_collator=collate,
            train_dataset=examples["train"].windows,
            eval_dataset=examples["dev"].windows if dev is not None else None,
            processing_class=tokenizer,
            compute_metrics=scorer(model, dev, examples["dev"].windows) if dev is not None else None,
            callbacks=[Doubts()],
        )
