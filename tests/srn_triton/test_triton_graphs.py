"""Which recurrences are recorded, kept and dropped, and that a replayed one computes what a launched one does.

A stand-in replaces the CUDA graph: it keeps the work, and replays it by doing it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from srn.accuracy import Results, backend_results, draw_seeds
from srn.cases import Call, Case

from srn_kernels.backends.triton import fused, graphs, passes

from .device import draw_here


class Recorded:
    """The stand-in. It counts its replays, and is busy when told so."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work, self.replays, self.is_busy = work, 0, False

    def replay(self) -> None:
        self.replays += 1
        self.work()

    def busy(self) -> bool:
        return self.is_busy


def cache(**limits: int) -> graphs.GraphCache[list[str]]:
    return graphs.GraphCache(Recorded, **{"largest": 100, "total": 250} | limits)


def use(
    cache: graphs.GraphCache[list[str]], key: str, size: int = 10, work: Callable[[], None] = lambda: None
) -> graphs.Entry[list[str]] | None:
    """One call of the shape ``key``."""
    with cache.tensors(key, lambda: size, lambda: [key]) as entry:
        if entry is not None:
            cache.run(entry, work)
        return entry


def test_the_second_occurrence_records_and_the_third_replays() -> None:
    store, done = cache(), []
    assert use(store, "a") is None and len(store) == 0 and store.bytes == 0
    entry = use(store, "a", work=lambda: done.append("second"))
    assert entry is not None and entry.tensors == ["a"]
    assert done == ["second"]  # done once, as given; recording does nothing
    assert use(store, "a", work=lambda: done.append("third")) is entry
    assert entry.graph.replays == 1
    assert done == ["second", "second"]  # the recorded work, not the work of this call
    assert use(store, "b") is None and len(store) == 1


def test_the_size_is_asked_for_once_and_too_large_ones_are_never_built() -> None:
    store, asked = cache(largest=100), []

    def size() -> int:
        asked.append(1)
        return 101

    def build() -> list[str]:
        raise AssertionError("built")

    for _ in range(4):
        with store.tensors("a", size, build) as entry:
            assert entry is None
    assert len(asked) == 1 and store.bytes == 0


def test_the_least_recently_used_make_room() -> None:
    store = cache(largest=100, total=250)
    for key in "ab":
        for _ in range(2):
            use(store, key, 100)
    use(store, "a")  # now b is the one unused for longest
    for _ in range(2):
        use(store, "c", 100)
    assert store.bytes == 200 and len(store) == 2
    a = use(store, "a")
    assert a is not None and a.graph.replays == 2
    assert use(store, "b", 100).graph.replays == 0  # recorded again, replacing c
    assert store.bytes == 200


def test_entries_and_remembered_keys_are_bounded() -> None:
    store = cache(entries=2, remembered=3)
    for key in "abcd":
        for _ in range(2):
            use(store, key, 1)
    assert len(store) == 2
    for key in "efg":
        assert use(store, key) is None
    assert use(store, "a") is None  # forgotten: this is its first occurrence again


def test_a_graph_dropped_while_it_runs_is_kept_until_it_is_done() -> None:
    store = cache(largest=100, total=100)
    use(store, "a", 100)
    entry = use(store, "a", 100)
    entry.graph.is_busy = True
    use(store, "b", 100)
    assert use(store, "b", 100) is None  # no room while a runs, and no waiting for it
    assert store.bytes == 100 and len(store) == 0
    entry.graph.is_busy = False
    assert use(store, "b", 100) is not None
    assert store.bytes == 100


def test_what_cannot_be_recorded_is_said_once_and_runs_without() -> None:
    def fail(work: Callable[[], None]) -> Recorded:
        raise RuntimeError("operation not permitted when stream is capturing")

    store: graphs.GraphCache[list[str]] = graphs.GraphCache(fail, largest=100, total=100)
    done: list[int] = []
    use(store, "a")
    with pytest.warns(UserWarning, match="could not be recorded as a CUDA graph.*not permitted"):
        use(store, "a", work=lambda: done.append(1))
    assert done == [1] and store.bytes == 0
    assert use(store, "a") is None  # and no further warning, which would be an error here


def test_an_error_of_the_work_itself_is_raised_and_leaves_no_lock_behind() -> None:
    def fail() -> None:
        raise ValueError("of the work")

    store = cache()
    use(store, "a")
    with pytest.raises(ValueError, match="of the work"):
        use(store, "a", work=fail)
    thread = threading.Thread(target=use, args=(store, "a"), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert use(store, "a").graph.replays == 1  # recorded by the thread


def test_nobody_else_gets_an_entry_while_one_is_in_use() -> None:
    store, order = cache(), []
    use(store, "a")
    started = threading.Event()

    def other() -> None:
        started.set()
        use(store, "a", work=lambda: None)
        order.append("other")

    with store.tensors("a", lambda: 1, lambda: ["a"]) as entry:
        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        started.wait(10)
        thread.join(0.05)
        assert entry is not None and thread.is_alive()
        order.append("first")
    thread.join(10)
    assert order == ["first", "other"]


def test_clearing_forgets_everything() -> None:
    store = cache()
    for _ in range(2):
        use(store, "a")
    store.clear()
    assert len(store) == 0 and store.bytes == 0
    assert use(store, "a") is None


# -- the passes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[graphs.GraphCache]:
    """Makes the passes use graphs on any device, with the stand-in for them."""
    store: graphs.GraphCache = graphs.GraphCache(Recorded, largest=1 << 30, total=1 << 30)
    monkeypatch.setattr(passes, "GRAPHS", store)
    monkeypatch.setattr(graphs, "wanted", lambda device, steps: True)
    monkeypatch.setattr(graphs, "stream_key", lambda device: 0)
    monkeypatch.setattr(fused, "serves", lambda call: False)
    yield store


def same(one: Results, other: Results) -> None:
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        (Case(steps=3, hidden_size=7, directions=2, ragged=True), torch.float32),
        (Case(steps=2, hidden_size=7, proj_size=3, bias=False), torch.bfloat16),
        (Case(steps=2, batch=2, tasks=2), torch.float64),
    ],
    ids=str,
)
def test_a_replay_gives_the_same_bits(recording: graphs.GraphCache, case: Case, dtype: torch.dtype) -> None:
    """Numbers and memory differ from what was recorded."""
    calls = [draw_here(case, dtype) for _ in range(3)]
    seeds = draw_seeds(calls[0])
    launched = [backend_results(calls[0], seeds, "triton")]  # the first occurrence
    assert len(recording) == 0
    backend_results(calls[1], seeds, "triton")  # recorded
    assert len(recording) == 2 * case.directions
    same(backend_results(calls[0], seeds, "triton"), launched[0])
    replayed = backend_results(calls[2], seeds, "triton")
    recording.clear()
    same(replayed, backend_results(calls[2], seeds, "triton"))


def test_results_of_one_replay_outlive_the_next(recording: graphs.GraphCache) -> None:
    case = Case(steps=2, hidden_size=5)
    calls = [draw_here(case, torch.float32) for _ in range(4)]
    seeds = draw_seeds(calls[0])
    got = [backend_results(call, seeds, "triton") for call in calls]
    recording.clear()
    for call, results in zip(calls, got, strict=True):
        same(results, backend_results(call, seeds, "triton"))
        recording.clear()


def test_weights_are_read_where_they_are_now(recording: graphs.GraphCache) -> None:
    """They may have been changed in place, or replaced."""
    call = draw_here(Case(steps=2, hidden_size=5), torch.float32)
    for _ in range(3):
        before = call.run("triton")[0]
    for weight in call.weights:
        weight.mul_(0.5)
    changed = call.run("triton")[0]
    replaced = call.with_tensors([tensor.clone() for tensor in call.tensors()]).run("triton")[0]
    recording.clear()
    assert not torch.equal(changed, before)
    assert torch.equal(changed, replaced) and torch.equal(changed, call.run("triton")[0])


def different(call: Call) -> dict[str, Callable[[], object]]:
    """Calls that must not share a graph, whatever else they have in common."""
    longer = draw_here(Case(steps=3, batch=2, hidden_size=5), torch.float32)
    ragged = draw_here(Case(steps=3, batch=2, hidden_size=5, ragged=True), torch.float32)
    return {
        "plain": lambda: call.run("triton"),
        "no memories": lambda: call.run("triton", memories=False),
        "saving": lambda: call.leaves().run("triton"),
        "dtype": lambda: call.to(torch.float64).run("triton"),
        "steps": lambda: longer.run("triton"),
        "lengths": lambda: ragged.run("triton"),
        "bias": lambda: draw_here(Case(steps=2, hidden_size=5, bias=False), torch.float32).run("triton"),
        "projection": lambda: draw_here(Case(steps=2, hidden_size=5, proj_size=2), torch.float32).run("triton"),
        "tasks": lambda: draw_here(Case(steps=2, hidden_size=5, tasks=2), torch.float32).run("triton"),
    }


def test_calls_that_differ_share_no_graph(recording: graphs.GraphCache) -> None:
    call = draw_here(Case(steps=2, hidden_size=5), torch.float32)
    for name, run in different(call).items():
        before = len(recording)
        run()
        assert len(recording) == before, name  # a first occurrence
        run()
        assert len(recording) == before + 1, name


def test_the_precision_of_products_is_part_of_the_key() -> None:
    matmul = torch.backends.cuda.matmul
    allowed = matmul.allow_bf16_reduced_precision_reduction
    before = graphs.arithmetic_key()
    try:
        matmul.allow_bf16_reduced_precision_reduction = not allowed
        assert graphs.arithmetic_key() != before
    finally:
        matmul.allow_bf16_reduced_precision_reduction = allowed
    assert graphs.arithmetic_key() == before


@pytest.mark.parametrize(
    ("device", "steps", "switch", "capturing", "expected"),
    [
        ("cuda", 100, None, False, True),
        ("cuda", 100, "1", False, True),
        ("cuda", 100, "0", False, False),
        ("cuda", graphs.FEWEST_STEPS - 1, None, False, False),
        ("cuda", 100, None, True, False),
        ("cpu", 100, None, False, False),
    ],
)
def test_when_graphs_are_wanted(
    device: str, steps: int, switch: str | None, capturing: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(graphs.SWITCH, raising=False)
    if switch is not None:
        monkeypatch.setenv(graphs.SWITCH, switch)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    assert graphs.wanted(torch.device(device), steps) is expected
