"""Writing predictions and corpora: the form other scorers read, round trips, and whole files or none."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cascade.data import (
    Corpus,
    DataError,
    Document,
    Entity,
    Relation,
    Sentence,
    document_from_text,
    read_corpus,
    read_predictions,
    sample_corpus,
    synthetic_corpus,
    write_corpus,
    write_predictions,
)

RECORD = {
    "_note": "kept \u2019 \U0001f600",
    "doc_key": "towns",
    "sentences": [["Ada", "visits", "-LRB-", "Turin", "-RRB-"], [], ["Turin", "waits"]],
    "relations": [[[0, 0, 3, 3, "IN"], [0, 0, 3, 3, "IN"]], [], []],
    "ner": [[[0, 0, "Person"], [3, 3, "Place"]], [], [[5, 5, "Place"]]],
    "clusters": [[[3, 3], [5, 5]]],
}
TURIN, WAITS = Entity(0, 0, "Place"), Entity(1, 1, "Act")
PREDICTED = [
    Sentence(("Ada", "visits", "-LRB-", "Turin", "-RRB-"), (Entity(3, 3, "Place"),)),
    Sentence(()),
    Sentence(("Turin", "waits"), (TURIN, WAITS), (Relation(WAITS, TURIN, "IN"),)),
]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.json"
    path.write_text(json.dumps(RECORD) + "\n")
    return path


def test_the_record_stays_verbatim_and_predictions_are_added(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    write_predictions(target, read_corpus(source), PREDICTED)
    (record,) = lines(target)
    assert record == {
        **RECORD,
        "predicted_ner": [[[3, 3, "Place"]], [], [[5, 5, "Place"], [6, 6, "Act"]]],
        "predicted_relations": [[], [], [[6, 6, 5, 5, "IN"]]],
    }
    assert list(record)[: len(RECORD)] == list(RECORD)


def test_predictions_come_back_and_can_be_replaced(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    write_predictions(target, read_corpus(source), PREDICTED)
    assert list(read_predictions(target).sentences()) == PREDICTED
    nothing = [Sentence(sentence.words) for sentence in PREDICTED]
    write_predictions(target, read_corpus(target), nothing)
    assert list(read_predictions(target).sentences()) == nothing
    assert list(read_corpus(target).sentences()) == list(read_corpus(source).sentences())


def test_scores_are_written_as_dygie_has_them_and_come_back(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    first, second, third = PREDICTED
    (place,), (act,) = first.entities, [entity for entity in third.entities if entity.label == "Act"]
    (relation,) = third.relations
    sure, doubtful = replace(place, score=1.0), replace(act, score=0.25)
    scored = [
        replace(first, entities=(sure,)),
        second,
        replace(third, entities=(*third.entities[:-1], doubtful), relations=(replace(relation, score=0.5),)),
    ]
    assert scored == PREDICTED, "scores do not count where predictions are compared"
    write_predictions(target, read_corpus(source), scored)
    (record,) = lines(target)
    assert record["predicted_ner"] == [
        [[3, 3, "Place", 13.815510, 1.0]],
        [],
        [[5, 5, "Place"], [6, 6, "Act", -1.098612, 0.25]],
    ]
    assert record["predicted_relations"] == [[], [], [[6, 6, 5, 5, "IN", 0.0, 0.5]]]
    again = list(read_predictions(target).sentences())
    assert [[e.score for e in s.entities] for s in again] == [[1.0], [], [None, 0.25]]
    assert again[2].relations[0].score == 0.5


def test_spert_input_becomes_documents_of_one_sentence(tmp_path: Path) -> None:
    items = [
        {
            "tokens": ["Turin", "waits"],
            "entities": [{"type": "Place", "start": 0, "end": 1}, {"type": "Act", "start": 1, "end": 2}],
            "relations": [{"type": "In", "head": 1, "tail": 0}],
            "orig_id": 31,
        },
        {"tokens": ["No"]},
    ]
    path, target = tmp_path / "a.json", tmp_path / "out.jsonl"
    path.write_text(json.dumps(items))
    corpus = read_corpus(path, labelled=False)
    write_predictions(target, corpus, [PREDICTED[2], Sentence(("No",))])
    assert lines(target) == [
        {
            "doc_key": "31",
            "sentences": [["Turin", "waits"]],
            "ner": [[[0, 0, "Place"], [1, 1, "Act"]]],
            "relations": [[[1, 1, 0, 0, "In"]]],
            "_orig_id": [31],
            "predicted_ner": [[[0, 0, "Place"], [1, 1, "Act"]]],
            "predicted_relations": [[[1, 1, 0, 0, "IN"]]],
        },
        {"doc_key": "1", "sentences": [["No"]], "predicted_ner": [[]], "predicted_relations": [[]]},
    ]
    assert next(read_predictions(target).sentences()) == PREDICTED[2]


def test_what_spert_says_beside_labels_is_kept(tmp_path: Path) -> None:
    entities = [{"type": "Place", "start": 0, "end": 1, "note": 0.5}, {"type": "Act", "start": 1, "end": 2}]
    item = {"tokens": ["Turin", "waits"], "entities": entities, "relations": [{"type": "In", "head": 1, "tail": 0}]}
    path, target = tmp_path / "a.json", tmp_path / "out.jsonl"
    path.write_text(json.dumps([item]))
    write_corpus(target, read_corpus(path))
    (record,) = lines(target)
    assert record["_entities"] == [entities]
    assert "_relations" not in record


@pytest.mark.parametrize("key", [7, "7", ""])
def test_other_fields_and_a_key_that_is_a_number_are_written_as_they_came(key: object, tmp_path: Path) -> None:
    fields = {"doc_key": key, "dataset": None, "weight": 0.5, "_sentence_start": [0, 5, 5], "events": [[], [], []]}
    source, target = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({**RECORD, **fields, "ner": [[[0, 0, "Person", 0.5], [3, 3, "Place"]], [], []]}))
    corpus = read_corpus(source)
    write_predictions(target, corpus, PREDICTED)
    (record,) = lines(target)
    assert {name: record[name] for name in fields} == fields
    assert record["ner"] == [[[0, 0, "Person", 0.5], [3, 3, "Place"]], [], []]
    write_corpus(target, corpus)
    (record,) = lines(target)
    assert {name: record[name] for name in fields} == fields
    write_corpus(target, Corpus((replace(corpus.documents[0], key="other"),)))
    assert lines(target)[0]["doc_key"] == "other"


def test_raw_text_keeps_its_character_offsets(tmp_path: Path) -> None:
    document = document_from_text("Go on.  Turin waits", "t")
    target = tmp_path / "out.jsonl"
    write_predictions(target, Corpus((document,)), [Sentence(("Go", "on", ".")), PREDICTED[2]])
    (record,) = lines(target)
    assert record["_offsets"] == [[[0, 2], [3, 5], [5, 6]], [[8, 13], [14, 19]]]
    assert record["predicted_ner"] == [[], [[3, 3, "Place"], [4, 4, "Act"]]]
    assert "ner" not in record


def test_other_readers_find_one_value_a_sentence_in_every_field(source: Path, tmp_path: Path) -> None:
    """PURE zips every field but ``doc_key`` and ``clusters`` with the sentences; ours must add none that breaks it."""
    path, target = tmp_path / "a.json", tmp_path / "out.jsonl"
    path.write_text(json.dumps([{"tokens": ["Turin", "waits"], "entities": [], "relations": [], "orig_id": "x"}]))
    for corpus in (read_corpus(path), Corpus((document_from_text("Turin waits"),))):
        write_predictions(target, corpus, [PREDICTED[2]])
        (record,) = lines(target)
        assert {len(value) for name, value in record.items() if name != "doc_key"} == {1}


@pytest.mark.parametrize("corpus", [sample_corpus("train"), sample_corpus("dev"), synthetic_corpus(40, seed=3)])
def test_a_corpus_comes_back(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    write_corpus(target, corpus)
    assert read_corpus(target).documents == corpus.documents


def test_a_span_of_several_types_keeps_that_of_its_relations(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """DyGIE++'s relations name spans: the first type listed of a span is the relation's, and no other can be."""
    target = tmp_path / "out.jsonl"
    first, second, other = Entity(0, 0, "A"), Entity(0, 0, "B"), Entity(1, 1, "C")
    sentence = Sentence(("x", "y"), (first, second, other), (Relation(second, other, "R"),))
    spert = tmp_path / "spert.json"
    item = {"tokens": ["x", "y"], "relations": [{"type": "R", "head": 1, "tail": 2}]}
    entities = [{"type": e.label, "start": e.start, "end": e.end + 1} for e in sentence.entities]
    spert.write_text(json.dumps([{**item, "entities": entities}]))
    for corpus in (Corpus((Document("d", (sentence,)),)), read_corpus(spert)):
        write_corpus(target, corpus)
        assert set(next(read_corpus(target).sentences()).relations) == set(sentence.relations)
        write_predictions(target, corpus, corpus)
        for read in (read_corpus(target), read_predictions(target)):
            assert set(next(read.sentences()).relations) == set(sentence.relations)
    assert not caplog.text
    both = replace(sentence, relations=(*sentence.relations, Relation(first, other, "R")))
    for write in (write_corpus, lambda path, corpus: write_predictions(path, corpus, corpus)):
        write(target, Corpus((Document("d", (both,)),)))
        assert ": 1 relations with an end that has another type than the first of its span" in caplog.text
        caplog.clear()


def test_a_corpus_of_predictions_is_written_as_one_of_gold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = tmp_path / "out.jsonl"
    place, act = Entity(0, 0, "Place", 0.9), Entity(1, 1, "Act", 0.8)
    untyped = Relation(place, Entity(1, 1, ""), "IN", 0.7)
    sentence = Sentence(("Turin", "waits"), (place, act), (Relation(act, place, "IN", 0.6), untyped))
    write_corpus(target, Corpus((Document("d", (sentence,)),)))
    (record,) = lines(target)
    assert (record["ner"], record["relations"]) == ([[[0, 0, "Place"], [1, 1, "Act"]]], [[[1, 1, 0, 0, "IN"]]])
    assert read_corpus(target).documents[0].sentences == (PREDICTED[2],)
    assert "1 relations with an end that is no entity dropped" in caplog.text


def test_a_document_without_a_record_is_written_with_its_labels(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    corpus = Corpus((Document("d", (PREDICTED[2],)),))
    write_predictions(target, corpus, corpus)
    assert (
        read_corpus(target).documents[0].sentences == read_predictions(target).documents[0].sentences == (PREDICTED[2],)
    )


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (PREDICTED[:2], "sentence 2: expected as many predictions as gold sentences, found no more predictions"),
        ([*PREDICTED, PREDICTED[1]], "sentence 3: .* found no more gold sentences"),
        (PREDICTED[::-1], 'sentence 0: expected the words "Ada visits -LRB- Turin -RRB-", found "Turin waits"'),
    ],
)
def test_other_sentences_are_refused_and_the_old_file_stays(
    predicted: list[Sentence], message: str, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    with pytest.raises(DataError, match=message):
        write_predictions(target, read_corpus(source), predicted)
    assert target.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["out.jsonl", "source.json"]


def test_a_full_disk_leaves_nothing_behind(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_predictions(tmp_path / "out.jsonl", read_corpus(source), PREDICTED)
    assert os.listdir(tmp_path) == ["source.json"]


def test_the_file_written_is_the_one_a_link_points_to(source: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(target)
    write_corpus(link, read_corpus(source))
    assert link.is_symlink()
    assert len(lines(target)) == 1


def test_targets_that_are_no_files(source: Path, tmp_path: Path) -> None:
    corpus = read_corpus(source)
    with pytest.raises(FileNotFoundError, match=r"cannot write .*out\.jsonl: the folder .* does not exist"):
        write_corpus(tmp_path / "none" / "out.jsonl", corpus)
    with pytest.raises(OSError, match="expected a file, found something that is none"):
        write_corpus(tmp_path, corpus)


def test_scierc_round_trip(scierc_dir: Path, tmp_path: Path) -> None:
    source, target = scierc_dir / "test.json", tmp_path / "out.jsonl"
    corpus = read_corpus(source)
    write_predictions(target, corpus, corpus)
    written = lines(target)
    assert list(read_predictions(target).sentences()) == list(corpus.sentences())
    for record, line in zip(written, source.read_text(encoding="utf-8").splitlines(), strict=True):
        assert record.pop("predicted_ner") == record["ner"]
        assert record.pop("predicted_relations") == record["relations"]
        assert record == json.loads(line)
