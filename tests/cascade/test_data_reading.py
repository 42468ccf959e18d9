"""Files that are not a corpus, labels that no model knows, and the real SciERC."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import BinaryIO

import pytest

from cascade.data import Corpus, DataError, LabelSet, check_labels, normalize_word, read_corpus, sample_corpus
from cascade.data.checks import shown


@pytest.mark.parametrize("content", [b"", b" \n\t\n", b"\xef\xbb\xbf\n"])
def test_an_empty_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_corpus(path)
    assert str(caught.value) == f"{path}: expected JSON lines or a JSON array of sentences, found an empty file"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_corpus(tmp_path / "none.json")
    assert str(caught.value) == f"{tmp_path / 'none.json'}: expected a file, found nothing by that name"


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_corpus(tmp_path)
    assert str(caught.value) == f"{tmp_path}: expected a file, found a folder"


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")

    def refuse(self: Path, mode: str) -> BinaryIO:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError) as caught:
        read_corpus(path)
    assert str(caught.value) == f"{path}: cannot be read: Permission denied"


GOOD = '{"doc_key": "a", "sentences": [["é"]], "ner": [[]], "relations": [[]]}'
ITEM = '{"tokens": ["é"], "entities": [], "relations": []}'
UTF8 = "expected UTF-8, found "
LINE = "expected one document (a JSON object) a line, found "
ARRAY = "expected a JSON array of sentences, found "
CONVERT = ": convert the file, as `iconv -f "
FILES = {
    "latin-1": (
        f"{GOOD}\n".encode() + GOOD.encode("latin1"),
        f", line 2: {UTF8}byte 0xe9 at position 33: invalid continuation byte{CONVERT}LATIN1 -t UTF-8` does, if",
    ),
    "utf-16": (GOOD.encode("utf-16"), f": {UTF8}UTF-16 by its byte order mark{CONVERT}"),
    "utf-32": (GOOD.encode("utf-32"), f": {UTF8}UTF-32 by its byte order mark{CONVERT}"),
    "utf-16 without a mark": (
        GOOD.encode("utf-16-le"),
        f", line 1: {UTF8}a NUL byte, as UTF-16 has them{CONVERT}UTF-16 -t UTF-8`",
    ),
    "utf-16 without a mark, high bytes first": (GOOD.encode("utf-16-be"), f", line 1: {UTF8}a NUL byte"),
    "an array in utf-16": (f"[{ITEM}]".encode("utf-16-le"), f": {UTF8}a NUL byte"),
    "an array in utf-16, high bytes first": (f"[{ITEM}]".encode("utf-16-be"), f", line 1: {UTF8}a NUL byte"),
    "gzip": (
        gzip.compress(GOOD.encode()),
        ": expected JSON lines or a JSON array of sentences, found a file compressed with",
    ),
    "a NUL byte": (GOOD.encode().replace(b"a", b"\0"), f", line 1: {UTF8}a NUL byte"),
    "lines that end in carriage returns": (
        f"{GOOD}\r{GOOD}\r".encode(),
        f", line 1: {LINE}another at column 72, after a carriage return: end",
    ),
    "two documents on a line": (f"{GOOD} {GOOD}".encode(), f", line 1: {LINE}more at column 72: write"),
    "documents with commas between": (
        f"{GOOD},\n{GOOD}".encode(),
        f", line 1: {LINE}a comma after the document, at column 71",
    ),
    "a document on many lines": (
        b'{\n "doc_key": "a"\n}',
        f", line 1: {LINE}JSON that does not end on its line: write each document on one line, as `jq -c .` does",
    ),
    "half a line": (GOOD.encode() + b"\n" + GOOD.encode()[:30], f", line 2: {LINE}JSON that does"),
    "a comma too many": (GOOD.replace("]]}", "]],}").encode(), f", line 1: {LINE}no JSON at column"),
    "a comma at the end of an array": (
        f"[{ITEM},\n]".encode(),
        f": {ARRAY}no JSON at line 2, column 1: a comma before it has to go",
    ),
    "two arrays": (b'[["a"]]\n[["b"]]', f": {ARRAY}no JSON at line 2, column 1: a file holds one"),
    "a huge number in an array": (b"[" + b"9" * 5000 + b"]", f": {ARRAY}a number of more than 4300 digits"),
    "an array nested": (b"[" * 100_000, f": {ARRAY}JSON nested too deeply to be read"),
    "a tag": (b"<html>", f", line 1: {LINE}no JSON at column 1: Expecting value"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_another_kind_is_named_with_what_to_do(kind: str, tmp_path: Path) -> None:
    content, message = FILES[kind]
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_corpus(path, labelled=False)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


def test_numbers_that_json_does_not_know_are_read_where_nothing_depends_on_them(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(GOOD[:-1] + ', "weight": -Infinity}', encoding="utf-8")
    assert read_corpus(path).documents[0].extra == {"weight": float("-inf")}
    path.write_text(GOOD.replace('"ner": [[]]', '"ner": [[[0, NaN, "A"]]]'), encoding="utf-8")
    with pytest.raises(DataError, match=r"ner\[0\]\[0\]\[1\]: expected a whole number, 0 or more, found NaN"):
        read_corpus(path)


def test_known_labels_pass() -> None:
    train, dev = sample_corpus("train"), sample_corpus("dev")
    assert train.labels() == dev.labels()
    check_labels(dev, train.labels())


def test_an_unknown_entity_type_is_named_with_its_place() -> None:
    with pytest.raises(DataError) as caught:
        check_labels(sample_corpus(), LabelSet(("Organization", "Place"), ("PART-OF",)))
    assert str(caught.value).endswith(
        "train.jsonl, document 'bakery', sentence 0: entity \"rye bread\" (words 7 to 8): "
        "expected one of the entity types Organization, Place, found Product"
    )


def test_an_unknown_relation_type_is_named_with_its_place() -> None:
    corpus = Corpus(sample_corpus().documents)
    with pytest.raises(DataError) as caught:
        check_labels(corpus, LabelSet(corpus.labels().entity_types, ()))
    assert str(caught.value) == (
        'corpus, document \'bakery\', sentence 0: relation "Blue Fern Bakery" (words 0 to 2) to "Porto" (words 4 to 4): '
        "expected one of the relation types (none), found LOCATED-IN"
    )


SCIERC = {
    "train": (350, 1861, 5598, 3215, {"duplicate relations merged": 4}),
    "dev": (50, 275, 811, 455, {}),
    "test": (100, 551, 1685, 974, {}),
}


@pytest.mark.parametrize("split", SCIERC)
def test_scierc_counts(split: str, scierc_dir: Path) -> None:
    corpus = read_corpus(scierc_dir / f"{split}.json")
    sentences = list(corpus.sentences())
    assert SCIERC[split] == (
        len(corpus.documents),
        len(sentences),
        sum(len(sentence.entities) for sentence in sentences),
        sum(len(sentence.relations) for sentence in sentences),
        corpus.dropped,
    )
    assert (len(corpus.labels().entity_types), len(corpus.labels().relation_types)) == (6, 7)


@pytest.mark.parametrize("split", SCIERC)
def test_scierc_is_the_same_in_both_forms(split: str, scierc_dir: Path, scierc_spert_dir: Path) -> None:
    ours = read_corpus(scierc_dir / f"{split}.json").sentences()
    theirs = read_corpus(scierc_spert_dir / f"{split}.json").sentences()
    for one, other in zip(ours, theirs, strict=True):
        # SpERT's form has brackets already, all but one pair of braces.
        assert [normalize_word(word) for word in one.words] == [normalize_word(word) for word in other.words]
        assert one.entities == other.entities
        assert [(r.subject, r.object, r.label.casefold()) for r in one.relations] == [
            (r.subject, r.object, r.label.casefold()) for r in other.relations
        ]


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"doc_key": "a", "sentences": [["x"]], "ner": [[]], "relations": [[]]}')
    assert read_corpus(str(path)) == read_corpus(path)


def test_what_is_nested_too_deeply_to_be_shown_is_said_to_be() -> None:
    value: object = None
    for _ in range(100_000):
        value = [value]
    assert shown(value) == "a value nested too deeply to be shown"
