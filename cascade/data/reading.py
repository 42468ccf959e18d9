"""Reads a corpus from a file or a stream, in DyGIE++'s or SpERT's form, as its content shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from .checks import Place
from .dygie import GOLD, PREDICTED, Fields, UnknownEnds, parse_document
from .json_faults import CORPUS
from .json_values import array_items, beginning, json_lines
from .spert import parse_item
from .text import ENGLISH, is_text, parse_text
from .types import Corpus, DataError, Document

Source = str | os.PathLike[str] | BinaryIO
STREAM = "standard input"


def read_corpus(path: str | os.PathLike[str], *, labelled: bool = True, drop_unknown_ends: bool = False) -> Corpus:
    """The corpus in ``path``: DyGIE++ JSON lines, or SpERT's JSON array.

    A document without a field of entities or relations has none. A sentence without words stays, so that indices keep
    their meaning. What is dropped or merged is counted in ``Corpus.dropped``: duplicates, relations across sentences,
    and, where some documents have a field of labels, the documents without it.

    A relation with an end that is no entity is refused; ``drop_unknown_ends`` drops and counts such relations.
    ``labelled=False`` does so too: labels are checked, but not needed to predict. It also takes SpERT's arrays of words
    or of texts, which have no place for labels.

    Raises DataError, naming the file, the line (or item of the array), the field, what was expected and what was found.
    """
    dropped: Counter[str] = Counter()
    documents = tuple(read_documents(path, labelled=labelled, drop_unknown_ends=drop_unknown_ends, dropped=dropped))
    return Corpus(documents, str(path), dropped)


def read_documents(
    source: Source,
    *,
    labelled: bool = True,
    drop_unknown_ends: bool = False,
    dropped: Counter[str] | None = None,
    language: str | None = None,
) -> Iterator[Document]:
    """The documents that ``read_corpus`` gives, one at a time, from a path or a stream of bytes: none is kept.

    ``labelled=False`` also takes JSON lines with a ``text`` in place of ``sentences``, which is split as ``split_text``
    splits text in ``language`` (None: English); where one is given, documents that are split already are refused.

    What is dropped or merged is counted in ``dropped`` on the way, documents without a field at the end. A stream, such
    as ``sys.stdin.buffer``, is called "standard input" in errors and is not closed. Raises DataError as ``read_corpus``
    does, when it comes to the fault.
    """
    unknown_ends = "drop" if drop_unknown_ends or not labelled else "refuse"
    return _documents(source, GOLD, labelled, unknown_ends, Counter() if dropped is None else dropped, language)


def read_predictions(path: str | os.PathLike[str]) -> Corpus:
    """The predictions in ``path``: the fields ``predicted_ner`` and ``predicted_relations`` of DyGIE++'s form, with or
    without the scores that DyGIE++ puts after each label; or SpERT's array, whose predictions look like its data.

    The end of a relation that is no predicted entity gets the label ``""``, is counted in ``Corpus.dropped``, and can
    be right only in its boundaries. A document with neither field is refused. Raises DataError as ``read_corpus`` does.
    """
    dropped: Counter[str] = Counter()
    documents = tuple(_documents(path, PREDICTED, True, "keep", dropped))
    return Corpus(documents, str(path), dropped)


def _documents(
    source: Source,
    fields: Fields,
    labelled: bool,
    unknown_ends: UnknownEnds,
    dropped: Counter[str],
    language: str | None = None,
) -> Iterator[Document]:
    with _opened(source) as (stream, name):
        head, number = beginning(stream, name)
        if not head:
            raise DataError(f"{name}: expected {CORPUS}, found an empty file")
        spoken = ENGLISH if language is None else language
        if head.lstrip().startswith(b"["):
            names = {GOLD.entities: "entities", GOLD.relations: "relations"}
            options = {"labelled": labelled, "unknown_ends": unknown_ends, "language": spoken}
            documents = (
                (place, parse_item(item, index, place, dropped, **options))
                for index, (place, item) in enumerate(array_items(head, number, stream, name))
            )
        else:
            names = {field: field for field in (fields.entities, fields.relations)}
            documents = (
                (
                    place,
                    parse_text(record, place, spoken)
                    if not labelled and is_text(record)
                    else parse_document(record, place, dropped, fields=fields, unknown_ends=unknown_ends),
                )
                for place, record in json_lines(head, number, stream, name)
            )
        documents = (_in_language(document, place, language) for place, document in documents)
        yield from _counted(documents, names, dropped) if labelled else documents


def _in_language(document: Document, place: Place, language: str | None) -> Document:
    if language is not None and any(sentence.offsets is None for sentence in document.sentences):
        raise place.error((), "text, as a language is given", "sentences that are split already")
    return document


def _counted(documents: Iterable[Document], names: dict[str, str], dropped: Counter[str]) -> Iterator[Document]:
    """The documents. Counts at the end those without a field that others have; ``names``: its name in the source."""
    count = 0
    without: Counter[str] = Counter()
    for document in documents:
        count += 1
        without.update(names.keys() - document.record.keys())
        yield document
    for field, name in names.items():
        if 0 < without[field] < count:  # a corpus of entities alone lacks nothing
            dropped[f"documents without `{name}` (taken to have none)"] += without[field]


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
