"""What happens to an ``SRN`` from construction to call: saving, copying, tying, replacing and sharing parameters."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from srn_kernels import SRN, SRNCell

SETTINGS = {"num_layers": 2, "bidirectional": True, "proj_size": 2, "tasks": ("a", "b")}
x = torch.linspace(-1, 1, 4 * 3 * 5).reshape(4, 3, 5)


def same(one: SRN, other: SRN) -> bool:
    return torch.equal(one(x)[0], other(x)[0])


def test_state_dict_round_trip_through_a_file_of_tensors_alone() -> None:
    rnn, other = SRN(5, 6, **SETTINGS), SRN(5, 6, **SETTINGS)
    assert not same(rnn, other)
    with io.BytesIO() as file:
        torch.save(rnn.state_dict(), file)
        file.seek(0)
        assert str(other.load_state_dict(torch.load(file, weights_only=True))) == "<All keys matched successfully>"
    assert same(rnn, other)


def test_state_dict_assigned() -> None:
    rnn = SRN(5, 6)
    with torch.device("meta"):
        other = SRN(5, 6)
    other.load_state_dict(rnn.state_dict(), assign=True)
    assert same(rnn, other)


def test_load_state_dict_says_what_is_wrong_as_nn_lstm_does() -> None:
    messages = {}
    for cls in (nn.LSTM, SRN):
        module = cls(5, 6)
        states = {
            "extra": module.state_dict() | {"more": torch.zeros(1)},
            "missing": {name: value for name, value in module.state_dict().items() if name != "weight_hh_l0"},
            "size": module.state_dict() | {"weight_hh_l0": torch.zeros(2, 2)},
        }
        for kind, state in states.items():
            with pytest.raises(RuntimeError, match=f"loading state_dict for {cls.__name__}") as error:
                module.load_state_dict(state)
            shape = str(module.weight_hh_l0.shape)
            messages[cls, kind] = str(error.value).replace(cls.__name__, "module").replace(shape, "shape")
    for kind in ("extra", "missing", "size"):
        assert messages[SRN, kind] == messages[nn.LSTM, kind]


def test_copies_are_independent() -> None:
    rnn = SRN(5, 6, **SETTINGS)
    other = copy.deepcopy(rnn)
    assert same(rnn, other)
    with torch.no_grad():
        other.weight_mc_l0.add_(1)
    assert not same(rnn, other)


def test_pickle_keeps_settings() -> None:
    rnn = SRN(5, 6, 2, dropout=0.25, recurrent_dropout=0.5, backend="reference", tasks=("a", "b"))
    other = pickle.loads(pickle.dumps(rnn))
    assert repr(other) == repr(rnn)
    assert (other.tasks, other.backend, other.recurrent_dropout) == (("a", "b"), "reference", 0.5)
    assert same(rnn.eval(), other.eval())


def test_representation() -> None:
    """As in ``nn.LSTM``: its order, and no defaults; then the arguments that only ``SRN`` has."""
    assert repr(SRN(5, 6)) == "SRN(5, 6, tasks=('0', '1', '2'))"
    assert repr(SRN(5, 6, 2, False, True, 0.5, True, 3, tasks=("a", "b"), recurrent_dropout=0.1, backend="cpu")) == (
        "SRN(5, 6, proj_size=3, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True, "
        "tasks=('a', 'b'), recurrent_dropout=0.1, backend=cpu)"
    )
    lstm = repr(nn.LSTM(5, 6, 2, False, True, 0.5, True, 3))
    assert repr(SRN(5, 6, 2, False, True, 0.5, True, 3)).startswith(lstm.replace("LSTM", "SRN").removesuffix(")"))
    assert repr(SRNCell(5, 6, False)) == "SRNCell(5, 6, bias=False, tasks=('0', '1', '2'))"


def test_tied_parameters_stay_tied() -> None:
    rnn = SRN(5, 6, bidirectional=True)
    rnn.weight_hh_l0_reverse = rnn.weight_hh_l0
    assert len(list(rnn.parameters())) == 11
    rnn(x)[0].sum().backward()
    both = rnn.weight_hh_l0.grad.clone()
    rnn.zero_grad()
    separate = copy.deepcopy(rnn)
    separate.weight_hh_l0_reverse = nn.Parameter(rnn.weight_hh_l0.detach().clone())
    separate(x)[0].sum().backward()
    torch.testing.assert_close(both, separate.weight_hh_l0.grad + separate.weight_hh_l0_reverse.grad)
    again = copy.deepcopy(rnn)
    assert again.weight_hh_l0 is again.weight_hh_l0_reverse
    assert rnn.double().weight_hh_l0 is rnn.weight_hh_l0_reverse


def test_a_parameter_deleted_and_assigned_again() -> None:
    rnn = SRN(5, 6)
    expected = rnn(x)[0]
    weight = rnn.weight_hh_l0.detach()
    del rnn.weight_hh_l0
    with pytest.raises(AttributeError, match="weight_hh_l0"):
        rnn(x)
    rnn.weight_hh_l0 = weight * 2  # a plain tensor, as weight-dropping wrappers leave it
    assert not torch.equal(rnn(x)[0], expected)
    del rnn.weight_hh_l0
    rnn.weight_hh_l0 = nn.Parameter(weight)
    assert torch.equal(rnn(x)[0], expected)


def test_changes_in_place_and_of_storage_are_seen() -> None:
    rnn = SRN(5, 6)
    expected = rnn(x)[0].detach()
    with torch.no_grad():
        rnn.weight_hh_l0.mul_(3)
        changed = rnn(x)[0]
        assert not torch.equal(changed, expected)
        rnn.weight_hh_l0.set_(rnn.weight_hh_l0.div(3).t().contiguous().t())  # another storage, another layout
    torch.testing.assert_close(rnn(x)[0], expected)


def test_parametrized_weights() -> None:
    rnn = SRN(5, 6)
    expected = rnn(x)[0].detach()
    parametrizations.weight_norm(rnn, "weight_hh_l0")
    torch.testing.assert_close(rnn(x)[0], expected)
    rnn(x)[0].sum().backward()
    assert rnn.parametrizations.weight_hh_l0.original0.grad.abs().sum() > 0
    with torch.no_grad():
        rnn.parametrizations.weight_hh_l0.original0.mul_(2)
    assert not torch.allclose(rnn(x)[0], expected)
    parametrize.remove_parametrizations(rnn, "weight_hh_l0")
    assert isinstance(rnn.weight_hh_l0, nn.Parameter) and not torch.allclose(rnn(x)[0], expected)


def test_pruned_weights() -> None:
    rnn = SRN(5, 6)
    expected = copy.deepcopy(rnn)
    prune.l1_unstructured(rnn, "weight_mc_l0", amount=0.5)
    with torch.no_grad():
        expected.weight_mc_l0.mul_(rnn.weight_mc_l0_mask)
    assert (expected.weight_mc_l0 == 0).float().mean() == 0.5
    assert same(rnn, expected)


def test_functional_call_takes_what_it_is_given() -> None:
    rnn, other = SRN(5, 6, **SETTINGS), SRN(5, 6, **SETTINGS)
    got = torch.func.functional_call(rnn, dict(other.named_parameters()), (x,))[0]
    assert torch.equal(got, other(x)[0])


def test_from_meta_to_a_device_and_filled_anew() -> None:
    rnn = SRN(5, 6, **SETTINGS, device="meta").to_empty(device="cpu")
    assert all(parameter.isnan().all() for parameter in rnn.parameters())  # poisoned: to_empty fills nothing
    rnn.reset_parameters()
    assert all(parameter.abs().max() <= 6**-0.5 for parameter in rnn.parameters())
    assert rnn(x)[0].isfinite().all()


def test_shared_memory() -> None:
    rnn = SRN(5, 6)
    expected = rnn(x)[0]
    assert rnn.share_memory() is rnn
    assert all(parameter.is_shared() for parameter in rnn.parameters())
    assert torch.equal(rnn(x)[0], expected)


def test_an_optimizer_changes_every_parameter() -> None:
    rnn = SRN(5, 6, **SETTINGS)
    before = {name: parameter.detach().clone() for name, parameter in rnn.named_parameters()}
    optimizer = torch.optim.SGD(rnn.parameters(), lr=1.0)
    out = rnn(x, return_memories=True)
    (out.output.pow(2).sum() + out.memories.pow(2).sum()).backward()
    optimizer.step()
    assert [name for name, parameter in rnn.named_parameters() if torch.equal(parameter, before[name])] == []


def test_a_cell_without_bias_has_its_biases_as_none() -> None:
    """``nn.LSTMCell`` has its biases as None when it has none."""
    cell = SRNCell(5, 6, bias=False)
    assert cell.bias_ih is None and cell.bias_hh is None
    assert set(cell.state_dict()) == {"weight_ih", "weight_hh", "weight_mc"}


NO_COMPILER = """
import sys, torch
from torch.nn.utils.rnn import pack_sequence
from srn_kernels import SRN, SRNCell
rnn, x = SRN(4, 6, num_layers=2, bidirectional=True), torch.randn(5, 3, 4, requires_grad=True)
out = rnn(x, return_memories=True)
grad, = torch.autograd.grad(out.memories.sum() + out.output.sum(), x, create_graph=True)
grad.sum().backward()
rnn(pack_sequence([torch.randn(3, 4), torch.randn(2, 4)]))
SRNCell(4, 6)(x[0])
print("compiler:", "torch._dynamo" in sys.modules)
"""


def test_nothing_imports_the_compiler() -> None:
    """It would take a second and tens of megabytes, in every program."""
    done = subprocess.run([sys.executable, "-c", NO_COMPILER], capture_output=True, text=True, check=True)
    assert done.stdout == "compiler: False\n"
