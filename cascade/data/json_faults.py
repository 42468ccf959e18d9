"""What is wrong with bytes that are no JSON in UTF-8, and what may be done about it, in one sentence."""

from __future__ import annotations

import codecs
import json
import sys

from .checks import Place
from .types import DataError

LINE = "one document (a JSON object) a line"
ARRAY = "a JSON array of sentences"
CORPUS = "JSON lines or a JSON array of sentences"
TOO_DEEP = "JSON nested too deeply to be read"

# UTF-32's mark of little-endian files begins with UTF-16's.
_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))


def check_beginning(head: bytes, place: Place) -> None:
    """Raises DataError if a file begins as one in another encoding, or a compressed one, does."""
    for mark, encoding in _ENCODINGS:
        if head.startswith(mark):
            raise place.error((), "UTF-8", f"{encoding} by its byte order mark{_converted_from(encoding)}")
    for mark, kind in _COMPRESSED:
        if head.startswith(mark):
            raise place.error((), CORPUS, f"a file compressed with {kind}: decompress it first")


def not_utf8(place: Place, content: bytes, error: UnicodeDecodeError, position: int) -> DataError:
    """The error for ``content``, in which ``error`` came up; ``position``: where its byte is, in the line or file."""
    if b"\0" in content:
        return nul(place)
    byte = f"byte 0x{content[error.start]:02x} at position {position}"
    return place.error((), "UTF-8", f"{byte}: {error.reason}{_converted_from('LATIN1')}, if it is in Latin-1")


def nul(place: Place) -> DataError:
    return place.error((), "UTF-8", f"a NUL byte, as UTF-16 has them{_converted_from('UTF-16')}")


def no_line(place: Place, error: json.JSONDecodeError) -> DataError:
    """The error for a line that is not one JSON value."""
    text = error.doc.rstrip()
    if "\0" in text:
        return nul(place)
    if error.msg.startswith("Unterminated string") or error.pos >= len(text):
        found = "JSON that does not end on its line: write each document on one line, as `jq -c .` does"
    elif error.msg == "Extra data" and text[error.pos] == ",":
        found = f"a comma after the document, at column {error.colno}: documents stand on lines, without commas"
    elif error.msg == "Extra data" and "\r" in text[: error.pos]:
        found = f"another at column {error.colno}, after a carriage return: end lines with a newline"
    elif error.msg == "Extra data":
        found = f"more at column {error.colno}: write each document on one line, as `jq -c .` does"
    else:
        found = f"no JSON at column {error.colno}: {error.msg}"
    return place.error((), LINE, found)


def too_long_number() -> str:
    """Why Python refuses to read a number: it takes time that grows with the square of the digits."""
    return f"a number of more than {sys.get_int_max_str_digits()} digits"


def _converted_from(encoding: str) -> str:
    return f": convert the file, as `iconv -f {encoding} -t UTF-8` does"
