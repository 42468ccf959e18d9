"""Recorded recurrences: when a shape of call recurs its launches are recorded once, and from then on replayed.

A step of the general path is four launches, each of which often costs the host more time than the GPU; a recorded graph
costs one launch for all steps. A graph works on its own tensors, which are filled before it runs and drained after: so
it does not matter where a call's tensors are, or whether a parameter has been replaced since. Copying the weights costs
about as much as reading them in one step.

:class:`GraphCache` decides what is recorded, kept and dropped, and knows nothing of CUDA, which :class:`CudaGraph`
handles. A cache never waits for the GPU: a graph dropped while it still runs is kept until it is done.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

import torch

SWITCH = "SRN_KERNELS_GRAPHS"
"""Environment variable: at 0 every call launches its steps one by one."""

FEWEST_STEPS = 8
"""Filling and draining take a dozen launches: as many as three steps."""

LARGEST_BYTES, TOTAL_BYTES = 64 << 20, 256 << 20
"""What the tensors of one graph, and of all, may hold: longer recurrences keep a GPU busy enough without a graph."""

T = TypeVar("T")


class Graph(Protocol):
    """A recorded piece of work."""

    def replay(self) -> None:
        """Starts the work once more."""

    def busy(self) -> bool:
        """Whether started work may still be running."""


@dataclass
class Entry(Generic[T]):
    """The tensors of one recurrence, and its graph once it has run."""

    tensors: T
    bytes: int
    graph: Graph | None = None
    failed: bool = False


class GraphCache(Generic[T]):
    """Tensors and graphs of the shapes that came more than once; the least recently used leave first.

    ``record(work)`` makes a graph of what ``work()`` does, without doing it. Shapes that came once are remembered
    (``remembered`` of them) without holding memory. A shape whose tensors would need more than ``largest`` bytes is
    never recorded, and all of them together hold at most ``total`` bytes, in at most ``entries`` graphs.
    """

    def __init__(
        self,
        record: Callable[[Callable[[], None]], Graph],
        largest: int,
        total: int,
        entries: int = 32,
        remembered: int = 1024,
    ) -> None:
        self._record, self._largest, self._total = record, largest, total
        self._most, self._remembered = entries, remembered
        self._seen: OrderedDict[Hashable, bool] = OrderedDict()  # by key: whether it may be recorded
        self._entries: OrderedDict[Hashable, Entry[T]] = OrderedDict()
        self._dropped: list[Entry[T]] = []
        self._lock = threading.RLock()

    @contextmanager
    def tensors(self, key: Hashable, size: Callable[[], int], build: Callable[[], T]) -> Iterator[Entry[T] | None]:
        """The entry of ``key``, to be filled, run and drained; None on the key's first occurrence, or if too large.

        ``size()`` bytes are what the tensors of ``build()`` hold. Only one entry is in use at a time.
        """
        with self._lock:
            entry = self._find(key, size, build)
            if entry is not None:
                yield entry
                if entry.failed:
                    self._drop(key)
                    self._seen[key] = False
                return
        yield None

    def run(self, entry: Entry[T], work: Callable[[], None]) -> None:
        """Does ``work`` on the entry's tensors: directly the first time, and records it after; then by its graph."""
        if entry.graph is not None:
            entry.graph.replay()
            return
        work()  # what is compiled or set up on first use must be ready before recording
        try:
            entry.graph = self._record(work)
        except RuntimeError as error:
            entry.failed = True
            warnings.warn(
                f"a recurrence could not be recorded as a CUDA graph, and runs without: {error}", stacklevel=2
            )

    def clear(self) -> None:
        """Drops everything, and forgets what it has seen."""
        with self._lock:
            for key in list(self._entries):
                self._drop(key)
            self._seen.clear()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Bytes held, also by dropped graphs that are not yet done."""
        return sum(entry.bytes for entry in (*self._entries.values(), *self._dropped))

    def _find(self, key: Hashable, size: Callable[[], int], build: Callable[[], T]) -> Entry[T] | None:
        self._dropped = [entry for entry in self._dropped if entry.graph is not None and entry.graph.busy()]
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        if not self._seen.get(key, False):
            self._remember(key, key not in self._seen)
            return None
        needed = size()
        if needed > self._largest:
            self._remember(key, False)
            return None
        while self._entries and (len(self._entries) >= self._most or self.bytes + needed > self._total):
            self._drop(next(iter(self._entries)))
        if self.bytes + needed > self._total:  # what was dropped is still running
            return None
        entry = self._entries[key] = Entry(build(), needed)
        return entry

    def _remember(self, key: Hashable, recordable: bool) -> None:
        """A key may be recorded on its second occurrence; a refused one stays refused while remembered."""
        self._seen[key] = recordable
        self._seen.move_to_end(key)
        if len(self._seen) > self._remembered:
            self._seen.popitem(last=False)

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key)
        if entry.graph is not None and entry.graph.busy():
            self._dropped.append(entry)


class CudaGraph:
    """A CUDA graph of the launches of ``work()``, to be replayed on the stream that is current now.

    Recorded on a separate stream, without the synchronisation of ``torch.cuda.graph``: the work allocates nothing, and
    asks nothing of the GPU. A graph's memory pool holds only the workspace of cuBLAS, which it must not share with work
    on other streams: hence one pool for each stream to be replayed on, and no workspace from before or for after.
    """

    _lanes: ClassVar[dict[tuple[int, int], tuple[torch.cuda.Stream, tuple[int, int]]]] = {}

    def __init__(self, work: Callable[[], None]) -> None:
        current = torch.cuda.current_stream()
        lane = current.device_index, current.cuda_stream
        if lane not in self._lanes:
            self._lanes[lane] = torch.cuda.Stream(), torch.cuda.graph_pool_handle()
        stream, pool = self._lanes[lane]
        self._graph = torch.cuda.CUDAGraph()
        self._done = torch.cuda.Event()
        torch._C._cuda_clearCublasWorkspaces()
        try:
            with torch.cuda.stream(stream):
                self._graph.capture_begin(pool, capture_error_mode="thread_local")
                try:
                    work()
                finally:
                    self._graph.capture_end()
        finally:
            torch._C._cuda_clearCublasWorkspaces()

    def replay(self) -> None:
        self._graph.replay()
        self._done.record()

    def busy(self) -> bool:
        return not self._done.query()


def stream_key(device: torch.device) -> Hashable:
    """The stream that work on ``device`` goes to; graphs of one stream never overlap."""
    stream = torch.cuda.current_stream(device)
    return stream.device_index, stream.cuda_stream


def arithmetic_key() -> Hashable:
    """torch's switches that decide which matrix product is recorded."""
    matmul = torch.backends.cuda.matmul
    return (
        matmul.fp32_precision,
        matmul.allow_fp16_reduced_precision_reduction,
        matmul.allow_bf16_reduced_precision_reduction,
        matmul.allow_fp16_accumulation,
        torch.backends.cuda.preferred_blas_library(),
        torch.are_deterministic_algorithms_enabled(),
    )


def wanted(device: torch.device, steps: int) -> bool:
    """Whether a call of ``steps`` steps should use graphs: not while the user records one, nor for few steps."""
    return (
        device.type == "cuda"
        and steps >= FEWEST_STEPS
        and os.environ.get(SWITCH, "1") != "0"
        and not torch.cuda.is_current_stream_capturing()
    )
