"""A saved model as an object: texts or words in, records out, one or many, as the command line gives them."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from tiny_models import SAMPLE, eager, tiny_model, tiny_trunk
from transformers import pipeline
from transformers.utils.logging import enable_progress_bar, is_progress_bar_enabled

from cascade import Cascade, ConfigError, DataError
from cascade.cli import main
from cascade.prediction import BATCHES_AHEAD
from cascade.training import save_model

TEXTS = [
    "Lotte Brandt works for the University of Tartu.\n\nIt is in Tartu.",
    "",
    "  ",
    "Nobody lives here. Or does she?",
]
WORDS = [list(sentence.words) for sentence in SAMPLE.sentences()]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, tokenizer = tiny_model(encoder="none", thresholds=[0.97, 0.3, 0.7])
        save_model(eager(model), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def cascade(saved: Path) -> Cascade:
    return Cascade.from_pretrained(saved, device="cpu", dtype="float32")


def test_loading_is_silent(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    enable_progress_bar()  # the command line disables it
    Cascade.from_pretrained(saved, device="cpu", dtype="float32")
    assert capfd.readouterr() == ("", "")
    assert is_progress_bar_enabled()


def test_a_text_gives_what_the_command_line_gives(
    saved: Path, cascade: Cascade, capsys: pytest.CaptureFixture[str]
) -> None:
    record = cascade(TEXTS[0])
    assert record["entities"] and record["relations"]
    for entity in (*record["entities"], *(r[end] for r in record["relations"] for end in ("subject", "object"))):
        assert TEXTS[0][entity["start"] : entity["end"]] == entity["text"]
    assert all(0.7 <= relation["score"] <= 1 for relation in record["relations"])
    assert all(0.97 <= entity["score"] <= 1 for entity in record["entities"])
    main(["predict", "--model", str(saved), "--text", TEXTS[0], "--device", "cpu", "--dtype", "float32"])
    assert json.loads(capsys.readouterr().out) == record


def test_many_texts_are_as_each_alone(cascade: Cascade) -> None:
    records = cascade(TEXTS)
    assert records == [cascade(text) for text in TEXTS]
    assert [record["text"] for record in records] == TEXTS
    assert records[1] == {"text": "", "entities": [], "relations": []}


def test_words_are_counted_in_words(cascade: Cascade) -> None:
    records = cascade(WORDS)
    assert [record["words"] for record in records] == WORDS
    entities = [(record["words"], entity) for record in records for entity in record["entities"]]
    assert len(entities) > 5
    assert all(" ".join(words[e["start"] : e["end"]]) == e["text"] for words, e in entities)
    expected = cascade.predictor([sentence for sentence in SAMPLE.sentences()])
    found = [[(e["start"], e["end"] - 1, e["type"]) for e in record["entities"]] for record in records]
    assert found == [[(e.start, e.end, e.label) for e in sentence.entities] for sentence in expected]
    assert cascade([[], "Text.", ["Words"]])[0] == {"words": [], "entities": [], "relations": []}


def test_a_stream_is_read_a_bounded_number_ahead(cascade: Cascade) -> None:
    read = []

    def texts() -> iter:
        for n in range(10**9):
            read.append(n)
            yield f"Lotte lives in house {n}."

    records = list(islice(cascade.stream(texts()), 3))
    assert [record["text"] for record in records] == [f"Lotte lives in house {n}." for n in range(3)]
    assert len(read) <= cascade.predictor.batch_size * BATCHES_AHEAD


def test_what_is_lost_of_one_text_is_said(cascade: Cascade, caplog: pytest.LogCaptureFixture) -> None:
    cascade("\u4e2d\u6587.")
    assert "words with unknown pieces" in caplog.text


def test_progress_is_shown_if_asked_for(cascade: Cascade, capsys: pytest.CaptureFixture[str]) -> None:
    cascade(TEXTS)
    assert capsys.readouterr().err == ""
    cascade(TEXTS, progress=True)
    assert "4/4" in capsys.readouterr().err
    assert cascade(text for text in TEXTS) == cascade(TEXTS)


def test_what_it_cannot_take(saved: Path, cascade: Cascade, tmp_path: Path) -> None:
    for inputs, found in (
        ([3], "int$"),
        (["Text.", ["words", 4]], "list of int, str$"),
        ([None], "NoneType$"),
        ([[["a", "b"], ["c"]]], "list of list$"),
    ):
        with pytest.raises(TypeError, match=rf"expected a text or the words of a sentence, found {found}"):
            cascade(inputs)
    with pytest.raises(TypeError, match="expected texts, or sentences as lists of words, found dict"):
        cascade({"text": "Text."})
    with pytest.raises(TypeError, match="lists of words, found str"):
        list(cascade.stream("Text."))
    for broken in ("\ud800 b", ["a", "\ud800"]):
        with pytest.raises(DataError, match=r"^inputs\[1\]: .*found half a surrogate pair"):
            cascade(["Text.", broken])
    with pytest.raises(DataError, match=r"^inputs\[0\]: sentence 0, word 1: expected a string, not empty, found ''"):
        cascade([["a", ""]])
    assert cascade("Text.", language=None) == cascade("Text.")
    with pytest.raises(DataError, match="language"):
        cascade("Text.", language="german")
    with pytest.raises(ConfigError, match="dtype: expected one of auto, float32, bfloat16, float16, found 'int8'"):
        Cascade.from_pretrained(saved, dtype="int8")
    with pytest.raises(ConfigError, match="device: "):
        Cascade.from_pretrained(saved, device="cuda:99")
    with pytest.raises(ConfigError, match="thresholds: expected 3 numbers"):
        Cascade.from_pretrained(saved, thresholds=[0.5])
    with pytest.raises(ConfigError, match="a model of type 'cascade' has no batchsize, tresholds"):
        Cascade.from_pretrained(saved, tresholds=[0.1] * 3, batchsize=64)
    with pytest.raises(FileNotFoundError):
        Cascade.from_pretrained(tmp_path / "none")


def test_transformers_knows_the_task(saved: Path, cascade: Cascade) -> None:
    pipe = pipeline("entity-relation-extraction", model=str(saved), device="cpu")
    assert pipe(TEXTS[0]) == cascade(TEXTS[0]) and pipe(TEXTS[0])["relations"]
    assert pipe(TEXTS) == pipe(tuple(TEXTS)) == cascade(TEXTS)
    assert pipe(WORDS) == cascade(WORDS)
    assert pipe([]) == []
    assert list(pipe(text for text in TEXTS)) == cascade(TEXTS)
    german = "Sie sind bzw. Vier."
    assert pipe(german, language="de") == pipe([german], language="de")[0] == cascade(german, language="de")
    with pytest.raises(DataError, match="language: expected a code"):
        pipe(german, language="German")
    with pytest.raises(TypeError, match="language_code"):
        pipe(german, language_code="de")
    assert list(pipe(iter(TEXTS))) == cascade(TEXTS)
    for wrong in (5, {"text": german}, [german, 5]):
        with pytest.raises(TypeError, match="expected a text or the words of a sentence"):
            pipe(wrong)


def test_words_may_be_of_a_kind_of_string(cascade: Cascade) -> None:
    class Tagged(str):
        pass

    assert cascade([[Tagged("Tartu"), "waits"]]) == cascade([["Tartu", "waits"]])


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model: expected one of cascade, found BertModel$"):
        pipeline("entity-relation-extraction", model=str(tiny_trunk()), device="cpu")


def test_a_pipeline_is_saved(saved: Path, tmp_path: Path) -> None:
    pipe = pipeline("entity-relation-extraction", model=str(saved), device="cpu")
    pipe.save_pretrained(tmp_path / "again")
    assert pipeline("entity-relation-extraction", model=str(tmp_path / "again"), device="cpu")(TEXTS) == pipe(TEXTS)


def test_a_task_has_its_batches_and_language_from_the_beginning(saved: Path) -> None:
    pipe = pipeline("entity-relation-extraction", model=str(saved), device="cpu", batch_size=2, language="German")
    sizes = []
    pipe.model.encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(int(inputs[0].batch_sizes[0])))
    with pytest.raises(DataError, match="language: expected a code"):
        pipe(TEXTS)
    pipe(WORDS, language="en")
    assert max(sizes) == 2
    sizes.clear()
    pipe(" ".join(TEXTS), language="en", batch_size=1)
    assert max(sizes) == 1
