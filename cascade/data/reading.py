"""Reads a corpus from a file or a stream, in DyGIE++'s or SpERT's form, as its content shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from .dygie import GOLD, PREDICTED, Fields, parse_document
from .json_values import array_items, beginning, json_lines
from .spert import parse_item
from .types import Corpus, DataError, Document

Source = str | os.PathLike[str] | BinaryIO
STREAM = "standard input"


def read_corpus(path: str | os.PathLike[str], *, labelled: bool = True) -> Corpus:
    """The corpus in ``path``: DyGIE++ JSON lines, or SpERT's JSON array.

    ``labelled=False`` lets entities and relations be absent, as they are in text to predict on; where they are present
    they are read and checked all the same. A sentence without words stays, so that indices keep their meaning.
    Duplicates of an entity or a relation are merged and counted in ``Corpus.dropped``.

    Raises DataError, naming the file, the line (or item of the array), the field, what was expected and what was found.
    """
    dropped: Counter[str] = Counter()
    documents = tuple(_documents(path, GOLD, labelled, dropped))
    return Corpus(documents, str(path), dropped)


def read_documents(source: Source, *, labelled: bool = True, dropped: Counter[str] | None = None) -> Iterator[Document]:
    """The documents that ``read_corpus`` gives, one at a time, from a path or a stream of bytes: none is kept.

    What is dropped or merged is counted in ``dropped`` on the way. A stream, such as ``sys.stdin.buffer``, is called
    "standard input" in errors and is not closed. Raises DataError as ``read_corpus`` does, when it comes to the fault.
    """
    return _documents(source, GOLD, labelled, Counter() if dropped is None else dropped)


def read_predictions(path: str | os.PathLike[str]) -> Corpus:
    """The predictions in ``path``: the fields ``predicted_ner`` and ``predicted_relations`` of DyGIE++'s form, with or
    without the two scores that DyGIE++ puts after each label; or SpERT's array, whose predictions look like its data.

    The end of a relation that is no predicted entity gets the label ``""``, is counted in ``Corpus.dropped``, and can
    be right only in its boundaries. Raises DataError as ``read_corpus`` does.
    """
    dropped: Counter[str] = Counter()
    documents = tuple(_documents(path, PREDICTED, True, dropped))
    return Corpus(documents, str(path), dropped)


def _documents(source: Source, fields: Fields, labelled: bool, dropped: Counter[str]) -> Iterator[Document]:
    with _opened(source) as (stream, name):
        head, number = beginning(stream)
        if not head:
            raise DataError(f"{name}: expected JSON lines or a JSON array of sentences, found an empty file")
        if head.lstrip().startswith(b"["):
            for index, (place, item) in enumerate(array_items(head, number, stream, name)):
                yield parse_item(item, index, place, dropped, labelled=labelled)
        else:
            for place, record in json_lines(head, number, stream, name):
                yield parse_document(record, place, dropped, fields=fields, labelled=labelled)


@contextmanager
def _opened(source: Source) -> Iterator[tuple[BinaryIO, str]]:
    """A source's stream, and its name in errors. What the system says, in reading too, becomes a DataError."""
    is_path = isinstance(source, str | os.PathLike)
    name = str(source) if is_path else STREAM
    if is_path and Path(source).is_dir():
        raise DataError(f"{name}: expected a file, found a folder")
    try:
        with Path(source).open("rb") if is_path else nullcontext(source) as stream:
            yield stream, name
    except FileNotFoundError:
        raise DataError(f"{name}: expected a file, found nothing by that name") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from error
