"""SpERT's form: what is read, and the error for every kind of bad item."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cascade.data import DataError, Entity, Relation, read_corpus, read_predictions

ITEM = {
    "tokens": ["Ada", "visits", "old", "Turin"],
    "entities": [{"type": "Person", "start": 0, "end": 1}, {"type": "Place", "start": 2, "end": 4}],
    "relations": [{"type": "In", "head": 0, "tail": 1}],
    "orig_id": "s1",
}


def changed(**fields: object) -> dict[str, object]:
    return {**ITEM, **fields}


def write(path: Path, *items: object) -> Path:
    path.write_text(json.dumps(items, indent=1))
    return path


def test_ends_become_inclusive_and_indices_entities(tmp_path: Path) -> None:
    corpus = read_corpus(write(tmp_path / "a.json", ITEM))
    (document,) = corpus.documents
    (sentence,) = document.sentences
    ada, turin = Entity(0, 0, "Person"), Entity(2, 3, "Place")
    assert (document.key, document.extra) == ("s1", {"orig_id": "s1"})
    assert sentence.words == ("Ada", "visits", "old", "Turin")
    assert (sentence.entities, sentence.relations) == ((ada, turin), (Relation(ada, turin, "In"),))


def test_predictions_look_like_data(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", ITEM)
    assert read_predictions(path) == read_corpus(path)


def test_the_end_of_a_relation_has_the_type_that_its_index_says(tmp_path: Path) -> None:
    entities = [*ITEM["entities"], {"type": "Team", "start": 2, "end": 4}]
    corpus = read_corpus(
        write(tmp_path / "a.json", changed(entities=entities, relations=[{"type": "In", "head": 0, "tail": 2}]))
    )
    (sentence,) = corpus.sentences()
    assert sentence.relations[0].object == Entity(2, 3, "Team")
    assert not corpus.dropped


def test_indices_survive_the_merging_of_duplicates(tmp_path: Path) -> None:
    entities = [ITEM["entities"][0], *ITEM["entities"]]
    relations = [{"type": "In", "head": 0, "tail": 2}, {"type": "In", "head": 1, "tail": 2}]
    corpus = read_corpus(write(tmp_path / "a.json", changed(entities=entities, relations=relations)))
    (sentence,) = corpus.sentences()
    assert (len(sentence.entities), len(sentence.relations)) == (2, 1)
    assert corpus.dropped == {"duplicate entities merged": 1, "duplicate relations merged": 1}


def test_keys_are_the_ids_or_indices(tmp_path: Path) -> None:
    items = [changed(orig_id=i) for i in ("s", 7, "s", None, True)]
    corpus = read_corpus(write(tmp_path / "a.json", *items))
    assert [document.key for document in corpus.documents] == ["s", "7", "s", "3", "4"]


def test_a_field_that_is_missing_is_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"tokens": ["Hello"]}, {"tokens": []})
    for labelled in (True, False):
        corpus = read_corpus(path, labelled=labelled)
        assert [sentence.words for sentence in corpus.sentences()] == [("Hello",), ()]
        assert [document.record for document in corpus.documents] == [
            {"doc_key": "0", "sentences": [["Hello"]]},
            {"doc_key": "1", "sentences": [[]]},
        ]
        assert not corpus.dropped
    corpus = read_corpus(write(tmp_path / "a.json", ITEM, {"tokens": ["Hello"], "entities": []}))
    assert corpus.dropped == {"documents without `relations` (taken to have none)": 1}


def test_lists_of_words_and_texts_to_predict_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", ["Ada", "v.", "-LRB-"], "Ada left.  Turin waits", [], "", {"tokens": ["x"]})
    documents = read_corpus(path, labelled=False).documents
    assert [[sentence.words for sentence in document.sentences] for document in documents] == [
        [("Ada", "v.", "-LRB-")],
        [("Ada", "left", "."), ("Turin", "waits")],
        [()],
        [],
        [("x",)],
    ]
    assert [document.key for document in documents] == ["0", "1", "2", "3", "4"]
    assert documents[1].sentences[1].offsets == ((11, 16), (17, 22))
    assert documents[1].record == {"id": 1, "text": "Ada left.  Turin waits"}
    assert documents[0].record == {"doc_key": "0", "sentences": [["Ada", "v.", "-LRB-"]]}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (["Ada", 3], "[1]: expected a word (a string, not empty), found 3"),
        (3, "expected a sentence (a JSON object with `tokens`, a list of words, or text), found 3"),
        ("\ud800", 'expected text, found half a surrogate pair in "\\ud800"'),
    ],
)
def test_a_bad_item_to_predict_on(item: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", "good", item)
    with pytest.raises(DataError) as caught:
        read_corpus(path, labelled=False)
    assert str(caught.value) == f"{path}, item 1: {message}"


def test_relations_whose_end_is_no_entity(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", changed(relations=[*ITEM["relations"], {"type": "In", "head": 0, "tail": 2}]))
    for how in ({"labelled": False}, {"drop_unknown_ends": True}):
        corpus = read_corpus(path, **how)
        assert [len(sentence.relations) for sentence in corpus.sentences()] == [1]
        assert corpus.dropped == {"relations with an end that is no entity dropped": 1}
    with pytest.raises(DataError, match=r"relations\[1\]\.tail: .* found 2 \(drop_unknown_ends=True"):
        read_corpus(path)
    with pytest.raises(DataError, match=r"relations\[1\]\.tail: .* found 2$"):
        read_predictions(path)


def entity(**fields: object) -> dict[str, object]:
    return changed(entities=[{"type": "A", "start": 0, "end": 1, **fields}], relations=[])


def relation(**fields: object) -> dict[str, object]:
    return changed(relations=[{"type": "In", "head": 0, "tail": 1, **fields}])


FAULTS = {
    "words": (["Ada"], 'expected a sentence (a JSON object with `tokens`), found ["Ada"], which has no labels'),
    "a document of the other form": (
        {"doc_key": "a", "sentences": []},
        "expected a sentence (a JSON object with `tokens`), found a document in DyGIE++'s form",
    ),
    "no tokens": ({"orig_id": 3}, "tokens: expected this field, found none (the fields are: orig_id)"),
    "text": (
        "Ada left.",
        'expected a sentence (a JSON object with `tokens`), found "Ada left.", which has no labels',
    ),
    "tokens": (changed(tokens="Ada"), 'tokens: expected a list of words, found "Ada"'),
    "word": (changed(tokens=["Ada", None]), "tokens[1]: expected a word (a string, not empty), found null"),
    "entities": (changed(entities={}), "entities: expected a list of objects, found {}"),
    "entity": (changed(entities=[[0, 1]]), "entities[0]: expected an object, found [0, 1]"),
    "no type": (changed(entities=[{"start": 0, "end": 1}]), "entities[0].type: expected this field, found none"),
    "type": (entity(type=""), 'entities[0].type: expected a label (a string, not empty), found ""'),
    "float": (entity(start=0.0), "entities[0].start: expected a whole number, 0 or more, found 0.0"),
    "bool": (entity(end=True), "entities[0].end: expected a whole number, 0 or more, found true"),
    "negative": (entity(start=-1), "entities[0].start: expected a whole number, 0 or more, found -1"),
    "past": (
        entity(end=5),
        "entities[0].end: expected at most 4, the number of `tokens` (ends are exclusive), found 5",
    ),
    "empty": (entity(start=1), "entities[0].start: expected a start before its end (1, exclusive), found 1"),
    "head": (relation(head=2), "relations[0].head: expected the index of one of the 2 `entities`, found 2"),
    "tail": (relation(tail=-1), "relations[0].tail: expected a whole number, 0 or more, found -1"),
    "label": (relation(type=3), "relations[0].type: expected a label (a string, not empty), found 3"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_item_is_named_with_its_file_index_and_field(fault: str, tmp_path: Path) -> None:
    item, message = FAULTS[fault]
    path = write(tmp_path / "a.json", ITEM, item)
    with pytest.raises(DataError) as caught:
        read_corpus(path)
    assert str(caught.value).startswith(f"{path}, item 1: {message}")


def test_broken_json_is_named_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"tokens": ["a"], "entities": [], "relations": []},\n  {"tokens" ["b"]}]')
    with pytest.raises(DataError) as caught:
        read_corpus(path)
    assert str(caught.value).startswith(
        f"{path}: expected a JSON array of sentences, found no JSON at line 2, column 13"
    )


def test_an_empty_array(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found an empty array"):
        read_corpus(write(tmp_path / "a.json"))
