"""``cell_clip``: a bound on the cell state, which the printed equations have not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from srn_kernels import SRN, SRNCell, srn_layer

from .cases import USABLE

T, B, D, H = 40, 3, 4, 6

each_backend = pytest.mark.parametrize("backend", USABLE)


def exploding(**settings: object) -> SRN:
    """A network whose cell states grow without bound: W_mc as a trained one may have become."""
    rnn = SRN(D, H, **settings)
    with torch.no_grad():
        rnn.weight_mc_l0.mul_(20)
    return rnn


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_state_that_would_overflow_stays_at_its_bound(dtype: torch.dtype, backend: str) -> None:
    torch.manual_seed(0)
    free, held = exploding(backend=backend), exploding(backend=backend, cell_clip=3)
    held.load_state_dict(free.state_dict())
    x = torch.randn(T, B, D, dtype=dtype)
    assert not free.to(dtype)(x)[1][1].abs().max() < 1e9
    output, (_, c_n) = held.to(dtype)(x)
    assert c_n.abs().max() == 3 and output.isfinite().all()


@each_backend
def test_no_gradient_goes_through_a_state_at_its_bound(backend: str) -> None:
    rnn, x = exploding(backend=backend, cell_clip=3), torch.randn(T, B, D)
    _, (_, c_n) = rnn(x)
    at_bound = c_n.abs() == 3
    assert at_bound.any()
    gradients = torch.autograd.grad(c_n[at_bound].sum(), list(rnn.parameters()))
    assert all(gradient.abs().max() == 0 for gradient in gradients)


@each_backend
def test_a_bound_that_nothing_reaches_changes_no_bit(backend: str) -> None:
    free, held = SRN(D, H, backend=backend), SRN(D, H, backend=backend, cell_clip=100)
    held.load_state_dict(free.state_dict())
    x = torch.randn(T, B, D)
    results = []
    for rnn in (free, held):
        output, state = rnn(x)
        results.append([output, *state, *torch.autograd.grad(output.square().sum(), list(rnn.parameters()))])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@each_backend
def test_what_is_not_a_number_is_not_clipped_to_one(backend: str) -> None:
    x = torch.randn(T, B, D)
    x[3, 1] = torch.nan
    _, (_, c_n) = SRN(D, H, backend=backend, cell_clip=3)(x)
    assert c_n[0, 1].isnan().all() and c_n[0, [0, 2]].isfinite().all()


def test_a_bound_is_a_number_of_the_dtype() -> None:
    """0.7 rounds down in bfloat16: a state at the bound is at it all the same, and has no gradient."""
    rnn = exploding(cell_clip=0.7).bfloat16()
    _, (_, c_n) = rnn(torch.randn(T, B, D).bfloat16())
    bound = torch.tensor(0.7).bfloat16()
    at_bound = c_n.abs() == bound
    assert at_bound.any() and c_n.abs().max() == bound
    (gradient,) = torch.autograd.grad(c_n[at_bound].sum(), [rnn.weight_mc_l0])
    assert gradient.abs().max() == 0


def test_a_cell_is_a_step_of_the_network() -> None:
    rnn, cell = exploding(cell_clip=0.5), SRNCell(D, H, cell_clip=0.5)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in rnn.state_dict().items()})
    x, state = torch.randn(T, B, D), None
    for step in x:
        state = cell(step, state)
    _, (h_n, c_n) = rnn(x)
    torch.testing.assert_close(state, (h_n[0], c_n[0]))
    assert state[1].abs().max() == 0.5


@pytest.mark.parametrize("make", [SRN, SRNCell])
def test_names_and_numbers(make: type[nn.Module]) -> None:
    assert "cell_clip=3.0" in repr(make(D, H, cell_clip=3)) and "cell_clip" not in repr(make(D, H))
    for value, error in ((0, ValueError), (-1.0, ValueError), (float("inf"), ValueError), (float("nan"), ValueError)):
        with pytest.raises(error, match="cell_clip should be a finite number above 0, or None"):
            make(D, H, cell_clip=value)
    for value in ("3", True, [3]):
        with pytest.raises(TypeError, match="cell_clip should be a number or None"):
            make(D, H, cell_clip=value)


@pytest.mark.parametrize(
    ("clip", "dtype"), [(-1.0, torch.float32), (float("nan"), torch.float32), (1e-9, torch.float16)]
)
def test_the_operator_refuses_what_bounds_nothing(clip: float, dtype: torch.dtype) -> None:
    """Called by itself, and in a dtype that rounds the bound to 0."""
    rnn, x, state = SRN(D, H, dtype=dtype), torch.zeros(6, D, dtype=dtype), torch.zeros(1, 3, H, dtype=dtype)
    with pytest.raises(ValueError, match=r"cell_clip should be above 0, and so in torch\.float"):
        srn_layer(x, state, state, list(rnn.parameters()), cell_clip=clip)
