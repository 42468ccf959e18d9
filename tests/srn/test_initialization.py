"""How parameters begin: the usual draw, and the one with which a unit's state goes on in that unit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from srn_kernels import SRN, SRNCell, layout, reference

H = 32


@pytest.mark.parametrize("tasks", [1, 2, 3, 4, 5])
def test_coefficients_make_a_union_of_the_masters(tasks: int) -> None:
    masters = torch.rand(tasks, 100, dtype=torch.float64)
    gates = reference.mask_gates(list(masters))
    made = sum(coefficient * gate for coefficient, gate in zip(layout.union_coefficients(tasks), gates, strict=True))
    torch.testing.assert_close(made, 1 - (1 - masters).prod(0))


@pytest.mark.parametrize("tasks", [1, 2, 3, 4])
@pytest.mark.parametrize("make", [SRN, SRNCell])
def test_carry_is_the_coefficients_and_a_tenth_of_the_noise(make: type[nn.Module], tasks: int) -> None:
    torch.manual_seed(5)
    usual = dict(make(4, H, tasks=tasks).named_parameters())
    torch.manual_seed(5)
    module = make(4, H, tasks=tasks, init="carry")
    for name, weight in module.named_parameters():
        if "weight_mc" not in name:
            assert torch.equal(weight, usual[name]), name
            continue
        diagonals = torch.cat([value * torch.eye(H) for value in layout.union_coefficients(tasks)], dim=1)
        torch.testing.assert_close(weight.detach(), diagonals + 0.1 * usual[name].detach())


def test_every_layer_and_direction_carries() -> None:
    rnn = SRN(4, H, num_layers=2, bidirectional=True, proj_size=3, init="carry")
    weights = [weight for name, weight in rnn.named_parameters() if "weight_mc" in name]
    assert len(weights) == 4 and all(weight[:, :H].diagonal().mean() > 0.9 for weight in weights)
    rnn.reset_parameters()
    assert rnn.weight_mc_l1_reverse[:, :H].diagonal().mean() > 0.9


def reach(rnn: nn.Module, steps: int) -> float:
    """How large the gradient of the last output by the input some steps back is, of that by the last input."""
    x = torch.randn(steps + 1, 8, 16, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(rnn(x)[0][-1].sum(), x)
    size: Tensor = gradient.flatten(1).norm(dim=1)
    return (size[0] / size[-1]).item()


def test_carry_remembers_what_uniform_forgets_at_once() -> None:
    usual = reach(SRN(16, H, dtype=torch.float64), 10)
    carried = reach(SRN(16, H, dtype=torch.float64, init="carry"), 10)
    lstm = reach(nn.LSTM(16, H, dtype=torch.float64), 10)
    assert usual < 1e-5 and 0.3 * lstm < carried < 1


@pytest.mark.parametrize("make", [SRN, SRNCell])
def test_names(make: type[nn.Module]) -> None:
    assert "init=carry" in repr(make(4, H, init="carry")) and "init" not in repr(make(4, H))
    with pytest.raises(ValueError, match="init should be 'uniform' or 'carry', got 'orthogonal'"):
        make(4, H, init="orthogonal")
