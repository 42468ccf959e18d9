"""``SRN`` beside ``nn.LSTM``: the same call gives results of the same type, shape, strides and dtype."""

from __future__ import annotations

import inspect
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence
from torch.utils._pytree import tree_leaves

from srn_kernels import SRN, SRNCell

T, B, D, H, P = 5, 3, 4, 6, 2


def describe(result):
    """Everything about a result but its numbers."""
    if isinstance(result, Tensor):
        return (
            tuple(result.shape),
            result.stride(),
            result.dtype,
            result.requires_grad,
            result.is_leaf,
            result.is_contiguous(),
        )
    if isinstance(result, PackedSequence):
        order = [None if index is None else index.tolist() for index in result[2:]]
        return "packed", describe(result.data), result.batch_sizes.tolist(), *order
    return type(result).__name__, [describe(one) for one in result]


def state(kind: str, layers: int, batch: int | None, proj: bool):
    sizes = (P if proj else H, H)
    if kind == "none":
        return None
    if kind == "expanded":
        return tuple(
            torch.randn(layers, 1, size).expand(layers, batch, size) if batch else torch.randn(size).expand(layers, -1)
            for size in sizes
        )
    if kind == "gaps":
        return tuple(torch.randn(layers, *([batch] if batch else []), size, 2)[..., 1] for size in sizes)
    tensors = [torch.randn(layers, *([batch] if batch else []), size) for size in sizes]
    return tensors if kind == "list" else tuple(tensors)


def arguments(form: str, batch_first: bool):
    if form == "unbatched":
        return torch.randn(T, D)
    if form == "batched":
        return torch.randn(B, T, D) if batch_first else torch.randn(T, B, D)
    lengths = [5, 3, 1] if form == "packed" else [3, 5, 1]
    padded = torch.randn(B, T, D) if batch_first else torch.randn(T, B, D)
    return pack_padded_sequence(padded, torch.tensor(lengths), batch_first, enforce_sorted=form == "packed")


FORMS = ["batched", "unbatched", "packed", "packed unsorted"]
STATES = ["none", "tuple", "list", "expanded", "gaps"]


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("form", FORMS)
def test_results_look_alike(form: str, kind: str) -> None:
    for batch_first, bidirectional, proj, layers in product([False, True], [False, True], [0, P], [1, 2]):
        settings = {"batch_first": batch_first, "bidirectional": bidirectional, "proj_size": proj, "num_layers": layers}
        input = arguments(form, batch_first)
        hx = state(kind, layers * (1 + bidirectional), None if form == "unbatched" else B, proj > 0)
        expected, got = (cls(D, H, **settings)(input, hx) for cls in (nn.LSTM, SRN))
        assert describe(got) == describe(expected), settings


@pytest.mark.parametrize("form", FORMS)
def test_state_is_handed_through_in_the_caller_s_order(form: str) -> None:
    """A run cut in two, with the state carried over, is the whole run, however the sequences are sorted."""
    rnn = SRN(D, H, 2, bidirectional=False, proj_size=P, dtype=torch.float64)
    lengths = {"packed": [6, 5, 4], "packed unsorted": [4, 6, 5]}.get(form, [6, 6, 6])
    whole = [torch.randn(length, D, dtype=torch.float64) for length in lengths]

    def run(sequences: list[Tensor], hx):
        if form == "unbatched":
            return rnn(sequences[0], hx)
        if form == "batched":
            return rnn(torch.stack(sequences, 1), hx)
        return rnn(pack_sequence(sequences, enforce_sorted=False), hx)

    _, expected = run(whole, None)
    _, middle = run([sequence[:3] for sequence in whole], None)
    _, end = run([sequence[3:] for sequence in whole], middle)
    for one, other in zip(end, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_results_do_not_share_memory() -> None:
    output, (h_n, c_n) = SRN(D, H)(torch.randn(1, B, D))
    addresses = {tensor.untyped_storage().data_ptr() for tensor in (output, h_n, c_n)}
    assert len(addresses) == 3
    assert torch.equal(output[0], h_n[0])


@pytest.mark.parametrize("settings", [{}, {"bidirectional": True, "num_layers": 2, "proj_size": P}], ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_zero_batch_forward_and_backward(batch_first: bool, settings: dict) -> None:
    results = []
    for cls in (nn.LSTM, SRN):
        module = cls(D, H, batch_first=batch_first, **settings)
        input = torch.randn((0, T, D) if batch_first else (T, 0, D), requires_grad=True)
        output, (h_n, c_n) = module(input)
        (output.sum() + h_n.sum() + c_n.sum()).backward()
        assert input.grad.shape == input.shape
        results.append([tuple(t.shape) for t in (output, h_n, c_n)])
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and torch.equal(parameter.grad, torch.zeros_like(parameter)), name
    assert results[0] == results[1]


def test_zero_batch_with_memories_and_initial_state() -> None:
    hx = torch.randn(1, 0, H), torch.randn(1, 0, H)
    out = SRN(D, H)(torch.randn(T, 0, D), hx, return_memories=True)
    assert out.memories.shape == (T, 0, 7, H) and out.task(0).shape == (T, 0, 4 * H)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_unbatched_is_a_batch_of_one(bidirectional: bool) -> None:
    rnn = SRN(D, H, 2, bidirectional=bidirectional, dtype=torch.float64)
    x = torch.randn(T, D, dtype=torch.float64)
    hx = tuple(torch.randn(2 * (1 + bidirectional), H, dtype=torch.float64) for _ in range(2))
    output, (h_n, c_n) = rnn(x, hx)
    batched, (h_b, c_b) = rnn(x[:, None], (hx[0][:, None], hx[1][:, None]))
    assert torch.equal(output, batched[:, 0]) and torch.equal(h_n, h_b[:, 0]) and torch.equal(c_n, c_b[:, 0])


def test_batch_first_is_the_transposed_call() -> None:
    rnn = SRN(D, H, batch_first=True, bidirectional=True)
    x = torch.randn(B, T, D)
    output, hx = rnn(x)
    rnn.batch_first = False
    expected, expected_hx = rnn(x.transpose(0, 1))
    assert torch.equal(output, expected.transpose(0, 1))
    assert torch.equal(hx[0], expected_hx[0]) and torch.equal(hx[1], expected_hx[1])


@pytest.mark.parametrize("settings", [{}, {"num_layers": 2, "bidirectional": True}, {"proj_size": P}], ids=str)
def test_gradients_reach_what_nn_lstm_s_reach(settings: dict) -> None:
    reached = []
    for cls in (nn.LSTM, SRN):
        module = cls(D, H, **settings)
        input = torch.randn(T, B, D, requires_grad=True)
        layers = module.num_layers * (1 + module.bidirectional)
        hx = tuple(tensor.requires_grad_() for tensor in state("tuple", layers, B, module.proj_size > 0))
        output, _ = module(input, hx)
        output.sum().backward()
        assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in (input, *hx))
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
        reached.append(tuple(t.grad.shape for t in (input, *hx)))
    assert reached[0] == reached[1]


def test_frozen_network_without_gradient_in_gives_none_out() -> None:
    rnn = SRN(D, H).requires_grad_(False)
    output, (h_n, c_n) = rnn(torch.randn(T, B, D))
    assert not (output.requires_grad or h_n.requires_grad or c_n.requires_grad)
    assert rnn(torch.randn(T, B, D, requires_grad=True))[0].requires_grad


def test_training_and_evaluation_differ_by_dropout_alone() -> None:
    rnn = SRN(D, H, 2)
    x = torch.randn(T, B, D)
    assert torch.equal(rnn.train()(x)[0], rnn.eval()(x)[0])
    rnn.dropout = 0.5
    assert torch.equal(rnn(x)[0], rnn.eval()(x)[0])
    assert not torch.equal(rnn.train()(x)[0], rnn.eval()(x)[0])


def test_dropout_of_one_passes_nothing_on_to_the_next_layer() -> None:
    x = torch.randn(T, B, D)
    rnn = SRN(D, H, 2, dropout=1.0, bias=False)
    output, (h_n, _) = rnn(x)
    assert torch.equal(output, torch.zeros(T, B, H))  # without bias and input the second layer stays at zero
    assert torch.equal(h_n[1], torch.zeros(B, H)) and h_n[0].abs().sum() > 0
    output.sum().backward()
    assert torch.equal(rnn.weight_ih_l0.grad, torch.zeros_like(rnn.weight_ih_l0))


def test_dropout_masks_elements_and_steps_but_not_the_last_layer() -> None:
    rnn = SRN(D, H, 1)
    rnn.dropout = 0.9
    x = torch.randn(T, B, D)
    assert torch.equal(rnn(x)[0], rnn.eval()(x)[0])
    rnn = SRN(D, 50, 2, dropout=0.5).train()
    torch.manual_seed(1)
    first = rnn(torch.ones(1, 1, D).expand(T, B, D))[0]
    assert not torch.equal(first[:, 0], first[:, 1])  # a separate mask for every sequence


def test_the_same_random_state_gives_the_same_dropout() -> None:
    rnn = SRN(D, H, 3, dropout=0.5, recurrent_dropout=0.5)
    x = torch.randn(T, B, D)
    torch.manual_seed(5)
    first = rnn(x)[0]
    assert not torch.equal(first, rnn(x)[0])
    torch.manual_seed(5)
    assert torch.equal(first, rnn(x)[0])


def test_signatures_agree() -> None:
    """Positional arguments and their defaults."""
    lstm = list(inspect.signature(nn.modules.rnn.RNNBase.__init__).parameters.values())[2:]  # without self and mode
    srn = list(inspect.signature(SRN.__init__).parameters.values())[1:]
    assert [(p.name, p.default) for p in srn[: len(lstm)]] == [(p.name, p.default) for p in lstm]
    assert all(p.kind is p.KEYWORD_ONLY for p in srn[len(lstm) :])
    cell = [(p.name, p.default) for p in list(inspect.signature(nn.LSTMCell.__init__).parameters.values())[1:]]
    assert [(p.name, p.default) for p in list(inspect.signature(SRNCell.__init__).parameters.values())][
        1 : len(cell) + 1
    ] == cell


@pytest.mark.parametrize(
    "args", [(2, 3), (2, 3, 2, False, True, 0.5, True, 1)], ids=["defaults", "nothing is a default"]
)
def test_public_attributes_are_those_of_nn_lstm(args: tuple) -> None:
    lstm, srn = nn.LSTM(*args), SRN(*args)
    for name in nn.LSTM.__constants__:
        assert getattr(srn, name) == getattr(lstm, name), name
    assert [len(weights) for weights in srn.all_weights] == [len(w) + 1 + srn.bias for w in lstm.all_weights]
    assert srn.flatten_parameters() is None
    assert set(lstm.state_dict()) <= set(srn.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    lstm, srn = (cls(D, H, dtype=dtype) for cls in (nn.LSTM, SRN))
    x = torch.randn(T, B, D, dtype=dtype)
    assert [t.dtype for t in tree_leaves(srn(x))] == [t.dtype for t in tree_leaves(lstm(x))] == [dtype] * 3


def test_meta_device_gives_the_shapes_of_a_real_run() -> None:
    x = torch.randn(T, B, D)
    real = SRN(D, H, 2, bidirectional=True, proj_size=P)(x, return_memories=True)
    meta = SRN(D, H, 2, bidirectional=True, proj_size=P, device="meta")(x.to("meta"), return_memories=True)
    for one, other in zip((meta.output, *meta.hx, meta.memories), (real.output, *real.hx, real.memories), strict=True):
        assert one.is_meta and (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), other.dtype)
