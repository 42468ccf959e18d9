"""What code that knows ``nn.LSTM`` inside out calls, reads and sets: with the same answers from ``SRN``."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn

from srn_kernels import SRN

T, B, D, H = 5, 3, 4, 6

SETTINGS = [
    {},
    {"batch_first": True},
    {"num_layers": 2, "bidirectional": True, "proj_size": 2},
    {"bias": False, "bidirectional": True},
]
each_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def both(settings: dict) -> tuple[nn.LSTM, SRN]:
    return nn.LSTM(D, H, **settings), SRN(D, H, **settings)


@each_setting
@pytest.mark.parametrize("batch_sizes", [None, torch.tensor([3, 2])], ids=["tensor", "packed"])
def test_the_sizes_that_a_state_should_have(settings: dict, batch_sizes: Tensor | None) -> None:
    lstm, srn = both(settings)
    x = torch.randn(T, B, D) if batch_sizes is None else torch.randn(5, D)
    for method in ("get_expected_hidden_size", "get_expected_cell_size"):
        assert getattr(srn, method)(x, batch_sizes) == getattr(lstm, method)(x, batch_sizes)
    sizes = srn.get_expected_hidden_size(x, batch_sizes), srn.get_expected_cell_size(x, batch_sizes)
    srn.check_forward_args(x, tuple(torch.zeros(size) for size in sizes), batch_sizes)


WRONG = {
    "dtype": (torch.zeros(T, B, D, dtype=torch.float64), None, None),
    "rank": (torch.zeros(T, D), None, None),
    "rank of packed rows": (torch.zeros(T, B, D), None, torch.tensor([3, 2])),
    "width": (torch.zeros(T, B, D + 1), None, None),
    "h": (torch.zeros(T, B, D), (torch.zeros(1, B + 1, H), torch.zeros(1, B, H)), None),
    "c": (torch.zeros(T, B, D), (torch.zeros(1, B, H), torch.zeros(1, B, H - 1)), None),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused_in_the_same_words(what: str) -> None:
    x, state, batch_sizes = WRONG[what]
    said = []
    for module in both({}):
        with pytest.raises((ValueError, RuntimeError)) as caught:
            if state is None:
                module.check_input(x, batch_sizes)
            else:
                module.check_forward_args(x, state, batch_sizes)
        said.append((caught.type, str(caught.value)))
    assert said[0] == said[1]


def test_a_state_of_another_size_is_refused_in_the_words_of_the_caller() -> None:
    for module in both({}):
        module.check_hidden_size(torch.zeros(1, B, H), (1, B, H))
        with pytest.raises(RuntimeError, match=r"^wanted \(1, 3, 6\), got \[1, 3, 5\]$"):
            module.check_hidden_size(torch.zeros(1, B, H - 1), (1, B, H), "wanted {}, got {}")


def test_a_state_in_another_order() -> None:
    lstm, srn = both({})
    state = torch.randn(1, B, H), torch.randn(1, B, H)
    order = torch.tensor([2, 0, 1])
    for one, other in zip(srn.permute_hidden(state, order), lstm.permute_hidden(state, order), strict=True):
        assert torch.equal(one, other)
    assert srn.permute_hidden(state, None) is state


@each_setting
def test_names_and_weights_of_all_directions(settings: dict) -> None:
    """As in ``nn.LSTM``, with the weights between memories and cell state beside its own."""
    lstm, srn = both(settings)
    without = [[name for name in names if "_mc_" not in name] for names in srn._all_weights]
    assert without == [list(names) for names in lstm._all_weights]
    assert srn._flat_weights_names == [name for name, _ in srn.named_parameters()]
    assert all(one is other for one, other in zip(srn._flat_weights, srn.parameters(), strict=True))
    assert [len(weights) for weights in srn.all_weights] == [len(names) for names in srn._all_weights]


@pytest.mark.parametrize("parameters", [True, False], ids=["parameters", "tensors"])
def test_weights_can_be_set_as_one_list(parameters: bool) -> None:
    """As recipes of weight drop do: the next call computes with them, and its gradients reach what they are made of."""
    srn, other = SRN(D, H), SRN(D, H)
    x, raw = torch.randn(T, B, D), [weight.detach().clone().requires_grad_() for weight in other.parameters()]
    srn._flat_weights = [nn.Parameter(weight.detach()) if parameters else weight * 1.0 for weight in raw]
    assert torch.equal(srn(x)[0], other(x)[0])
    assert len(list(srn.parameters())) == (len(raw) if parameters else 0)
    if not parameters:
        srn(x)[0].sum().backward()
        assert all(weight.grad is not None for weight in raw)
    with pytest.raises(ValueError, match=r"_flat_weights should be 6 tensors, for \['weight_ih_l0'.*got 5"):
        srn._flat_weights = raw[:-1]


def test_it_is_no_rnn_base() -> None:
    """Code that asks for one goes on to cut the weights into four gates, in their order."""
    assert not issubclass(SRN, nn.RNNBase)
    offered = set(vars(nn.RNNBase)) | set(vars(nn.LSTM))
    internal = {"_init_flat_weights", "_weights_have_changed", "_update_flat_weights", "_flat_weight_refs"}
    public = {
        name for name in offered if inspect.isfunction(getattr(nn.LSTM, name, None)) and not name.startswith("__")
    }
    assert {name for name in public - internal if not hasattr(SRN, name)} == set()
