"""Predictions in each form: read back they are the same, and what a form has no place for is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from cascade.data import (
    DataError,
    Document,
    Entity,
    PredictionLines,
    Relation,
    Sentence,
    document_from_words,
    prediction_record,
    read_documents,
    read_predictions,
)
from cascade.data.dygie import UNKNOWN_END
from cascade.data.forms import FORMS, dygie_record
from cascade.options import PredictArguments

ADA, TURIN = Entity(0, 0, "Person", 0.75), Entity(2, 3, "Place", 0.5)
FOUND = Sentence(("Ada", "visits", "Turin", "\u2116"), (ADA, TURIN), (Relation(ADA, TURIN, "IN", 0.25),))
EMPTY, WAITS = Sentence(()), Sentence(("Turin", "waits"), (Entity(0, 0, "Place"),))
DOCUMENTS = [
    (Document("none", (), record={"doc_key": "none", "sentences": []}), []),
    (document_from_words([FOUND.words, (), WAITS.words], "towns"), [FOUND, EMPTY, WAITS]),
    (Document("none", (), record={"doc_key": "none", "sentences": []}), []),
    (document_from_words([WAITS.words], "7"), [WAITS]),
]


def written(form: str | None, path: Path, documents: list[tuple[Document, list[Sentence]]] = DOCUMENTS) -> Path:
    lines = PredictionLines(form)
    content = [lines.line(document, sentences) for document, sentences in documents]
    if (end := lines.end()) is not None:
        content.append(end)
    path.write_text("\n".join(content) + "\n", encoding="ascii")
    return path


@pytest.mark.parametrize("form", ["dygie", "spert"])
def test_predictions_can_be_read_again(form: str, tmp_path: Path) -> None:
    read = read_predictions(written(form, tmp_path / "predicted"))
    found = list(read.sentences())
    assert found == [FOUND, EMPTY, WAITS, WAITS]
    assert [item.score for item in (*found[0].entities, *found[0].relations)] == [0.75, 0.5, 0.25]


def test_an_array_without_sentences_is_empty(tmp_path: Path) -> None:
    for count in (0, 1):
        path = written("spert", tmp_path / str(count), DOCUMENTS[:count])
        assert json.loads(path.read_text()) == []


def test_sperts_form_has_scores_and_no_ends_that_are_none(tmp_path: Path) -> None:
    free = Entity(1, 1, "")
    sentence = Sentence(FOUND.words, FOUND.entities, (*FOUND.relations, Relation(ADA, free, "IN")))
    lines = PredictionLines("spert")
    [item] = json.loads(lines.line(DOCUMENTS[1][0], [sentence]) + lines.end())
    assert item == {
        "tokens": ["Ada", "visits", "Turin", "\u2116"],
        "entities": [
            {"type": "Person", "start": 0, "end": 1, "score": 0.75},
            {"type": "Place", "start": 2, "end": 4, "score": 0.5},
        ],
        "relations": [{"type": "IN", "head": 0, "tail": 1, "score": 0.25}],
        "orig_id": "towns",
    }
    assert lines.dropped == {UNKNOWN_END: 1}


def test_records_of_sentences_count_words() -> None:
    [record] = [json.loads(PredictionLines("records").line(*DOCUMENTS[1]))]
    assert record["doc_key"] == "towns"
    first, empty, last = record["sentences"]
    assert first["words"] == list(FOUND.words)
    place = {"start": 2, "end": 4, "text": "Turin \u2116", "type": "Place", "score": 0.5}
    assert first["entities"][1] == first["relations"][0]["object"] == place
    assert empty == {"words": [], "entities": [], "relations": []}
    assert last["entities"] == [{"start": 0, "end": 1, "text": "Turin", "type": "Place", "score": None}]


def test_a_text_has_characters_as_records_and_sentences_in_the_other_forms(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"id": 3, "text": "Ada waits. Turin waits.", "doc_key": "a", "note": [1]}))
    [document] = read_documents(path, labelled=False)
    predicted = [Sentence(s.words, (Entity(0, 0, "X", 0.5),), offsets=s.offsets) for s in document.sentences]
    record = prediction_record(document, predicted)
    assert record == json.loads(PredictionLines("records").line(document, predicted))
    assert [(e["start"], e["end"], e["text"]) for e in record["entities"]] == [(0, 3, "Ada"), (11, 16, "Turin")]
    assert dygie_record(document, predicted) == {
        "doc_key": "a",
        "sentences": [["Ada", "waits", "."], ["Turin", "waits", "."]],
        "_offsets": [[[0, 3], [4, 9], [9, 10]], [[11, 16], [17, 22], [22, 23]]],
        "_id": 3,
        "_text": "Ada waits. Turin waits.",
        "_note": [1],
        "predicted_ner": [[[0, 0, "X", 0.0, 0.5]], [[3, 3, "X", 0.0, 0.5]]],
        "predicted_relations": [[], []],
    }
    assert [s.entities for s in read_predictions(written("dygie", tmp_path / "x", [(document, predicted)])).sentences()]


@pytest.mark.parametrize("form", [None, *FORMS])
def test_a_line_is_known_by_its_document_and_form(form: str | None) -> None:
    lines = PredictionLines(form)
    for document, sentences in DOCUMENTS[1:]:
        line = lines.line(document, sentences).encode()
        assert lines.is_of(line, document)
        others = [other for other, _ in DOCUMENTS if other.key != document.key]
        assert others and not any(lines.is_of(line, other) for other in others)
        different = set(FORMS) - {form or "dygie"}
        assert not any(PredictionLines(other).is_of(line, document) for other in different)
    assert not any(lines.is_of(line, DOCUMENTS[1][0]) for line in (b"", b"[1", b"{}", b"\xff"))


def test_the_command_line_knows_every_form() -> None:
    assert set(get_args(get_type_hints(PredictArguments)["format"])[0].__args__) == set(FORMS)


def test_the_type_that_a_span_has_in_a_relation_is_read_again(tmp_path: Path) -> None:
    person, place = Entity(0, 0, "Person", 0.6), Entity(0, 0, "Place", 0.9)
    sentence = Sentence(FOUND.words, (person, place, TURIN), (Relation(place, TURIN, "IN"),))
    document = document_from_words([FOUND.words])
    [read] = read_predictions(written("dygie", tmp_path / "x", [(document, [sentence])])).sentences()
    assert set(read.entities) == set(sentence.entities)
    assert read.relations == sentence.relations


def test_records_replace_what_was_predicted_before(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    old = {"doc_key": "a", "sentences": [["Ada"]], "predicted_ner": [[]], "predicted_relations": [[]], "note": 1}
    path.write_text(json.dumps(old))
    [document] = read_documents(path, labelled=False)
    record = json.loads(PredictionLines("records").line(document, document.sentences))
    assert record.keys() == {"doc_key", "sentences", "note"}


def test_a_text_keeps_its_key_and_a_field_by_the_name_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"text": "Ada.", "doc_key": 7, "offsets": [1], "id": [2]}))
    [document] = read_documents(path, labelled=False)
    record = dygie_record(document, document.sentences)
    assert (document.key, record["doc_key"], record["_id"]) == ("7", 7, [2])
    assert (record["_offsets"], record["__offsets"]) == ([[[0, 3], [3, 4]]], [1])
    path.write_text(json.dumps({"text": "Ada.", "doc_key": None}))
    with pytest.raises(DataError, match=r"doc_key: expected a name \(a string or a whole number\), found null"):
        list(read_documents(path, labelled=False))
