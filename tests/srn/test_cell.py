"""``SRNCell``: the step that ``SRN`` repeats, for streaming."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from srn_kernels import SRN, SRNCell, SRNOutput, backends

from .cases import USABLE

D, H, B, T = 4, 6, 3, 5


def pair(**settings) -> tuple[SRN, SRNCell]:
    """A network of one layer and a cell with the same weights."""
    rnn = SRN(D, H, dtype=torch.float64, **settings)
    cell = SRNCell(D, H, dtype=torch.float64, **settings)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in rnn.state_dict().items()})
    return rnn, cell


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tasks", [1, 2, 3, 4])
def test_streaming_is_the_whole_run(tasks: int, bias: bool, backend: str) -> None:
    """Single steps give the same values, memories, final state and gradients."""
    rnn, cell = pair(tasks=tasks, bias=bias, backend=backend)
    x = torch.randn(T, B, D, dtype=torch.float64)
    whole = rnn(x, return_memories=True)
    hx, steps = None, []
    with backends.record() as ran:
        for row in x:
            steps.append(cell(row, hx, return_memories=True))
            hx = steps[-1].hx
    assert ran == [backend] * T
    torch.testing.assert_close(torch.stack([step.output for step in steps]), whole.output, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(torch.stack([step.memories for step in steps]), whole.memories, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(hx[1], whole.hx[1][0], rtol=1e-12, atol=1e-14)
    whole.output.pow(2).sum().backward()
    torch.stack([step.output for step in steps]).pow(2).sum().backward()
    for name, parameter in cell.named_parameters():
        expected = getattr(rnn, f"{name}_l0").grad
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-10, atol=1e-12)


def test_forms_of_the_call_are_those_of_nn_lstm_cell() -> None:
    lstm, cell = nn.LSTMCell(D, H), SRNCell(D, H)
    for shape in ((B, D), (D,), (0, D)):
        x, state = torch.randn(shape), [torch.randn(*shape[:-1], H) for _ in range(2)]
        for hx in (None, tuple(state), state):
            expected, got = lstm(x, hx), cell(x, hx)
            assert type(got) is type(expected) is tuple
            assert [(t.shape, t.stride(), t.dtype, t.requires_grad) for t in got] == [
                (t.shape, t.stride(), t.dtype, t.requires_grad) for t in expected
            ]


def test_a_missing_state_is_zeros() -> None:
    cell, x, zeros = SRNCell(D, H), torch.randn(B, D), torch.zeros(B, H)
    for one, other in zip(cell(x), cell(x, (zeros, zeros)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("shape", [(3, D), (D,)], ids=["batched", "unbatched"])
def test_a_state_may_be_changed_in_place(shape: tuple[int, ...]) -> None:
    """As that of nn.LSTMCell: to begin again with one sequence of a batch, or for dropout."""
    torch.manual_seed(0)
    for cell in (nn.LSTMCell(D, H), SRNCell(D, H)):
        x, kept, grads = torch.randn(2, *shape), torch.tensor(0.5), []
        for in_place in (True, False):
            h, c = cell(x[0])
            if in_place:
                h.mul_(kept), c.mul_(kept)
            else:
                h, c = h * kept, c * kept
            h, c = cell(x[1], (h, c))
            grads.append(torch.autograd.grad((h + c).sum(), list(cell.parameters())))
        assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))


def test_memories_of_a_step() -> None:
    cell = SRNCell(D, H, tasks=("a", "b"))
    x = torch.randn(B, D)
    out = cell(x, return_memories=True)
    assert isinstance(out, SRNOutput)
    assert out.memories.shape == (B, 3, H) and out.task("b").shape == (B, 2 * H)
    assert torch.equal(out.memory("a", "b"), out.memories[:, 2])
    h, c = cell(x)
    assert torch.equal(out.output, h) and torch.equal(out.hx[0], h) and torch.equal(out.hx[1], c)
    single = cell(x[0], return_memories=True)
    assert single.memories.shape == (3, H) and single.task(0).shape == (2 * H,)
    torch.testing.assert_close(single.memories, out.memories[0])


def message(action) -> tuple[type[Exception], str]:
    with pytest.raises(Exception) as caught:  # any: which one is compared
        action()
    return type(caught.value), str(caught.value)


x = torch.zeros
CALLS = {
    "input 0-D": lambda cls: cls(D, H)(x(())),
    "input 3-D": lambda cls: cls(D, H)(x(1, B, D)),
    "input width": lambda cls: cls(D, H)(x(B, D + 1)),
    "h width": lambda cls: cls(D, H)(x(B, D), (x(B, H + 1), x(B, H))),
    "c width": lambda cls: cls(D, H)(x(B, D), (x(B, H), x(B, H + 1))),
    "h batch": lambda cls: cls(D, H)(x(B, D), (x(B + 1, H), x(B, H))),
    "c batch": lambda cls: cls(D, H)(x(B, D), (x(B, H), x(B + 1, H))),
    "h 3-D": lambda cls: cls(D, H)(x(B, D), (x(1, B, H), x(B, H))),
    "c 3-D": lambda cls: cls(D, H)(x(B, D), (x(B, H), x(1, B, H))),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_calls_fail_as_those_of_nn_lstm_cell(name: str) -> None:
    assert message(lambda: CALLS[name](SRNCell)) == message(lambda: CALLS[name](nn.LSTMCell))


@pytest.mark.parametrize("args", [(2.0, 3), (2, "3"), (0, 3), (2, 0), (2, 3, 1), (2, None)], ids=repr)
def test_wrong_sizes_are_refused_in_the_network_s_words(args: tuple) -> None:
    """``nn.LSTMCell`` checks nothing here."""
    assert message(lambda: SRNCell(*args)) == message(lambda: nn.LSTM(args[0], args[1], bias=(*args, True)[2]))


@pytest.mark.parametrize(
    ("hx", "error"),
    [
        ((x(H), x(H)), RuntimeError),  # unbatched, for a batch
        ((x(B, H).double(), x(B, H)), ValueError),
        ((x(B, H), x(B, H).double()), ValueError),
        ((x(B, H, device="meta"), x(B, H)), RuntimeError),
        ((x(B, H),), TypeError),
        (x(2, B, H), TypeError),
    ],
    ids=["rank", "h dtype", "c dtype", "device", "one", "tensor"],
)
def test_wrong_states_are_refused(hx, error: type[Exception]) -> None:
    with pytest.raises(error):
        SRNCell(D, H)(x(B, D), hx)


def test_input_of_another_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="does not match weight dtype"):
        SRNCell(D, H)(x(B, D).double())


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="backend should be one of"):
        SRNCell(D, H, backend="gpu")


def test_a_cell_tells_what_is_not_as_usual() -> None:
    assert repr(SRNCell(2, 3, tasks=2)) == "SRNCell(2, 3, tasks=('0', '1'))"
    cell = SRNCell(2, 3, bias=False, tasks=("a",), cell_clip=2, init="carry", backend="reference")
    assert repr(cell) == "SRNCell(2, 3, bias=False, tasks=('a',), cell_clip=2.0, init=carry, backend=reference)"
