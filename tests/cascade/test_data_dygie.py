"""DyGIE++'s form: what is read, and the error for every kind of bad record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cascade.data import DataError, Entity, Relation, read_corpus, read_predictions

Write = Callable[..., Path]

RECORD = {
    "clusters": [[[0, 0], [4, 4]]],
    "doc_key": "towns",
    "sentences": [["Ada", "visits", "Turin"], [], ["She", "paints", "old", "Turin", "."]],
    "ner": [[[0, 0, "Person"], [2, 2, "Place"]], [], [[5, 6, "Place"], [6, 6, "Place"]]],
    "relations": [[[0, 0, 2, 2, "IN"]], [], []],
}


def changed(**fields: object) -> dict[str, object]:
    return {**RECORD, **fields}


def test_offsets_become_relative_to_the_sentence(write_lines: Write) -> None:
    corpus = read_corpus(write_lines(RECORD))
    (document,) = corpus.documents
    first, empty, last = document.sentences
    ada, turin = Entity(0, 0, "Person"), Entity(2, 2, "Place")
    assert (document.key, document.extra) == ("towns", {"clusters": [[[0, 0], [4, 4]]]})
    assert first.words == ("Ada", "visits", "Turin")
    assert (first.entities, first.relations) == ((ada, turin), (Relation(ada, turin, "IN"),))
    assert (empty.words, empty.entities, empty.relations) == ((), (), ())
    assert last.entities == (Entity(2, 3, "Place"), Entity(3, 3, "Place"))
    assert not corpus.dropped
    assert corpus.labels().entity_types == ("Person", "Place")
    assert corpus.summary().endswith("data.jsonl: 1 documents, 3 sentences, 4 entities, 1 relations")


def test_duplicates_are_merged_and_counted(write_lines: Write) -> None:
    record = changed(
        ner=[[[0, 0, "Person"], [0, 0, "Person"], [2, 2, "Place"]], [], []],
        relations=[[[0, 0, 2, 2, "IN"]] * 3, [], []],
    )
    corpus = read_corpus(write_lines(record))
    (sentence, *_) = corpus.sentences()
    assert (len(sentence.entities), len(sentence.relations)) == (2, 1)
    assert corpus.dropped == {"duplicate entities merged": 1, "duplicate relations merged": 2}
    assert corpus.summary().endswith("; 1 duplicate entities merged; 2 duplicate relations merged")


def test_a_relation_end_of_two_types_takes_the_first_and_is_counted(write_lines: Write) -> None:
    record = changed(
        ner=[[[0, 0, "Person"], [2, 2, "Place"], [2, 2, "Team"]], [], []], relations=[[[0, 0, 2, 2, "IN"]], [], []]
    )
    corpus = read_corpus(write_lines(record))
    (sentence, *_) = corpus.sentences()
    assert sentence.entities[1:] == (Entity(2, 2, "Place"), Entity(2, 2, "Team"))
    assert sentence.relations == (Relation(Entity(0, 0, "Person"), Entity(2, 2, "Place"), "IN"),)
    assert corpus.dropped == {"relation ends on a span of several types (its first type taken)": 1}


def test_blank_lines_byte_order_mark_and_line_separators_inside_strings(tmp_path: Path) -> None:
    records = [{**RECORD, "doc_key": key, "_note": "a\u2028b\x85c"} for key in "ab"]
    text = "\n" + "\n\r\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    path = tmp_path / "data.json"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [document.key for document in read_corpus(path).documents] == ["a", "b"]


def test_a_field_that_is_missing_is_empty(write_lines: Write) -> None:
    bare = {"doc_key": "a", "sentences": [["Hello"], []]}
    for labelled in (True, False):
        corpus = read_corpus(write_lines(bare, {**bare, "ner": [[[0, 0, "X"]], []]}), labelled=labelled)
        first, _, third, _ = corpus.sentences()
        assert (first.words, first.entities, third.relations) == (("Hello",), (), ())
        assert third.entities == (Entity(0, 0, "X"),)
        # one document may have been forgotten; relations are missing everywhere, and nobody meant to give any
        assert corpus.dropped == ({"documents without `ner` (taken to have none)": 1} if labelled else {})


@pytest.mark.parametrize("key", [7, 0, -3, "", "7"])
def test_a_key_may_be_a_number(key: object, write_lines: Write) -> None:
    (document,) = read_corpus(write_lines(changed(doc_key=key))).documents
    assert document.key == str(key)
    assert document.record["doc_key"] == key


@pytest.mark.parametrize("field", ["ner", "predicted_ner"])
def test_scores_after_a_label_are_passed_over(field: str, write_lines: Write) -> None:
    prefix = field.removesuffix("ner")
    path = write_lines(
        '{"doc_key": "a", "sentences": [["Ada", "visits", "Turin"]], '
        f'"{field}": [[[0, 0, "Person", 9.1, 1], [2, 2, "Place", NaN, null, 3]]], '
        f'"{prefix}relations": [[[0, 0, 2, 2, "IN", -5.0]]]}}'
    )
    corpus = read_predictions(path) if prefix else read_corpus(path)
    (sentence,) = corpus.sentences()
    assert sentence.entities == (Entity(0, 0, "Person"), Entity(2, 2, "Place"))
    assert sentence.relations == (Relation(*sentence.entities, "IN"),)
    assert not corpus.dropped


@pytest.mark.parametrize("ends", [[0, 0, 6, 6], [5, 6, 0, 0], [5, 6, 6, 6], [2, 5, 0, 0]])
def test_relations_across_sentences_are_dropped_and_counted(ends: list[int], write_lines: Write) -> None:
    relations = [[[*ends, "IN"], [0, 0, 2, 2, "IN"]], [], []]
    corpus = read_corpus(write_lines(changed(relations=relations, predicted_relations=relations)))
    assert [len(sentence.relations) for sentence in corpus.sentences()] == [1, 0, 0]
    assert corpus.dropped == {"relations across sentences dropped": 1}
    predicted = read_predictions(Path(corpus.source))
    assert [len(sentence.relations) for sentence in predicted.sentences()] == [1, 0, 0]
    assert predicted.dropped["relations across sentences dropped"] == 1


@pytest.mark.parametrize("ends", [[0, 0, 1, 1], [1, 2, 2, 2], [1, 1, 1, 1]])
def test_relations_whose_end_is_no_entity(ends: list[int], write_lines: Write) -> None:
    path = write_lines(changed(relations=[[[*ends, "IN"], [0, 0, 2, 2, "IN"]], [], []]))
    for how in ({"labelled": False}, {"drop_unknown_ends": True}):
        corpus = read_corpus(path, **how)
        assert [len(sentence.relations) for sentence in corpus.sentences()] == [1, 0, 0]
        assert corpus.dropped == {"relations with an end that is no entity dropped": 1}
    with pytest.raises(DataError, match=r"which is none \(drop_unknown_ends=True, on the command line --drop_unknown"):
        read_corpus(path)


def test_labels_that_are_there_are_checked_in_unlabelled_text_too(write_lines: Write) -> None:
    path = write_lines({"doc_key": "a", "sentences": [["Hello"]], "ner": [[[0, 1, "X"]]]})
    with pytest.raises(DataError, match=r"ner\[0\]\[0\]\[1\]"):
        read_corpus(path, labelled=False)


FAULTS = {
    "not an object": ("3", "expected a document (a JSON object), found 3"),
    "no JSON": ('{"doc_key": }', "expected one document (a JSON object) a line, found no JSON at column 13: Expecting"),
    "a huge number": (
        '{"a": ' + "9" * 5000 + "}",
        "expected one document (a JSON object) a line, found a number of more than 4300 digits",
    ),
    "nested": ("{" + '"a":{' * 20000, "expected one document (a JSON object) a line, found JSON nested too deeply"),
    "no key": (
        {"sentences": []},
        "doc_key: expected this field, found none (the fields are: sentences)",
    ),
    "key null": (changed(doc_key=None), "doc_key: expected a name (a string or a whole number), found null"),
    "key true": (changed(doc_key=True), "doc_key: expected a name (a string or a whole number), found true"),
    "key half a pair": (
        '{"doc_key": "\\ud800", "sentences": []}',
        "doc_key: expected a name (a string or a whole number), found half a surrogate pair",
    ),
    "a sentence of the other form": (
        {"tokens": ["a"], "entities": []},
        "expected a document (a JSON object with `doc_key` and `sentences`), found a sentence in SpERT's form",
    ),
    "an index of many digits": (
        changed(ner=[[[0, 10**80, "A"]], [], []]),
        f"ner[0][0][1]: expected a word of its sentence, which holds words 0 to 2, found 1{'0' * 56}...",
    ),
    "no sentences": ({"doc_key": "a"}, "sentences: expected this field, found none (the fields are: doc_key)"),
    "sentences not a list": (
        changed(sentences="x"),
        'sentences: expected a list of sentences (lists of words), found "x"',
    ),
    "sentence not a list": (changed(sentences=["x"]), 'sentences[0]: expected a list of words, found "x"'),
    "word empty": (changed(sentences=[["a", ""]]), 'sentences[0][1]: expected a word (a string, not empty), found ""'),
    "word a number": (
        changed(sentences=[["a"], [5]]),
        "sentences[1][0]: expected a word (a string, not empty), found 5",
    ),
    "word half a pair": (
        '{"doc_key": "a", "sentences": [["\\ud800"]]}',
        "sentences[0][0]: expected a word (a string, not empty), found half a surrogate pair",
    ),
    "ner null": (changed(ner=None), "ner: expected a list with one list a sentence, found null"),
    "ner too short": (changed(ner=[[]]), "ner: expected one list a sentence, 3 as in `sentences`, found 1 lists"),
    "relations too long": (
        changed(relations=[[]] * 4),
        "relations: expected one list a sentence, 3 as in `sentences`, found 4 lists",
    ),
    "ner of a sentence": (changed(ner=[{}, [], []]), "ner[0]: expected a list, found {}"),
    "entity not a list": (changed(ner=[["x"], [], []]), 'ner[0][0]: expected [start, end, label], found "x"'),
    "a second label": (
        changed(ner=[[[0, 0, "A", 1.0, "B"]], [], []]),
        'ner[0][0][4]: expected nothing but scores (numbers) after [start, end, label], found "B"',
    ),
    "true for a score": (
        changed(ner=[[[0, 0, "A", True]], [], []]),
        "ner[0][0][3]: expected nothing but scores (numbers) after [start, end, label], found true",
    ),
    "negative": (changed(ner=[[[-1, 0, "A"]], [], []]), "ner[0][0][0]: expected a whole number, 0 or more, found -1"),
    "float": (changed(ner=[[[0, 1.0, "A"]], [], []]), "ner[0][0][1]: expected a whole number, 0 or more, found 1.0"),
    "bool": (changed(ner=[[[0, True, "A"]], [], []]), "ner[0][0][1]: expected a whole number, 0 or more, found true"),
    "string": (changed(ner=[[["0", 0, "A"]], [], []]), 'ner[0][0][0]: expected a whole number, 0 or more, found "0"'),
    "past": (
        changed(ner=[[[2, 3, "A"]], [], []]),
        "ner[0][0][1]: expected a word of its sentence, which holds words 0 to 2, found 3",
    ),
    "before": (
        changed(ner=[[], [], [[4, 4, "A"], [2, 3, "A"]]], relations=[[], [], []]),
        "ner[2][1][0]: expected a word of its sentence, which holds words 3 to 7, found 2",
    ),
    "in an empty sentence": (
        changed(ner=[[], [[3, 3, "A"]], []], relations=[[], [], []]),
        "ner[1][0][0]: expected a word of its sentence, which is empty, found 3",
    ),
    "reversed": (
        changed(ner=[[[2, 1, "A"]], [], []]),
        "ner[0][0][0]: expected a start not after its end (1, inclusive), found 2",
    ),
    "label empty": (
        changed(ner=[[[0, 0, ""]], [], []]),
        'ner[0][0][2]: expected a label (a string, not empty), found ""',
    ),
    "label a number": (
        changed(ner=[[[0, 0, 1]], [], []]),
        "ner[0][0][2]: expected a label (a string, not empty), found 1",
    ),
    "relation too short": (
        changed(relations=[[[0, 0, 2, 2]], [], []]),
        "relations[0][0]: expected [subject start, subject end, object start, object end, label], found 4 values",
    ),
    "relation to no entity": (
        changed(relations=[[[0, 0, 1, 1, "IN"]], [], []]),
        "relations[0][0][2]: expected the span of an entity in `ner` of this sentence, found [1, 1], which is none",
    ),
    "relation leaves its document": (
        changed(relations=[[[0, 0, 6, 8, "IN"]], [], []]),
        "relations[0][0][3]: expected a word of its document, which holds words 0 to 7, found 8",
    ),
    "relation without a label": (
        changed(relations=[[[0, 0, 2, 2, None]], [], []]),
        "relations[0][0][4]: expected a label (a string, not empty), found null",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_record_is_named_with_its_file_line_and_field(fault: str, write_lines: Write) -> None:
    record, message = FAULTS[fault]
    path = write_lines(changed(doc_key="good"), record)
    with pytest.raises(DataError) as caught:
        read_corpus(path)
    assert str(caught.value).startswith(f"{path}, line 2: {message}")


def test_documents_may_have_the_same_key(write_lines: Write) -> None:
    corpus = read_corpus(write_lines(RECORD, changed(doc_key="b"), RECORD))
    assert [document.key for document in corpus.documents] == ["towns", "b", "towns"]


def test_predictions_come_with_types_where_they_are_entities(write_lines: Write) -> None:
    record = changed(
        predicted_ner=[[[0, 0, "Person", 3.2, 0.9]], [], [[3, 3, "Person"]]],
        predicted_relations=[[[0, 0, 2, 2, "IN", 1.5, 0.7]], [], []],
    )
    corpus = read_predictions(write_lines(record))
    first, _, last = corpus.sentences()
    assert first.entities == (Entity(0, 0, "Person"),)
    assert first.relations == (Relation(Entity(0, 0, "Person"), Entity(2, 2, ""), "IN"),)
    assert last.entities == (Entity(0, 0, "Person"),)
    assert corpus.dropped == {"relation ends that are no predicted entity (kept without a type)": 1}
    assert corpus.documents[0].extra.keys() == {"clusters", "ner", "relations"}


def test_relations_alone_are_predictions(write_lines: Write) -> None:
    path = write_lines({"doc_key": "a", "sentences": [["b", "c"]], "predicted_relations": [[[0, 0, 1, 1, "IN"]]]})
    (sentence,) = read_predictions(path).sentences()
    assert sentence.relations == (Relation(Entity(0, 0, ""), Entity(1, 1, ""), "IN"),)


def test_a_file_without_predictions(write_lines: Write) -> None:
    with pytest.raises(DataError, match="line 1: predicted_ner: expected this field, found none"):
        read_predictions(write_lines(RECORD))
