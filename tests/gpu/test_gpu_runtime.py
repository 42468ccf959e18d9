"""Each GPU backend in what programs do on a GPU: graphs, streams, autocast, compiling, no waiting, several devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from gpu_calls import NO_QUIET_DETOUR, PAPER, differing, draw_for, draw_on, problem_of, results_on
from srn.accuracy import assert_accurate, draw_seeds
from srn.cases import Call, Case
from srn_benchmarks.precision import tf32
from torch import Tensor

from srn_kernels import SRN, backends

pytestmark = [pytest.mark.gpu, NO_QUIET_DETOUR]

SMALL = Case(steps=9, batch=5, hidden_size=33, input_size=24)
RAGGED = Case(steps=12, batch=31, hidden_size=300, input_size=64, directions=2, ragged=True)
LONG = Case(steps=200, batch=32, hidden_size=300, input_size=64)

each_case = pytest.mark.parametrize("case", [SMALL, PAPER], ids=["small", "paper"])
each_exchange = pytest.mark.usefixtures("exchange")

NAP = 100_000_000
"""Cycles for which a stream is kept busy: some 50 ms."""


def training_step(call: Call, seeds: list[Tensor], backend: str) -> list[Tensor]:
    """Values and gradients of a call whose tensors are leaves."""
    outputs = call.run(backend)
    return [*outputs, *torch.autograd.grad(outputs, call.tensors(), seeds)]


def refill(tensors: list[Tensor]) -> None:
    """Puts fresh data into the same memory."""
    with torch.no_grad():
        for tensor in tensors:
            tensor.copy_(torch.randn_like(tensor) * tensor.std().nan_to_num(1.0))


# -- waiting -----------------------------------------------------------------------------------------------------------


@contextmanager
def no_waiting() -> Iterator[None]:
    """Any call that makes the host wait for the device raises."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@each_exchange
@pytest.mark.parametrize("case", [SMALL, PAPER, RAGGED], ids=["small", "paper", "ragged"])
def test_the_host_does_not_wait(case: Case, backend: str) -> None:
    call = draw_for(backend, case, torch.bfloat16)
    seeds = draw_seeds(call)
    results_on(backend, call, seeds)  # compiling and looking up, done once, may wait
    call.run(backend, memories=False)
    leaves = call.leaves()
    with no_waiting():
        for _ in range(3):
            training_step(leaves, seeds, backend)
            call.run(backend, memories=False)


# -- graphs ------------------------------------------------------------------------------------------------------------


@each_exchange
@pytest.mark.parametrize("case", [SMALL, PAPER, RAGGED], ids=["small", "paper", "ragged"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "tf32"])
def test_a_captured_call_replays_with_new_data(case: Case, dtype: torch.dtype, backend: str) -> None:
    with tf32(True):
        call = draw_for(backend, case, dtype)
        call.run(backend)
        graph = torch.cuda.CUDAGraph()
        with backends.record() as ran, torch.cuda.graph(graph):
            captured = call.run(backend)
        assert ran == [backend]
        for _ in range(3):
            refill([call.input, call.h0, call.c0])
            graph.replay()
            replayed = [value.clone() for value in captured]
            for name, one, other in zip(("output", "h_n", "c_n", "memories"), replayed, call.run(backend), strict=True):
                assert torch.equal(one, other), name


@each_exchange
@each_case
def test_a_captured_training_step_replays_with_new_data(case: Case, backend: str) -> None:
    call = draw_for(backend, case, torch.bfloat16)
    seeds = draw_seeds(call)
    leaves = call.leaves()
    stream = torch.cuda.Stream()  # autograd's first run must not be in the capture, nor on the default stream
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        training_step(leaves, seeds, backend)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with backends.record() as ran, torch.cuda.graph(graph):
        captured = training_step(leaves, seeds, backend)
    assert ran == [backend, backend]
    for _ in range(3):
        refill([*leaves.tensors(), *seeds])
        graph.replay()
        replayed = [value.clone() for value in captured]
        expected = training_step(leaves, seeds, backend)
        assert [
            index for index, pair in enumerate(zip(replayed, expected, strict=True)) if not torch.equal(*pair)
        ] == []


# -- streams -----------------------------------------------------------------------------------------------------------


@each_exchange
@each_case
def test_a_call_runs_on_the_current_stream(case: Case, backend: str) -> None:
    """Its input is made on a stream that is still busy: on any other stream it would be read too early."""
    call = draw_for(backend, case, torch.bfloat16)
    seeds = draw_seeds(call)
    expected = results_on(backend, call, seeds)
    late = [torch.full_like(tensor, torch.nan) for tensor in call.tensors()]
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(NAP)
        for tensor, value in zip(late, call.tensors(), strict=True):
            tensor.copy_(value)
        got = results_on(backend, call.with_tensors(late), seeds)
    stream.synchronize()
    assert differing(got, expected) == []


@each_exchange
@pytest.mark.parametrize("case", [SMALL, LONG, RAGGED], ids=["small", "long", "ragged"])
def test_two_streams_at_once_do_not_disturb_each_other(case: Case, backend: str) -> None:
    """Two calls are started while both streams are busy, and so run side by side; ten times."""
    calls = [draw_for(backend, case, torch.bfloat16) for _ in range(2)]
    seeds = [draw_seeds(call) for call in calls]
    alone = [results_on(backend, call, incoming) for call, incoming in zip(calls, seeds, strict=True)]
    streams = [torch.cuda.Stream() for _ in calls]
    torch.cuda.synchronize()
    for _ in range(10):
        together = []
        for stream in streams:
            with torch.cuda.stream(stream):
                torch.cuda._sleep(NAP // 10)
        for stream, call, incoming in zip(streams, calls, seeds, strict=True):
            with torch.cuda.stream(stream):
                together.append(results_on(backend, call, incoming))
        torch.cuda.synchronize()
        assert [differing(one, other) for one, other in zip(together, alone, strict=True)] == [[], []]


# -- devices -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@each_case
def test_a_device_that_is_not_the_current_one(case: Case, backend: str) -> None:
    call = draw_on(case, torch.bfloat16, "cuda:1")
    assert torch.cuda.current_device() == 0
    if reason := backends.refusal(backends.BACKENDS[backend], problem_of(call)):
        pytest.skip(f"{backend} does not serve this: {reason}")
    seeds = draw_seeds(call)
    got = results_on(backend, call, seeds)
    assert {str(value.device) for value in got.values()} == {"cuda:1"}
    assert_accurate(got, call, seeds)


# -- what stands above the operator ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_autocast(dtype: torch.dtype, backend: str) -> None:
    """float32 parameters: the values are those of a call in the region's dtype, the gradients are float32."""
    rnn = SRN(64, 300, batch_first=True, device="cuda", backend=backend)
    input = torch.randn(8, 11, 64, device="cuda")
    with backends.record() as ran:
        with torch.autocast("cuda", dtype):
            output, (h_n, c_n) = rnn(input)
        output.sum().backward()
    assert ran == [backend, backend]
    half = SRN(64, 300, batch_first=True, device="cuda", dtype=dtype, backend=backend)
    half.load_state_dict(rnn.state_dict())
    expected, (expected_h, expected_c) = half(input.to(dtype))
    expected.sum().backward()
    for one, other in ((output, expected), (h_n, expected_h), (c_n, expected_c)):
        assert one.dtype == dtype and torch.equal(one, other)
    for (name, one), other in zip(rnn.named_parameters(), half.parameters(), strict=True):
        assert one.grad.dtype == torch.float32 and torch.equal(one.grad, other.grad.float()), name


def test_deterministic_mode(backend: str) -> None:
    """A user's strict deterministic mode raises for nothing that the backend does."""
    call = draw_for(backend, SMALL, torch.bfloat16)
    seeds = draw_seeds(call)
    torch.use_deterministic_algorithms(True)
    for _ in range(3):
        results_on(backend, call, seeds)


def test_two_layers_of_packed_sequences(backend: str) -> None:
    """The module, as programs use it: unsorted lengths, two directions, two layers, and a state."""
    lengths = torch.tensor([3, 17, 1, 9, 17, 4])
    half = {"device": "cuda", "dtype": torch.bfloat16}
    rnns = [SRN(20, 48, 2, bidirectional=True, backend=name, **half) for name in (backend, "reference")]
    rnns[1].load_state_dict(rnns[0].state_dict())
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.randn(17, 6, 20, **half), lengths, enforce_sorted=False)
    state = torch.randn(4, 6, 48, **half), torch.randn(4, 6, 48, **half)
    with backends.record() as ran:
        output, (h_n, c_n) = rnns[0](packed, state)
    assert ran == [backend, backend]
    expected, (expected_h, expected_c) = rnns[1](packed, state)
    for one, other in ((output.data, expected.data), (h_n, expected_h), (c_n, expected_c)):
        assert (one - other).norm() < 0.05 * other.norm()


def test_second_derivatives(backend: str) -> None:
    """The gradient of a gradient goes through the reference, on the GPU as elsewhere."""

    def second(call: Call, name: str) -> list[Tensor]:
        leaves = call.leaves()
        [first] = torch.autograd.grad(leaves.run(name)[0].square().sum(), [leaves.input], create_graph=True)
        return list(torch.autograd.grad(first.square().sum(), leaves.tensors()))

    with tf32(True):
        call = draw_for(backend, Case(steps=3, batch=2, hidden_size=17), torch.float32)
        for one, other in zip(second(call, backend), second(call, "reference"), strict=True):
            assert (one - other).norm() < 0.05 * other.norm()


def test_compiled(backend: str) -> None:
    """In one graph, forward and backward."""
    rnn = SRN(24, 33, batch_first=True, device="cuda", dtype=torch.bfloat16, backend=backend)
    compiled = torch.compile(lambda input: rnn(input * 2)[0].tanh(), fullgraph=True)
    input = torch.randn(4, 9, 24, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    with backends.record() as ran:
        output = compiled(input)
        [gradient] = torch.autograd.grad(output.sum(), [input])
    assert ran == [backend, backend]
    expected = rnn(input * 2)[0].tanh()
    for one, other in ((output, expected), (gradient, torch.autograd.grad(expected.sum(), [input])[0])):
        assert (one - other).norm() < 0.02 * other.norm()


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        (Case(tasks=5), torch.bfloat16),
        (Case(tasks=7, hidden_size=2), torch.bfloat16),
        (Case(steps=2, batch=2, hidden_size=5000), torch.bfloat16),
        (Case(steps=2, batch=3000, hidden_size=8), torch.bfloat16),
        (Case(), torch.float64),
        (Case(proj_size=3), torch.float16),
    ],
    ids=["tasks 5", "tasks 7", "hidden 5000", "batch 3000", "float64", "projection"],
)
def test_what_is_out_of_the_ordinary_is_served_or_refused_with_the_reason(
    case: Case, dtype: torch.dtype, backend: str
) -> None:
    call = draw_on(case, dtype)
    reason = backends.refusal(backends.BACKENDS[backend], problem_of(call))
    with backends.record() as ran:
        if reason is None:
            assert all(value.isfinite().all() for value in call.run(backend))
        else:
            with pytest.raises(RuntimeError) as error:
                call.run(backend)
            assert str(error.value) == f"backend {backend!r} cannot serve this call: {reason}"
    assert ran == ([backend] if reason is None else [])


def test_tensors_on_the_cpu_are_refused_with_the_reason(backend: str) -> None:
    with pytest.raises(RuntimeError, match=rf"^backend '{backend}' cannot serve this call: .*cpu"):
        draw_on(SMALL, torch.float32, "cpu").run(backend)
