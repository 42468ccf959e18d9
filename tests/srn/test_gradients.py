"""First and second derivatives of the operator, by every backend, against finite differences and against autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from srn_kernels import SRN, gradients, reference

from .cases import USABLE, Call, Case, draw

SMALL = Case(steps=3, batch=2, input_size=2, hidden_size=2)
GRID = [
    SMALL,
    Case(3, 2, 2, 2, tasks=1),
    Case(3, 2, 2, 2, tasks=2),
    Case(3, 2, 2, 2, tasks=4),
    Case(3, 3, 2, 3, bias=False),
    Case(3, 3, 2, 3, proj_size=2),
    Case(3, 3, 2, 3, proj_size=2, bias=False, ragged=True),
    Case(4, 3, 2, 3, ragged=True),
    Case(4, 3, 2, 3, directions=2, ragged=True),
    Case(3, 2, 2, 3, directions=2, proj_size=1, tasks=2),
    Case(1, 1, 1, 1),
    Case(2, 1, 3, 1, tasks=4, directions=2, bias=False),
    Case(3, 2, 2, 3, directions=2, ragged=True, cell_clip=0.25),
]
SLOW = [
    SMALL,
    Case(2, 2, 2, 2, tasks=2, cell_clip=0.25),
    Case(2, 2, 2, 2, tasks=2, directions=2, proj_size=1, ragged=True),
]

each_backend = pytest.mark.parametrize("backend", USABLE)


def as_function(call: Call, backend: str):
    """The call as a function of everything differentiable, returning everything differentiable."""
    return lambda *tensors: call.with_tensors(tensors).run(backend)


@each_backend
@pytest.mark.parametrize("case", GRID, ids=str)
def test_gradcheck(case: Case, backend: str) -> None:
    call = draw(case).leaves()
    assert gradcheck(as_function(call, backend), call.tensors(), fast_mode=True)


@each_backend
@pytest.mark.parametrize("case", SLOW, ids=str)
def test_gradcheck_of_every_element(case: Case, backend: str) -> None:
    call = draw(case).leaves()
    assert gradcheck(as_function(call, backend), call.tensors())


@each_backend
@pytest.mark.parametrize("case", GRID, ids=str)
def test_gradgradcheck(case: Case, backend: str) -> None:
    call = draw(case).leaves()
    assert gradgradcheck(as_function(call, backend), call.tensors(), fast_mode=True)


@each_backend
def test_gradgradcheck_of_every_element(backend: str) -> None:
    call = draw(Case(2, 2, 1, 1, tasks=2, ragged=True)).leaves()
    assert gradgradcheck(as_function(call, backend), call.tensors())


@each_backend
def test_third_derivative(backend: str) -> None:
    """A second derivative keeps its graph; the third derivative is the reference's."""
    call = draw(Case(3, 2, 2, 3, tasks=2, ragged=True)).leaves()

    def third(output: Tensor) -> Tensor:
        value = output.pow(2).sum()
        for _ in range(2):
            (first,) = torch.autograd.grad(value, call.input, create_graph=True)
            value = first.pow(2).sum()
        return torch.autograd.grad(value, call.weights[1])[0]

    expected = third(reference.layer(call.input, call.h0, call.c0, call.weights, call.batch_sizes, 2).output)
    torch.testing.assert_close(third(call.run(backend)[0]), expected)


@each_backend
@pytest.mark.parametrize("case", [Case(batch=0), Case(steps=0)], ids=str)
def test_second_derivative_of_nothing(case: Case, backend: str) -> None:
    """No sequence, or no step: zeros of the right shapes, twice."""
    call = draw(case).leaves()
    outputs = call.run(backend)
    seeds = [torch.randn_like(value).requires_grad_() for value in outputs]
    first = torch.autograd.grad(outputs, call.tensors(), seeds, create_graph=True, materialize_grads=True)
    second = torch.autograd.grad(
        sum(grad.pow(2).sum() for grad in first), call.tensors(), allow_unused=True, materialize_grads=True
    )
    assert [grad.shape for grad in second] == [tensor.shape for tensor in call.tensors()]
    assert all(torch.equal(grad, torch.zeros_like(grad)) for grad in second)


@each_backend
@pytest.mark.parametrize("case", GRID, ids=str)
def test_written_out_backward_is_autograd_s(case: Case, backend: str) -> None:
    call = draw(case).leaves()
    expected = reference.layer(
        call.input, call.h0, call.c0, call.weights, call.batch_sizes, case.tasks, case.cell_clip
    )[:4]
    seeds = [torch.randn_like(value) for value in expected]
    got = torch.autograd.grad(call.run(backend), call.tensors(), seeds)
    wanted = torch.autograd.grad(expected, call.tensors(), seeds)
    for name, one, other in zip(call.names(), got, wanted, strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}", rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("case", [case for case in GRID if case.directions == 1], ids=str)
def test_gradients_module_is_autograd_s(case: Case, reverse: bool) -> None:
    """``gradients.recurrence`` and ``gradients.finish`` by themselves: the model for every backend's backward pass."""
    call = draw(case).leaves()
    one_direction = call.layer_call().directions[0]._replace(reverse=reverse)
    out = reference.direction(one_direction)
    targets = [out.output, out.h_n, out.c_n, out.memories]
    seeds = [torch.randn_like(value) for value in targets]
    wanted = torch.autograd.grad(targets, call.tensors(), seeds)
    with torch.no_grad():
        saved = gradients.Saved(out.output, out.gates, out.cells)
        rows = gradients.recurrence(one_direction, saved, gradients.Incoming(*seeds))
        got = gradients.finish(rows, one_direction, saved, need_input=True, need_weights=True)
    for one, other in zip([got.input, got.h0[None], got.c0[None], *got.weights], wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@each_backend
@pytest.mark.parametrize("used", [(0,), (1,), (2,), (3,), (0, 2), (1, 3)])
def test_what_is_not_used_has_no_say(used: tuple[int, ...], backend: str) -> None:
    """Any outputs that take no part in the loss count as zero gradients."""
    case = Case(4, 3, 2, 3, directions=2, ragged=True, proj_size=2)
    call = draw(case).leaves()
    expected = reference.layer(
        call.input, call.h0, call.c0, call.weights, call.batch_sizes, case.tasks, case.cell_clip
    )[:4]
    got = call.run(backend)
    wanted = torch.autograd.grad([expected[i].pow(2).sum() for i in used], call.tensors(), allow_unused=True)
    found = torch.autograd.grad([got[i].pow(2).sum() for i in used], call.tensors(), materialize_grads=True)
    for name, one, other in zip(call.names(), found, wanted, strict=True):
        other = torch.zeros_like(one) if other is None else other
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}", rtol=1e-10, atol=1e-12)


@each_backend
@pytest.mark.parametrize("wanted", range(10))
def test_a_gradient_does_not_depend_on_which_others_are_wanted(wanted: int, backend: str) -> None:
    case = Case(4, 3, 2, 3, ragged=True, proj_size=2)
    full = draw(case).leaves()
    seeds = [torch.randn_like(value) for value in full.run(backend)]
    expected = torch.autograd.grad(full.run(backend), full.tensors(), seeds)[wanted]
    tensors = [tensor.detach().clone() for tensor in full.tensors()]
    tensors[wanted].requires_grad_()
    (got,) = torch.autograd.grad(full.with_tensors(tensors).run(backend), tensors[wanted], seeds)
    assert torch.equal(got, expected)


@each_backend
def test_gradients_of_broadcast_seeds(backend: str) -> None:
    """``sum()`` sends back an expanded scalar, with stride 0 in every dimension; ``[..., ::2]`` an output with gaps."""
    call = draw(Case(4, 3, 5, 6, directions=2)).leaves()
    output, h_n, c_n, memories = call.run(backend)
    one = torch.ones((), dtype=torch.float64)
    seeds = [one.expand_as(output), one.expand(6).expand_as(h_n), one.expand(1, 3, 1).clone().expand_as(c_n)]
    seeds.append(one.expand(12, 7, 24).clone()[..., ::2])
    got = torch.autograd.grad((output, h_n, c_n, memories), call.tensors(), seeds)
    dense = torch.autograd.grad(
        call.run(backend), call.tensors(), [torch.ones_like(t) for t in (output, h_n, c_n, memories)]
    )
    assert all(torch.equal(one, other) for one, other in zip(got, dense, strict=True))


@each_backend
def test_nothing_is_saved_and_nothing_flows_without_a_gradient(backend: str) -> None:
    call = draw(SMALL)
    assert not any(value.requires_grad for value in call.run(backend))
    with torch.no_grad():
        assert not any(value.requires_grad for value in call.leaves().run(backend))


@each_backend
def test_backward_twice_through_one_graph(backend: str) -> None:
    call = draw(SMALL).leaves()
    loss = call.run(backend)[0].pow(2).sum()
    first = torch.autograd.grad(loss, call.tensors(), retain_graph=True)
    assert all(
        torch.equal(one, other) for one, other in zip(first, torch.autograd.grad(loss, call.tensors()), strict=True)
    )


def test_an_output_changed_in_place_is_not_differentiated_silently() -> None:
    call = draw(SMALL).leaves()
    output = call.run()[0]
    output.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@each_backend
def test_tied_directions_add_their_gradients(backend: str) -> None:
    """One parameter in two places gets both gradients, in first and second order."""
    rnn = SRN(3, 4, bidirectional=True, dtype=torch.float64, backend=backend)
    rnn.weight_hh_l0_reverse = rnn.weight_hh_l0
    x = torch.randn(3, 2, 3, dtype=torch.float64)

    def output(weight: Tensor) -> Tensor:
        return torch.func.functional_call(rnn, {"weight_hh_l0": weight, "weight_hh_l0_reverse": weight}, x)[0]

    weight = rnn.weight_hh_l0.detach().clone().requires_grad_()
    assert gradcheck(output, weight, fast_mode=True)
    assert gradgradcheck(output, weight, fast_mode=True)


def test_transforms_of_functions_never_answer_wrongly() -> None:
    """``torch.func`` and forward mode are not offered; they must say so, not return zeros."""
    call = draw(SMALL)

    def output(input: Tensor) -> Tensor:
        return call.with_tensors([input, *call.tensors()[1:]]).run()[0]

    tangent = torch.randn_like(call.input)
    no_part, no_jvp = "takes no part in the transforms of torch.func", "has no forward-mode derivatives"
    with pytest.raises(NotImplementedError, match=no_part):
        torch.func.grad(lambda x: output(x).sum())(call.input)
    with pytest.raises(NotImplementedError, match=no_jvp):
        torch.func.jvp(output, (call.input,), (tangent,))
    with pytest.raises(NotImplementedError, match=no_part):
        torch.vmap(output)(torch.stack([call.input, call.input]))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match=no_jvp):
        output(torch.autograd.forward_ad.make_dual(call.input, tangent))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_with_gradients_is_refused() -> None:
    """A trace would be found to differ from run to run, and the reason lost."""
    rnn, x = SRN(4, 6), torch.randn(5, 3, 4)
    with pytest.raises(NotImplementedError, match=r"trace under torch\.no_grad"):
        torch.jit.trace(rnn, (x,))
    with torch.no_grad():
        assert torch.equal(torch.jit.trace(rnn, (x,))(x)[0], rnn(x)[0])


class Packing(nn.Module):
    def __init__(self, rnn: nn.Module, sort: bool) -> None:
        super().__init__()
        self.rnn, self.sort = rnn, not sort

    def forward(self, x: Tensor, lengths: Tensor, *hx: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=self.sort)
        return self.rnn(packed, hx or None)[1][0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("sort", [True, False])
def test_a_trace_of_packed_sequences_takes_any_batch(sort: bool, with_state: bool) -> None:
    model = Packing(SRN(4, 6), sort)

    def arguments(*lengths: int) -> tuple[Tensor, ...]:
        state = torch.randn(2, 1, len(lengths), 6).unbind() if with_state else ()
        return torch.randn(lengths[0], len(lengths), 4), torch.tensor(lengths), *state

    with torch.no_grad():
        traced = torch.jit.trace(model, arguments(6, 4, 1), check_trace=False)
        for lengths in ((6, 4, 1), (9, 6, 2, 2), (3,)):
            given = arguments(*lengths)
            assert torch.equal(traced(*given), model(*given))


@each_backend
def test_tangents_in_a_backward_pass_are_not_dropped(backend: str) -> None:
    """Forward over reverse: the gradient is linear in the incoming one, and a tangent of that must not vanish."""
    call = draw(SMALL).leaves()
    output = call.run(backend)[0]
    seed, tangent = torch.randn_like(output), torch.randn_like(output)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(seed, tangent)
        with pytest.raises((RuntimeError, NotImplementedError)):
            torch.autograd.grad(output, call.input, dual)


def test_batched_incoming_gradients_are_refused() -> None:
    """``jacobian(vectorize=True)`` maps over them; row by row is served."""
    call = draw(SMALL)

    def last(c0: Tensor) -> Tensor:
        return call.with_tensors([call.input, call.h0, c0, *call.weights]).run()[1].flatten()

    jacobian = torch.autograd.functional.jacobian(last, call.c0)
    assert jacobian.shape == (call.h0.numel(), *call.c0.shape) and jacobian.abs().sum() > 0
    with pytest.raises(RuntimeError, match="Batching rule not implemented for srn_kernels::layer_backward"):
        torch.autograd.functional.jacobian(last, call.c0, vectorize=True)
