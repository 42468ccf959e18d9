"""``torch.fx``: a symbolic tracer sees one node, as for ``nn.LSTM``."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from srn_kernels import SRN, SRNCell

T, B, D, H = 5, 3, 4, 6


class Tagger(nn.Module):
    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.inner = nn.ModuleDict({"rnn": rnn})
        self.head = nn.Linear(H, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner["rnn"](x)[0])


class WithMemories(Tagger):
    def forward(self, x: Tensor) -> Tensor:
        first = self.inner["rnn"](x)
        again = self.inner["rnn"](first[0], first[1], return_memories=True)
        return again.memories.sum(-2) + self.head(again.output).sum()


@pytest.mark.parametrize(("make", "shape"), [(nn.LSTM, (T, B, D)), (SRN, (T, B, D)), (SRNCell, (B, D))])
def test_a_module_is_a_node(make: type[nn.Module], shape: tuple[int, ...]) -> None:
    model = Tagger(make(D, H))
    traced = torch.fx.symbolic_trace(model)
    called = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    assert called == ["inner.rnn", "head"]
    x = torch.randn(shape)
    assert torch.equal(traced(x), model(x))


class Decoder(nn.Module):
    """Only the state is traced: the input is the module's own."""

    def __init__(self, rnn: nn.Module, state: tuple[int, ...], form: type) -> None:
        super().__init__()
        self.form = form
        self.rnn, self.x = rnn, torch.zeros(*state[:-1], D)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        return self.rnn(self.x, self.form((h, c)))[0]


@pytest.mark.parametrize(
    ("make", "state"), [(nn.LSTMCell, (B, H)), (SRNCell, (B, H)), (nn.LSTM, (1, B, H)), (SRN, (1, B, H))]
)
@pytest.mark.parametrize("form", [tuple, list])
def test_a_state_alone_is_traced(make: type[nn.Module], state: tuple[int, ...], form: type) -> None:
    model = Decoder(make(D, H), state, form)
    traced = torch.fx.symbolic_trace(model)
    assert [str(node.target) for node in traced.graph.nodes if node.op == "call_module"] == ["rnn"]
    hx = torch.randn(state), torch.randn(state)
    assert torch.equal(traced(*hx), model(*hx))


def test_states_and_memories_go_through_the_node() -> None:
    model = WithMemories(SRN(H, H))
    traced = torch.fx.symbolic_trace(model)
    x = torch.randn(T, B, H)
    assert torch.equal(traced(x), model(x))
    assert [node.kwargs for node in traced.graph.nodes if node.target == "inner.rnn"] == [{}, {"return_memories": True}]
