"""The forms in which predictions are written: DyGIE++'s, SpERT's, and records of what was found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .dygie import PREDICTED, UNKNOWN_END, encode_document, encode_entities, encode_relations
from .records import document_record, rounded
from .text import is_text, split_record
from .types import Document, Sentence

DYGIE, SPERT, RECORDS = FORMS = ("dygie", "spert", "records")


def prediction_record(
    document: Document, predicted: Sequence[Sentence], dropped: Counter[str] | None = None
) -> dict[str, Any]:
    """What is written of a document: of a text its ``document_record``, of any other its ``dygie_record``; ``predicted``
    are its sentences. Relations that the form cannot say are counted in ``dropped``."""
    if is_text(document.record):
        return document_record(document, predicted)
    return dygie_record(document, predicted, dropped)


def dygie_record(
    document: Document, predicted: Sequence[Sentence], dropped: Counter[str] | None = None
) -> dict[str, Any]:
    """A document's record as it was read, with ``predicted_ner`` and ``predicted_relations`` added; relations that the form
    cannot say are counted in ``dropped``.

    That of a text gets sentences and their ``_offsets``; its other fields get an underscore in front, without which
    DyGIE++ does not take them.
    """
    if is_text(document.record):
        record = split_record(document.record.get("doc_key", document.key), document.sentences)
        for name, value in document.record.items():
            if name != "doc_key":
                record[f"_{name}" if f"_{name}" not in record else f"__{name}"] = value
    else:
        record = document.record or encode_document(document)
    return {
        **record,
        PREDICTED.entities: encode_entities(predicted),
        PREDICTED.relations: encode_relations(predicted, dropped),
    }


def spert_items(document: Document, predicted: Sequence[Sentence], dropped: Counter[str]) -> list[dict[str, Any]]:
    """A document's sentences in SpERT's form, with its key as ``orig_id`` and scores where they are known.

    Relations name entities there, by index: those with an end that is none are counted in ``dropped``.
    """
    items = []
    for sentence in predicted:
        index = {entity: place for place, entity in enumerate(sentence.entities)}
        relations = [r for r in sentence.relations if r.subject in index and r.object in index]
        if len(relations) < len(sentence.relations):
            dropped[UNKNOWN_END] += len(sentence.relations) - len(relations)
        items.append(
            {
                "tokens": list(sentence.words),
                "entities": [
                    {"type": e.label, "start": e.start, "end": e.end + 1, **_score(e.score)} for e in sentence.entities
                ],
                "relations": [
                    {"type": r.label, "head": index[r.subject], "tail": index[r.object], **_score(r.score)}
                    for r in relations
                ],
                "orig_id": document.key,
            }
        )
    return items


class PredictionLines:
    """Predictions as the lines of a file, one for each document and at last ``end``; what a form has no place for is
    counted in ``dropped``.

    ``form``: one of ``FORMS``, or None: that of ``prediction_record``. The lines of SpERT's form are one array together.
    ``ascii_only``: so that it does not matter which encoding a reader assumes.
    """

    LAST = "]"
    """A line that closes the file, where there is one."""

    def __init__(self, form: str | None = None, *, ascii_only: bool = True) -> None:
        self.form = form
        self.ascii_only = ascii_only
        self.dropped: Counter[str] = Counter()
        self._before = "["  # what comes before an item of the array

    def line(self, document: Document, predicted: Sequence[Sentence]) -> str:
        record = self._record(document, predicted, self.dropped)
        if self.form != SPERT:
            return self._json(record)
        opening = self._before if record or self._before == "[" else ""
        self.passed(document)
        return opening + ",".join(map(self._json, record))

    def end(self) -> str | None:
        """The line behind the last document's, if the form has one."""
        if self.form != SPERT:
            return None
        return f"[{self.LAST}" if self._before == "[" else self.LAST

    def passed(self, document: Document) -> None:
        """Goes on as if the line of this document were written."""
        self._before = "," if document.sentences or self._before == "," else ""

    def is_of(self, line: bytes, document: Document) -> bool:
        """Whether ``line`` was written of the same document in the same form."""
        try:
            found = json.loads(b"[%b]" % line.lstrip(b"[,") if self.form == SPERT else line)
            return self._identity(found) == self._identity(self._record(document, document.sentences, Counter()))
        except (ValueError, TypeError, KeyError):
            return False

    def _json(self, record: dict[str, Any]) -> str:
        return json.dumps(record, ensure_ascii=self.ascii_only)

    def _record(self, document: Document, predicted: Sequence[Sentence], dropped: Counter[str]) -> Any:
        if self.form == RECORDS:
            return document_record(document, predicted)
        of_form = {None: prediction_record, DYGIE: dygie_record, SPERT: spert_items}[self.form]
        return of_form(document, predicted, dropped)

    def _identity(self, record: Any) -> Any:
        """What says which document a record is of."""
        if self.form == SPERT:
            return [(item["orig_id"], item["tokens"]) for item in record]
        if is_text(record):
            return record["text"]
        sentences = record["sentences"]
        if PREDICTED.entities in record:
            return DYGIE, str(record["doc_key"]), sentences
        return RECORDS, str(record["doc_key"]), [sentence["words"] for sentence in sentences]


def _score(score: float | None) -> dict[str, float | None]:
    return {} if score is None else {"score": rounded(score)}
