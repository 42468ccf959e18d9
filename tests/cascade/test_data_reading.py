"""Files that are not a corpus, labels that no model knows, and the real SciERC."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from cascade.data import Corpus, DataError, LabelSet, check_labels, normalize_word, read_corpus, sample_corpus


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


def test_invalid_utf8_names_the_line_and_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"doc_key": "a", "sentences": [], "ner": [], "relations": []}\n{"doc_key": "\xff"}\n')
    with pytest.raises(DataError) as caught:
        read_corpus(path)
    assert str(caught.value) == f"{path}, line 2: expected UTF-8, found byte 0xff at position 13: invalid start byte"


def test_pretty_printed_json_lines_are_told_what_a_line_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n "doc_key": "a"\n}')
    with pytest.raises(DataError, match=r"line 1: expected one document \(a JSON object\) a line, found no JSON"):
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
