"""The command line, from training on files to prediction on text, and its errors of one line each."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from itertools import combinations, islice
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard
from tiny_models import eager, tiny_model, tiny_trunk

from cascade import cli, load_model, pipeline, read_corpus, tuning
from cascade.cli import main
from cascade.data import (
    Corpus,
    Document,
    Sentence,
    overlap_kinds,
    read_predictions,
    sample_corpus,
    write_corpus,
    write_predictions,
)
from cascade.display import html_page
from cascade.error_analysis import errors
from cascade.options import ESSENTIAL
from cascade.prediction import Predictor
from cascade.training import claimed, save_model
from cascade.tuning import tune_thresholds

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def corpora(tmp_path: Path) -> tuple[Path, Path]:
    """The sample corpus as files: train and dev."""
    paths = tmp_path / "train.jsonl", tmp_path / "dev.jsonl"
    for path, split in zip(paths, ("train", "dev"), strict=True):
        write_corpus(path, sample_corpus(split))
    return paths


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model, untrained, that finds a lot."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    model, tokenizer = tiny_model(encoder="none", thresholds=[0.005, 0.0, 0.005], decision="each")
    save_model(model, tokenizer, folder)
    return folder


def one(sentence: Sentence) -> Corpus:
    """A corpus of one sentence."""
    return Corpus((Document("one", (sentence,)),))


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a call prints on standard error, without what libraries print there."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("cascade: error: ")]
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0].removeprefix("cascade: error: ")


def standard_input(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content))


def train_arguments(train: Path, folder: Path, *more: object) -> list[str]:
    small = ("--hidden_size", 8, "--tag_size", 4, "--encoder", "none", "--max_steps", 2, "--use_cpu", "true")
    base = ("train", "--train_file", train, "--trunk", tiny_trunk(), "--output_dir", folder, "--disable_tqdm", "true")
    return [str(argument) for argument in (*base, *small, *more)]


def test_help_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    out = capsys.readouterr().out
    assert all(f"\n  {verb} " in out for verb in cli.VERBS)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    out, err = capsys.readouterr()
    assert out == (
        f"cascade of srn-kernels {version('srn-kernels')}, torch {torch.__version__}, "
        f"transformers {version('transformers')}\n"
    )
    assert err == ""


def test_kernel_caches_are_bounded_unless_the_environment_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    main(["--help"])
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "32"
    assert os.environ["LRU_CACHE_CAPACITY"] == "7"


@pytest.mark.parametrize("verb", ["train", "tune", "evaluate", "show", "predict"])
def test_every_verb_explains_its_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([verb, "--help"])
    assert exit_.value.code == 0
    brief = capsys.readouterr().out
    assert f"usage: cascade {verb} " in brief
    assert len(brief.splitlines()) <= 45
    assert all(f"  --{name} " in brief for name in ESSENTIAL[verb])
    with pytest.raises(SystemExit) as exit_:
        main([verb, "--help-all"])
    assert exit_.value.code == 0
    every = re.findall(r"^  --([a-z]\w+)", capsys.readouterr().out, re.MULTILINE)
    assert set(ESSENTIAL[verb]) <= {name for name in every if not name.startswith("no_")}
    told = len([name for name in every if not name.startswith("no_")])
    assert f"`cascade {verb} --help-all` tells all {told} options." in brief


def test_an_option_that_help_does_not_tell_is_taken_as_the_others(
    capsys: pytest.CaptureFixture[str], saved: Path
) -> None:
    for option in ("--object_batch_size", "--object-batch-size"):
        main(["predict", "--model", str(saved), "--text", "Tartu", option, "1"])
        assert json.loads(capsys.readouterr().out)["text"] == "Tartu"


def test_options_are_explained_where_they_are_defined(capsys: pytest.CaptureFixture[str]) -> None:
    helps = {}
    for verb in ("train", "evaluate", "predict"):
        with pytest.raises(SystemExit):
            main([verb, "--help-all"])
        helps[verb] = " ".join(capsys.readouterr().out.split())
    assert "Units of the encoder (each direction) and of hidden layers. (default: 300)" in helps["train"]
    both = "object turn. (default: 0.5 0.5 0.5) Two probabilities: entity, relation table. (default: 0.5 0.5)"
    assert both in helps["train"]
    for verb in ("evaluate", "predict"):
        assert "srn_kernels backend by name, or auto. (default: as saved)" in helps[verb]
        assert "Sentences a batch. (default: 32)" in helps[verb]
        assert "hidden_size" not in helps[verb]


def test_no_verb_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    assert "usage: cascade <verb>" in capsys.readouterr().err


def test_errors_of_use(capsys: pytest.CaptureFixture[str], tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    train, dev = corpora
    assert failed(capsys, "trian") == "unknown verb 'trian': expected train, tune, evaluate, show, predict, benchmark"
    assert failed(capsys, "evaluate", "--model", "x", "--flie", "y") == "evaluate: unknown arguments --flie y"
    missing = tmp_path / "missing"
    assert failed(capsys, "evaluate", "--model", str(missing), "--file", str(dev)) == (
        f"{missing}: expected the folder of a saved model, found nothing by that name"
    )
    assert failed(capsys, "evaluate", "--model", str(tmp_path), "--file", str(dev)) == (
        f"{tmp_path}: expected a saved model, found no config.json in it or in its model/"
    )
    (tmp_path / "config.json").write_text("{}")
    assert failed(capsys, "evaluate", "--model", str(tmp_path), "--file", str(dev)).startswith(
        f"{tmp_path / 'config.json'}: expected the configuration of a saved model: Unrecognized model"
    )
    assert failed(capsys, *train_arguments(missing, tmp_path / "out")) == (
        f"{missing}: expected a file, found nothing by that name"
    )
    assert failed(capsys, *train_arguments(train, tmp_path / "out", "--trunk", missing)) == (
        f"{missing}: expected the folder of a trunk, found nothing by that name"
    )
    assert failed(capsys, *train_arguments(train, tmp_path / "out", "--fusion", "both")) == (
        "fusion: expected one of early, late, packed, found 'both'"
    )
    assert failed(capsys, *train_arguments(train, tmp_path / "out", "--architecture", "table")) == (
        "options: the table architecture has no tag_size"
    )
    nowhere = train_arguments(train, tmp_path / "out")
    place = nowhere.index("--output_dir")
    assert failed(capsys, *nowhere[:place], *nowhere[place + 2 :]) == (
        "output_dir: expected a folder for checkpoints and the model, found none"
    )
    scored = train_arguments(train, tmp_path / "out", "--dev_file", dev)
    assert "requires the save and eval strategy to match" in failed(capsys, *scored, "--save_strategy", "steps")
    assert failed(capsys, *train_arguments(train, tmp_path / "out", "--eval_strategy", "epoch")) == (
        "eval_strategy: expected `no`, as there is no dev corpus"
    )


def test_broken_data_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"doc_key": "d", "sentences": [["A"]], "ner": [[[0, 5, "X"]]], "relations": [[]]}\n')
    assert failed(capsys, *train_arguments(path, tmp_path / "out")).startswith(f"{path}, line 1: ner[0][0]")


def written(path: Path, words: list[str], ner: list, relations: list) -> Path:
    path.write_text(json.dumps({"doc_key": "d", "sentences": [words], "ner": [ner], "relations": [relations]}))
    return path


def test_a_label_that_the_model_does_not_know_is_missed(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path, saved: Path
) -> None:
    path = written(tmp_path / "rivers.jsonl", ["Ems"], [[0, 0, "River"]], [[0, 0, 0, 0, "ENDS"]])
    main(["evaluate", "--model", str(saved), "--file", str(path)])
    out = capsys.readouterr().out
    values = json.loads(out.splitlines()[-1])
    assert (values["ner_gold"], values["ner_correct"], values["re_gold"], values["re_correct"]) == (1, 0, 1, 0)
    assert "\nNER: River " in out
    assert "\nRE: ENDS " in out
    assert caplog.text.count("is not known to the model: 1 ") == 2


def test_labels_are_those_of_the_training_file(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    dev = written(tmp_path / "rivers.jsonl", ["Ems"], [[0, 0, "River"]], [])
    main(train_arguments(corpora[0], tmp_path / "run", "--dev_file", dev))
    model, _ = load_model(tmp_path / "run")
    assert model.labels == sample_corpus("train").labels()
    assert f"{dev}: entity type 'River' is not known to the model" in caplog.text


def test_corpora_without_relations_and_without_entities(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    train = written(tmp_path / "spans.jsonl", ["Ems", "flows"], [[0, 0, "River"]], [])
    folder = tmp_path / "run"
    main(train_arguments(train, folder, "--dev_file", train))
    main(["evaluate", "--model", str(folder), "--file", str(train)])
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (values["ner_gold"], values["re_gold"], values["re_predicted"], values["re_f1"]) == (1, 0, 0, 0)
    main(["predict", "--model", str(folder), "--text", "Ems flows"])
    assert json.loads(capsys.readouterr().out)["relations"] == []
    bare = written(tmp_path / "bare.jsonl", ["Ems"], [], [])
    assert failed(capsys, *train_arguments(bare, tmp_path / "other")) == (
        f"{bare}: expected entities to learn from, found none"
    )


def test_prediction_needs_one_source_and_a_place(
    capsys: pytest.CaptureFixture[str], saved: Path, tmp_path: Path
) -> None:
    model = ("predict", "--model", str(saved))
    assert failed(capsys, *model, "--file", "x", "--text", "y") == "file and text: expected one of them"
    assert failed(capsys, *model, "--resume") == "resume: expected a corpus in `file`, found none"
    for what in ("--file", "--text"):
        assert "language: expected a code" in failed(capsys, *model, what, "x", "--language", "German")
    nowhere = tmp_path / "no" / "where.jsonl"
    dev = tmp_path / "dev.jsonl"
    write_corpus(dev, sample_corpus("dev"))
    assert failed(capsys, *model, "--file", str(dev), "--language", "de") == (
        f"{dev}, line 1: expected text, as a language is given, found sentences that are split already"
    )
    error = failed(capsys, *model, "--file", str(dev), "--output", str(nowhere))
    assert error.startswith(f"cannot write {nowhere}")
    assert "device: " in failed(capsys, *model, "--text", "x", "--device", "cuda:77")


@pytest.mark.parametrize("architecture", ["cascade", "table"])
def test_train_evaluate_and_predict(
    architecture: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    train, dev = corpora
    folder = tmp_path / "run"
    arguments = train_arguments(train, folder, "--dev_file", dev, "--architecture", architecture)
    if architecture == "table":
        place = arguments.index("--tag_size")
        arguments = arguments[:place] + arguments[place + 2 :]
    main(arguments)
    out = capsys.readouterr().out
    assert f"model: {folder / 'model'}" in out
    assert "eval_ner_f1" in out

    card = ModelCard.load(folder / "model" / "README.md")
    results = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert results.keys() == {"NER F1", "RE F1"}
    assert card.data.library_name == "srn-kernels" and card.data.base_model is None
    for line in (
        "| `encoder` | none |",
        "| `max_steps` | 2 |",
        "| training | `train.jsonl` | 5 | 20 |",
        "`CONJUNCTION`",
    ):
        assert line in " ".join(card.text.split())
    assert str(tmp_path) not in card.content

    report = tmp_path / "scores.json"
    # the folder of a training run stands for its final model
    main(["evaluate", "--model", str(folder), "--file", str(dev), "--output", str(report), "--device", "cpu"])
    out = capsys.readouterr().out
    gold = sum(len(sentence.entities) for sentence in sample_corpus("dev").sentences())
    assert f"7 sentences, {gold} entities" in out
    scores = json.loads(report.read_text())
    assert scores["ner_gold"] == gold
    assert json.loads(out.splitlines()[-1]) == scores
    assert results == {"NER F1": scores["ner_f1"], "RE F1": scores["re_f1"]}

    predicted = tmp_path / "predicted.jsonl"
    main(["predict", "--model", str(folder / "model"), "--file", str(dev), "--output", str(predicted)])
    assert [s.words for s in read_predictions(predicted).sentences()] == [s.words for s in read_corpus(dev).sentences()]


def test_predictions_in_a_file_are_scored_as_those_of_the_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, saved: Path, corpora: tuple[Path, Path]
) -> None:
    def output(*arguments: object) -> str:
        main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    thresholds = ("--thresholds", "0.02", "0", "0.02")
    gold, predicted = corpora[1], tmp_path / "predicted"
    scored = output("evaluate", "--model", saved, "--file", gold, *thresholds)
    for form in ("dygie", "spert"):
        output("predict", "--model", saved, "--file", gold, "--output", predicted, "--format", form, *thresholds)
        assert output("evaluate", "--predictions", predicted, "--file", gold) == scored

    listed = output("evaluate", "--predictions", predicted, "--file", gold, "--errors").splitlines()
    head = scored.splitlines()
    assert (listed[: len(head) - 1], listed[-1]) == (head[:-1], head[-1])
    found = [str(error) for error in errors(read_corpus(gold), read_predictions(predicted))]
    assert found and listed[-len(found) - 2 : -2] == found
    assert any(line.split()[:1] == ["spurious"] for line in listed)

    evaluate = ("evaluate", "--file", str(gold))
    assert failed(capsys, *evaluate) == "model and predictions: expected one of them, found none"
    both = (*evaluate, "--model", str(saved), "--predictions", str(predicted))
    assert failed(capsys, *both) == "model and predictions: expected one of them, found both"
    assert failed(capsys, *evaluate, "--predictions", str(gold)).endswith(
        "(the fields are: doc_key, ner, relations, sentences)"
    )
    useless = ("--thresholds", "0", "0", "0", "--dtype", "float32", "--batch_size", "7")
    assert failed(capsys, *evaluate, "--predictions", str(predicted), *useless) == (
        "thresholds, dtype, batch_size: expected a model to which that applies, found predictions"
    )


def test_a_page_shows_a_corpus_predictions_or_both(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    gold, predicted, page = corpora[1], tmp_path / "predicted.jsonl", tmp_path / "page.html"
    corpus = read_corpus(gold)
    write_predictions(predicted, corpus, [replace(s, relations=s.relations[1:]) for s in corpus.sentences()])
    found = read_predictions(predicted)
    for options, expected in (
        (("--file", gold), html_page("dev.jsonl", corpus)),
        (("--predictions", predicted), html_page("predicted.jsonl", predicted=found)),
        (("--file", gold, "--predictions", predicted), html_page("predicted.jsonl beside dev.jsonl", corpus, found)),
    ):
        main(["show", *map(str, options), "--output", str(page)])
        assert page.read_text() == "".join(f"{line}\n" for line in expected)
    assert failed(capsys, "show") == "file and predictions: expected one of them, or both, found none"
    page.unlink()
    other = failed(capsys, "show", "--file", str(corpora[0]), "--predictions", str(predicted), "--output", str(page))
    assert other.startswith("document 'bakery', sentence 0: expected the words ")
    assert not page.exists()


@pytest.mark.parametrize("architecture", ["cascade", "table"])
def test_entities_overlap_as_in_the_training_file(
    architecture: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    """The dev file, which holds nested entities too, says nothing about it."""
    nested, dev = corpora
    flat = tmp_path / "flat.jsonl"
    first = next(s for s in read_corpus(nested).sentences() if s.relations and overlap_kinds(one(s)) == ("none",))
    write_corpus(flat, one(first))
    for train, options, expected in (
        (flat, (), ["none"]),
        (nested, (), ["nested"]),
        (flat, ("--overlaps", "types", "crossing"), ["types", "crossing"]),
    ):
        folder = tmp_path / "-".join(expected)
        arguments = train_arguments(train, folder, "--architecture", architecture, "--dev_file", dev, *options)
        if architecture == "table":
            place = arguments.index("--tag_size")
            arguments = arguments[:place] + arguments[place + 2 :]
        main(arguments)
        assert json.loads((folder / "model" / "config.json").read_text())["overlaps"] == expected
    capsys.readouterr()
    assert "overlaps: expected some of types, nested, crossing, or none alone" in failed(
        capsys, "predict", "--model", str(folder), "--text", "x", "--overlaps", "some"
    )


def test_saved_overlaps_can_be_overridden(capsys: pytest.CaptureFixture[str], saved: Path) -> None:
    def entities(*options: str) -> list[tuple[int, int]]:
        main(["predict", "--model", str(saved), "--text", "Lotte Brandt lives in Tartu.", *options])
        return [(entity["start"], entity["end"]) for entity in json.loads(capsys.readouterr().out)["entities"]]

    def overlapping(spans: list[tuple[int, int]]) -> list:
        return [(a, b) for a, b in combinations(spans, 2) if a[0] < b[1] and b[0] < a[1]]

    assert overlapping(entities())
    assert entities("--overlaps", "none")
    assert not overlapping(entities("--overlaps", "none"))


def test_bfloat16_on_a_cpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    """From training to prediction, where there is only a CPU and no option says so."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda *_: False)
    train, dev = corpora
    folder = tmp_path / "run"
    main(train_arguments(train, folder, "--encoder", "srn", "--bf16", "--use_cpu", "false"))
    options = ("--model", str(folder), "--dtype", "bfloat16", "--device", "cpu")
    main(["evaluate", *options, "--file", str(dev)])
    assert "ner_f1" in capsys.readouterr().out
    main(["predict", *options, "--text", "Lotte Brandt lives in Tartu."])
    assert json.loads(capsys.readouterr().out)["text"] == "Lotte Brandt lives in Tartu."


def test_training_without_a_dev_file_and_with_a_trunk_of_its_own(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    folder = tmp_path / "run"
    main([argument if argument != str(tiny_trunk()) else "tiny" for argument in train_arguments(corpora[0], folder)])
    assert (folder / "trunk" / "config.json").is_file()
    assert (folder / "model" / "model.safetensors").is_file()


def test_a_run_does_not_mix_with_an_earlier_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    folder = tmp_path / "run"
    arguments = train_arguments(corpora[0], folder, "--save_strategy", "steps", "--save_steps", 1)
    resume = ("--resume_from_checkpoint", "last")
    assert "expected a complete checkpoint" in failed(capsys, *arguments, *resume)
    main(arguments)
    capsys.readouterr()
    assert "holds checkpoints of an earlier run" in failed(capsys, *arguments)
    main([*arguments, *resume, "--max_steps", "3"])
    assert (folder / "checkpoint-3").is_dir()


def test_a_run_goes_on_with_its_own_model_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    """Weights of other labels, options or words would fit, and mean something else."""
    arguments = train_arguments(corpora[0], tmp_path / "run", "--save_strategy", "steps", "--save_steps", 1)
    main(arguments)
    renamed = tmp_path / "renamed.jsonl"
    renamed.write_text(corpora[0].read_text().replace('"Person"', '"Human"'))
    resume = ("--resume_from_checkpoint", tmp_path / "run" / "checkpoint-2", "--max_steps", 3)
    other = train_arguments(corpora[0], tmp_path / "other", *resume)
    capsys.readouterr()
    assert "whose fusion is 'late', not 'packed'" in failed(capsys, *other, "--fusion", "packed")
    assert "whose hidden_size is 8, not 9" in failed(capsys, *other, "--hidden_size", "9")
    table = [word for word in (*other, "--architecture", "table") if word not in ("--tag_size", "4")]
    assert "whose model_type is 'cascade', not 'cascade-table'" in failed(capsys, *table)
    found = failed(capsys, *train_arguments(renamed, tmp_path / "other", *resume))
    assert "whose entity_types is " in found and "'Person'" in found and "'Human'" in found
    alone = shutil.copytree(tmp_path / "run" / "checkpoint-2", tmp_path / "checkpoint-2")
    (alone / "optimizer.pt").unlink()
    assert "expected a checkpoint with its optimizer, found none in" in failed(
        capsys, *train_arguments(corpora[0], tmp_path / "other", "--resume_from_checkpoint", alone, "--max_steps", 3)
    )
    trunk = shutil.copytree(tiny_trunk(), tmp_path / "trunk")
    tokenizer = json.loads((trunk / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words["Lotte"], words["Tartu"] = words["Tartu"], words["Lotte"]
    (trunk / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = failed(capsys, *(str(trunk) if word == str(tiny_trunk()) else word for word in other))
    assert "whose vocabulary is another" in found
    main([*other, "--dropout", "0.3"])
    assert (tmp_path / "other" / "model" / "config.json").is_file()


def test_a_training_that_goes_on_or_has_no_trunk_changes_nothing_when_it_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    """Nor is a folder made for it."""
    folder = tmp_path / "run"
    arguments = ["--save_strategy", "steps", "--save_steps", "1", "--trunk", "tiny"]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "a folder, which is not there, or the name of" in failed(
        capsys, *train_arguments(corpora[0], folder, "--trunk", "no/such-encoder")
    )
    assert not folder.exists()
    main(train_arguments(corpora[0], folder, *arguments))
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    other = written(tmp_path / "other.jsonl", ["Other", "words"], [[0, 1, "Person"]], [])
    resumed = train_arguments(other, folder, *arguments, "--resume_from_checkpoint", "last")
    assert failed(capsys, *resumed).startswith(
        "resume_from_checkpoint: expected a checkpoint of the model that is trained"
    )
    with claimed(folder):
        goes_on = train_arguments(corpora[0], folder, *arguments, "--resume_from_checkpoint", "last")
        assert failed(capsys, *goes_on) == f"output_dir: another training is writing to {folder}"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    main([*resumed[:2], str(corpora[0]), *resumed[3:], "--max_steps", "3"])
    config = json.loads((folder / "model" / "config.json").read_text())
    assert config["trunk"]["_name_or_path"] == str(folder / "trunk")


def test_no_training_overtakes_one_that_still_reads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    arguments = train_arguments(corpora[0], tmp_path / "run")
    read, refused = cli.read, []

    def slowly(*args: object, **options: object) -> Corpus:
        refused.append(failed(capsys, *arguments))
        return read(*args, **options)

    monkeypatch.setattr(cli, "read", slowly)
    main(arguments)
    assert refused == [f"output_dir: another training is writing to {tmp_path / 'run'}"]
    assert (tmp_path / "run" / "model" / "config.json").is_file()


def test_what_an_interrupted_save_left_is_said_once(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoint-1").mkdir(parents=True)
    main(train_arguments(corpora[0], folder))
    assert caplog.text.count("checkpoint-1 is incomplete and is passed over") == 1


def test_folders_that_were_made_for_nothing_go_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    failed(capsys, *train_arguments(tmp_path / "none.jsonl", tmp_path / "a" / "b" / "c"))
    assert not (tmp_path / "a").exists()


def test_what_is_terminated_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: Path, corpora: tuple[Path, Path]
) -> None:
    arguments = [
        "evaluate",
        "--model",
        str(saved),
        "--file",
        str(corpora[0]),
        "--output",
        str(tmp_path / "scores.json"),
    ]
    monkeypatch.setattr(sys, "argv", ["cascade", *arguments])
    monkeypatch.setattr(cli, "predict_labelled", lambda *args: os.kill(os.getpid(), signal.SIGTERM))
    before = set(tmp_path.iterdir())
    usual = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as exit_:
            main()
    finally:
        signal.signal(signal.SIGTERM, usual)
    assert exit_.value.code == 128 + signal.SIGTERM
    assert set(tmp_path.iterdir()) == before


def test_what_is_read_is_not_written(
    capsys: pytest.CaptureFixture[str], saved: Path, corpora: tuple[Path, Path]
) -> None:
    gold, content = str(corpora[1]), corpora[1].read_text()
    for verb in (
        ("evaluate", "--model", str(saved)),
        ("evaluate", "--predictions", gold),
        ("show",),
        ("predict", "--model", str(saved)),
    ):
        message = failed(capsys, *verb, "--file", gold, "--output", f"{corpora[1].parent}/./{corpora[1].name}")
        assert message.startswith("output: expected another file than what is read, found ")
    assert corpora[1].read_text() == content


def test_a_file_without_a_name(capsys: pytest.CaptureFixture[str], corpora: tuple[Path, Path], tmp_path: Path) -> None:
    """What a variable of the shell that is not set makes of an option."""
    arguments = train_arguments(corpora[0], tmp_path / "run", "--dev_file", "")
    assert failed(capsys, *arguments) == "dev_file: expected the name of a corpus, found an empty one"


def test_predictions_on_text_and_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, saved: Path, tmp_path: Path
) -> None:
    text = "Lotte Brandt lives in Tartu."
    main(["predict", "--model", str(saved), "--text", text])
    record = json.loads(capsys.readouterr().out)
    assert record["text"] == text
    assert record["entities"]
    assert all(text[e["start"] : e["end"]] == e["text"] for e in record["entities"])
    assert all(r["subject"] in record["entities"] for r in record["relations"])
    monkeypatch.setattr(sys, "stdin", standard_input(text.encode()))
    main(["predict", "--model", str(saved), "--output", str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text()) == record
    main(["predict", "--model", str(saved), "--text", "Das sind bzw. Vier.", "--language", "de"])
    assert json.loads(capsys.readouterr().out)["text"] == "Das sind bzw. Vier."
    main(["predict", "--model", str(saved), "--text", ""])
    assert json.loads(capsys.readouterr().out) == {"text": "", "entities": [], "relations": []}


def test_text_that_is_not_utf_8_is_said_to_be_that(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, saved: Path
) -> None:
    latin = "Zürich".encode("latin-1")
    monkeypatch.setattr(sys, "stdin", standard_input(latin))
    model = ("predict", "--model", str(saved))
    assert failed(capsys, *model).startswith("the standard input: expected UTF-8: 'utf-8' codec can't decode byte 0xfc")
    argument = latin.decode("utf-8", "surrogateescape")  # as Python gives it
    assert failed(capsys, *model, "--text", argument).startswith("text: expected UTF-8: ")
    monkeypatch.setattr(sys, "stdin", standard_input(b"\xef\xbb\xbfTartu"))
    main([*model])
    assert json.loads(capsys.readouterr().out)["text"] == "Tartu"


def lines_of(content: bytes) -> list[dict]:
    return [json.loads(line) for line in content.splitlines()]


def test_a_corpus_in_a_pipe_becomes_predictions_in_a_pipe(saved: Path, corpora: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "cascade", "predict", "--model", str(saved), "--file", "-", "--device", "cpu"]
    command += ["--thresholds", "0.02", "0", "0.02"]
    done = subprocess.run(command, cwd=REPOSITORY, input=corpora[1].read_bytes(), capture_output=True, check=True)
    assert [line["doc_key"] for line in lines_of(done.stdout)] == [d.key for d in sample_corpus("dev").documents]
    assert all("predicted_ner" in line for line in lines_of(done.stdout))
    # what reads it goes away after a line
    shell = f"{' '.join(command)} < {corpora[1]} | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], cwd=REPOSITORY, capture_output=True, check=False)
    assert len(lines_of(done.stdout)) == 1
    assert done.returncode in (0, 128 + 13)  # all of it may have been written before
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("form", ["dygie", "spert", "records"])
def test_an_interrupted_prediction_goes_on(
    form: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    saved: Path,
    corpora: tuple[Path, Path],
) -> None:
    corpus, output = corpora[0], tmp_path / "out.jsonl"
    options = ["--thresholds", "0.02", "0", "0.02", "--format", form]
    arguments = ["predict", "--model", str(saved), "--file", str(corpus), *options]
    main([*arguments, "--output", str(tmp_path / "whole.jsonl")])
    stop, documents = 3, Predictor.documents

    def interrupted(*args: object) -> Iterator[tuple]:
        yield from islice(documents(*args), stop)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setattr(Predictor, "documents", interrupted)
        main([*arguments, "--output", str(output)])
    assert exit_.value.code == 130
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"cascade: 3 lines are in {output}.partial; `--resume` goes on behind them",
        "cascade: interrupted",
    ]
    assert "holds 3 lines of an interrupted run" in failed(capsys, *arguments, "--output", str(output))
    other = ["predict", "--model", str(saved), "--file", str(corpora[1]), "--output", str(output), "--resume"]
    resumed = ["--output", str(output), "--resume"]
    for wrong in ([*other, "--format", form], [*arguments[:-1], "records" if form == "spert" else "spert", *resumed]):
        error = failed(capsys, *wrong)
        assert error.startswith("resume: expected the predictions of the first 3 documents of ")
        assert error.endswith("found others in line 1")
    # every line counts, not the last alone
    partial = Path(f"{output}.partial")
    lines = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(b"".join([lines[0], b"\xff\n", lines[2]]))
    assert failed(capsys, *arguments, *resumed).endswith("found others in line 2")
    partial.write_bytes(b"".join(lines))
    main([*arguments, *resumed])
    whole = output.read_bytes()
    assert whole == (tmp_path / "whole.jsonl").read_bytes()
    # the last line was written, and the file did not get its name
    output.rename(f"{output}.partial")
    main([*arguments, "--output", str(output), "--resume"])
    assert output.read_bytes() == whole


@pytest.mark.parametrize("form", ["lines", "array"])
def test_many_texts_in_a_file(
    form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: Path
) -> None:
    texts = ["Lotte Brandt lives in Tartu.", "", "Sie sind bzw. Vier.\n\nAda.", "The end."]
    records = [{"id": n, "text": text, "note": [n]} for n, text in enumerate(texts)]
    path, output = tmp_path / "texts.jsonl", tmp_path / "out.jsonl"
    path.write_text("\n".join(map(json.dumps, records)) if form == "lines" else json.dumps(texts))
    arguments = ["predict", "--model", str(saved), "--file", str(path), "--language", "de"]
    main(arguments)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    if form == "array":
        records = [{"id": n, "text": text} for n, text in enumerate(texts)]
    for record, line in zip(records, lines, strict=True):
        main(["predict", "--model", str(saved), "--text", record["text"], "--language", "de"])
        assert line == {**record, **json.loads(capsys.readouterr().out)}
    assert any(line["entities"] for line in lines)

    documents = Predictor.documents

    def interrupted(*args: object) -> Iterator[tuple]:
        yield from islice(documents(*args), 2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Predictor, "documents", interrupted)
        main([*arguments, "--output", str(output)])
    main([*arguments, "--output", str(output), "--resume"])
    assert [json.loads(line) for line in output.read_text().splitlines()] == lines


def test_a_place_that_cannot_be_written_is_said_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    nowhere = tmp_path / "no" / "where"
    for verb in ("predict", "evaluate"):
        rest = ("--model", "none", "--file", str(corpora[1]), "--output", str(nowhere))
        assert failed(capsys, verb, *rest) == f"cannot write {nowhere}: the folder {nowhere.parent} does not exist"


def test_what_is_closed_or_empty_or_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, saved: Path, corpora: tuple[Path, Path]
) -> None:
    model = ("predict", "--model", str(saved), "--device", "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", None)
        for rest in ((), ("--file", "-")):
            assert failed(capsys, *model, *rest) == "the standard input: expected a stream to read, found it closed"
    assert failed(capsys, *model, "--file", "") == "file: expected the name of a corpus, found an empty one"
    assert failed(capsys, *model, "--text", "x", "--device", "meta") == "device: expected one that computes, found meta"
    assert failed(capsys, *model, "--text", "x", "--batch_size", "9" * 30).startswith("batch_size: expected a number")
    a_file = ("evaluate", "--model", str(corpora[0]), "--file", "x")
    assert failed(capsys, *a_file) == f"{corpora[0]}: expected the folder of a saved model, found a file"
    assert failed(capsys, *train_arguments(corpora[0], corpora[1])) == (
        "output_dir: expected a folder for checkpoints and the model, found a file by that name"
    )
    monkeypatch.setattr(sys, "stdin", standard_input(corpora[1].read_bytes()))
    main(["evaluate", *model[1:], "--file", "-", "--thresholds", "0.02", "0", "0.02"])
    assert "gold: 7 sentences" in capsys.readouterr().out


def test_steps_that_are_none(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    arguments = train_arguments(corpora[0], tmp_path / "run", "--save_strategy", "no")
    for steps in ("0", "-5", "9" * 25):
        assert failed(capsys, *arguments, "--max_steps", steps).startswith(
            "max_steps: expected -1 or a number from 1 on"
        )
    weights = ["0"] * 9
    assert failed(capsys, *arguments, "--loss_weights", *weights) == (
        "loss_weights: expected one above 0, or nothing is learned, found none"
    )
    main([*arguments, "--max_steps", "-1", "--num_train_epochs", "0"])
    assert "no step was taken: step 0 of 0" in caplog.text


def test_a_checkpoint_that_does_not_fit_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    arguments = train_arguments(corpora[0], tmp_path / "run", "--save_strategy", "steps", "--save_steps", 1)
    main(arguments)
    checkpoint = tmp_path / "run" / "checkpoint-2"
    other = train_arguments(corpora[0], tmp_path / "other", "--resume_from_checkpoint", checkpoint, "--max_steps", 4)
    capsys.readouterr()
    assert failed(capsys, *other, "--optim", "sgd").startswith("training cannot begin: KeyError: ")
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    assert failed(capsys, *other).startswith("training cannot begin: SafetensorError: ")


def test_others_may_read_a_saved_model(saved: Path) -> None:
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in saved.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_a_backend_that_cannot_serve_here(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model, tokenizer = tiny_model()
    save_model(model, tokenizer, tmp_path / "model")
    predict = ("predict", "--model", str(tmp_path / "model"), "--text", "Lotte lives.", "--device", "cpu", "--backend")
    assert failed(capsys, *predict, "cuda").startswith("backend 'cuda' cannot serve this call: ")
    assert failed(capsys, *predict, "cudda").startswith("backend: expected one of auto, cuda, ")


def test_a_checkpoint_to_resume_must_be_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = train_arguments(tmp_path / "t.jsonl", tmp_path / "run", "--resume_from_checkpoint", tmp_path / "gone")
    assert failed(capsys, *arguments) == (
        f"resume_from_checkpoint: expected a complete checkpoint or `last`, found '{tmp_path / 'gone'}'"
    )


def test_what_training_cannot_set_up_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    arguments = train_arguments(corpora[0], tmp_path / "run")
    assert failed(capsys, *arguments, "--learning_rate", "nan") == (
        "learning_rate: expected a number from 0 on and below 2147483648, found nan"
    )
    assert failed(capsys, *arguments, "--adam_beta2", "1") == (
        "adam_beta2: expected a number from 0 on and below 1, found 1.0"
    )
    best = failed(capsys, *arguments, "--dev_file", str(corpora[1]), "--metric_for_best_model", "f1")
    assert best.startswith("metric_for_best_model: expected one of loss, ner_precision, ")
    assert "ner_f1+re_f1, found 'f1'" in best
    assert failed(capsys, *arguments, "--debug", "underflow_overflow").startswith(
        "debug: `underflow_overflow` fails on"
    )
    assert failed(capsys, *arguments, "--optim_args", "none").startswith("training cannot begin: ValueError: ")
    assert failed(capsys, *arguments, "--report_to", "nobody").startswith("training cannot begin: ValueError: nobody ")
    assert failed(capsys, *arguments, "--hidden_size", "many") == (
        "train: argument --hidden_size/--hidden-size: invalid int value: 'many'"
    )


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "tune", "evaluate", "show", "predict"])
def test_no_value_of_any_option_ends_in_a_traceback(
    verb: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    saved: Path,
    corpora: tuple[Path, Path],
) -> None:
    monkeypatch.chdir(tmp_path)  # where values that are names of files end up
    few = ("--thresholds", "0.02", "0", "0.02")
    copied = shutil.copytree(saved, tmp_path / "copied")
    monkeypatch.setattr(tuning, "GRID", (0.9,))
    base = {
        "train": train_arguments(corpora[1], tmp_path / "run", "--save_strategy", "no", "--num_train_epochs", 1),
        "tune": ["tune", "--model", str(copied), "--file", str(corpora[1]), "--device", "cpu", *few],
        "evaluate": ["evaluate", "--model", str(saved), "--file", str(corpora[1]), "--device", "cpu", *few],
        "show": ["show", "--file", str(corpora[1])],
        "predict": ["predict", "--model", str(saved), "--file", str(corpora[1]), "--device", "cpu", *few],
    }[verb]
    options: dict[str, object] = {}
    parse = cli.Parser.parse_args_into_dataclasses

    def spied(parser: cli.Parser, *args: object, **kwargs: object) -> object:
        options.update((action.option_strings[0], action.type) for action in parser._actions)
        return parse(parser, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(cli.Parser, "parse_args_into_dataclasses", spied)
        failed(capsys, verb, "--no-such-option")
    ended = {}
    tried = sorted(options.keys() - {"-h", "--help-all", "--output_dir", "--use_cpu"})
    for option in tried:
        for value in ("-1", "nan", "no-such") if options[option] in (int, float) else ("no-such",):
            try:
                main([*base, option, value])
            except SystemExit as exit_:
                ended[option, value] = exit_.code
                lines = capsys.readouterr().err.splitlines()
                assert exit_.code == 2, (option, value)
                assert sum(line.startswith("cascade: error: ") for line in lines) == 1, (option, value, lines)
            except BaseException as error:
                raise AssertionError(f"{option} {value}: {type(error).__name__}: {error}") from error
    assert len(ended) > len(tried) / 2


@pytest.mark.parametrize("there", [True, False])
def test_auto_takes_bfloat16_on_a_cpu_that_has_its_products(
    there: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, saved: Path
) -> None:
    monkeypatch.setattr(pipeline.native, "multiplies_bfloat16", lambda: there)
    made = []

    def make(*args: object, **options: object) -> Predictor:
        made.append(options["dtype"])
        return Predictor(*args, **options)

    monkeypatch.setattr(pipeline, "Predictor", make)
    for dtype in ("auto", "float32", "bfloat16"):
        main(["predict", "--model", str(saved), "--text", "Lotte lives.", "--device", "cpu", "--dtype", dtype])
        assert ("bfloat16" in capsys.readouterr().err) == (dtype == "auto" and there)
    assert made == [torch.bfloat16 if there else None, None, torch.bfloat16]


@pytest.mark.parametrize("architecture", ["cascade", "table"])
def test_tune_saves_the_thresholds_that_score_best(
    architecture: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    corpora: tuple[Path, Path],
) -> None:
    monkeypatch.setattr(tuning, "GRID", (0.5, 0.9))
    torch.manual_seed(0)
    nothing = [1.0] * (2 if architecture == "table" else 3)
    model, tokenizer = tiny_model(encoder="none", architecture=architecture, thresholds=nothing)
    for name, parameter in eager(model).named_parameters():
        if name.endswith("out.weight"):  # no probability of 1
            parameter.data *= 0.1
    table = f"## Settings\n\n| setting |  |\n|---|---|\n| `fusion` | late |\n| `thresholds` | {' '.join(map(str, nothing))} |\n\n## Versions\n"
    save_model(model, tokenizer, tmp_path / "model", f"# A model\n\n{table}")
    config = tmp_path / "model" / "config.json"
    before = json.loads(config.read_text())
    expected = tune_thresholds(Predictor(model, tokenizer), read_corpus(corpora[1]))
    assert expected != model.config.thresholds
    main(["tune", "--model", str(tmp_path / "model"), "--file", str(corpora[1]), "--device", "cpu"])
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == f"thresholds {' '.join('1' for _ in nothing)}: NER 0.00, RE 0.00"
    assert second.startswith(f"thresholds {' '.join(f'{n:g}' for n in expected)}: NER ")
    assert sum(map(float, re.findall(r"\d+\.\d\d", second))) > 0
    assert third == f"saved: {config}"
    assert json.loads(config.read_text()) == {**before, "thresholds": expected}
    assert load_model(tmp_path / "model")[0].config.thresholds == expected
    shown = " ".join(map(str, expected))
    for _ in range(2):  # tuned again, it tells of that alone
        card = (tmp_path / "model" / "README.md").read_text()
        assert card.startswith(
            f"# A model\n\n## Thresholds\n\n{shown}: chosen by `dev.jsonl` after the training, with NER F1 "
        )
        assert card.endswith(
            f"there. The scores of the training are with those of then.\n\n{table.replace(' '.join(map(str, nothing)), shown)}"
        )
        assert card.count("## ") == 3
        main(["tune", "--model", str(tmp_path / "model"), "--file", str(corpora[1]), "--device", "cpu"])
    capsys.readouterr()
    assert failed(capsys, "tune", "--model", str(tmp_path / "model")) == "file: expected a labelled corpus, found none"


def test_saved_settings_can_be_overridden(capsys: pytest.CaptureFixture[str], saved: Path) -> None:
    main(["predict", "--model", str(saved), "--text", "Lotte lives.", "--thresholds", "1", "1", "1"])
    assert json.loads(capsys.readouterr().out)["entities"] == []
    assert "thresholds: expected 3 numbers" in failed(
        capsys, "predict", "--model", str(saved), "--text", "x", "--thresholds", "1"
    )


def test_what_reading_dropped_is_printed(capsys: pytest.CaptureFixture[str], saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "twice.jsonl"
    ner = '[[[0, 0, "Place"], [0, 0, "Place"]]]'
    path.write_text(f'{{"doc_key": "d", "sentences": [["Tartu"]], "ner": {ner}, "relations": [[]]}}\n')
    main(["evaluate", "--model", str(saved), "--file", str(path)])
    assert f"cascade: {path}: 1 " in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_relations_whose_end_is_no_entity_are_refused_or_dropped(
    verb: str, capsys: pytest.CaptureFixture[str], saved: Path, corpora: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    records = [json.loads(line) for line in corpora[1].read_text().splitlines()]
    records[0]["relations"][0].append([1, 1, 0, 0, "FOUNDED-BY"])
    path.write_text("\n".join(map(json.dumps, records)))
    if verb == "train":
        arguments = train_arguments(corpora[0], tmp_path / "run", "--dev_file", path)
    else:
        arguments = ["evaluate", "--model", str(saved), "--file", str(path), "--device", "cpu"]
    assert "which is none (drop_unknown_ends=True, on the command line --drop_unknown_ends" in failed(
        capsys, *arguments
    )
    main([*arguments, "--drop_unknown_ends"])
    assert f"cascade: {path}: 1 relations with an end that is no entity dropped\n" in capsys.readouterr().err


def test_benchmarks_go_to_pytest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess:
        calls.append(command)
        return subprocess.CompletedProcess(command, 5)

    monkeypatch.setattr(cli.subprocess, "run", run)
    with pytest.raises(SystemExit) as exit_:
        main(["benchmark", "-k", "cell"])
    assert exit_.value.code == 5
    assert calls == [[sys.executable, "-m", "pytest", str(REPOSITORY / "benchmarks"), "-k", "cell"]]
    monkeypatch.setattr(cli, "__file__", "/elsewhere/cascade/cli.py")
    assert failed(capsys, "benchmark").startswith("no benchmarks at /elsewhere/benchmarks")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_as_a_module() -> None:
    done = run("-m", "cascade", "frobnicate")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("cascade: error: unknown verb 'frobnicate'")


@pytest.mark.slow
def test_two_processes_under_torchrun_are_one_with_batches_twice_as_large(
    tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    """An epoch of early fusion: where a sentence has no entities, a process has no gradients for the later turns. The
    command ends in both when the model is written and leaves no process group, which could abort a process."""
    train, dev = corpora
    trunk, folders = tmp_path / "trunk", {count: tmp_path / f"run{count}" for count in (1, 2)}
    shutil.copytree(tiny_trunk(), trunk)  # without dropout, which two processes draw otherwise than one
    config = json.loads((trunk / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (trunk / "config.json").write_text(json.dumps(config))
    command = tmp_path / "command.py"
    command.write_text(
        "import pathlib, sys\nimport torch.distributed\nfrom cascade.cli import main\n\n"
        "main(sys.argv[1:])\n"
        f"written = pathlib.Path({str(folders[2] / 'model' / 'model.safetensors')!r}).is_file()\n"
        'print(f"model written: {written}, group left: {torch.distributed.is_initialized()}")\n'
    )

    def arguments(processes: int) -> list[str]:
        options = ("--dev_file", dev, "--fusion", "early", "--encoder", "srn", "--trunk", trunk)
        options += ("--ddp_backend", "gloo") * (processes > 1)
        steps = ("--max_steps", 10, "--logging_steps", 1, "--dropout", 0)
        size = ("--per_device_train_batch_size", 2 // processes)
        return train_arguments(train, folders[processes], *options, *steps, *size)

    def losses(processes: int) -> list[float]:
        log = json.loads((folders[processes] / "checkpoint-10" / "trainer_state.json").read_text())["log_history"]
        return [entry["loss"] for entry in log if "loss" in entry]

    done = run("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(command), *arguments(2))
    assert done.returncode == 0, done.stderr[-4000:]
    assert (folders[2] / "model" / "model.safetensors").is_file()
    assert done.stdout.count("model: ") == 1
    assert done.stdout.count("model written: True, group left: False") == 2
    assert "eval_ner_f1" in done.stdout
    main(arguments(1))
    assert len(losses(1)) == 10
    assert losses(2) == pytest.approx(losses(1), rel=1e-4)
