"""JSON values out of a stream of bytes, one at a time: the lines of JSON lines, or the items of one array."""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from .checks import Place
from .json_faults import ARRAY, LINE, TOO_DEEP, check_beginning, no_line, not_utf8, nul, too_long_number
from .types import DataError

CHUNK = 1 << 16  # bytes to read at once


class _GivenTwice(Exception):
    """A field, given twice: the decoder itself would drop its first value, without a word."""

    def at(self, place: Place) -> DataError:
        return place.error((str(self),), "this field once", "it twice")


def _object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(fields)
    if len(value) < len(fields):
        raise _GivenTwice(Counter(name for name, _ in fields).most_common(1)[0][0])
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
_SPACE = re.compile(r"[ \t\r\n]*")  # what is space in JSON


def beginning(stream: BinaryIO, source: str) -> tuple[bytes, int]:
    """The first bytes that are not all space, and the number of their line; no bytes if there are none such.

    They end at a line's end or earlier. A byte order mark is passed over. Raises DataError if they are not UTF-8's.
    """
    number = 1
    head = stream.readline(CHUNK)
    check_beginning(head, Place(source))
    head = head.removeprefix(codecs.BOM_UTF8)
    while head and not head.strip():
        number += head.endswith(b"\n")
        head = stream.readline(CHUNK)
    return head, number


def json_lines(head: bytes, number: int, stream: BinaryIO, source: str) -> Iterator[tuple[Place, Any]]:
    """The values of ``head``, which is of line ``number``, and of the lines after it, but for lines of space."""
    # Split at newline bytes only: `str.splitlines` would also cut at U+2028 and its like, which JSON strings may hold.
    line = head if head.endswith(b"\n") else head + stream.readline()
    while line:
        if line.strip():
            place = Place(source, f"line {number}")
            yield place, _decoded(line, place)
        line = stream.readline()
        number += 1


def array_items(head: bytes, number: int, stream: BinaryIO, source: str) -> Iterator[tuple[Place, Any]]:
    """The items of the array that begins in ``head``, which is of line ``number``; nothing may come after the array."""
    text = _Text(head, number, stream, Place(source))
    text.expect("[")
    if text.next_character() == "]":
        raise DataError(f"{source}: expected {ARRAY}, found an empty array")
    index = 0
    while True:
        place = Place(source, f"item {index}")
        try:
            value = text.value()
        except _GivenTwice as error:
            raise error.at(place) from None
        yield place, value
        index += 1
        if text.next_character() == "]":
            break
        text.expect(",")
        if text.next_character() == "]":
            raise text.error("a comma before it has to go")
    text.expect("]")
    if text.next_character():
        raise text.error("a file holds one array, which has ended")


def _decoded(line: bytes, place: Place) -> Any:
    try:
        return _DECODER.decode(line.decode("utf-8"))
    except _GivenTwice as error:
        raise error.at(place) from None
    except json.JSONDecodeError as error:
        raise no_line(place, error) from error
    except UnicodeDecodeError as error:
        raise not_utf8(place, line, error, error.start) from error
    except RecursionError:
        raise place.error((), LINE, TOO_DEEP) from None
    except ValueError:
        raise place.error((), LINE, too_long_number()) from None


class _Text:
    """An array's text, as far as it is read and not dropped yet; what is before ``at`` is taken."""

    def __init__(self, head: bytes, line: int, stream: BinaryIO, place: Place) -> None:
        self.stream, self.place = stream, place
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.decoded = 0  # bytes
        self.text, self.at = "", 0
        self.line, self.column = line, 1  # of the text's first character
        self._add(head)

    def next_character(self) -> str:
        """The next character that is no space, which is not taken; none at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()
            if self.at < len(self.text) or not self._more():
                return self.text[self.at : self.at + 1]

    def expect(self, character: str) -> None:
        """Takes a character. Raises DataError if it is another."""
        if self.next_character() != character:
            raise self.error(f"Expecting '{character}'")
        self.at += 1

    def value(self) -> Any:
        """Takes a value. Reads on as long as it might go on."""
        self.next_character()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if not (_cut_off(error) and self._more()):
                    self.at = error.pos
                    raise self.error(error.msg) from error
            except RecursionError:
                raise self.place.error((), ARRAY, TOO_DEEP) from None
            except ValueError:
                raise self.place.error((), ARRAY, too_long_number()) from None
            else:
                # a number at the end of what is read may be half of one
                if end < len(self.text) or not self._more():
                    self.at = end
                    return value

    def error(self, reason: str) -> DataError:
        """That there is no JSON at the next character."""
        self._drop()
        if self.text.startswith("\0"):
            return nul(self.place)
        return self.place.error((), ARRAY, f"no JSON at line {self.line}, column {self.column}: {reason}")

    def _more(self) -> bool:
        """Reads on, as much again as is left, so that a long value is not tried too often; drops what is taken. At the
        end it changes nothing, and is False."""
        content = self.stream.read(max(CHUNK, len(self.text) - self.at))
        if content:
            self._drop()
        self._add(content)
        return bool(content)

    def _drop(self) -> None:
        newlines = self.text.count("\n", 0, self.at)
        self.line += newlines
        self.column = self.at - self.text.rfind("\n", 0, self.at) if newlines else self.column + self.at
        self.text, self.at = self.text[self.at :], 0

    def _add(self, content: bytes) -> None:
        held, _ = self.decoder.getstate()  # the first bytes of a character
        try:
            self.text += self.decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            raise not_utf8(self.place, held + content, error, self.decoded - len(held) + error.start) from error
        self.decoded += len(content)


def _cut_off(error: json.JSONDecodeError) -> bool:
    """Whether the text may be the beginning of JSON: it fails in a string without an end, or at its own end (where
    ``-Infinity`` is the longest word, ``\\u0000`` the longest escape)."""
    return error.msg.startswith("Unterminated string") or error.pos > len(error.doc) - len("-Infinity")
