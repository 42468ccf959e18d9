"""Training through Trainer: it learns, its scores are those of prediction, it resumes, and what it saves survives."""

from __future__ import annotations

import errno
import logging
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from huggingface_hub import ModelCard
from tiny_models import LABELS, SAMPLE, eager, long_document, tiny_model
from torch import nn
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed

from cascade import ConfigError, DataError, Extraction, load_model, score
from cascade.data import Corpus, Document, Entity, Relation, Sentence, sample_corpus
from cascade.prediction import Predictor
from cascade.tensors import NO_LABEL, Spans
from cascade.training import (
    BEST,
    CascadeTrainer,
    CascadeTrainingArguments,
    CheckpointError,
    last_checkpoint,
    make_trainer,
    model_card,
    save_model,
)
from cascade.training.gathering import from_rectangle, to_rectangle

MODELS = [{"fusion": "early"}, {"fusion": "late"}, {"fusion": "packed"}, {"architecture": "table"}]


def arguments(folder: Path, **options: Any) -> CascadeTrainingArguments:
    return CascadeTrainingArguments(
        **{
            "output_dir": str(folder),
            "per_device_train_batch_size": 10,
            "learning_rate": 1e-2,
            "trunk_learning_rate": 5e-3,
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "disable_tqdm": True,
            "use_cpu": True,
            **options,
        }
    )


def trainer(folder: Path, model_options: dict[str, Any], dev: Corpus | None = SAMPLE, **options: Any) -> CascadeTrainer:
    set_seed(1)
    model, tokenizer = tiny_model(**model_options)
    return make_trainer(model, tokenizer, arguments(folder, **options), SAMPLE, dev)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"fusion": "early"}, {"fusion": "late"}])
def test_the_cascade_learns_the_sample_corpus_by_heart(options: dict[str, Any], tmp_path: Path) -> None:
    made = trainer(tmp_path, {**options, "hidden_size": 48, "tag_size": 16}, max_steps=220)
    without_dropout(made.model)
    made.train()
    metrics = made.evaluate()
    assert (metrics["eval_ner_f1"], metrics["eval_re_f1"], metrics[f"eval_{BEST}"]) == (1.0, 1.0, 2.0)
    predicted = Predictor(made.model.eval(), made.processing_class)(SAMPLE)
    assert [(set(s.entities), set(s.relations)) for s in predicted] == [
        (set(s.entities), set(s.relations)) for s in SAMPLE.sentences()
    ]


@pytest.mark.slow
def test_the_table_learns_the_sample_corpus_but_for_shared_first_words(tmp_path: Path) -> None:
    """The table cannot tell apart entities that start at the same word: it finds every relation, and some too many."""
    made = trainer(tmp_path, {"architecture": "table", "hidden_size": 48}, max_steps=220)
    without_dropout(made.model)
    made.train()
    metrics = made.evaluate()
    assert (metrics["eval_ner_f1"], metrics["eval_re_recall"]) == (1.0, 1.0)
    for sentence, predicted in zip(
        SAMPLE.sentences(), Predictor(made.model.eval(), made.processing_class)(SAMPLE), strict=True
    ):
        gold = {(r.subject.start, r.object.start, r.label) for r in sentence.relations}
        assert {(r.subject.start, r.object.start, r.label) for r in predicted.relations} == gold


def without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


@pytest.mark.parametrize("options", MODELS)
def test_scores_while_training_are_those_of_prediction(options: dict[str, Any], tmp_path: Path) -> None:
    """Windows of long sentences included."""
    set_seed(1)
    model, tokenizer = tiny_model(**options, encoder="none", positions=24)
    model.config.thresholds = [0.999, 0.999] if "architecture" in options else [0.5, 0.3, 0.5]
    corpus = Corpus((SAMPLE.documents[0], long_document()))
    made = make_trainer(eager(model), tokenizer, arguments(tmp_path, per_device_eval_batch_size=3), SAMPLE, corpus)
    metrics = made.evaluate()
    expected = score(corpus, Predictor(model, tokenizer)(corpus)).as_dict()
    assert expected["ner_predicted"] > 20
    assert expected["ner_correct"] > 0
    for name in ("ner_f1", "re_f1", "ner_precision", "re_recall", "re_symmetric_f1", "ner_in_triple_f1"):
        assert metrics[f"eval_{name}"] == pytest.approx(expected[name], abs=1e-12), name
    assert metrics[f"eval_{BEST}"] == metrics["eval_ner_f1"] + metrics["eval_re_f1"]
    assert metrics["eval_loss"] > 0


def test_loss_and_scores_are_of_one_reading(tmp_path: Path) -> None:
    made, sentences = trainer(tmp_path, {}), []
    made.model.trunk.register_forward_hook(lambda trunk, given, made: sentences.append(len(made[0])))
    metrics = made.evaluate()
    assert sum(sentences) == len(made.eval_dataset)
    made.args.prediction_loss_only = True
    assert made.evaluate()["eval_loss"] == metrics["eval_loss"]


def test_other_data_than_the_dev_corpus_is_not_scored_as_if_it_were_that(tmp_path: Path) -> None:
    made = trainer(tmp_path, {})
    for run in (made.evaluate, made.predict):
        with pytest.raises(ValueError, match="expected the dev corpus that the trainer was made with, found another"):
            run(made.eval_dataset[:3])


def test_the_rectangle_that_is_gathered_holds_what_was_found() -> None:
    def spans(*rows: tuple[int, int, int, int]) -> Spans:
        return Spans.given(*torch.tensor(rows).reshape(-1, 4).unbind(1))

    extraction = Extraction(
        entities=spans((0, 1, 2, 3), (2, 0, 0, 1), (2, 4, 4, 0)),
        subjects=spans((2, 0, 0, 1)),
        objects=spans((2, 3, 4, NO_LABEL)),
        relation_labels=torch.tensor([2]),
        relation_scores=torch.tensor([0.5]),
        passes=3,
    )
    rows = to_rectangle(extraction, 3)
    assert rows.shape == (3, 3, 7)
    assert from_rectangle(rows).found(3, LABELS) == extraction.found(3, LABELS)
    (first, _), (second, _), (third, relations) = extraction.found(3, LABELS)
    assert [(e.start, e.end, e.label) for e in first] == [(1, 2, LABELS.entity_types[3])]
    assert second == ()
    assert len(third) == 2
    [relation] = relations
    assert (relation.subject.span, relation.object.span, relation.object.label) == ((0, 0), (3, 4), "")
    assert relation.label == LABELS.relation_types[2]


def test_the_trunk_has_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    made = trainer(tmp_path, {}, weight_decay=0.1, learning_rate=3e-3, trunk_learning_rate=2e-5)
    optimizer = made.create_optimizer()
    names = {id(parameter): name for name, parameter in made.model.named_parameters()}
    seen = []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.append(name)
            assert group["lr"] == (2e-5 if name.startswith("trunk.") else 3e-3), name
            if name.endswith("bias") or "LayerNorm" in name:
                assert group["weight_decay"] == 0.0, name
            elif name.endswith("weight"):
                assert group["weight_decay"] == 0.1, name
    assert sorted(seen) == sorted(names.values())


def logged(folder: Path, options: dict[str, Any], steps: int, batch: int, accumulated: int) -> list[float]:
    """Loss and norm of the gradients of each of a few steps, without dropout."""
    sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulated}
    made = trainer(folder, options, max_steps=steps, logging_steps=1, **sizes)
    without_dropout(made.model)
    made.train()
    return [entry[name] for entry in made.state.log_history[:steps] for name in ("loss", "grad_norm")]


@pytest.mark.parametrize("options", [{}, {"architecture": "table"}])
def test_a_step_is_the_same_however_its_batches_are_divided(options: dict[str, Any], tmp_path: Path) -> None:
    """Three steps are an epoch: the last has two batches, where the others have four."""
    whole = logged(tmp_path, options, steps=3, batch=8, accumulated=1)
    assert logged(tmp_path, options, steps=3, batch=2, accumulated=4) == pytest.approx(whole, rel=1e-5)


def test_accumulated_gradients_are_averaged(tmp_path: Path) -> None:
    """Where a turn's loss is divided by what it reads, which is known only when it has. Two halves must not count as two
    wholes, as they would where Trainer leaves that to a model which does not do it."""
    options = {"loss_divisor": "turn"}
    whole = logged(tmp_path, options, steps=1, batch=20, accumulated=1)
    assert logged(tmp_path, options, steps=1, batch=10, accumulated=2) == pytest.approx(whole, rel=0.3)


def state(trainer: CascadeTrainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


@pytest.mark.parametrize("options", MODELS)
def test_a_resumed_run_continues_as_if_it_had_never_stopped(options: dict[str, Any], tmp_path: Path) -> None:
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "logging_steps": 1}
    whole = trainer(tmp_path / "whole", options, **settings)
    whole.train()
    resumed = trainer(tmp_path / "resumed", options, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert resumed.state.global_step == 6

    def losses(made: CascadeTrainer) -> list[float]:
        return [entry["loss"] for entry in made.state.log_history if "loss" in entry]

    assert losses(resumed) == losses(whole)
    expected, found = state(whole), state(resumed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_training_tells_its_sampler_the_epoch(tmp_path: Path) -> None:
    made = trainer(tmp_path, {"encoder": "none"})
    sampler = made.get_train_dataloader().batch_sampler.sampler
    again = made.get_train_dataloader().batch_sampler.sampler
    made.state.epoch = 5.5
    made.callback_handler.on_epoch_begin(made.args, made.state, made.control)
    assert (sampler.epoch, again.epoch) == (0, 5), "only the last one is in use"


def test_packed_fusion_refuses_gradient_checkpointing_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gradient_checkpointing: expected false, as packed fusion needs"):
        trainer(tmp_path, {"fusion": "packed"}, gradient_checkpointing=True)


@pytest.mark.parametrize("strategy", ["group_by_length", "random"])
def test_batches_are_of_similar_length_unless_asked_otherwise(strategy: str, tmp_path: Path) -> None:
    settings = {} if strategy == "group_by_length" else {"train_sampling_strategy": strategy}
    sizes = {"per_device_train_batch_size": 2, "num_train_epochs": 3, "max_steps": -1, "eval_strategy": "no"}
    made = trainer(tmp_path, {"encoder": "none"}, **sizes, **settings, save_strategy="no", load_best_model_at_end=False)
    read: list[list[int]] = []
    made.model.register_forward_pre_hook(
        lambda _, inputs, options: read.append(options["piece_counts"].tolist()), with_kwargs=True
    )
    made.train()
    count = -(-len(made.train_dataset) // 2)
    epochs = [read[first : first + count] for first in range(0, 3 * count, count)]
    lengths = sorted(len(example["input_ids"]) for example in made.train_dataset)
    assert len(read) == 3 * count
    assert all(sorted(length for batch in batches for length in batch) == lengths for batches in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    padding = sum(max(batch) * len(batch) - sum(batch) for batch in read)
    assert (padding < 0.15 * sum(sum(batch) for batch in read)) == (strategy == "group_by_length")


def test_two_runs_with_one_seed_are_one(tmp_path: Path) -> None:
    states = []
    for name in ("a", "b"):
        made = trainer(tmp_path / name, {"fusion": "early"}, max_steps=3)
        before = state(made)
        made.train()
        states.append(state(made))
    assert all(torch.equal(states[0][name], states[1][name]) for name in before)
    assert any(not torch.equal(states[0][name], before[name]) for name in before)


def scored_run(folder: Path, values: list[float], **options: Any) -> CascadeTrainer:
    """A trained trainer: a step for each of ``values``, which are its scores, and as many checkpoints unless
    ``options`` say otherwise."""
    settings: dict[str, Any] = {
        "max_steps": len(values),
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "save_total_limit": 1,
        "load_best_model_at_end": True,
    }
    made = trainer(folder, {"encoder": "none"}, **{**settings, **options})
    left = iter(values)
    made.compute_metrics = lambda _: {BEST: next(left)}
    made.train()
    return made


@pytest.mark.parametrize(
    ("values", "best"), [([0.1, 0.7, 0.3, 0.2], 2), ([0.1, 0.7, 0.7, 0.2], 3), ([0.0] * 4, 4), ([0.0, 0.0, 0.5], 3)]
)
@pytest.mark.parametrize("strategy", ["steps", "best"])
def test_the_best_checkpoint_is_kept_and_loaded(strategy: str, values: list[float], best: int, tmp_path: Path) -> None:
    """Of equally good ones it is the last."""
    made = scored_run(tmp_path, values, save_strategy=strategy)
    assert made.state.best_model_checkpoint == str(tmp_path / f"checkpoint-{best}")
    loaded, _ = load_model(tmp_path / f"checkpoint-{best}")
    expected = loaded.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in made.model.state_dict().items())


def test_a_score_without_a_checkpoint_does_not_bar_later_ones(tmp_path: Path) -> None:
    made = scored_run(tmp_path, [0.1, 0.5, 0.9, 0.7, 0.2, 0.6], save_steps=2)
    assert made.state.best_model_checkpoint == str(tmp_path / "checkpoint-4")
    assert made.state.best_metric == 0.7


def test_a_tie_is_no_progress_to_early_stopping(tmp_path: Path) -> None:
    class Patient(EarlyStoppingCallback):
        waited: ClassVar[list[int]] = []

        def on_evaluate(self, *args: Any, **kwargs: Any) -> None:
            super().on_evaluate(*args, **kwargs)
            self.waited.append(self.early_stopping_patience_counter)

    made = trainer(
        tmp_path,
        {"encoder": "none"},
        max_steps=9,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
    )
    made.add_callback(Patient(2))
    values = iter([0.5, 0.6, 0.6, 0.6])
    made.compute_metrics = lambda _: {BEST: next(values)}
    made.train()
    assert Patient.waited == [0, 0, 1, 2]
    assert made.state.best_global_step == 4


def test_a_resumed_run_remembers_ties(tmp_path: Path) -> None:
    scored_run(tmp_path, [0.3, 0.3], save_total_limit=2)
    settings = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    made = trainer(tmp_path, {"encoder": "none"}, load_best_model_at_end=True, save_total_limit=2, **settings)
    values = iter([0.3, 0.1])
    made.compute_metrics = lambda _: {BEST: next(values)}
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert made.state.best_model_checkpoint == str(tmp_path / "checkpoint-3")
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-4"]


def test_scores_that_were_all_0_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        scored_run(tmp_path / "some", [0.0, 0.2])
        scored_run(tmp_path / "low", [0.0, 0.0], load_best_model_at_end=False)
    assert "at every evaluation" not in caplog.text
    with caplog.at_level(logging.WARNING):
        scored_run(tmp_path / "none", [0.0, 0.0])
    assert caplog.text.count(f"{BEST} was 0 at every evaluation") == 1
    assert "the latest is taken, checkpoint-2" in caplog.text


def test_a_diverged_run_is_said_once_and_wins_no_tie(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Diverge(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
            if state.global_step == 2:
                model.heads["entity"].edges.bias.data.fill_(float("nan"))

    set_seed(1)
    model, tokenizer = tiny_model(encoder="none")
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    options = {**options, "max_steps": 3, "logging_steps": 1, "load_best_model_at_end": True}
    made = make_trainer(model, tokenizer, arguments(tmp_path, **options), SAMPLE, SAMPLE)
    made.compute_metrics = lambda _: {BEST: 0.0}
    made.add_callback(Diverge())
    with caplog.at_level(logging.WARNING):
        made.train()
    assert caplog.text.count("the training has diverged") == 1
    assert "step 2: eval_loss nan: expected a finite number" in caplog.text
    assert made.state.best_model_checkpoint == str(tmp_path / "checkpoint-1")
    assert all(torch.isfinite(parameter).all() for parameter in made.model.parameters())
    assert math.isnan([entry["loss"] for entry in made.state.log_history if "loss" in entry][-1])


def test_bfloat16_training(tmp_path: Path) -> None:
    made = trainer(tmp_path, {"fusion": "early"}, max_steps=2, bf16=True, logging_steps=1)
    made.train()
    assert all(parameter.dtype == torch.float32 for parameter in made.model.parameters())
    assert all(torch.isfinite(parameter).all() for parameter in made.model.parameters())


def test_length_grouped_batches(tmp_path: Path) -> None:
    made = trainer(tmp_path, {}, max_steps=1, train_sampling_strategy="group_by_length")
    made.train()
    assert made.state.global_step == 1


def test_a_label_that_the_model_does_not_know_is_an_error(tmp_path: Path) -> None:
    sentence = Sentence(("Tartu",), (Entity(0, 0, "River"),))
    corpus = Corpus((Document("d", (sentence,)),), source="rivers.jsonl")
    model, tokenizer = tiny_model()
    with pytest.raises(DataError, match=r"rivers\.jsonl.*found River"):
        make_trainer(model, tokenizer, arguments(tmp_path), corpus)


def test_what_only_the_dev_corpus_labels_is_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the scores, but not in the loss, which has no logit for it."""
    river, person = Entity(0, 0, "River"), Entity(2, 2, "Person")
    known = Sentence(("Ems", "near", "Tartu"), (person,))
    gold = Sentence(known.words, (river, person), (Relation(river, person, "PART-OF"), Relation(person, person, "IS")))
    model, tokenizer = tiny_model(encoder="none")
    metrics = {}
    for name, sentence in (("gold", gold), ("known", known)):
        dev = Corpus((Document("d", (sentence,)),), source=f"{name}.jsonl")
        with caplog.at_level(logging.WARNING):
            made = make_trainer(model, tokenizer, arguments(tmp_path), SAMPLE, dev)
        extraction = Extraction(
            Spans.given(*torch.tensor([[0], [2], [2], [LABELS.entity_types.index("Person")]])),
            *[Spans.empty(torch.device("cpu"))] * 2,
            torch.zeros(0, dtype=torch.int64),
            torch.zeros(0),
            passes=1,
        )
        model.find = lambda _, extraction=extraction: extraction
        metrics[name] = made.evaluate()
    assert metrics["known"]["eval_ner_f1"] == 1
    assert (metrics["gold"]["eval_ner_precision"], metrics["gold"]["eval_ner_recall"]) == (1, 0.5)
    assert metrics["gold"]["eval_loss"] == metrics["known"]["eval_loss"]
    assert "gold.jsonl: entity type 'River' is not known to the model: 1 entities count as missed" in caplog.text
    assert "gold.jsonl: relation type 'IS' is not known to the model: 1 relations count as missed" in caplog.text
    assert "known.jsonl: no relations to score by" in caplog.text


@pytest.mark.parametrize("options", MODELS)
def test_entities_alone(options: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sentences = tuple(replace(sentence, relations=()) for sentence in SAMPLE.sentences())
    corpus = Corpus((Document("d", sentences),), source="spans.jsonl")
    set_seed(1)
    model, tokenizer = tiny_model(corpus.labels(), **options, encoder="none")
    settings = {"eval_strategy": "steps", "eval_steps": 20, "save_strategy": "steps", "save_steps": 20}
    settings = {**settings, "max_steps": 40, "load_best_model_at_end": True, "learning_rate": 3e-2}
    with caplog.at_level(logging.WARNING):
        made = make_trainer(model, tokenizer, arguments(tmp_path, **settings), corpus, corpus)
    assert "spans.jsonl: no relations: the model learns to find entities, and nothing else" in caplog.text
    made.train()
    metrics = made.evaluate()
    assert metrics["eval_ner_f1"] > 0
    assert metrics[f"eval_{BEST}"] == metrics["eval_ner_f1"]
    assert metrics["eval_re_f1"] == 0
    loaded, tokenizer = load_model(made.state.best_model_checkpoint)
    scores = score(corpus, Predictor(loaded, tokenizer)(corpus))
    assert scores.ner.f1 == metrics["eval_ner_f1"]
    assert (scores.re.correct, scores.re.predicted, scores.re.gold) == (0, 0, 0)
    assert "nan" not in scores.table()


def test_sentences_in_both_corpora_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, tokenizer = tiny_model()
    ours = [sentence for sentence in SAMPLE.sentences() if sentence.words][:2]
    mixed = Document("d", (*ours, *sample_corpus("dev").sentences(), Sentence(())))
    with caplog.at_level(logging.WARNING):
        make_trainer(model, tokenizer, arguments(tmp_path), SAMPLE, sample_corpus("dev"))
    assert "too" not in caplog.text
    with caplog.at_level(logging.WARNING):
        make_trainer(model, tokenizer, arguments(tmp_path), SAMPLE, Corpus((mixed,), source="mixed.jsonl"))
    filled = sum(1 for sentence in mixed.sentences if sentence.words)
    assert f"mixed.jsonl: 2 of its {filled} sentences are in {SAMPLE.source} too" in caplog.text


def test_corpora_and_arguments_that_do_not_fit_are_errors(tmp_path: Path) -> None:
    model, tokenizer = tiny_model()
    empty = Corpus((Document("d", (Sentence(()),)),), source="empty.jsonl")
    with pytest.raises(DataError, match=r"empty.jsonl: expected entities to learn from, found none"):
        make_trainer(model, tokenizer, arguments(tmp_path), empty)
    with pytest.raises(DataError, match=r"empty.jsonl: expected sentences with words, found none"):
        make_trainer(model, tokenizer, arguments(tmp_path), SAMPLE, empty)
    with pytest.raises(ConfigError, match="eval_strategy: expected `no`, as there is no dev corpus"):
        make_trainer(model, tokenizer, arguments(tmp_path, eval_strategy="epoch"), SAMPLE)
    with pytest.raises(ConfigError, match="save_strategy: expected `no`, `steps` or `epoch`, as nothing is scored"):
        make_trainer(model, tokenizer, arguments(tmp_path, save_strategy="best"), SAMPLE)
    several = arguments(tmp_path)
    several._n_gpu = 2
    with pytest.raises(ConfigError, match="2 GPUs in one process: expected one; start with `torchrun"):
        make_trainer(model, tokenizer, several, SAMPLE)


def test_every_sentence_is_scored_though_training_drops_the_last_batch(tmp_path: Path) -> None:
    made = trainer(tmp_path, {}, per_device_eval_batch_size=16, dataloader_drop_last=True)
    sentences = sum(1 for sentence in SAMPLE.sentences() if sentence.words)
    assert sentences % 16 and sum(len(batch["word_counts"]) for batch in made.get_eval_dataloader()) == sentences
    assert sum(len(batch["word_counts"]) for batch in made.get_train_dataloader()) == sentences - sentences % 10
    assert "eval_ner_f1" in made.evaluate()
    with pytest.raises(
        ConfigError, match=f"^dataloader_drop_last: expected a whole batch of 64 sentences in .*{sentences}$"
    ):
        trainer(tmp_path, {}, per_device_train_batch_size=64, dataloader_drop_last=True)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("bf16_full_eval", True),
        ("fp16_full_eval", True),
        ("eval_do_concat_batches", False),
        ("label_smoothing_factor", 0.1),
    ],
)
def test_what_these_models_cannot_make_use_of_is_refused(option: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^{option}: expected .*, found {value}$"):
        arguments(tmp_path, **{option: value})


def test_context_without_documents_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, tokenizer = tiny_model(context=2, encoder="none")
    alone = Corpus(tuple(Document(f"{n}", (sentence,)) for n, sentence in enumerate(SAMPLE.sentences())), "alone.json")
    for corpus in (SAMPLE, alone):
        make_trainer(model, tokenizer, arguments(tmp_path), corpus)
        assert ("alone.json: context 2: no document has several sentences" in caplog.text) == (corpus is alone)


def test_what_windows_cost_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, tokenizer = tiny_model(positions=16)
    [sentence] = long_document().sentences
    far = Relation(sentence.entities[0], sentence.entities[-1], "PART-OF")
    corpus = Corpus((Document("far", (replace(sentence, relations=(far,)),)),), source="long.jsonl")
    with caplog.at_level(logging.WARNING):
        make_trainer(model, tokenizer, arguments(tmp_path), corpus)
    assert "long.jsonl: 1 sentences split into windows" in caplog.text
    assert "1 relations that no window holds" in caplog.text


def test_incomplete_checkpoints_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert last_checkpoint(tmp_path) is None
    for step, content in ((9, "{}"), (10, "{}"), (20, '{"global'), (30, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if content is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(content)
    (tmp_path / "checkpoint-old").mkdir()
    with caplog.at_level(logging.WARNING):
        assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert "checkpoint-20 is incomplete and is passed over" in caplog.text
    assert "checkpoint-30 is incomplete and is passed over" in caplog.text


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file can grow beyond ``size`` bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_last_checkpoint_and_says_where_it_is(tmp_path: Path) -> None:
    settings = {"save_strategy": "steps", "save_steps": 1}
    trainer(tmp_path, {}, max_steps=1, **settings).train()
    made = trainer(tmp_path, {}, max_steps=2, **settings)
    with files_limited_to(10_000), pytest.raises(CheckpointError) as error:
        made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    message = str(error.value)
    assert f"checkpoint 2 could not be written to {tmp_path}" in message
    assert f"the last complete one is {tmp_path / 'checkpoint-1'}" in message
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
    load_model(tmp_path / "checkpoint-1")


def test_saving_a_model_replaces_all_of_it_or_nothing(tmp_path: Path) -> None:
    first, tokenizer = tiny_model()
    second, _ = tiny_model(encoder="none")
    folder = tmp_path / "deep" / "model"
    save_model(first, tokenizer, folder)
    (folder / "stale").write_text("of an earlier model")
    with files_limited_to(10_000), pytest.raises(CheckpointError, match=f"could not be written to {folder}"):
        save_model(second, tokenizer, folder)
    assert load_model(folder)[0].config.encoder == "srn"
    save_model(second, tokenizer, folder)
    assert load_model(folder)[0].config.encoder == "none"
    assert not (folder / "stale").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_rename_that_fails_brings_the_old_model_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny_model()
    folder = tmp_path / "model"
    save_model(model, tokenizer, folder)
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name.endswith(".new"):
            raise OSError(errno.EIO, "no luck")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(CheckpointError, match="no luck"):
        save_model(model, tokenizer, folder)
    load_model(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_checkpoint_is_a_model(tmp_path: Path) -> None:
    made = trainer(tmp_path, {"fusion": "early"}, max_steps=1, save_strategy="steps", save_steps=1)
    made.train()
    model, tokenizer = load_model(tmp_path / "checkpoint-1")
    assert model.labels == LABELS
    predicted = Predictor(model, tokenizer)(sample_corpus("dev"))
    assert len(predicted) == len(list(sample_corpus("dev").sentences()))


def test_a_card_says_what_is_so(tmp_path: Path) -> None:
    model, _ = tiny_model()
    scores = {f"eval_{name}_{ratio}": 0.25 for name in ("ner", "re") for ratio in ("precision", "recall", "f1")}
    strange = Corpus(SAMPLE.documents, "elsewhere/caf\udce9.json")  # a name that is not UTF-8

    def card(best: bool, scores: dict[str, float]) -> ModelCard:
        args = arguments(tmp_path / "run", load_best_model_at_end=best, eval_strategy="epoch", save_strategy="epoch")
        text = model_card(model, args, "someone/trunk", strange, SAMPLE, scores)
        text.encode()
        assert "`caf\\udce9.json`" in text and "elsewhere" not in text
        return ModelCard(text)

    chosen = "by which the checkpoint was chosen"
    made = card(True, scores)
    assert made.data.base_model == "someone/trunk" and made.data.model_name == "run"
    assert [result.metric_value for result in made.data.eval_results] == [0.25, 0.25]
    assert chosen in made.text and "| NER                | 25.0 " in made.text
    assert chosen not in card(False, scores).text
    without = card(True, {"eval_loss": 1.0})  # `prediction_loss_only`
    assert without.data.eval_results is None and "## Scores" not in without.text
