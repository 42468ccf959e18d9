"""Documents one at a time, from a file or a stream: the same as a whole corpus, at any place a read may end."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cascade.data import DataError, json_values, read_corpus, read_documents, sample_corpus, split_text, write_corpus

Write = Callable[..., Path]

LINE = {
    "doc_key": "towns",
    "sentences": [["Ada", "visits", "Turin"]],
    "ner": [[[0, 0, "Person"], [0, 0, "Person"], [2, 2, "Place"]]],
    "relations": [[[0, 0, 2, 2, "IN"]]],
}
ITEM = {
    "tokens": ["Ada", "visits", "“Turin”"],
    "entities": [{"type": "Person", "start": 0, "end": 1}, {"type": "Person", "start": 0, "end": 1}],
    "relations": [],
    "note": [-1.25e-3, True, None, "\t😀"],
}


class Slow(io.BytesIO):
    """Gives one byte a read, as a pipe may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(1 if size else size)


def array(*items: object) -> bytes:
    return json.dumps(items, indent=1).encode()


def test_documents_of_a_path_and_of_a_stream_are_those_of_the_corpus(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_corpus(path, sample_corpus())
    expected = read_corpus(path).documents
    assert tuple(read_documents(path)) == expected
    with path.open("rb") as stream:
        assert tuple(read_documents(stream)) == expected
        assert not stream.closed


@pytest.mark.parametrize("content", [json.dumps(LINE).encode(), array(ITEM)])
def test_what_is_merged_is_counted_on_the_way(content: bytes) -> None:
    dropped: Counter[str] = Counter()
    assert len(list(read_documents(io.BytesIO(content), dropped=dropped))) == 1
    assert dropped == {"duplicate entities merged": 1}


def test_lines_of_text_are_documents_where_no_labels_are_needed() -> None:
    content = b'{"text": "Ada visits Turin.  It rains.", "doc_key": "a"}\n\n{"text": "", "id": 7}\n{"text": "Go."}\n'
    first, second, third = read_documents(io.BytesIO(content), labelled=False)
    assert [document.key for document in (first, second, third)] == ["a", "7", "line 4"]
    assert first.sentences == split_text("Ada visits Turin.  It rains.") and second.sentences == ()
    assert first.record == json.loads(content.splitlines()[0])
    german = io.BytesIO(b'{"text": "Sie sind bzw. Vier."}')
    [document] = read_documents(german, labelled=False, language="de")
    assert len(document.sentences) == 1
    with pytest.raises(DataError, match="standard input, line 1: sentences: expected this field, found none"):
        list(read_documents(io.BytesIO(content)))
    with pytest.raises(DataError, match=r"standard input, line 1: text: expected text \(a string\), found 3"):
        list(read_documents(io.BytesIO(b'{"text": 3}'), labelled=False))
    with pytest.raises(
        DataError, match="line 1: expected text, as a language is given, found sentences that are split"
    ):
        list(read_documents(io.BytesIO(json.dumps(LINE).encode()), labelled=False, language="en"))


def test_a_document_comes_as_soon_as_its_line_is_there() -> None:
    lines = iter([json.dumps(LINE).encode() + b"\n", b"{}\n"])

    class Pipe(io.BytesIO):
        def readline(self, size: int | None = -1) -> bytes:
            return next(lines)

    assert next(read_documents(Pipe())).key == "towns"
    assert next(lines) == b"{}\n"


@pytest.mark.parametrize("chunk", [7, 64, 1 << 16])
@pytest.mark.parametrize("make", [io.BytesIO, Slow])
def test_items_of_an_array_wherever_a_read_ends(
    make: Callable[[bytes], io.BytesIO], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_values, "CHUNK", chunk)
    second = json.dumps({**ITEM, "tokens": ["é" * 50] * 30}, ensure_ascii=False).encode()
    content = b"\xef\xbb\xbf\n\n " + array(ITEM)[:-2] + b"," + second + b"]\n \n"
    first, second = read_documents(make(content))
    assert first.extra == {"note": ITEM["note"]}
    assert second.sentences[0].words == ("é" * 50,) * 30


@pytest.mark.parametrize("chunk", [7, 1 << 16])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" \n\n", "expected JSON lines or a JSON array of sentences, found an empty file"),
        (b"\n[ ]", "expected a JSON array of sentences, found an empty array"),
        (b"\n[\n", "expected a JSON array of sentences, found no JSON at line 3, column 1: Expecting value"),
        (b'[\n{"a": 1x}]', "expected a JSON array of sentences, found no JSON at line 2, column 8: Expecting ','"),
        (array(ITEM)[:-1], "expected a JSON array of sentences, found no JSON at line 28, column 1: Expecting ','"),
        (array(ITEM) + b"]", "expected a JSON array of sentences, found no JSON at line 28, column 2: a file holds one"),
        (array(ITEM) + b"\xff", f"expected UTF-8, found byte 0xff at position {len(array(ITEM))}: invalid start byte"),
        (array(ITEM) + b"\xe2\x80", f"expected UTF-8, found byte 0xe2 at position {len(array(ITEM))}: unexpected end"),
        (b"[3]", ' item 0: expected a sentence (a JSON object with `tokens`), found 3'),
        (b"[33, 4]", ' item 0: expected a sentence (a JSON object with `tokens`), found 33'),
        (b"\n\n3", " line 3: expected a document (a JSON object), found 3"),
        (b'{"doc_key": "d", "ner": [], "ner": []}', " line 1: ner: expected this field once, found it twice"),
        (b'[{"tokens": ["a"], "tokens": []}]', " item 0: tokens: expected this field once, found it twice"),
    ],
)  # fmt: skip
def test_errors_of_a_stream(content: bytes, message: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "CHUNK", chunk)
    with pytest.raises(DataError) as caught:
        list(read_documents(io.BytesIO(content)))
    separator = "," if message.startswith(" ") else ": "
    assert str(caught.value).startswith(f"standard input{separator}{message}")


def test_a_stream_that_breaks_off() -> None:
    class Broken(io.BytesIO):
        def readline(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(DataError, match=r"^standard input: cannot be read: Input/output error$"):
        list(read_documents(Broken()))


@pytest.mark.parametrize("form", ["lines", "array"])
def test_no_document_is_kept(form: str, tmp_path: Path) -> None:
    """10 MB of either form take less than 2 MB of memory at once."""
    path = tmp_path / "a.json"
    filler = "x" * 1000
    with path.open("w") as file:
        record = {**(LINE if form == "lines" else ITEM), "_filler": [filler] * 40}
        file.write("[" if form == "array" else "")
        for number in range(250):
            record["doc_key"] = record["orig_id"] = f"{number}"
            file.write((",\n" if form == "array" and number else "") + json.dumps(record) + "\n" * (form == "lines"))
        file.write("]" if form == "array" else "")
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_documents(path)) == 250
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
