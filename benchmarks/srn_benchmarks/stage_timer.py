"""Seconds by stage of the cascade, taken where it sets labels for torch's profiler."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from unittest import mock

from torch import profiler

PREFIX = "cascade."


@dataclass
class StageTimer:
    """Seconds by stage, of the host: a GPU is not waited for."""

    seconds: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While it is open, what the cascade labels for the profiler is timed as a stage.

        The profiler would not do: it records every operator, which takes time, and waits for no device between stages.
        """
        label = profiler.record_function

        def timed(name: str, args: str | None = None) -> AbstractContextManager[object]:
            return self.stage(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else label(name, args)

        with mock.patch.object(profiler, "record_function", timed):
            yield
