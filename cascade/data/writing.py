"""Writes corpora and predictions as DyGIE++ JSON lines: a whole file or none."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import replacing
from .alignment import Sentences, aligned
from .dygie import encode_document
from .forms import prediction_record
from .types import Corpus

logger = logging.getLogger(__name__)


def write_predictions(path: str | os.PathLike[str], source: Corpus, predicted: Sentences) -> None:
    """Writes each record of ``source`` as it was read, with ``predicted_ner`` and ``predicted_relations`` added.

    ``predicted`` holds the same sentences in the same order, those without words included, with what was predicted. The
    form is DyGIE++'s: ``[start, end, label]`` and ``[subject start, subject end, object start, object end, label]``, words
    counted through the document, ends inclusive, each followed by a logit and a probability if its score is known. A
    document without a record is written with the labels it has. Predictions that the input already held are replaced.

    Relations that the form cannot say are warned of. Raises DataError when the sentences differ, OSError when the file
    cannot be written; then nothing has changed.
    """
    dropped: Counter[str] = Counter()
    _write_lines(path, _prediction_records(source, predicted, dropped))
    _warn(path, dropped)


def write_corpus(path: str | os.PathLike[str], corpus: Corpus) -> None:
    """Writes the documents with their entities and relations, without scores; ``read_corpus`` gives them back. Relations
    that the form cannot say, or whose end is no entity, are warned of. Raises OSError."""
    dropped: Counter[str] = Counter()
    _write_lines(path, (encode_document(document, dropped) for document in corpus.documents))
    _warn(path, dropped)


def _warn(path: str | os.PathLike[str], dropped: Counter[str]) -> None:
    for reason, count in dropped.items():
        logger.warning("%s: %d %s", path, count, reason)


def _prediction_records(source: Corpus, predicted: Sentences, dropped: Counter[str]) -> Iterator[dict[str, Any]]:
    pairs = aligned(source, predicted)
    for document in source.documents:
        yield prediction_record(document, [next(pairs)[1] for _ in document.sentences], dropped)
    next(pairs, None)  # raises when predictions are left over


def _write_lines(path: str | os.PathLike[str], records: Iterator[dict[str, Any]]) -> None:
    target = Path(os.path.realpath(path))  # follows a link, which would itself be replaced
    if target.exists() and not target.is_file():
        raise OSError(f"cannot write {path}: expected a file, found something that is none")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {target.parent} does not exist")
    with replacing(target) as written, written.open("x", encoding="ascii", newline="\n") as file:
        for record in records:
            # ASCII, because other readers open these files in whatever encoding their locale has.
            file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())
