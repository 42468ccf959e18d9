"""Each GPU backend against the float64 reference, its error judged by the effect of one rounding of every number."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from gpu_calls import NO_QUIET_DETOUR, PAPER, check_accuracy, differing, draw_for, draw_on, problem_of, results_on
from srn.accuracy import assert_accurate, draw_seeds
from srn.cases import Case
from srn_benchmarks.precision import tf32
from torch import Tensor

from srn_kernels import backends
from srn_kernels.backends.cuda import EXCHANGE
from srn_kernels.testing import TF32

pytestmark = [pytest.mark.gpu, NO_QUIET_DETOUR]

PRECISIONS = {
    "bfloat16": (torch.bfloat16, False),
    "float16": (torch.float16, False),
    "float32": (torch.float32, False),
    "tf32": (torch.float32, True),
    "float64": (torch.float64, False),
}
"""dtype, and whether the backend may multiply in TF32, by whose roundings it is judged then."""

each_precision = pytest.mark.parametrize(("dtype", "allow_tf32"), PRECISIONS.values(), ids=PRECISIONS)
half = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
each_dtype = pytest.mark.parametrize(
    "dtype",
    [torch.bfloat16, torch.float16, torch.float32, torch.float64],
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)

CASES = [
    Case(steps=5, batch=3, hidden_size=32, input_size=32),
    Case(steps=1, batch=1, hidden_size=17),
    PAPER,
    Case(steps=7, batch=1, hidden_size=1, input_size=1),
    Case(steps=9, batch=5, hidden_size=7, input_size=3),
    Case(steps=9, batch=17, hidden_size=17, input_size=20),
    Case(steps=9, batch=16, hidden_size=33, input_size=40),
    Case(steps=6, batch=65, hidden_size=100, input_size=33),
    Case(steps=6, batch=33, hidden_size=301, input_size=64),
    Case(steps=6, batch=64, hidden_size=512, input_size=64),
    Case(steps=200, batch=8, hidden_size=300, input_size=16),
    Case(steps=200, batch=2, hidden_size=33, input_size=16, directions=2, ragged=True),
    Case(steps=1, batch=32, hidden_size=300, input_size=64),
    *(Case(steps=6, batch=4, hidden_size=40, tasks=tasks) for tasks in (1, 2, 4)),
    *(Case(steps=6, batch=5, hidden_size=17, tasks=tasks, directions=2, ragged=True) for tasks in (1, 2, 4)),
    Case(steps=12, batch=32, hidden_size=300, input_size=64, ragged=True),
    Case(steps=12, batch=31, hidden_size=300, input_size=64, directions=2, ragged=True),
    Case(steps=5, batch=4, hidden_size=300, input_size=64, tasks=2, bias=False),
    Case(steps=6, batch=5, hidden_size=33, bias=False, ragged=True),
    Case(steps=6, batch=5, hidden_size=40, proj_size=17),
    Case(steps=4, batch=3, hidden_size=9, cell_clip=0.25),
    Case(steps=6, batch=9, hidden_size=100, proj_size=32, directions=2, ragged=True),
    Case(steps=3, batch=200, hidden_size=24, directions=2),
]


@half
def test_the_papers_sizes_are_served(backend: str, dtype: torch.dtype) -> None:
    """Without this test a backend that refuses everything would pass."""
    assert backends.refusal(backends.BACKENDS[backend], problem_of(draw_on(PAPER, dtype))) is None


@each_precision
@pytest.mark.parametrize("case", CASES, ids=str)
def test_results(case: Case, dtype: torch.dtype, allow_tf32: bool, backend: str) -> None:
    with tf32(allow_tf32):
        check_accuracy(backend, case, dtype, TF32 if allow_tf32 else None)


@pytest.mark.parametrize(
    ("dtype", "allow_tf32"), [(torch.bfloat16, False), (torch.float32, True)], ids=["bfloat16", "tf32"]
)
@pytest.mark.parametrize("case", [case for case in CASES if case.tasks == 3 and not case.proj_size], ids=str)
def test_results_within_clusters(
    case: Case, dtype: torch.dtype, allow_tf32: bool, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clusters are the exchange that is used only on request."""
    if backend != "cuda":
        pytest.skip(f"{backend} has no exchange to choose")
    monkeypatch.setenv(EXCHANGE, "cluster")
    with tf32(allow_tf32):
        check_accuracy(backend, case, dtype, TF32 if allow_tf32 else None)


@each_dtype
@pytest.mark.parametrize("case", [Case(steps=0), Case(steps=0, directions=2, hidden_size=300), Case(batch=0)], ids=str)
def test_nothing_to_do(case: Case, dtype: torch.dtype, backend: str) -> None:
    """Zero steps return the initial state, with its gradients; zero sequences give empty results and zero gradients."""
    call = draw_for(backend, case, dtype).leaves()
    output, h_n, c_n, memories = call.run(backend)
    assert output.shape[0] == memories.shape[0] == 0
    assert torch.equal(h_n, call.h0) and torch.equal(c_n, call.c0)
    grads = torch.autograd.grad((output, h_n, c_n), call.tensors(), [torch.ones_like(t) for t in (output, h_n, c_n)])
    for name, tensor, grad in zip(call.names(), call.tensors(), grads, strict=True):
        expected = torch.ones_like(tensor) if name in ("h0", "c0") else torch.zeros_like(tensor)
        assert torch.equal(grad, expected), name


@each_dtype
@pytest.mark.parametrize(
    "case",
    [
        Case(steps=15, batch=9, hidden_size=37, directions=2, ragged=True),
        Case(steps=200, batch=32, hidden_size=300, input_size=64),
    ],
    ids=str,
)
def test_repeats_bit_for_bit(case: Case, dtype: torch.dtype, backend: str) -> None:
    """A result that changes from run to run shows a race."""
    call = draw_for(backend, case, dtype)
    seeds = draw_seeds(call)
    first = results_on(backend, call, seeds)
    for _ in range(8):
        assert differing(first, results_on(backend, call, seeds)) == []


@each_dtype
def test_without_memories_and_gradients_the_values_are_the_same(dtype: torch.dtype, backend: str) -> None:
    call = draw_for(backend, Case(steps=11, batch=33, hidden_size=100, directions=2, ragged=True), dtype)
    full = call.leaves().run(backend)
    bare = call.run(backend, memories=False)
    assert bare[3] is None
    for name, one, other in zip(("output", "h_n", "c_n"), full, bare, strict=False):
        assert torch.equal(one.detach(), other), name


@each_dtype
def test_only_the_gradients_asked_for(dtype: torch.dtype, backend: str) -> None:
    """Gradients of the input or the weights alone, or from the output's gradient alone, have the same bits."""
    call = draw_for(backend, Case(steps=7, batch=6, hidden_size=65), dtype)
    seed = draw_seeds(call)[0]
    leaves = call.leaves()
    every = torch.autograd.grad(leaves.run(backend)[0], leaves.tensors(), seed)
    input = call.input.detach().requires_grad_()
    alone = call.with_tensors([input, *call.tensors()[1:]]).run(backend, memories=False)[0]
    assert torch.equal(torch.autograd.grad(alone, input, seed)[0], every[0])
    weights = [weight.detach().requires_grad_() for weight in call.weights]
    alone = call.with_tensors([call.input, call.h0, call.c0, *weights]).run(backend, memories=False)[0]
    for name, grad, expected in zip(
        call.names()[3:], torch.autograd.grad(alone, weights, seed), every[3:], strict=True
    ):
        assert torch.equal(grad, expected), name


def transposed(tensor: Tensor) -> Tensor:
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)


def gapped(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, torch.full_like(tensor, torch.nan)], dim=-1)[..., 0]


def unaligned(tensor: Tensor) -> Tensor:
    return torch.cat([tensor.new_full((1,), torch.nan), tensor.flatten()])[1:].view(tensor.shape)


@each_dtype
@pytest.mark.parametrize("relayout", [transposed, gapped, unaligned])
@pytest.mark.parametrize("hidden_size", [11, 300])
def test_any_memory_layout(
    hidden_size: int, relayout: Callable[[Tensor], Tensor], dtype: torch.dtype, backend: str
) -> None:
    """Arguments and incoming gradients that are not contiguous, or start anywhere."""
    call = draw_for(backend, Case(steps=5, batch=4, hidden_size=hidden_size, input_size=24, directions=2), dtype)
    seeds = draw_seeds(call)
    moved = call.with_tensors([relayout(tensor) if tensor.dim() > 1 else tensor for tensor in call.tensors()])
    assert_accurate(results_on(backend, moved, [relayout(seed) for seed in seeds]), call, seeds)


@each_dtype
@pytest.mark.parametrize("poison", [torch.nan, torch.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("where", ["input", "h0", "c0"])
@pytest.mark.parametrize("hidden_size", [9, 300])
def test_what_is_not_finite_stays_in_its_own_sequence(
    hidden_size: int, where: str, poison: float, dtype: torch.dtype, backend: str
) -> None:
    case = Case(steps=5, batch=20, hidden_size=hidden_size, directions=2, ragged=True)
    clean = draw_for(backend, case, dtype)
    tensors = [tensor.clone() for tensor in clean.tensors()]
    sick, sizes = 1, case.batch_sizes.tolist()
    rows = torch.tensor([b for size in sizes for b in range(size)], device="cuda")
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
    others = torch.arange(case.batch, device="cuda") != sick
    for one, other in zip(by_sequence, sick_by_sequence, strict=True):
        assert torch.equal(one[:, others], other[:, others])


@each_dtype
def test_saturated_gates(dtype: torch.dtype, backend: str) -> None:
    """Gates driven to ±10⁴ neither overflow nor lose their way, and their slopes vanish.

    One input feature at a time and weights of -1, 0 and 1 keep the large numbers exact in every dtype.
    """
    call = draw_for(backend, Case(steps=6, batch=4, hidden_size=33), dtype)
    input = torch.eye(call.input.shape[1], dtype=dtype, device="cuda").repeat(5, 1)[: len(call.input)] * 9984
    call = call.with_tensors([input, call.h0, call.c0, call.weights[0].round().clamp(-1, 1), *call.weights[1:]])
    seeds = draw_seeds(call)
    got = results_on(backend, call, seeds)
    assert all(value.isfinite().all() for value in got.values())
    assert_accurate(got, call, seeds)


NEEDED = 60 * 2**30


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_properties(0).total_memory < NEEDED,
    reason="needs a GPU of 60 GiB",
)
def test_more_than_2_to_the_31_gates(backend: str) -> None:
    """Indices would overflow 32 bits. The weights make a contraction: far steps are forgotten, so the last outputs and
    the first gradients are those of the last and the first hundred steps alone."""
    case = Case(steps=26_000, batch=32, hidden_size=300, input_size=8)
    assert case.rows * 9 * case.hidden_size > 2**31
    call = draw_for(backend, case, torch.bfloat16)
    call = call.with_tensors([call.input, call.h0, call.c0, *(weight * 0.5 for weight in call.weights)])
    near, few = 100 * case.batch, 10 * case.batch
    seed = torch.randn(case.rows, case.hidden_size, dtype=torch.bfloat16, device="cuda")

    def ends(output: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return output[-few:].detach().double(), gradient[:few].double()

    leaves = call.leaves()
    output = leaves.run(backend, memories=False)[0]
    [gradient] = torch.autograd.grad(output, [leaves.input], seed)
    found = ends(output, gradient)
    del leaves, output, gradient

    def of_a_part(rows: slice, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        part = call.with_tensors([call.input[rows], *call.tensors()[1:]]).to(dtype).leaves()
        output = part.run("reference", memories=False)[0]
        [gradient] = torch.autograd.grad(output, [part.input], seed[rows].to(dtype))
        return ends(output, gradient)

    first, last = slice(near), slice(case.rows - near, case.rows)
    truth = of_a_part(last, torch.float64)[0], of_a_part(first, torch.float64)[1]
    eager = of_a_part(last, torch.bfloat16)[0], of_a_part(first, torch.bfloat16)[1]
    for name, one, other, exact in zip(("output", "gradient"), found, eager, truth, strict=True):
        error, allowed = (one - exact).norm(), 2 * (other - exact).norm()
        assert error <= allowed, f"{name}: error {error:.3g}, allowed {allowed:.3g}"
