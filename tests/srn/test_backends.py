"""Every backend against the float64 reference, with its error judged by the effect of one rounding of every number."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from srn_kernels import SRN, backends, native

from .accuracy import VALUES, assert_accurate, backend_results, draw_seeds
from .cases import USABLE, Case, draw

CASES = [
    Case(),
    Case(cell_clip=0.25),
    Case(hidden_size=9, tasks=2, directions=2, ragged=True, proj_size=4, cell_clip=0.25),
    Case(steps=1),
    Case(batch=1),
    Case(steps=1, batch=1),
    Case(steps=12, batch=4, hidden_size=1, input_size=1),
    Case(steps=12, batch=5, hidden_size=7),
    Case(steps=9, batch=17, hidden_size=17, input_size=3),
    Case(steps=8, batch=9, hidden_size=33, input_size=20),
    Case(steps=3, batch=8, hidden_size=300, input_size=40),
    Case(steps=3, batch=2, hidden_size=64, input_size=48),
    Case(steps=3, batch=33, hidden_size=16, input_size=16),
    *(Case(steps=6, hidden_size=9, tasks=tasks) for tasks in (1, 2, 4)),
    *(Case(steps=6, hidden_size=16, tasks=tasks, directions=2, ragged=True) for tasks in (1, 2, 4)),
    Case(bias=False),
    Case(proj_size=1),
    Case(steps=6, hidden_size=17, proj_size=7, directions=2),
    Case(steps=6, batch=4, hidden_size=17, proj_size=7, directions=2, ragged=True, bias=False),
    Case(directions=2),
    Case(steps=9, batch=5, ragged=True),
    Case(steps=9, batch=21, hidden_size=33, directions=2, ragged=True),
    Case(steps=90, batch=5, hidden_size=8, directions=2, ragged=True),  # several chunks of rows
    Case(steps=3, batch=150, hidden_size=5, directions=2, ragged=True),
    Case(steps=1, batch=1, hidden_size=300, input_size=40),  # few rows take a separate path
    Case(steps=2, batch=2, hidden_size=17, tasks=2, directions=2, ragged=True),
    Case(steps=1, batch=4, hidden_size=33, input_size=70, proj_size=17),
    Case(steps=4, batch=1, hidden_size=40, tasks=4, bias=False),
    Case(steps=5, batch=1, hidden_size=40, tasks=4, bias=False),
]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]

each_backend = pytest.mark.parametrize("backend", USABLE)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


def test_the_native_backend_is_built() -> None:
    """Without this test every other one here would pass on the reference alone."""
    assert backends.BACKENDS["cpu"].unavailable() is None


@each_backend
@each_dtype
@pytest.mark.parametrize("case", CASES, ids=str)
def test_results(case: Case, dtype: torch.dtype, backend: str) -> None:
    """Values, final states, memories and every gradient."""
    call = draw(case, dtype)
    seeds = draw_seeds(call)
    with backends.record() as ran:
        got = backend_results(call, seeds, backend)
    assert ran == [backend, backend]  # forward and backward
    assert_accurate(got, call, seeds)


@each_backend
@each_dtype
def test_without_memories_and_gradients_the_values_are_the_same(dtype: torch.dtype, backend: str) -> None:
    call = draw(Case(steps=7, batch=5, hidden_size=19, directions=2, ragged=True), dtype)
    full = call.leaves().run(backend)
    bare = call.run(backend, memories=False)
    assert bare[3] is None
    assert all(torch.equal(one.detach(), other) for one, other in zip(full[:3], bare[:3], strict=True))


@each_backend
@pytest.mark.parametrize(
    "case",
    [
        Case(steps=0),
        Case(batch=0),
        Case(steps=0, batch=0),
        Case(steps=0, directions=2, proj_size=2),
        Case(batch=0, directions=2, proj_size=2),
    ],
    ids=str,
)
def test_nothing_to_do(case: Case, backend: str) -> None:
    """Zero steps return the initial state, with its gradients; zero sequences give empty results and zero gradients."""
    call = draw(case, torch.float32).leaves()
    output, h_n, c_n, memories = call.run(backend)
    assert output.shape == (0, case.directions * (case.proj_size or case.hidden_size))
    assert memories.shape == (0, 7, case.directions * case.hidden_size)
    assert torch.equal(h_n, call.h0) and torch.equal(c_n, call.c0)
    grads = torch.autograd.grad((output, h_n, c_n), call.tensors(), [torch.ones_like(t) for t in (output, h_n, c_n)])
    for name, tensor, grad in zip(call.names(), call.tensors(), grads, strict=True):
        expected = torch.ones_like(tensor) if name in ("h0", "c0") else torch.zeros_like(tensor)
        assert torch.equal(grad, expected), name


@each_backend
@each_dtype
def test_repeats_bit_for_bit(dtype: torch.dtype, backend: str) -> None:
    call = draw(Case(steps=15, batch=9, hidden_size=37, directions=2, ragged=True), dtype)
    seeds = draw_seeds(call)
    first = backend_results(call, seeds, backend)
    for _ in range(3):
        again = backend_results(call, seeds, backend)
        assert [name for name in first if not torch.equal(first[name], again[name])] == []


def transposed(tensor: Tensor) -> Tensor:
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)


def gapped(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, torch.full_like(tensor, torch.nan)], dim=-1)[..., 0]


def unaligned(tensor: Tensor) -> Tensor:
    return torch.cat([tensor.new_full((1,), torch.nan), tensor.flatten()])[1:].view(tensor.shape)


@each_backend
@each_dtype
@pytest.mark.parametrize("relayout", [transposed, gapped, unaligned])
def test_any_memory_layout(relayout: Callable[[Tensor], Tensor], dtype: torch.dtype, backend: str) -> None:
    """Arguments and incoming gradients that are not contiguous, or start anywhere."""
    call = draw(Case(steps=5, batch=4, hidden_size=11, directions=2, proj_size=5), dtype)
    seeds = draw_seeds(call)
    moved = call.with_tensors([relayout(tensor) if tensor.dim() > 1 else tensor for tensor in call.tensors()])
    assert_accurate(backend_results(moved, [relayout(seed) for seed in seeds], backend), call, seeds)


@each_backend
@each_dtype
def test_expanded_arguments(dtype: torch.dtype, backend: str) -> None:
    """One initial state, one input row and one incoming gradient for all."""
    call = draw(Case(steps=5, batch=4, hidden_size=11, directions=2), dtype)
    h0, c0 = call.h0[:, :1].expand_as(call.h0), call.c0[:, :1].expand_as(call.c0)
    call = call.with_tensors([call.input[:1].expand_as(call.input), h0, c0, *call.weights])
    seeds = [seed.flatten()[0].expand_as(seed) for seed in draw_seeds(call)]
    assert call.h0.stride(1) == 0 and set(seeds[0].stride()) == {0}
    assert_accurate(backend_results(call, seeds, backend), call, seeds)


@each_backend
@each_dtype
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["input", "h0", "c0"])
def test_what_is_not_finite_stays_in_its_own_sequence(
    where: str, poison: float, dtype: torch.dtype, backend: str
) -> None:
    case = Case(steps=5, batch=4, hidden_size=9, directions=2, ragged=True)
    clean = draw(case, dtype)
    tensors = [tensor.clone() for tensor in clean.tensors()]
    sick, sizes = 1, case.batch_sizes.tolist()
    rows = torch.tensor([b for size in sizes for b in range(size)])
    if where == "input":
        tensors[0][sick] = poison  # row 1 is the first step of sequence 1
    else:
        tensors[("input", "h0", "c0").index(where)][:, sick] = poison
    seeds = draw_seeds(clean)

    def results(call) -> tuple[list[Tensor], list[Tensor]]:
        """By row, and by sequence."""
        leaves = call.leaves()
        output, h_n, c_n, memories = leaves.run(backend)
        dx, dh, dc = torch.autograd.grad((output, h_n, c_n, memories), leaves.tensors()[:3], seeds)
        return [output, memories, dx], [h_n, c_n, dh, dc]

    by_row, by_sequence = results(clean)
    sick_by_row, sick_by_sequence = results(clean.with_tensors(tensors))
    if math.isnan(poison):
        assert sick_by_row[0][sick].isnan().any() and sick_by_sequence[1][:, sick].isnan().any()
    for one, other in zip(by_row, sick_by_row, strict=True):
        assert torch.equal(one[rows != sick], other[rows != sick])
    others = torch.arange(case.batch) != sick
    for one, other in zip(by_sequence, sick_by_sequence, strict=True):
        assert torch.equal(one[:, others], other[:, others])


@each_backend
@each_dtype
def test_infinite_input_saturates_as_the_reference_does(dtype: torch.dtype, backend: str) -> None:
    """Positive weights take an infinite input to gates of exactly 0 or 1, with nothing undefined on the way."""
    call = draw(Case(steps=3, batch=2, input_size=1), dtype)
    input = call.input.clone()
    input[0], input[3] = torch.inf, -torch.inf
    weights = [call.weights[0].abs() + 1, *call.weights[1:]]
    call = call.with_tensors([input, call.h0, call.c0, *weights])
    got = dict(zip(VALUES, call.run(backend), strict=True))
    assert all(value.isfinite().all() for value in got.values())
    assert_accurate(got, call)


@each_backend
@each_dtype
def test_saturated_gates(dtype: torch.dtype, backend: str) -> None:
    """Gates driven to ±10⁴ neither overflow nor lose their way, and their slopes vanish.

    One input feature at a time and weights of -1, 0 and 1 keep the large numbers exact in every dtype.
    """
    call = draw(Case(steps=6, batch=4, hidden_size=9), dtype)
    input = torch.eye(call.input.shape[1], dtype=dtype).repeat(5, 1)[: len(call.input)] * 9984
    call = call.with_tensors([input, call.h0, call.c0, call.weights[0].round().clamp(-1, 1), *call.weights[1:]])
    seeds = draw_seeds(call)
    got = backend_results(call, seeds, backend)
    assert all(value.isfinite().all() for value in got.values())
    assert_accurate(got, call, seeds)


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_thousands_of_steps(dtype: torch.dtype, backend: str) -> None:
    call = draw(Case(steps=5000, batch=2, hidden_size=3, input_size=1, tasks=2), dtype)
    call = call.with_tensors([t * 0.5 for t in call.tensors()])  # a contraction: errors of the far past fade
    with torch.no_grad():
        got = call.run(backend)
    assert_accurate(dict(zip(VALUES, got, strict=True)), call)


@each_backend
def test_backward_through_a_thousand_steps(backend: str) -> None:
    call = draw(Case(steps=1000, batch=1, hidden_size=3, input_size=1, tasks=2), torch.float32)
    call = call.with_tensors([t * 0.5 for t in call.tensors()])
    seeds = draw_seeds(call)
    assert_accurate(backend_results(call, seeds, backend), call, seeds)


def test_auto_takes_the_first_backend_that_serves() -> None:
    call = draw(Case(), torch.float32)
    with backends.record() as ran:
        call.run()
    assert ran == [USABLE[0]]


def test_auto_takes_the_reference_where_nothing_faster_serves() -> None:
    """float16 and five tasks on a CPU."""
    with backends.record() as ran:
        draw(Case(), torch.float16).run()
        draw(Case(tasks=5)).run()
    assert ran == ["reference", "reference"]


@pytest.mark.parametrize(
    ("case", "dtype"), [(Case(tasks=5), torch.float32), (Case(), torch.float16)], ids=["tasks", "dtype"]
)
def test_a_backend_asked_for_by_name_says_why_it_cannot_serve(case: Case, dtype: torch.dtype) -> None:
    backend = backends.BACKENDS["cpu"]
    call = draw(case, dtype)
    reason = backends.refusal(backend, call.layer_call().problem)
    assert reason
    assert str(case.tasks) in reason or str(dtype).removeprefix("torch.") in reason
    with backends.record() as ran, pytest.raises(RuntimeError) as error:
        call.run("cpu")
    assert str(error.value) == f"backend 'cpu' cannot serve this call: {reason}"
    assert ran == []


def test_an_unknown_backend_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"backend should be one of .*'auto'.*'cpu'.*'reference'.*got 'gpu'"):
        SRN(2, 2, backend="gpu")
    with pytest.raises(ValueError, match="got 'gpu'"):
        draw(Case()).run("gpu")


def test_recorders_nest_and_close() -> None:
    call = draw(Case())
    with backends.record() as outer:
        with backends.record() as inner:
            call.run("reference")
        call.run("reference")
    call.run("reference")
    assert (outer, inner) == (["reference", "reference"], ["reference"])


@each_backend
@pytest.mark.parametrize(
    "broken",
    ["input width", "h0 size", "c0 size", "weight rows", "weight columns", "bias size", "memory weight", "state dtype",
     "weight dtype", "too few weights", "tasks"],
)  # fmt: skip
def test_arguments_that_do_not_fit_raise(broken: str, backend: str) -> None:
    """A kernel works on raw pointers: what does not fit must be refused before it gets there."""
    call = draw(Case(), torch.float32)
    input, h0, c0, ih, hh, b_ih, b_hh, mc, b_mc = call.tensors()
    changed = {
        "input width": [input[:, :4], h0, c0, ih, hh, b_ih, b_hh, mc, b_mc],
        "h0 size": [input, h0[..., :5], c0, ih, hh, b_ih, b_hh, mc, b_mc],
        "c0 size": [input, h0, c0[..., :5], ih, hh, b_ih, b_hh, mc, b_mc],
        "weight rows": [input, h0, c0, ih[:-6], hh, b_ih, b_hh, mc, b_mc],
        "weight columns": [input, h0, c0, ih, hh[:, :5], b_ih, b_hh, mc, b_mc],
        "bias size": [input, h0, c0, ih, hh, b_ih[:7], b_hh, mc, b_mc],
        "memory weight": [input, h0, c0, ih, hh, b_ih, b_hh, mc[:, :-1], b_mc],
        "state dtype": [input, h0.double(), c0, ih, hh, b_ih, b_hh, mc, b_mc],
        "weight dtype": [input, h0, c0, ih, hh.double(), b_ih, b_hh, mc, b_mc],
        "too few weights": [input, h0, c0, ih, hh, b_ih, b_hh, mc],
        "tasks": call.tensors(),
    }[broken]
    wrong = call.with_tensors(changed)
    if broken == "tasks":
        wrong = type(call)(*changed[:3], tuple(changed[3:]), None, tasks=2)
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        wrong.run(backend)


@pytest.fixture
def nothing_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_warned_of", set())


@pytest.mark.usefixtures("nothing_warned_of")
def test_the_reference_is_not_taken_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning for each reason, with the reason."""
    x = torch.randn(3, 2, 4)
    with pytest.warns(
        UserWarning, match=r"reference in plain PyTorch.*cpu: it serves at most 4 tasks, these are 5.*info"
    ):
        SRN(4, 6, tasks=5)(x)
    with pytest.warns(UserWarning, match=r"cpu: it computes in .*, the tensors are torch.float16"):
        SRN(4, 6).half()(x.half())
    monkeypatch.setattr(native, "_missing", "it was never built")
    with pytest.warns(UserWarning, match=r"\(cpu: it was never built\)"):
        SRN(4, 6)(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SRN(4, 6)(x)  # told already
        monkeypatch.setattr(backends, "_warned_of", set())
        SRN(4, 6, backend="reference")(x)


@pytest.mark.usefixtures("nothing_warned_of")
def test_kernels_are_taken_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SRN(4, 6, tasks=4)(torch.randn(3, 2, 4))
