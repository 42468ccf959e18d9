"""The Triton backend against the float64 reference: values, every gradient, and what must not affect them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
import triton.language as tl
from srn.accuracy import VALUES, assert_accurate, assert_gradients_accurate, backend_results, draw_seeds
from srn.cases import Call, Case
from srn.faults import FAULTS, FUNCTION, NONE, SMALL, SUM, check, wrong_product
from torch import Tensor
from triton.runtime import interpreter

from srn_kernels import backends
from srn_kernels.backends.triton import fused, pointwise, recurrence
from srn_kernels.layout import Steps

from .device import draw_here

CASES = [
    Case(),
    Case(cell_clip=0.25),
    Case(hidden_size=9, tasks=2, directions=2, ragged=True, proj_size=4, cell_clip=0.25),
    Case(steps=1, batch=1),
    Case(steps=3, batch=1, hidden_size=1, input_size=1),
    Case(steps=2, batch=2, hidden_size=150, input_size=9),  # a row is longer than a program's block
    Case(steps=3, batch=9, hidden_size=17),
    Case(steps=4, batch=5, hidden_size=37, directions=2, ragged=True),
    *(Case(steps=3, tasks=tasks, directions=2, ragged=True) for tasks in (1, 2)),
    Case(steps=2, tasks=4),
    Case(steps=2, batch=2, hidden_size=5, tasks=5, bias=False),
    Case(bias=False, ragged=True),
    Case(proj_size=1),
    Case(steps=3, hidden_size=9, proj_size=4, directions=2, ragged=True),
]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
FUSED_CASES = [
    Case(hidden_size=7, cell_clip=0.25),
    Case(hidden_size=16),
    Case(steps=1, batch=1, hidden_size=1, input_size=1),
    Case(steps=3, batch=18, hidden_size=13, directions=2, ragged=True),  # more than one program
    Case(steps=2, hidden_size=30, tasks=2, bias=False),
    Case(steps=3, tasks=1, directions=2, ragged=True),
]
NAME = "triton"
GENERAL, FUSED = "a step at a time", "all steps at once"
SERVES = fused.serves

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


each_path = pytest.mark.parametrize("path", [GENERAL, FUSED], indirect=True)


@pytest.fixture(autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes every call take one path, by default the general one, and checks that the other is idle."""
    path = getattr(request, "param", GENERAL)
    idle = fused if path == GENERAL else recurrence

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"{idle.__name__} was called")

    if path == GENERAL:
        monkeypatch.setattr(fused, "serves", lambda call: False)
    for name in ("forward", "backward"):
        monkeypatch.setattr(idle, name, refuse)
    return path


@each_dtype
@pytest.mark.parametrize("case", CASES, ids=str)
def test_results(case: Case, dtype: torch.dtype) -> None:
    """Values, final states, memories and every gradient."""
    check_results(case, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", FUSED_CASES, ids=str)
@pytest.mark.parametrize("path", [FUSED], indirect=True)
def test_results_of_all_steps_at_once(case: Case, dtype: torch.dtype, path: str) -> None:
    check_results(case, dtype)


def check_results(case: Case, dtype: torch.dtype) -> None:
    call = draw_here(case, dtype)
    seeds = draw_seeds(call)
    with backends.record() as ran:
        got = backend_results(call, seeds, NAME)
    assert ran == [NAME, NAME]  # forward and backward
    assert_accurate(got, call, seeds)


@contextmanager
def in_triton(fault: str, unit: float) -> Iterator[None]:
    """Puts a fault into the pointwise kernels, or into a path's products: torch's, or the interpreter's."""

    tanh_before = pointwise.tanh

    def tanh_off(x: tl.tensor) -> tl.tensor:
        return tanh_before(x) * (1 + 8 * unit)

    def mm(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        return out.copy_(wrong_product(fault)(a, b))

    def create_dot(builder, a, b, d, *rest):
        product = wrong_product(fault)(torch.from_numpy(a.data), torch.from_numpy(b.data))
        return interpreter.TensorHandle(product.numpy() + d.data, d.dtype.scalar)

    with pytest.MonkeyPatch.context() as patch:
        if fault == FUNCTION:
            for module in (pointwise, fused):
                patch.setattr(module, "tanh", tanh_off)
        elif fault != NONE:
            patch.setattr(recurrence, "torch", SimpleNamespace(**vars(torch) | {"mm": mm}))
            patch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)
        yield


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs the interpreter, whose kernels can be changed")
@pytest.mark.parametrize("fault", FAULTS)
@each_path
def test_a_fault_is_found(fault: str, path: str) -> None:
    case = Case(steps=2, batch=3, hidden_size=30) if fault == SUM else SMALL
    check(NAME, fault, in_triton, draw_here(case, torch.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@each_path
def test_without_memories_and_gradients_the_values_are_the_same(dtype: torch.dtype, path: str) -> None:
    call = draw_here(Case(steps=3, hidden_size=11, directions=2, ragged=True), dtype)
    full = call.leaves().run(NAME)
    bare = call.run(NAME, memories=False)
    assert bare[3] is None
    assert all(torch.equal(one.detach(), other) for one, other in zip(full[:3], bare[:3], strict=True))


@pytest.mark.parametrize("given", [(0,), (1, 2), (3,), (2, 3)], ids=lambda given: "+".join(VALUES[i] for i in given))
@pytest.mark.parametrize(
    ("path", "proj_size", "dtype"),
    [(GENERAL, 0, torch.float64), (GENERAL, 4, torch.float64), (FUSED, 0, torch.float32)],
    indirect=["path"],
    ids=str,
)
def test_gradients_that_do_not_come_in(given: tuple[int, ...], path: str, proj_size: int, dtype: torch.dtype) -> None:
    """A missing gradient stands for zeros."""
    call = draw_here(Case(steps=2, hidden_size=7, proj_size=proj_size, directions=2, ragged=True), dtype)
    assert_gradients_accurate(call, given, NAME)


@pytest.mark.parametrize(
    "case",
    [Case(steps=0), Case(batch=0), Case(steps=0, batch=0), Case(steps=0, directions=2)],
    ids=str,
)
@each_path
def test_nothing_to_do(case: Case, path: str) -> None:
    """Zero steps return the initial state, with its gradients; zero sequences give empty results and zero gradients."""
    call = draw_here(case, torch.float32).leaves()
    output, h_n, c_n, memories = call.run(NAME)
    assert output.shape == (0, case.directions * (case.proj_size or case.hidden_size))
    assert memories.shape == (0, 7, case.directions * case.hidden_size)
    assert torch.equal(h_n, call.h0) and torch.equal(c_n, call.c0)
    grads = torch.autograd.grad((output, h_n, c_n), call.tensors(), [torch.ones_like(t) for t in (output, h_n, c_n)])
    for name, tensor, grad in zip(call.names(), call.tensors(), grads, strict=True):
        expected = torch.ones_like(tensor) if name in ("h0", "c0") else torch.zeros_like(tensor)
        assert torch.equal(grad, expected), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@each_path
def test_repeats_bit_for_bit(dtype: torch.dtype, path: str) -> None:
    call = draw_here(Case(steps=3, batch=5, hidden_size=30, ragged=True), dtype)
    seeds = draw_seeds(call)
    first, again = backend_results(call, seeds, NAME), backend_results(call, seeds, NAME)
    assert [name for name in first if not torch.equal(first[name], again[name])] == []


def transposed(tensor: Tensor) -> Tensor:
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)


def gapped(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, torch.full_like(tensor, torch.nan)], dim=-1)[..., 0]


def unaligned(tensor: Tensor) -> Tensor:
    return torch.cat([tensor.new_full((1,), torch.nan), tensor.flatten()])[1:].view(tensor.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("relayout", [transposed, gapped, unaligned])
@pytest.mark.parametrize(("path", "proj_size"), [(GENERAL, 5), (FUSED, 0)], indirect=["path"])
def test_any_memory_layout(relayout: Callable[[Tensor], Tensor], dtype: torch.dtype, path: str, proj_size: int) -> None:
    """Arguments and incoming gradients that are not contiguous, or start anywhere."""
    call = draw_here(Case(steps=2, batch=4, hidden_size=11, directions=2, proj_size=proj_size), dtype)
    seeds = draw_seeds(call)
    moved = call.with_tensors([relayout(tensor) if tensor.dim() > 1 else tensor for tensor in call.tensors()])
    assert_accurate(backend_results(moved, [relayout(seed) for seed in seeds], NAME), call, seeds)


@each_path
def test_expanded_arguments(path: str) -> None:
    """One initial state, one input row and one incoming gradient for all."""
    call = draw_here(Case(steps=3, batch=4, hidden_size=11, directions=2), torch.float32)
    h0, c0 = call.h0[:, :1].expand_as(call.h0), call.c0[:, :1].expand_as(call.c0)
    call = call.with_tensors([call.input[:1].expand_as(call.input), h0, c0, *call.weights])
    seeds = [seed.flatten()[0].expand_as(seed) for seed in draw_seeds(call)]
    assert call.h0.stride(1) == 0 and set(seeds[0].stride()) == {0}
    assert_accurate(backend_results(call, seeds, NAME), call, seeds)


@pytest.mark.parametrize(("poison", "dtype"), [(torch.nan, torch.bfloat16), (torch.inf, torch.float32)], ids=str)
@pytest.mark.parametrize("where", ["input", "h0", "c0"])
@each_path
def test_what_is_not_finite_stays_in_its_own_sequence(where: str, poison: float, dtype: torch.dtype, path: str) -> None:
    case = Case(steps=3, batch=3, hidden_size=5, tasks=2, directions=2, ragged=True)
    clean = draw_here(case, dtype)
    tensors = [tensor.clone() for tensor in clean.tensors()]
    sick, sizes = 1, case.batch_sizes.tolist()
    rows = torch.tensor([b for size in sizes for b in range(size)])
    if where == "input":
        tensors[0][sick] = poison  # row 1 is the first step of sequence 1
    else:
        tensors[("input", "h0", "c0").index(where)][:, sick] = poison
    seeds = draw_seeds(clean)

    def results(call: Call) -> tuple[list[Tensor], list[Tensor]]:
        """By row, and by sequence."""
        leaves = call.leaves()
        output, h_n, c_n, memories = leaves.run(NAME)
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


each_path_and_dtype = pytest.mark.parametrize(
    ("path", "dtype"),
    [*((GENERAL, dtype) for dtype in DTYPES), (FUSED, torch.float32), (FUSED, torch.bfloat16)],
    indirect=["path"],
    ids=str,
)


@each_path_and_dtype
def test_infinite_input_saturates_as_the_reference_does(path: str, dtype: torch.dtype) -> None:
    """Positive weights take an infinite input to gates of exactly 0 or 1, with nothing undefined on the way."""
    call = draw_here(Case(steps=3, batch=2, input_size=1), dtype)
    input = call.input.clone()
    input[0], input[3] = torch.inf, -torch.inf
    call = call.with_tensors([input, call.h0, call.c0, call.weights[0].abs() + 1, *call.weights[1:]])
    got = dict(zip(VALUES, call.run(NAME), strict=True))
    assert all(value.isfinite().all() for value in got.values())
    assert_accurate(got, call)


@each_path_and_dtype
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # the interpreter's; the quotient is 0, and meant
def test_saturated_gates(path: str, dtype: torch.dtype) -> None:
    """Gates driven to ±10⁴ neither overflow nor lose their way, and their slopes vanish.

    One input feature at a time and weights of -1, 0 and 1 keep the large numbers exact in every dtype.
    """
    call = draw_here(Case(steps=3, batch=4, hidden_size=9), dtype)
    input = torch.eye(call.input.shape[1]).repeat(5, 1)[: len(call.input)].to(call.input) * 9984
    call = call.with_tensors([input, call.h0, call.c0, call.weights[0].round().clamp(-1, 1), *call.weights[1:]])
    seeds = draw_seeds(call)
    got = backend_results(call, seeds, NAME)
    assert all(value.isfinite().all() for value in got.values())
    assert_accurate(got, call, seeds)


@each_path
def test_arguments_are_left_as_they_were(path: str) -> None:
    """A second backward pass over the same graph gives the same: nothing that was saved has been written over."""
    call = draw_here(Case(steps=3, ragged=True), torch.float32)
    leaves, before = call.leaves(), [tensor.clone() for tensor in call.tensors()]
    outputs = leaves.run(NAME)
    seeds = [torch.randn_like(output) for output in outputs]
    first, second = (torch.autograd.grad(outputs, leaves.tensors(), seeds, retain_graph=True) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(call.tensors(), before, strict=True))


@pytest.mark.parametrize(
    ("case", "dtype", "path"),
    [
        (Case(hidden_size=32), torch.float32, FUSED),
        (Case(hidden_size=33), torch.float32, GENERAL),
        (Case(hidden_size=64), torch.bfloat16, FUSED),
        (Case(hidden_size=65), torch.float16, GENERAL),
        (Case(), torch.float64, GENERAL),
        (Case(proj_size=2), torch.float32, GENERAL),
        (Case(tasks=4), torch.float32, GENERAL),
    ],
    ids=str,
    indirect=["path"],
)
def test_which_calls_run_all_steps_at_once(case: Case, dtype: torch.dtype, path: str) -> None:
    call = draw_here(case, dtype)
    assert SERVES(call.layer_call().directions[0]) == (path == FUSED)


def test_lengths_are_put_as_the_kernels_read_them() -> None:
    steps = Steps(torch.tensor([4, 4, 2, 1]), 11, 4)
    offsets, lengths = fused._lengths(steps, torch.device("cpu"))
    assert offsets.tolist() == [0, 4, 8, 10, 11] and lengths.tolist() == [4, 3, 2, 2]
    assert fused._lengths(Steps(None, 8, 4), torch.device("cpu")) == (None, None)
