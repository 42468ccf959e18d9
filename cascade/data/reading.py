"""Reads a corpus from a file, in DyGIE++'s or SpERT's form, as its content shows."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .checks import Place, shown
from .dygie import GOLD, PREDICTED, Fields, parse_document
from .spert import parse_item
from .types import Corpus, DataError, Document

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_corpus(path: str | os.PathLike[str], *, labelled: bool = True) -> Corpus:
    """The corpus in ``path``: DyGIE++ JSON lines, or SpERT's JSON array.

    ``labelled=False`` lets entities and relations be absent, as they are in text to predict on; where they are present
    they are read and checked all the same. A sentence without words stays, so that indices keep their meaning.
    Duplicates of an entity or a relation are merged and counted in ``Corpus.dropped``.

    Raises DataError, naming the file, the line (or item of the array), the field, what was expected and what was found.
    """
    return _read(Path(path), GOLD, labelled)


def read_predictions(path: str | os.PathLike[str]) -> Corpus:
    """The predictions in ``path``: the fields ``predicted_ner`` and ``predicted_relations`` of DyGIE++'s form, with or
    without the two scores that DyGIE++ puts after each label; or SpERT's array, whose predictions look like its data.

    The end of a relation that is no predicted entity gets the label ``""``, is counted in ``Corpus.dropped``, and can
    be right only in its boundaries. Raises DataError as ``read_corpus`` does.
    """
    return _read(Path(path), PREDICTED, True)


def _read(path: Path, fields: Fields, labelled: bool) -> Corpus:
    source = str(path)
    if path.is_dir():
        raise DataError(f"{source}: expected a file, found a folder")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{source}: expected a file, found nothing by that name") from None
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror or error}") from error
    content = content.removeprefix(BYTE_ORDER_MARK)
    start = content.lstrip()[:1]
    if not start:
        raise DataError(f"{source}: expected JSON lines or a JSON array of sentences, found an empty file")
    dropped: Counter[str] = Counter()
    if start == b"[":
        documents = _spert_documents(content, source, dropped, labelled)
    else:
        documents = _dygie_documents(content, source, dropped, fields, labelled)
    documents = tuple(documents)  # before `dropped` is read: parsing fills it
    return Corpus(documents, source, +dropped)


def _dygie_documents(
    content: bytes, source: str, dropped: Counter[str], fields: Fields, labelled: bool
) -> Iterator[Document]:
    line_of_key: dict[str, int] = {}
    # Split at newline bytes only: `str.splitlines` would also cut at U+2028 and its like, which JSON strings may hold.
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        place = Place(source, f"line {number}")
        document = parse_document(
            _decode(line, place, "one document (a JSON object) a line"),
            place,
            dropped,
            fields=fields,
            labelled=labelled,
        )
        if document.key in line_of_key:
            found = f"{shown(document.key)}, the key of line {line_of_key[document.key]}"
            raise place.error(("doc_key",), "a key that no other document has", found)
        line_of_key[document.key] = number
        yield document


def _spert_documents(content: bytes, source: str, dropped: Counter[str], labelled: bool) -> Iterator[Document]:
    items = _decode(content, Place(source), "a JSON array of sentences")
    if not items:
        raise DataError(f"{source}: expected a JSON array of sentences, found an empty array")
    keys: set[str] = set()
    for index, item in enumerate(items):
        yield parse_item(item, index, Place(source, f"item {index}"), dropped, keys, labelled=labelled)


def _decode(content: bytes, place: Place, expected: str) -> object:
    try:
        return json.loads(content.decode("utf-8"))
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if place.record else f"line {error.lineno}, column {error.colno}"
        raise place.error((), expected, f"no JSON at {where}: {error.msg}") from error
    except UnicodeDecodeError as error:
        byte = f"byte 0x{content[error.start]:02x} at position {error.start}"
        raise place.error((), "UTF-8", f"{byte}: {error.reason}") from error
    except RecursionError:
        raise place.error((), expected, "JSON nested too deeply to be read") from None
    except ValueError as error:  # a number with thousands of digits
        raise place.error((), expected, str(error)) from error
