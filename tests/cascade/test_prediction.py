"""Prediction over sentences: batches, windows, text, and what a reader of the log learns."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny_models import SAMPLE, batch_of, eager, stages, tiny_model
from torch import profiler

from cascade import ConfigError
from cascade.data import Corpus, Document, Entity, Relation, Sentence, split_text, text_record
from cascade.data.overlaps import OVERLAPS
from cascade.model.config import DECISIONS, WITH_MARKERS
from cascade.prediction import BATCHES_AHEAD, Predictor
from cascade.tensors import Batch
from cascade.windows import merged

MODELS = [{"fusion": "early"}, {"fusion": "late"}, {"fusion": "packed"}, {"architecture": "table"}]
SENTENCES = [Sentence(()), *SAMPLE.sentences(), Sentence(()), Sentence(("Alone",))]


def predictor(options: dict[str, Any], **settings: Any) -> Predictor:
    few = {} if "architecture" in options else {"decision": "each"}  # the match alone lets half of all spans count
    thresholds = {"thresholds": [0.9999, 0.9999] if "architecture" in options else [0.7, 0.3, 0.5]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model, tokenizer = tiny_model(**{**few, **options}, **thresholds, encoder="none")
        return Predictor(eager(model), tokenizer, **settings)


def found(sentences: list[Sentence]) -> list[tuple]:
    return [(s.words, set(s.entities), set(s.relations)) for s in sentences]


@pytest.mark.parametrize("overlaps", [OVERLAPS, ("nested",), ("none",)])
@pytest.mark.parametrize("options", MODELS)
def test_the_answer_does_not_depend_on_the_batches(options: dict[str, Any], overlaps: tuple[str, ...]) -> None:
    options = {**options, "overlaps": overlaps}
    whole = found(predictor(options, batch_size=64)(SENTENCES))
    assert sum(len(entities) for _, entities, _ in whole) > 20
    assert [words for words, _, _ in whole] == [sentence.words for sentence in SENTENCES]
    assert found(predictor(options, batch_size=1)(SENTENCES)) == whole
    assert found(predictor(options, batch_size=5, object_batch_size=2)(SENTENCES)) == whole
    assert found(predictor(options, batch_size=5)(iter(SENTENCES[::-1]))) == whole[::-1]


@pytest.mark.parametrize("options", MODELS)
def test_the_same_sentences_are_read_once_for_many_thresholds(options: dict[str, Any]) -> None:
    predict = predictor(options, batch_size=5)
    config, calls = predict.model.config, []
    expected = []
    for thresholds in ([0.9] * len(config.thresholds), [0.6] * len(config.thresholds), config.thresholds):
        config.thresholds = list(thresholds)
        expected.append(found(predict(SENTENCES)))
    assert expected[0] != expected[1] != expected[2]
    again = predict.repeatedly(SENTENCES)
    predict.model.trunk.register_forward_hook(lambda *_: calls.append(1))
    for thresholds, one in zip(
        ([0.9] * len(config.thresholds), [0.6] * len(config.thresholds)), expected, strict=False
    ):
        config.thresholds = list(thresholds)
        assert found(again()) == one
    batches = -(-len(SENTENCES[1:-2]) // 5)
    if options.get("fusion") not in WITH_MARKERS:  # else what is found is marked, and read
        assert len(calls) <= batches + 1


def test_what_is_lost_is_said_once_however_often_the_same_is_predicted(caplog: pytest.LogCaptureFixture) -> None:
    predict = predictor({"fusion": "early"})
    predict.model.config.max_pieces = predict.tokenizer.room = 40
    again = predict.repeatedly(SENTENCES)
    assert caplog.text == ""
    again()
    assert "left unmarked" in caplog.text and "unknown pieces" in caplog.text
    caplog.clear()
    again()
    assert caplog.text == ""


def test_what_is_kept_is_not_counted_again() -> None:
    predict = predictor({"fusion": "early"})
    batch = Batch.of(batch_of(predict.model, predict.tokenizer.tokenizer, SENTENCES[1:4]))
    reading = predict.model.read(batch)
    first, second = predict.model.find(reading), predict.model.find(reading)
    assert second.passes == first.passes - 3 > 0
    assert second.unmarked == first.unmarked


def test_sentences_without_words_stay_empty() -> None:
    assert predictor(MODELS[1])([Sentence(())]) == [Sentence(())]
    assert predictor(MODELS[1])([]) == []
    assert predictor(MODELS[1])(Corpus(())) == []


def test_what_sentences_held_is_replaced() -> None:
    model, tokenizer = tiny_model()
    [sentence] = Predictor(model, tokenizer)([Sentence(("Tartu", "."), (Entity(0, 0, "Place"),))])
    assert sentence == Sentence(("Tartu", "."))


@pytest.mark.parametrize("options", MODELS)
def test_windows_are_merged_with_their_words_counted_on(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    small = predictor({**options, "positions": 16}, batch_size=3)
    words = tuple(word for sentence in list(SAMPLE.sentences())[:6] for word in sentence.words)
    with caplog.at_level(logging.WARNING):
        [whole] = small([Sentence(words)])
    assert "1 sentences split into windows" in caplog.text
    windows = small.tokenizer([Sentence(words)]).windows
    assert len(windows) > 2
    parts = [
        small([Sentence(words[window["first_word"] : window["first_word"] + window["word_count"]])])[0]
        for window in windows
    ]
    found_alone = [(tuple(part.entities), tuple(part.relations)) for part in parts]
    assert whole == merged([Sentence(words)], windows, found_alone, OVERLAPS)[0]
    assert max(e.end for e in whole.entities) > 16
    assert all({r.subject, r.object} <= set(whole.entities) for r in whole.relations)


def test_unmarked_entities_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    small = predictor({"fusion": "early", "positions": 16})
    small.model.config.thresholds = [0.0, 0.0, 0.9]
    with caplog.at_level(logging.WARNING):
        small([Sentence(("Tartu",) * 8)])
    assert "entities left unmarked, for want of positions in the trunk" in caplog.text


def test_stages_are_labelled_for_the_profiler() -> None:
    with profiler.profile(activities=[profiler.ProfilerActivity.CPU]) as profile:
        predictor(MODELS[0])(SENTENCES)
    assert set(stages(profile)) == {"tokenize", "encode", "decode"}
    assert all(microseconds > 0 for microseconds in stages(profile).values())


@pytest.mark.parametrize("name", ["batch_size", "object_batch_size"])
def test_sizes_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: expected a number from 1 on and below 2147483648, found 0"):
        predictor(MODELS[0], **{name: 0})
    with pytest.raises(ConfigError, match=f"^{name}: .* found '4'"):
        predictor(MODELS[0], **{name: "4"})


def test_text_goes_in_and_character_offsets_come_out() -> None:
    text = "Lotte Brandt works for the University of Tartu.\n\n  It is in Tartu (Estonia)."
    first, second = split_text(text)
    person, place = Entity(0, 1, "Person", 0.123456789), Entity(7, 7, "Place")
    nobody = Entity(5, 7, "")
    estonia = Entity(second.words.index("Estonia"), second.words.index("Estonia"), "Place")
    record = text_record(
        text,
        [
            Sentence(first.words, (person, place), (Relation(person, nobody, "WORKS-FOR", 0.75),), first.offsets),
            Sentence(second.words, (estonia,), (), second.offsets),
        ],
    )
    assert json.loads(json.dumps(record)) == record
    assert [(e["text"], e["type"]) for e in record["entities"]] == [
        ("Lotte Brandt", "Person"),
        ("Tartu", "Place"),
        ("Estonia", "Place"),
    ]
    for entity in record["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
    [relation] = record["relations"]
    assert relation["subject"] == record["entities"][0]
    nobody = {"start": 27, "end": 46, "text": "University of Tartu", "type": None, "score": None}
    assert relation["object"] == nobody
    assert (relation["type"], relation["score"]) == ("WORKS-FOR", 0.75)
    assert [entity["score"] for entity in record["entities"]] == [0.123457, None, None]


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("options", MODELS)
def test_what_is_found_has_the_score_that_thresholds_compare(options: dict[str, Any], decision: str) -> None:
    """But where start, end and match are compared one by one: then the score is their product."""
    options = options if "architecture" in options else {**options, "decision": decision}
    predict = predictor(options)
    found_all = predict(SENTENCES)
    for kind, place in (("entities", 0), ("relations", -1)):
        scores = sorted({item.score for sentence in found_all for item in getattr(sentence, kind)})
        assert len(scores) > 3 and all(0 < score <= 1 for score in scores)
        thresholds = list(predict.model.config.thresholds)
        if "decision" not in options or decision != "each":
            predict.model.config.thresholds[place] = (scores[-2] + scores[-1]) / 2
            left = {item.score for sentence in predict(SENTENCES) for item in getattr(sentence, kind)}
            assert left == {scores[-1]}
        predict.model.config.thresholds = thresholds
    for sentence in found_all:
        typed = {entity: entity.score for entity in sentence.entities}
        for relation in sentence.relations:
            assert all(end.score == typed[end] for end in (relation.subject, relation.object))


def test_a_predictor_multiplies_in_the_precision_asked_for() -> None:
    model, tokenizer = tiny_model(fusion="late")
    seen = []
    model.heads["entity"].match.left.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    for dtype in (None, torch.bfloat16):
        assert len(Predictor(model, tokenizer, dtype=dtype)(SENTENCES)) == len(SENTENCES)
    assert set(seen[: len(seen) // 2]) == {torch.float32}
    assert set(seen[len(seen) // 2 :]) == {torch.bfloat16}


def test_a_predictor_uses_the_models_device_and_precision() -> None:
    model, tokenizer = tiny_model(encoder="none")
    batch = batch_of(model, tokenizer, list(SAMPLE.sentences())[:2])
    half = eager(model).to(torch.bfloat16)
    assert len(half.extract(batch).entities) > 0
    assert len(Predictor(half, tokenizer)(SENTENCES)) == len(SENTENCES)


@pytest.mark.parametrize("options", MODELS)
def test_a_model_that_was_just_trained_predicts_without_dropout(options: dict[str, Any]) -> None:
    expected = found(predictor(options)(SENTENCES))
    dropping = predictor({**options, "dropout": 0.9})
    dropping.model.train()
    dropping.model.trunk.eval()  # as one whose trunk is frozen
    assert found(dropping(SENTENCES)) == expected
    assert dropping.model.training and dropping.model.dropout.training
    assert not any(module.training for module in dropping.model.trunk.modules())


def test_documents_are_read_a_bounded_number_ahead() -> None:
    few = predictor(MODELS[1], batch_size=1)
    several = SENTENCES[:8] * 6
    read = 0

    def documents() -> Iterator[Document]:
        nonlocal read
        for sentence in several:
            read += 1
            yield Document(str(read), (sentence, Sentence(()), sentence))

    seen = 0
    for document, sentences in few.documents(documents()):
        seen += 1
        assert document.key == str(seen)
        assert [s.words for s in sentences] == [s.words for s in document.sentences]
        assert read - seen <= BATCHES_AHEAD / 3 + 1
    assert seen == len(several)
    whole = found(few([sentence for sentence in several for _ in range(2)]))
    pairs = [s for _, sentences in few.documents(documents()) for s in (sentences[0], sentences[2])]
    assert found(pairs) == whole


def test_what_was_lost_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    small = Predictor(*tiny_model(positions=16), batch_size=1)  # finds nothing
    long = Sentence(tuple("Tartu" for _ in range(40)))
    with caplog.at_level(logging.WARNING):
        small([long] * (BATCHES_AHEAD + 1))
    assert [record.getMessage() for record in caplog.records] == [
        f"text: {BATCHES_AHEAD + 1} sentences split into windows"
    ]
