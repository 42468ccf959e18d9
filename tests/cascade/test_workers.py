"""Prediction by Ray's workers: all lines, in order, whatever dies or is broken; and what is said where it cannot be."""

from __future__ import annotations

import os
import socket
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
from types import SimpleNamespace

import psutil
import pytest
import torch
from tiny_models import tiny_model

from cascade.cli import main
from cascade.data import Corpus, Document, Sentence, sample_corpus, write_corpus
from cascade.model import ConfigError
from cascade.prediction import chunks
from cascade.training import save_model
from cascade.workers import UNDER_WAY, workers

DOCUMENTS, BATCH, CHUNK = 320, 2, 64  # a worker gets documents of 64 sentences or a few more at once
BROKEN = DOCUMENTS // 2 + 3
CORPUS, MODEL = "corpus.jsonl", "model"
LIMIT = 300.0  # seconds
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason='needs Ray (`pip install "srn-kernels[ray]"`)')


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Document]:
    """Of one to four sentences, in a corpus in the working folder, beside a model."""
    monkeypatch.chdir(tmp_path)
    model, tokenizer = tiny_model(encoder="none", thresholds=[0.02, 0.0, 0.02], decision="each")
    save_model(model, tokenizer, MODEL)
    made = [
        replace(document, key=str(n), sentences=document.sentences[: 1 + n % 4], record={})
        for n, document in zip(count(), islice(cycle(sample_corpus("train").documents), DOCUMENTS))
    ]
    write_corpus(CORPUS, Corpus(tuple(made)))
    return made


def arguments(file: str, output: str, *more: object) -> list[str]:
    run = ("--device", "cpu", "--dtype", "float32", "--batch_size", BATCH)
    return [str(each) for each in ("predict", "--model", MODEL, "--file", file, "--output", output, *run, *more)]


def begun(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cascade", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def failed(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(command)
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines(keepends=True)


def actors(process: subprocess.Popen[str]) -> Iterator[psutil.Process]:
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("_Worker" in word for word in child.cmdline()):
                yield child


@needs_ray
@pytest.mark.slow
def test_every_line_is_there_once_though_the_input_breaks_off_and_a_worker_is_killed(
    documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    main(arguments(CORPUS, "whole.jsonl"))
    whole, corpus = lines("whole.jsonl"), lines(CORPUS)
    before = list(chunks(documents[:BROKEN], CHUNK))[:-1]  # of the last chunk some documents are read, and lost

    process = begun(*arguments("-", "out.jsonl", "--ray", "local", "--workers", 1))
    out, err = process.communicate("".join([*corpus[:BROKEN], "{\n"]), LIMIT)
    assert (process.returncode, out) == (2, ""), err
    assert err.splitlines()[-1].startswith(f"cascade: error: standard input, line {BROKEN + 1}: ")
    assert lines("out.jsonl.partial") == whole[: sum(map(len, before))]

    process = begun(*arguments(CORPUS, "out.jsonl", "--resume", "--ray", "local", "--workers", 2))
    while len(lines("out.jsonl.partial")) < BROKEN:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    caller = psutil.Process(process.pid)
    caller.suspend()  # or all might be done before a worker is killed
    assert len(lines("out.jsonl.partial")) < DOCUMENTS
    next(actors(process)).kill()  # on a busy machine the other may not have begun yet
    caller.resume()
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (0, ""), err
    assert lines("out.jsonl") == whole


@needs_ray
@pytest.mark.slow
def test_workers_of_a_process_that_is_connected_to_ray_already(caplog: pytest.LogCaptureFixture) -> None:
    import ray

    class Echo:  # in place of a predictor; these are here, so that they travel whole
        model, dtype = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32), None

        def found(self, corpus: Corpus) -> tuple[list[Sentence], Counter[str]]:
            sentences = list(corpus.sentences())
            return sentences, Counter({"things": len(sentences)})

    class Deadly(Echo):
        def found(self, corpus: Corpus) -> tuple[list[Sentence], Counter[str]]:
            os._exit(1)

    def refused() -> Echo:
        raise ConfigError("model: expected another")

    documents = [Document(str(n), (Sentence(("a", "b")),) * 2) for n in range(40)]
    read: list[str] = []

    def reading() -> Iterator[Document]:
        for document in documents:
            read.append(document.key)
            yield document

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with workers(Echo, 4, count=2) as echo:
            predicted = echo.documents(reading())
            first = next(predicted)
            assert len(read) <= 2 * UNDER_WAY * 2  # two workers, two documents a chunk
            assert [first, *predicted] == [(document, list(document.sentences)) for document in documents]
            assert echo.dtype == "torch.float32"
        assert "80 things" in caplog.text
        with (
            pytest.raises(OSError, match=r"^ray: a worker died 4 times over the documents '0' to '1': "),
            workers(Deadly, 4, count=2) as deadly,  # processors are free again
        ):
            list(deadly.documents(documents))
        with pytest.raises(ConfigError, match=r"^model: expected another$"), workers(refused, 4):
            pass
        with pytest.raises(ConfigError, match=r"^workers: expected at most 2, .*, found 3$"), workers(Echo, 4, count=3):
            pass
    finally:
        ray.shutdown()


def test_options_of_workers(
    documents: list[Document], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    to_file = arguments(CORPUS, "out.jsonl")
    assert failed(capsys, *to_file, "--workers", "2") == "cascade: error: workers: expected a Ray in `ray`, found none"
    assert failed(capsys, *to_file, "--ray", "local", "--workers", "0") == (
        "cascade: error: workers: expected a number from 1 on, found 0"
    )
    assert failed(capsys, *to_file, "--ray", "local", "--device", "cuda:1") == (
        "cascade: error: device: expected none with a number, as Ray chooses the GPU, found 'cuda:1'"
    )
    monkeypatch.setitem(sys.modules, "ray", None)
    assert failed(capsys, *to_file, "--ray", "local") == (
        'cascade: error: ray: expected it to be installed (`pip install "srn-kernels[ray]"`), found no ray'
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [CORPUS, MODEL]


@needs_ray
def test_a_cluster_that_is_not_there_is_said_to_be_that() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    for nowhere in (address, f"ray://{address}", "host:99999"):
        with (
            pytest.raises(OSError, match=f"^ray: expected a cluster at {nowhere}, found none: "),
            workers(object, 4, address=nowhere),
        ):
            pass
