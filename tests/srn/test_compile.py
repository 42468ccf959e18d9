"""``torch.compile`` without a graph break, ``torch.export``, and how often a changing batch is recompiled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.eval_frame import skip_code
from torch._dynamo.testing import CompileCounterWithBackend
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config
from torch.export import Dim
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils._pytree import tree_leaves

from srn_kernels import SRN, SRNCell, SRNOutput, backends

D, H = 4, 6
SIZES = [(5, 3), (7, 2), (2, 9), (11, 4), (3, 3)]  # T, B


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    # torch's caches on disk know our operators by name: what they return may have changed since
    with inductor_config.patch(fx_graph_cache=False), functorch_config.patch(enable_autograd_cache=False):
        yield
    torch._dynamo.reset()


def gradients(module: torch.nn.Module, outputs) -> list[Tensor]:
    loss = sum(output.float().pow(2).sum() for output in tree_leaves(outputs))
    return list(torch.autograd.grad(loss, list(module.parameters())))


def assert_same(got, expected) -> None:
    for one, other in zip(tree_leaves(got), tree_leaves(expected), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "settings", [{}, {"num_layers": 2, "bidirectional": True, "proj_size": 2, "batch_first": True}], ids=str
)
def test_one_graph_serves_every_batch_and_length(settings: dict) -> None:
    rnn = SRN(D, H, **settings)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(rnn, fullgraph=True, dynamic=True, backend=counter)
    compiled(torch.randn(8, 5, D))  # sizes that differ, as equal ones would count as one
    compiled_once = counter.frame_count
    for steps, batch in SIZES:
        x = torch.randn(steps, batch, D)
        with backends.record() as ran:
            got = compiled(x)
            got_gradients = gradients(rnn, got)
        assert len(ran) == 2 * rnn.num_layers and len(set(ran)) == 1
        expected = rnn(x)
        assert_same(got, expected)
        assert_same(got_gradients, gradients(rnn, expected))
    assert counter.frame_count == compiled_once


def test_automatic_dynamic_shapes_settle() -> None:
    """Without ``dynamic=True`` another T and another B each compile once more, and nothing else does."""
    rnn = SRN(D, H)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(rnn, fullgraph=True, backend=counter)
    counts = []
    for steps, batch in [(5, 3), (7, 3), (7, 2), *SIZES]:
        x = torch.randn(steps, batch, D)
        assert_same(compiled(x), rnn(x))
        counts.append(counter.frame_count)
    assert len(set(counts[2:])) == 1, counts


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("batch", [1, 3])
def test_single_steps_and_sequences(steps: int, batch: int) -> None:
    rnn = SRN(D, H, bidirectional=True)
    compiled = torch.compile(rnn, fullgraph=True, dynamic=True, backend="aot_eager")
    x, hx = torch.randn(steps, batch, D), (torch.randn(2, batch, H), torch.randn(2, batch, H))
    assert_same(compiled(x, hx), rnn(x, hx))
    assert_same(compiled(x[:, 0]), rnn(x[:, 0]))


@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed_sequences(enforce_sorted: bool, with_state: bool) -> None:
    """Lengths are data: new ones must neither recompile nor give the results of earlier lengths."""
    rnn = SRN(D, H, 2, bidirectional=True)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(rnn, fullgraph=True, dynamic=True, backend=counter)
    counts = []
    for lengths in ([8, 5, 3], [9, 5, 2], [4, 4, 2], [7, 3, 3], [8, 6, 5, 3], [5, 3]):
        if not enforce_sorted:
            lengths = lengths[1:] + lengths[:1]
        packed = pack_sequence([torch.randn(n, D) for n in lengths], enforce_sorted=enforce_sorted)
        hx = (torch.randn(4, len(lengths), H), torch.randn(4, len(lengths), H)) if with_state else None
        got, expected = compiled(packed, hx), rnn(packed, hx)
        assert isinstance(got[0], PackedSequence) and torch.equal(got[0].batch_sizes, packed.batch_sizes)
        assert_same(got, expected)
        assert_same(gradients(rnn, (got[0].data, *got[1])), gradients(rnn, (expected[0].data, *expected[1])))
        counts.append(counter.frame_count)
    assert len(set(counts)) == 1, counts


def test_memories_and_what_a_task_sees() -> None:
    rnn = SRN(D, H, tasks=("a", "b"))

    def heads(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = rnn(x, return_memories=True)
        return out.task("a"), out.memory("a", "b"), out.output

    x = torch.randn(5, 3, D)
    got = torch.compile(heads, fullgraph=True, dynamic=True, backend="aot_eager")(x)
    assert_same(got, heads(x))
    assert_same(gradients(rnn, got), gradients(rnn, heads(x)))
    whole = torch.compile(rnn, fullgraph=True, dynamic=True, backend="aot_eager")(x, return_memories=True)
    assert isinstance(whole, SRNOutput)
    assert torch.equal(whole.memories, rnn(x, return_memories=True).memories)


@pytest.mark.filterwarnings("error::UserWarning")
def test_compiling_warns_of_nothing() -> None:
    rnn = SRN(D, H)
    torch.compile(lambda x: rnn(x, return_memories=True).task(0), fullgraph=True, backend="aot_eager")(
        torch.randn(5, 3, D)
    )


def test_inside_a_larger_model_with_inductor() -> None:
    """Includes code generation, once."""

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(10, D)
            self.rnn = SRN(D, H, batch_first=True, bidirectional=True)
            self.head = torch.nn.Linear(2 * H, 2)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(torch.relu(self.rnn(self.embed(ids))[0]))

    model = Model()
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    for shape in ((3, 5), (2, 7)):
        ids = torch.randint(10, shape)
        got, expected = compiled(ids), model(ids)
        assert_same(got, expected)
        assert_same(gradients(model, got), gradients(model, expected))


def test_dropout_stays_random_in_a_compiled_network() -> None:
    rnn = SRN(D, H, 2, dropout=0.5, recurrent_dropout=0.5)
    compiled = torch.compile(rnn, fullgraph=True, backend="aot_eager")
    x = torch.randn(5, 3, D)
    assert not torch.equal(compiled(x)[0], compiled(x)[0])
    rnn.eval()
    assert_same(compiled(x), rnn(x))


def test_cell() -> None:
    cell = SRNCell(D, H)

    def stream(x: Tensor) -> tuple[Tensor, Tensor]:
        hx = None
        for row in x:
            hx = cell(row, hx)
        return hx

    x = torch.randn(4, 3, D)
    assert_same(torch.compile(stream, fullgraph=True, backend="aot_eager")(x), stream(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_inside_a_graph(dtype: torch.dtype) -> None:
    rnn = SRN(D, H)

    def run(x: Tensor):
        with torch.autocast("cpu", dtype):
            return rnn(x)

    x = torch.randn(5, 3, D)
    got = torch.compile(run, fullgraph=True, dynamic=True, backend="aot_eager")(x)
    assert {tensor.dtype for tensor in tree_leaves(got)} == {dtype}
    assert_same(got, run(x))
    assert_same(gradients(rnn, got), gradients(rnn, run(x)))


def test_errors_are_raised_from_a_compiled_network_too() -> None:
    rnn = SRN(D, H)
    compiled = torch.compile(rnn, dynamic=True, backend="aot_eager")
    with pytest.raises(RuntimeError, match=r"Expected hidden\[0\] size"):
        compiled(torch.randn(5, 3, D), (torch.randn(1, 2, H), torch.randn(1, 3, H)))
    with pytest.raises(RuntimeError, match="must be equal to input_size"):
        compiled(torch.randn(5, 3, D + 1))


DYNAMIC = {0: Dim("steps", min=1, max=100), 1: Dim("batch", min=1, max=100)}


@pytest.mark.parametrize("strict", [True, False])
def test_export_with_any_batch_and_length(strict: bool) -> None:
    rnn = SRN(D, H, 2, bidirectional=True)
    program = torch.export.export(rnn, (torch.randn(5, 3, D),), dynamic_shapes={"input": DYNAMIC}, strict=strict)
    assert any(node.target is torch.ops.srn_kernels.layer.default for node in program.graph.nodes)
    for steps, batch in (*SIZES, (1, 1)):
        x = torch.randn(steps, batch, D)
        assert_same(program.module()(x), rnn(x))


def test_export_with_state() -> None:
    rnn = SRN(D, H)
    hx = torch.randn(1, 3, H), torch.randn(1, 3, H)
    shapes = {"input": DYNAMIC, "hx": ({1: DYNAMIC[1]}, {1: DYNAMIC[1]})}
    program = torch.export.export(rnn, (torch.randn(5, 3, D), hx), dynamic_shapes=shapes)
    x, hx = torch.randn(2, 7, D), (torch.randn(1, 7, H), torch.randn(1, 7, H))
    assert_same(program.module()(x, hx), rnn(x, hx))


@pytest.mark.parametrize("strict", [True, False])
def test_export_with_memories(strict: bool) -> None:
    rnn = SRN(D, H)
    x, keywords = torch.randn(5, 3, D), {"return_memories": True}
    program = torch.export.export(rnn, (x,), keywords, strict=strict)
    got, expected = program.module()(x, **keywords), rnn(x, **keywords)
    assert isinstance(got, SRNOutput) and got.tasks == expected.tasks
    assert_same((got.output, got.hx, got.memories), (expected.output, expected.hx, expected.memories))


@pytest.mark.slow
def test_training_compiles_into_a_wrapper_in_cpp() -> None:
    rnn, x = SRN(D, H), torch.randn(5, 3, D)
    with inductor_config.patch(cpp_wrapper=True):
        torch.compile(lambda x: rnn(x)[0].sum(), fullgraph=True)(x).backward()
    grads = [parameter.grad for parameter in rnn.parameters()]
    assert_same(grads, torch.autograd.grad(rnn(x)[0].sum(), list(rnn.parameters())))


def test_what_runs_behind_the_operator_is_not_traced() -> None:
    """A frame that the compiler skips calls it in a compiled region; what a kernel does stays out of graphs."""
    rnn, x = SRN(D, H), torch.randn(5, 3, D, requires_grad=True)
    rows, state = x.flatten(0, 1), torch.zeros(1, 3, H)
    arguments = (rows, state, state, list(rnn.parameters()), None, 3, None, False, True, "auto")

    def skipped():
        return torch.ops.srn_kernels.layer.default(*arguments)

    skip_code(skipped.__code__)
    counter, scope = CompileCounterWithBackend("eager"), {"skipped": skipped}
    torch.compile(lambda: eval("skipped()", scope), backend=counter)()[0].sum().backward()  # eval cannot be traced
    assert counter.frame_count == 0
    assert x.grad.abs().sum() > 0
