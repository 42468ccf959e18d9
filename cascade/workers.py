"""Prediction by worker processes, on one machine or on those of a cluster: actors of Ray, in the order of the input."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from .data import Corpus, Document, Sentence
from .model import ConfigError
from .prediction import Predictor, chunks
from .windows import report

LOCAL = "local"
UNDER_WAY = 4  # chunks of each worker, so that it has work while an earlier one is waited for
DEATHS = 3  # of a worker over one chunk, after which it is not tried again
PATIENCE = 30.0  # seconds without a worker until that is said

logger = logging.getLogger(__name__)


class _Worker:
    """What an actor does. One that takes the place of a dead one makes its predictor where it is first needed."""

    def __init__(self, make_predictor: Callable[[], Predictor]) -> None:
        self.make_predictor = make_predictor
        self.predictor: Predictor | None = None

    def load(self) -> tuple[str, str]:
        """What the predictor computes on, and in what."""
        self.predictor = self.predictor or self.make_predictor()
        return self.predictor.model.device.type, str(self.predictor.dtype or self.predictor.model.dtype)

    def predict(self, texts: list[tuple[Sentence, ...]]) -> tuple[list[Sentence], Counter[str], list[str]]:
        """What a predictor finds and loses in the sentences of documents, and of what it warned."""
        with warnings.catch_warnings(record=True) as caught:
            self.load()
            assert self.predictor is not None
            found, lost = self.predictor.found(Corpus(tuple(Document("", sentences) for sentences in texts)))
        return found, lost, [str(warning.message) for warning in caught if warning.category is UserWarning]


class Workers:
    """Predicts documents as a :class:`Predictor` does: it sends what that takes at a time."""

    def __init__(self, ray: ModuleType, actors: list[Any], sentences: int) -> None:
        """Waits for the first worker.

        Raises what making its predictor raises.
        """
        self.ray = ray
        self.sentences = sentences
        self.loading = {actor.load.remote(): actor for actor in actors}
        self.under_way: dict[Any, int] = {}  # chunks of each worker that is ready
        self.computing: tuple[str, str] | None = None
        while not self._ready(PATIENCE):
            logger.warning("still waiting for Ray to start a worker")

    @property
    def dtype(self) -> str:
        """That of the products, such as ``torch.bfloat16``."""
        assert self.computing is not None
        return self.computing[1]

    def documents(self, documents: Iterable[Document]) -> Iterator[tuple[Document, list[Sentence]]]:
        """Each of the documents, in their order, with its sentences; a bounded number of them is held.

        What reading the documents raises comes after all predictions for those before.

        Raises:
            ConfigError: workers do not compute in the same way. OSError: a worker died of the same chunk again and again,
                or the cluster fails.
        """
        lost: Counter[str] = Counter()
        said: set[str] = set()
        waiting: deque[tuple[list[Document], Any, Any]] = deque()
        reading, failure = chunks(documents, self.sentences), None
        while True:
            while reading is not None and (actor := self._next(waiting)):
                try:
                    chunk = next(reading)
                except StopIteration:
                    reading = None
                except Exception as error:  # noqa: BLE001  it is raised when its turn comes
                    reading, failure = None, error
                else:
                    texts = [document.sentences for document in chunk]
                    waiting.append((chunk, actor, actor.predict.remote(texts)))
                    self.under_way[actor] += 1
            if not waiting:
                break
            chunk, actor, answer = waiting.popleft()
            keys = " to ".join(dict.fromkeys(repr(document.key) for document in (chunk[0], chunk[-1])))
            found, of_chunk, warned = self._get(answer, f"died {DEATHS + 1} times over the documents {keys}")
            self.under_way[actor] -= 1
            lost += of_chunk
            for message in set(warned) - said:
                warnings.warn(message, UserWarning, stacklevel=2)
            said |= set(warned)
            sentences = iter(found)
            for document in chunk:
                yield document, [next(sentences) for _ in document.sentences]
        if failure is not None:
            raise failure
        report(lost)

    def _next(self, waiting: deque[tuple[list[Document], Any, Any]]) -> Any:
        """The worker that gets the next chunk; None while all have enough, or the first answer waits to be taken."""
        self._ready(0)
        if waiting and self.ray.wait([waiting[0][2]], timeout=0)[0]:
            return None
        actor = min(self.under_way, key=lambda each: self.under_way[each])
        return actor if self.under_way[actor] < UNDER_WAY else None

    def _ready(self, seconds: float) -> bool:
        """Whether a worker is; those that are by then join in."""
        done = self.ray.wait(list(self.loading), timeout=seconds)[0] if self.loading else []
        for each in done:
            computing = self._get(each, "could not be started")
            self.computing = self.computing or computing
            if computing != self.computing:
                raise ConfigError(
                    f"ray: expected workers that compute alike, found {self.computing} and {computing}: say device and dtype"
                )
            self.under_way[self.loading.pop(each)] = 0
        return bool(self.under_way)

    def _get(self, answer: Any, death: str) -> Any:
        errors = self.ray.exceptions
        try:
            return self.ray.get(answer)
        except errors.RayTaskError as error:
            if isinstance(error.cause, errors.RayError):  # what was raised over there could not be sent
                raise OSError(f"ray: {_last_line(error.cause)}") from error
            raise error.cause from error
        except errors.RayActorError as error:
            raise OSError(f"ray: a worker {death}: {_last_line(error)}") from error
        except errors.RayError as error:
            raise OSError(f"ray: {type(error).__name__}: {_last_line(error)}") from error


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
        address: of a Ray cluster, as ``ray.init`` takes it; ``local``: this machine, whose processors the workers share,
            for as long as this lasts. A process that is connected to Ray already stays so.
        count: of workers; None: one for each GPU that there is, or else for each processor.
        gpu: False: workers need none; otherwise each gets one, where there are any.

    Raises:
        ConfigError: Ray is not installed, or the cluster has another version of it or too little for so many workers; or
            what ``make_predictor`` raises. OSError: there is no cluster.
    """
    with _connected(address, count) as ray:
        resources = ray.cluster_resources()
        gpus, processors = int(resources.get("GPU", 0)) if gpu else 0, int(resources.get("CPU", 0))
        size, most = count or gpus or processors, gpus or processors
        if not 1 <= size <= most:
            each = "GPU" if gpus else "processor"
            raise ConfigError(f"workers: expected at most {most}, one for each {each} that Ray has, found {size}")
        share = max(1, processors // size) if address == LOCAL and not gpus else 1  # Ray makes it the number of threads
        actor = ray.remote(_Worker).options(
            num_cpus=share, num_gpus=min(gpus, 1), max_restarts=-1, max_task_retries=DEATHS
        )
        actors = [actor.remote(make_predictor) for _ in range(size)]
        try:
            yield Workers(ray, actors, sentences)
        finally:
            for each in actors:
                ray.kill(each)


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
    _check_answers(address)
    processors = max(count or 1, len(os.sched_getaffinity(0)))
    new = {"num_cpus": processors, "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **new)
    except OSError as error:  # `auto` without a cluster, among others; Ray goes on to tell of its own options
        raise OSError(f"ray: {str(error).split('. ')[0]}") from error
    except Exception as error:
        raise ConfigError("ray: " + " ".join(str(error).split())) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises OSError if nobody listens there, for whom Ray would wait for minutes. What is no host with a port is Ray's."""
    try:
        place = urlsplit(address if "://" in address else f"ray://{address}")
        if place.port is not None:
            socket.create_connection((place.hostname, place.port), timeout=PATIENCE).close()
    except (OSError, ValueError) as error:
        raise OSError(f"ray: expected a cluster at {address}, found none: {error}") from error


def _last_line(error: Exception) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
