"""Checks that the readers share: a failure names the file, record, field, what was expected and what was found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .types import DataError

MOST_NAMES = 20  # of fields, in a message
Steps = tuple[str | int, ...]
"""Names and indices that lead from a record to a value: ``("ner", 2, 0)`` is ``ner[2][0]``."""


@dataclass(frozen=True)
class Place:
    """Where a record stands: its file and its number there (``line 3``, ``item 2``)."""

    source: str
    record: str = ""

    def error(self, path: Steps, expected: str, found: str) -> DataError:
        where = f"{self.source}, {self.record}" if self.record else self.source
        field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
        return DataError(f"{where}: {field + ': ' if field else ''}expected {expected}, found {found}")


def shown(value: object, limit: int = 60) -> str:
    """A value as JSON, short enough for a message."""
    try:
        text = json.dumps(value)
    except RecursionError:  # what could just be read may be nested too deeply to be written from here
        return "a value nested too deeply to be shown"
    return shortened(text, limit)


def shortened(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def want_object(value: object, place: Place, path: Steps, expected: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise place.error(path, expected, shown(value))
    return value


def want_list(value: object, place: Place, path: Steps, expected: str) -> list[Any]:
    if not isinstance(value, list):
        raise place.error(path, expected, shown(value))
    return value


def want_field(record: dict[str, Any], name: str, place: Place, path: Steps = ()) -> Any:
    if name not in record:
        names = [*sorted(record)[:MOST_NAMES], *["..."] * (len(record) > MOST_NAMES)]
        fields = f" (the fields are: {', '.join(map(shortened, names))})" if record else ""
        raise place.error((*path, name), "this field", f"none{fields}")
    return record[name]


def want_index(value: object, place: Place, path: Steps) -> int:
    """A whole number that counts something. JSON's ``true`` and ``3.0`` are refused, though Python would take them."""
    if type(value) is not int or value < 0:
        raise place.error(path, "a whole number, 0 or more", shown(value))
    return value


def want_text(value: object, place: Place, path: Steps, expected: str, *, empty: bool = False) -> str:
    """A string, not empty unless ``empty``, that UTF-8 can hold: JSON can spell half a surrogate pair, which no
    tokenizer takes."""
    if not isinstance(value, str) or not (value or empty):
        raise place.error(path, expected, shown(value))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise place.error(path, expected, f"half a surrogate pair in {shown(value)}") from None
    return value


def want_key(value: object, place: Place, path: Steps) -> str:
    """The name of a document, which may be a number: other tools never look at it."""
    if type(value) is int:
        return str(value)
    return want_text(value, place, path, "a name (a string or a whole number)", empty=True)


def probability(value: object) -> float | None:
    """A number from 0 to 1; None for anything else."""
    return float(value) if type(value) in (int, float) and 0 <= value <= 1 else None


def key_of(name: object, otherwise: str) -> str:
    """A name that a record may have for other purposes, as the key of its document, if it can be one."""
    return str(name) if isinstance(name, str | int) and not isinstance(name, bool) and name != "" else otherwise


def want_words(value: object, place: Place, path: Steps) -> tuple[str, ...]:
    words = want_list(value, place, path, "a list of words")
    return tuple(want_text(word, place, (*path, i), "a word (a string, not empty)") for i, word in enumerate(words))


def want_label(value: object, place: Place, path: Steps) -> str:
    return want_text(value, place, path, "a label (a string, not empty)")
