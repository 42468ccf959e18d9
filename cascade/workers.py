"""Prediction by worker processes, on one machine or on those of a cluster: actors of Ray, in the order of the input."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import cycle
from types import ModuleType
from typing import Any

from .data import Document, Sentence
from .model import ConfigError
from .prediction import Predictor, chunks
from .windows import report

LOCAL = "local"
UNDER_WAY = 4  # chunks of each worker, so that it has work while an earlier one is waited for
DEATHS = 3  # of a worker over one chunk, after which it is not tried again


class _Worker:
    """What an actor does. The predictor is made where it is first needed: what its making raises is then an answer."""

    def __init__(self, make_predictor: Callable[[], Predictor]) -> None:
        self.make_predictor = make_predictor
        self.predictor: Predictor | None = None

    def predict(self, sentences: list[Sentence]) -> tuple[list[Sentence], Counter[str]]:
        self.predictor = self.predictor or self.make_predictor()
        return self.predictor.found(sentences)


class Workers:
    """Predicts documents as a :class:`Predictor` does, to the last bit: it sends what that takes at a time."""

    def __init__(self, ray: ModuleType, actors: list[Any], sentences: int) -> None:
        self.ray = ray
        self.actors = actors
        self.sentences = sentences

    def documents(self, documents: Iterable[Document]) -> Iterator[tuple[Document, list[Sentence]]]:
        """Each of the documents, in their order, with its sentences; a bounded number of them is held.

        What reading the documents raises comes after all predictions for those before.

        Raises:
            OSError: a worker died of the same chunk again and again, or the cluster fails.
        """
        lost: Counter[str] = Counter()
        waiting: deque[tuple[list[Document], Any]] = deque()
        turns = cycle(self.actors)
        reading, failure = chunks(documents, self.sentences), None
        while True:
            while reading is not None and len(waiting) < UNDER_WAY * len(self.actors):
                try:
                    chunk = next(reading)
                except StopIteration:
                    reading = None
                except Exception as error:  # noqa: BLE001  it is raised when its turn comes
                    reading, failure = None, error
                else:
                    sentences = [sentence for document in chunk for sentence in document.sentences]
                    waiting.append((chunk, next(turns).predict.remote(sentences)))
            if not waiting:
                break
            chunk, answer = waiting.popleft()
            found, of_chunk = self._get(answer, chunk)
            lost += of_chunk
            sentences = iter(found)
            for document in chunk:
                yield document, [next(sentences) for _ in document.sentences]
        if failure is not None:
            raise failure
        report(lost)

    def _get(self, answer: Any, chunk: list[Document]) -> tuple[list[Sentence], Counter[str]]:
        errors = self.ray.exceptions
        try:
            return self.ray.get(answer)
        except errors.RayTaskError as error:  # raised over there
            raise error.cause from error
        except errors.RayActorError as error:
            where = " to ".join(dict.fromkeys(repr(document.key) for document in (chunk[0], chunk[-1])))
            raise OSError(f"ray: a worker died {DEATHS + 1} times over the documents {where}") from error
        except errors.RayError as error:
            raise OSError(f"ray: {type(error).__name__}: {str(error).splitlines()[0]}") from error


@contextmanager
def workers(
    make_predictor: Callable[[], Predictor],
    sentences: int,
    *,
    address: str = LOCAL,
    count: int | None = None,
    gpu: bool = True,
) -> Iterator[Workers]:
    """Worker processes with a predictor each; one that dies is replaced, and what it had not answered is asked again.

    Args:
        make_predictor: is pickled, and called once in each worker.
        sentences: how many a worker gets at a time: :meth:`Predictor.documents` takes as many.
        address: of a Ray cluster, as ``ray.init`` takes it; ``local``: this machine, for as long as this lasts. A process
            that is connected to Ray already stays so.
        count: of workers; None: one for each GPU that there is, or else for each processor.
        gpu: False: workers need none; otherwise each gets one, where there are any.

    Raises:
        ConfigError: Ray is not installed, or the cluster has another version of it. OSError: there is no cluster.
    """
    with redirect_stdout(sys.stderr), _connected(address, count) as ray:  # Ray tells of deaths on the standard output
        gpus = int(ray.cluster_resources().get("GPU", 0)) if gpu else 0
        size = count or gpus or int(ray.cluster_resources()["CPU"])
        actor = ray.remote(_Worker).options(num_cpus=1, num_gpus=min(gpus, 1), max_restarts=-1, max_task_retries=DEATHS)
        yield Workers(ray, [actor.remote(make_predictor) for _ in range(size)], sentences)


@contextmanager
def _connected(address: str, count: int | None) -> Iterator[ModuleType]:
    """Ray, connected to the cluster there."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'ray: expected it to be installed (`pip install "srn-kernels[ray]"`), found no {error.name}'
        ) from error
    if ray.is_initialized():
        yield ray
        return
    new = {"num_cpus": count, "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **new)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"ray: {str(error).splitlines()[0]}") from error
    try:
        yield ray
    finally:
        ray.shutdown()
