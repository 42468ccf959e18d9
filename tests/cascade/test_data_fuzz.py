"""Records with anything wrong in them are read, or refused with a DataError in one sentence: nothing else."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.data import Corpus, DataError, read_documents, read_predictions, write_corpus

LINE = {
    "doc_key": "towns",
    "sentences": [["Ada", "visits", "Turin"], [], ["She", "waits"]],
    "ner": [[[0, 0, "Person"], [2, 2, "Place"]], [], [[3, 3, "Person", 0.5]]],
    "relations": [[[0, 0, 2, 2, "IN"]], [], []],
    "clusters": [[[0, 0], [3, 3]]],
}
ITEM = {
    "tokens": ["Ada", "visits", "Turin"],
    "entities": [{"type": "Person", "start": 0, "end": 1}, {"type": "Place", "start": 2, "end": 3}],
    "relations": [{"type": "In", "head": 0, "tail": 1}],
    "orig_id": 3,
}
TEXT = {"id": 3, "text": "Ada visits Turin. She waits.", "note": [1, "a"], "entities": []}
PREDICTION = {
    "doc_key": "towns",
    "sentences": LINE["sentences"],
    "predicted_ner": [[[0, 0, "Person", 2.0, 0.9], [2, 2, "Place"]], [], []],
    "predicted_relations": [[[0, 0, 2, 2, "IN", -1.0, 0.3]], [], []],
}
NUMBERS = (-1, 0, 1, 2, 3, 4, 6, 10**30, 0.0, 1.5, float("nan"))
OTHERS = (None, True, "", "a", "\ud800", "ner", "tokens", [], {}, [[]], [["a"]], ["a", "b"], {"tokens": []})
INTERESTING = st.sampled_from((*NUMBERS, *OTHERS)).map(deepcopy)  # a later edit is within what was drawn
JSON = INTERESTING | st.recursive(
    INTERESTING, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside ``value``."""
    for step in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, step)
        yield from places(value[step], (*path, step))


@st.composite
def mutated(draw: st.DrawFn, record: dict[str, Any]) -> Any:
    """The record after a few values, at any depth, were deleted, renamed, repeated, replaced or exchanged."""
    root = [json.loads(json.dumps(record))]
    for _ in range(draw(st.integers(1, 3))):
        paths = list(places(root))
        *way, last = draw(st.sampled_from(paths))
        holder: Any = root
        for step in way:
            holder = holder[step]
        kinds = ["replace", "exchange"] + (["delete", "insert"] if way else []) + ["rename"] * isinstance(holder, dict)
        match draw(st.sampled_from(kinds)):
            case "replace":
                holder[last] = draw(JSON)
            case "exchange":
                other = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
                holder[last], holder[other] = holder[other], holder[last]
            case "delete":
                del holder[last]
            case "insert" if isinstance(holder, list):
                holder.insert(last, draw(JSON))
            case _ if isinstance(holder, dict):
                holder[draw(st.text(max_size=3))] = holder.pop(last)
    return root[0]


def read_or_refused(content: bytes, labelled: bool, drop: bool) -> tuple[Any, ...] | None:
    try:
        return tuple(read_documents(io.BytesIO(content), labelled=labelled, drop_unknown_ends=drop))
    except DataError as error:
        assert str(error).startswith("standard input")
        assert len(str(error).splitlines()) == 1 and "\x1b" not in str(error)
        assert len(str(error).encode()) < 2000
        return None


@pytest.mark.parametrize("form", [LINE, ITEM], ids=["lines", "array"])
def test_mutated_records(form: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, effort: int) -> None:
    target = tmp_path_factory.mktemp("fuzz") / "out.jsonl"
    read = []

    @settings(max_examples=100 * effort, deadline=None)
    @given(mutated(form), st.booleans(), st.booleans())
    def check(record: Any, labelled: bool, drop: bool) -> None:
        documents = read_or_refused(json.dumps(record if form is LINE else [ITEM, record]).encode(), labelled, drop)
        read.append(documents is not None)
        if documents is not None:  # what is read can be written, and read again
            write_corpus(target, Corpus(documents))
            assert tuple(d.sentences for d in read_documents(target)) == tuple(
                tuple(type(s)(s.words, s.entities, s.relations) for s in d.sentences) for d in documents
            )

    check()
    assert {True, False} <= set(read)


@pytest.mark.parametrize("form", [TEXT, PREDICTION], ids=["texts", "predictions"])
def test_mutated_texts_and_predictions(
    form: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, effort: int
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "in.jsonl"
    read = []

    @settings(max_examples=100 * effort, deadline=None)
    @given(mutated(form))
    def check(record: Any) -> None:
        path.write_text(json.dumps(record))
        try:
            list(read_documents(path, labelled=False)) if form is TEXT else read_predictions(path)
            read.append(True)
        except DataError as error:
            assert len(str(error).splitlines()) == 1 and str(error).startswith(str(path))
            read.append(False)

    check()
    assert {True, False} <= set(read)


@pytest.mark.parametrize("form", [LINE, ITEM], ids=["lines", "array"])
def test_mutated_bytes(form: dict[str, Any], effort: int) -> None:
    content = json.dumps(form if form is LINE else [ITEM, ITEM], ensure_ascii=False).encode()
    read = []

    @settings(max_examples=100 * effort, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, len(content)), st.integers(0, 3), st.binary(max_size=2)), min_size=1, max_size=3
        )
    )
    def check(edits: list[tuple[int, int, bytes]]) -> None:
        changed = content
        for at, length, inserted in edits:
            changed = changed[:at] + inserted + changed[at + length :]
        read.append(read_or_refused(changed, True, False) is not None)

    check()
    assert {True, False} <= set(read)
