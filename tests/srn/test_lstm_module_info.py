"""PyTorch's tests of ``nn.LSTM`` and ``nn.LSTMCell`` as a module, run on ``SRN`` and ``SRNCell``.

The inputs are PyTorch's: every combination of bias, batch_first, bidirectional and projection, unbatched, with and
without an initial state, each with a batched call that must agree.
"""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.testing._internal.common_modules import (
    ModuleErrorEnum,
    ModuleInfo,
    module_error_inputs_torch_nn_LSTMCell,
    module_error_inputs_torch_nn_RNN_GRU,
    module_inputs_torch_nn_LSTM,
    module_inputs_torch_nn_LSTMCell,
)
from torch.utils._pytree import tree_leaves, tree_map_only

from srn_kernels import SRN, SRNCell

SOURCES = {SRN: module_inputs_torch_nn_LSTM, SRNCell: module_inputs_torch_nn_LSTMCell}
COUNTS = {SRN: 32, SRNCell: len(module_inputs_torch_nn_LSTMCell(None, "cpu", torch.float64, False, True))}


def samples(cls: type[nn.Module], dtype: torch.dtype = torch.float64, requires_grad: bool = False) -> list:
    """PyTorch's module inputs: constructor arguments, call arguments, and a function that must give the same."""
    return SOURCES[cls](ModuleInfo(cls, module_inputs_func=SOURCES[cls]), "cpu", dtype, requires_grad, True)


EVERY = [pytest.param(cls, index, id=f"{cls.__name__}-{index}") for cls in SOURCES for index in range(COUNTS[cls])]
every_sample = pytest.mark.parametrize(("cls", "index"), EVERY)
each_class = pytest.mark.parametrize("cls", list(SOURCES))


def build(cls: type[nn.Module], sample, dtype: torch.dtype = torch.float64) -> nn.Module:
    given = sample.constructor_input
    return cls(*given.args, **given.kwargs, dtype=dtype)


def call(module: nn.Module, sample):
    return module(*sample.forward_input.args, **sample.forward_input.kwargs)


def test_all_of_pytorch_s_inputs_are_there() -> None:
    assert len(samples(SRN)) == COUNTS[SRN] and COUNTS[SRNCell] >= 2


@every_sample
@pytest.mark.parametrize("training", [True, False])
def test_forward(cls: type[nn.Module], index: int, training: bool) -> None:
    sample = samples(cls)[index]
    module = build(cls, sample).train(training)
    output = call(module, sample)
    expected = sample.reference_fn(module, *sample.forward_input.args, **sample.forward_input.kwargs)
    torch.testing.assert_close(output, expected, rtol=0, atol=0)


@every_sample
def test_gradients(cls: type[nn.Module], index: int) -> None:
    sample = samples(cls, requires_grad=True)[index]
    module = build(cls, sample)
    names, parameters = zip(*module.named_parameters(), strict=True)
    given = tree_leaves(sample.forward_input.args)

    def function(*tensors):
        values = dict(zip(names, tensors[len(given) :], strict=True))
        input, *state = tensors[: len(given)]
        return tuple(tree_leaves(torch.func.functional_call(module, values, (input, tuple(state) or None))))

    assert torch.autograd.gradcheck(function, (*given, *parameters), fast_mode=True)


@each_class
def test_second_gradients(cls: type[nn.Module]) -> None:
    sample = samples(cls, requires_grad=True)[-1]
    module = build(cls, sample)
    given = tree_leaves(sample.forward_input.args)

    def function(input: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tree_leaves(module(input, state)))

    assert torch.autograd.gradgradcheck(function, given, fast_mode=True)


@every_sample
def test_pickle_and_repr(cls: type[nn.Module], index: int) -> None:
    sample = samples(cls)[index]
    module = build(cls, sample)
    expected = call(module, sample)
    assert repr(module) == str(module) and repr(module).startswith(f"{cls.__name__}(")
    with io.BytesIO() as file:
        torch.save(module, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
    for again in (loaded, pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert repr(again) == repr(module)
        torch.testing.assert_close(call(again, sample), expected, rtol=0, atol=0)


@every_sample
def test_non_contiguous_tensors(cls: type[nn.Module], index: int) -> None:
    """Inputs, states and incoming gradients with gaps."""
    sample = samples(cls)[index]
    module = build(cls, sample)

    def gaps(tensor: torch.Tensor) -> torch.Tensor:
        return torch.stack([tensor, torch.full_like(tensor, torch.nan)], dim=-1)[..., 0]

    def run(args) -> list[torch.Tensor]:
        args = tree_map_only(torch.Tensor, lambda tensor: tensor.detach().requires_grad_(), args)
        outputs = tree_leaves(module(*args))
        seeds = [gaps(torch.ones_like(output)) if gapped else torch.ones_like(output) for output in outputs]
        return outputs + list(torch.autograd.grad(outputs, [*tree_leaves(args), *module.parameters()], seeds))

    gapped = False
    expected = run(sample.forward_input.args)
    gapped = True
    got = run(tree_map_only(torch.Tensor, gaps, sample.forward_input.args))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@each_class
def test_factory_arguments(cls: type[nn.Module]) -> None:
    for sample in samples(cls, torch.float32):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            assert {p.dtype for p in build(cls, sample, dtype).parameters()} == {dtype}
        module = cls(*sample.constructor_input.args, **sample.constructor_input.kwargs, device="meta")
        assert all(parameter.is_meta for parameter in module.parameters())
        with torch.device("meta"):
            module = cls(*sample.constructor_input.args, **sample.constructor_input.kwargs)
        assert all(parameter.is_meta for parameter in module.parameters())


@each_class
def test_moves_between_dtypes_and_back(cls: type[nn.Module]) -> None:
    sample = samples(cls)[0]
    module = build(cls, sample)
    before = call(module, sample)
    module.bfloat16().float()
    with pytest.raises(ValueError, match="does not match weight dtype"):
        call(module, sample)
    assert {tensor.shape for tensor in tree_leaves(call(module.double(), sample))} == {
        tensor.shape for tensor in tree_leaves(before)
    }


@pytest.mark.parametrize("sample", module_error_inputs_torch_nn_LSTMCell(None, "cpu", torch.float32, False, True))
def test_cell_errors(sample) -> None:
    """PyTorch's wrong calls of ``nn.LSTMCell``: its exception types and its words."""
    given = sample.module_error_input
    module = build(SRNCell, given, torch.float32)
    with pytest.raises(sample.error_type, match=sample.error_regex):
        call(module, given)


@pytest.mark.parametrize("sample", module_error_inputs_torch_nn_RNN_GRU(None, "cpu", torch.float32, False, True))
def test_network_errors(sample) -> None:
    """PyTorch's wrong constructions and calls of ``nn.RNN`` and ``nn.GRU``, which are ``nn.LSTM``'s too."""
    given = sample.module_error_input
    if sample.error_on == ModuleErrorEnum.CONSTRUCTION_ERROR:
        with pytest.raises(sample.error_type, match=sample.error_regex):
            SRN(*given.constructor_input.args, **given.constructor_input.kwargs)
    else:
        module = SRN(*given.constructor_input.args, **given.constructor_input.kwargs)
        with pytest.raises(sample.error_type, match=sample.error_regex):
            call(module, given)
