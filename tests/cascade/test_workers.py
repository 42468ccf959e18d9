"""Prediction by Ray's workers: all lines, in order, whatever dies or is broken; and what is said where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from itertools import count, cycle, islice
from pathlib import Path

import psutil
import pytest
from tiny_models import tiny_model

from cascade.cli import main
from cascade.data import Corpus, Document, Sentence, sample_corpus, write_corpus
from cascade.training import save_model
from cascade.workers import UNDER_WAY, workers

DOCUMENTS = 320
CHUNK = 8  # documents, of 4 sentences each, that a worker gets at once where a batch is of one sentence
CORPUS, MODEL = "corpus.jsonl", "model"
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason='needs Ray (`pip install "srn-kernels[ray]"`)')


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a model and a corpus of many documents."""
    monkeypatch.chdir(tmp_path)
    model, tokenizer = tiny_model(encoder="none", thresholds=[0.02, 0.0, 0.02], decision="each")
    save_model(model, tokenizer, MODEL)
    documents = cycle(sample_corpus("train").documents)
    numbered = (replace(document, key=str(n), record={}) for n, document in zip(count(), documents))
    write_corpus(CORPUS, Corpus(tuple(islice(numbered, DOCUMENTS))))
    return tmp_path


def arguments(file: str, output: str, *more: object) -> list[str]:
    small = ("--device", "cpu", "--dtype", "float32", "--batch_size", 1)
    return [str(each) for each in ("predict", "--model", MODEL, "--file", file, "--output", output, *small, *more)]


def begun(*command: str, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cascade", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def failed(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(command)
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def lines(path: str) -> list[bytes]:
    return Path(path).read_bytes().splitlines(keepends=True)


def actors(process: subprocess.Popen[str]) -> Iterator[psutil.Process]:
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("_Worker" in word for word in child.cmdline()):
                yield child


@needs_ray
@pytest.mark.slow
def test_every_line_is_there_once_though_the_corpus_breaks_off_and_a_worker_is_killed(folder: Path) -> None:
    main(arguments(CORPUS, "whole.jsonl"))
    whole, documents = lines("whole.jsonl"), lines(CORPUS)
    Path(CORPUS).write_bytes(b"".join([*documents[: DOCUMENTS // 2], b"{\n"]))
    process = begun(*arguments(CORPUS, "out.jsonl", "--ray", "local", "--workers", 1))
    out, err = process.communicate()
    assert (process.returncode, out) == (2, ""), err
    assert err.splitlines()[-1].startswith(f"cascade: error: {CORPUS}, line {DOCUMENTS // 2 + 1}: ")
    assert lines("out.jsonl.partial") == whole[: DOCUMENTS // 2 // CHUNK * CHUNK]

    Path(CORPUS).write_bytes(b"".join(documents))
    process = begun(*arguments(CORPUS, "out.jsonl", "--resume", "--ray", "local", "--workers", 2))
    while len(lines("out.jsonl.partial")) < DOCUMENTS * 5 // 8:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    killed, _ = actors(process)
    killed.kill()
    assert len(lines("out.jsonl.partial")) < DOCUMENTS
    out, err = process.communicate()
    assert (process.returncode, out) == (0, ""), err
    assert lines("out.jsonl") == whole


@needs_ray
@pytest.mark.slow
def test_from_the_standard_input_to_the_standard_output_and_a_model_that_is_not_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(arguments(CORPUS, "whole.jsonl"))
    with open(CORPUS) as corpus:
        process = begun(*arguments("-", "-", "--ray", "local", "--workers", 1), stdin=corpus)
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.encode() == b"".join(lines("whole.jsonl"))

    nowhere = str(folder / "nowhere")
    said = failed(capsys, *arguments(CORPUS, "out.jsonl", "--model", nowhere))
    assert nowhere in said
    process = begun(*arguments(CORPUS, "out.jsonl", "--model", nowhere, "--ray", "local", "--workers", 1))
    _, err = process.communicate()
    assert (process.returncode, err.splitlines()[-1]) == (2, said)


@needs_ray
@pytest.mark.slow
def test_few_documents_are_held_and_one_that_kills_every_worker_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Echo:  # in place of a predictor; here, so that it travels whole
        def found(self, sentences: list[Sentence]) -> tuple[list[Sentence], Counter[str]]:
            return sentences, Counter({"things": len(sentences)})

    documents = [Document(str(n), (Sentence(("a", "b")),) * 2) for n in range(40)]
    read: list[str] = []

    def reading() -> Iterator[Document]:
        for document in documents:
            read.append(document.key)
            yield document

    with workers(Echo, 4, count=2) as echo:
        predicted = echo.documents(reading())
        first = next(predicted)
        assert len(read) == 2 * UNDER_WAY * 2  # documents of two sentences: two a chunk
        assert [first, *predicted] == [(document, list(document.sentences)) for document in documents]
    assert "80 things" in caplog.text
    with (
        workers(lambda: os._exit(1), 4, count=1) as deadly,
        pytest.raises(OSError, match=r"^ray: a worker died 4 times over the documents '0' to '1'$"),
    ):
        list(deadly.documents(documents))


def test_options_of_workers(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    to_file = arguments(CORPUS, "out.jsonl")
    assert failed(capsys, *to_file, "--workers", "2") == "cascade: error: workers: expected a Ray in `ray`, found none"
    assert failed(capsys, *to_file, "--ray", "local", "--workers", "0") == (
        "cascade: error: workers: expected a number from 1 on, found 0"
    )
    monkeypatch.setitem(sys.modules, "ray", None)
    assert failed(capsys, *to_file, "--ray", "local") == (
        'cascade: error: ray: expected it to be installed (`pip install "srn-kernels[ray]"`), found no ray'
    )
    assert sorted(path.name for path in folder.iterdir()) == [CORPUS, MODEL]
