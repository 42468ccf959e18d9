"""The part of the Triton backend that only a GPU can show: recorded graphs, and calls that the caller records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from srn.accuracy import backend_results, draw_seeds
from srn.cases import Call, Case

from srn_kernels.backends.triton import graphs, passes

from .device import draw_here

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU: CUDA graphs are recorded and replayed"),
]
LONG = Case(steps=graphs.FEWEST_STEPS + 2, batch=4, hidden_size=70, directions=2)
"""Large enough for a launch a step, long enough for graphs."""


@pytest.fixture(autouse=True)
def nothing_recorded() -> Iterator[None]:
    passes.GRAPHS.clear()
    yield
    passes.GRAPHS.clear()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("ragged", [False, True])
def test_replayed_calls_give_the_bits_of_launched_ones(dtype: torch.dtype, ragged: bool) -> None:
    call = draw_here(replace(LONG, ragged=ragged), dtype)
    seeds = draw_seeds(call)
    launched = backend_results(call, seeds, "triton")
    assert len(passes.GRAPHS) == 0
    for _ in range(3):  # recorded, replayed, replayed
        again = backend_results(call, seeds, "triton")
        assert [name for name in launched if not torch.equal(launched[name], again[name])] == []
    assert len(passes.GRAPHS) == 4  # forward and backward, of two directions


def test_the_switch_turns_graphs_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(graphs.SWITCH, "0")
    call = draw_here(LONG, torch.float32)
    for _ in range(3):
        call.run("triton")
    assert len(passes.GRAPHS) == 0


def test_streams_do_not_share_graphs() -> None:
    calls = [draw_here(LONG, torch.float32) for _ in range(2)]
    expected = [call.run("triton")[0] for call in calls]
    streams = [torch.cuda.Stream() for _ in calls]
    torch.cuda.synchronize()
    found: list[list[torch.Tensor]] = [[], []]
    for _ in range(5):
        for place, (call, stream) in enumerate(zip(calls, streams, strict=True)):
            with torch.cuda.stream(stream):
                found[place].append(call.run("triton")[0])
    torch.cuda.synchronize()
    for outputs, truth in zip(found, expected, strict=True):
        assert all(torch.equal(output, truth) for output in outputs)


@pytest.mark.parametrize("hidden_size", [20, 70])
def test_a_call_can_be_recorded_by_its_caller(hidden_size: int) -> None:
    """Forward and backward of equal lengths, replayed on other numbers."""
    case = Case(steps=10, batch=4, hidden_size=hidden_size)
    static, other = (draw_here(case, torch.float32).leaves() for _ in range(2))
    seeds = draw_seeds(static)

    def results(call: Call) -> list[torch.Tensor]:
        outputs = call.run("triton")
        return [*outputs, *torch.autograd.grad(outputs, call.tensors(), seeds)]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            results(static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = results(static)
    with torch.no_grad():
        for target, source in zip(static.tensors(), other.tensors(), strict=True):
            target.copy_(source)
    graph.replay()
    for value, expected in zip(recorded, results(other), strict=True):
        assert torch.equal(value, expected)
