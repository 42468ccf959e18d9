"""``SRNOutput``: the order of the memories, what a task sees, and shapes, for every form of call."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

from srn_kernels import SRN, SRNOutput

TASKS = ("entity", "subject", "object")
T, B, D, H = 5, 3, 4, 6


def run(x: Tensor | PackedSequence, **settings) -> tuple[SRN, SRNOutput]:
    rnn = SRN(D, H, tasks=TASKS, **settings)
    return rnn, rnn(x, return_memories=True)


def test_memories_come_in_the_documented_order() -> None:
    _, out = run(torch.randn(T, B, D))
    orders = [("entity",), ("subject",), ("object",), ("entity", "subject"), ("entity", "object"),
              ("subject", "object"), ("entity", "subject", "object")]  # fmt: skip
    assert out.memories.shape == (T, B, 7, H)
    for index, tasks in enumerate(orders):
        assert torch.equal(out.memory(*tasks), out.memories[:, :, index])
        assert torch.equal(out.memory(*reversed(tasks)), out.memories[:, :, index])
        assert torch.equal(out.memory(*(TASKS.index(task) for task in tasks)), out.memories[:, :, index])


@pytest.mark.parametrize(
    ("task", "seen"), [("entity", [0, 3, 4, 6]), ("subject", [1, 3, 5, 6]), ("object", [2, 4, 5, 6])]
)
def test_a_task_sees_its_four_memories(task: str, seen: list[int]) -> None:
    _, out = run(torch.randn(T, B, D))
    assert out.task(task).shape == (T, B, 4 * H)
    assert torch.equal(out.task(task), torch.cat([out.memories[:, :, index] for index in seen], dim=-1))
    assert torch.equal(out.task(task), out.task(TASKS.index(task)))


def test_output_and_state_are_those_of_a_plain_call() -> None:
    x = torch.randn(T, B, D)
    rnn, out = run(x, num_layers=2, bidirectional=True, proj_size=2)
    output, (h_n, c_n) = rnn(x)
    assert torch.equal(out.output, output) and torch.equal(out.hx[0], h_n) and torch.equal(out.hx[1], c_n)
    assert isinstance(rnn(x, return_memories=False), tuple)


def test_memories_are_bounded_and_determine_the_cell_state() -> None:
    """Eq. 8 from Eq. 10 backwards: W_mc atanh(memories) + b_mc is the last cell state."""
    x = torch.randn(T, B, D, dtype=torch.float64)
    rnn = SRN(D, H, dtype=torch.float64)
    out = rnn(x, return_memories=True)
    assert out.memories.abs().max() < 1
    c = torch.atanh(out.memories[-1]).flatten(1) @ rnn.weight_mc_l0.t() + rnn.bias_mc_l0
    torch.testing.assert_close(c, out.hx[1][0])


def test_memories_are_the_last_layer_s() -> None:
    x = torch.randn(T, B, D)
    rnn, out = run(x, num_layers=2)
    top = SRN(H, H, tasks=TASKS)
    top.load_state_dict({name.replace("_l1", "_l0"): v for name, v in rnn.state_dict().items() if "_l1" in name})
    bottom = SRN(D, H, tasks=TASKS)
    bottom.load_state_dict({name: v for name, v in rnn.state_dict().items() if "_l0" in name})
    assert torch.equal(top(bottom(x)[0], return_memories=True).memories, out.memories)


def test_directions_lie_side_by_side_in_each_memory() -> None:
    x = torch.randn(T, B, D)
    rnn, out = run(x, bidirectional=True)
    assert out.memories.shape == (T, B, 7, 2 * H) and out.task("object").shape == (T, B, 4 * 2 * H)
    for direction, suffix in enumerate(("", "_reverse")):
        single = SRN(D, H, tasks=TASKS)
        weights = {name: rnn.state_dict()[name + suffix] for name in single.state_dict()}
        single.load_state_dict(weights)
        alone = single(x.flip(0) if direction else x, return_memories=True).memories
        alone = alone.flip(0) if direction else alone
        assert torch.equal(out.memories[..., direction * H : (direction + 1) * H], alone)
        assert torch.equal(out.memory("entity", "object")[..., direction * H : (direction + 1) * H], alone[:, :, 4])


@pytest.mark.parametrize(("tasks", "memories"), [(1, 1), (2, 3), (3, 7), (4, 15), (5, 31)])
def test_any_number_of_tasks(tasks: int, memories: int) -> None:
    rnn = SRN(D, H, tasks=tasks)
    out = rnn(torch.randn(T, B, D), return_memories=True)
    assert out.tasks == tuple(map(str, range(tasks)))
    assert out.memories.shape == (T, B, memories, H)
    assert out.task(tasks - 1).shape == (T, B, 2 ** (tasks - 1) * H)
    assert torch.equal(out.memory(*range(tasks)), out.memories[:, :, -1])
    assert torch.equal(out.memory("0"), out.memories[:, :, 0])


def test_batch_first_and_unbatched() -> None:
    x = torch.randn(B, T, D)
    rnn, out = run(x, batch_first=True)
    assert out.memories.shape == (B, T, 7, H) and out.task("entity").shape == (B, T, 4 * H)
    alone = rnn(x[0], return_memories=True)
    assert alone.memories.shape == (T, 7, H) and alone.task("entity").shape == (T, 4 * H)
    torch.testing.assert_close(alone.memories, out.memories[0])


@pytest.mark.parametrize("lengths", [[5, 4, 2], [2, 5, 4]])
def test_packed_sequences_stay_packed(lengths: list[int]) -> None:
    sequences = [torch.randn(length, D) for length in lengths]
    packed = pack_sequence(sequences, enforce_sorted=False)
    rnn, out = run(packed, bidirectional=True)
    rows = sum(lengths)
    assert out.memories.data.shape == (rows, 7, 2 * H)
    for field, width in ((out.task("subject"), 8 * H), (out.memory("subject", "object"), 2 * H), (out.output, 2 * H)):
        assert isinstance(field, PackedSequence) and field.data.shape == (rows, width)
        for index in (1, 2, 3):
            assert torch.equal(field[index], packed[index])
    padded, got_lengths = pad_packed_sequence(out.task("subject"))
    assert got_lengths.tolist() == lengths
    for b, sequence in enumerate(sequences):
        alone = rnn(sequence, return_memories=True).task("subject")
        torch.testing.assert_close(padded[: lengths[b], b], alone)


@pytest.mark.parametrize(
    "tasks", [(), ("entity", "entity"), ("entity", 0), ("verb",), (3,), (-1,), ("0",), (None,)], ids=repr
)
def test_a_memory_nobody_has(tasks: tuple) -> None:
    _, out = run(torch.randn(T, B, D))
    with pytest.raises(ValueError, match="entity"):  # the message names the tasks
        out.memory(*tasks)


@pytest.mark.parametrize("task", ["verb", 3, -1, "0", None, "entit", 1.5], ids=repr)
def test_a_task_that_is_none(task) -> None:
    _, out = run(torch.randn(T, B, D))
    with pytest.raises(ValueError, match="unknown task"):
        out.task(task)


def test_gradients_flow_through_memories_alone() -> None:
    rnn, out = run(torch.randn(T, B, D))
    out.task("entity").sum().backward()
    assert rnn.weight_hh_l0.grad.abs().sum() > 0
    assert rnn.weight_mc_l0.grad.abs().sum() > 0  # through the steps that follow
    last = rnn(torch.randn(1, B, D), return_memories=True).task("entity").sum()
    grads = torch.autograd.grad(last, [rnn.weight_ih_l0, rnn.weight_mc_l0], allow_unused=True, materialize_grads=True)
    gates = grads[0].unflatten(0, (9, H)).abs().sum((1, 2))
    # In a single step from zeros only the candidate and its master gates affect the memories.
    assert [index for index, total in enumerate(gates.tolist()) if total > 0] == [2, 3, 4, 5]
    assert grads[1].abs().sum() == 0


def test_results_can_be_compared_and_kept_in_sets() -> None:
    """Two results are equal if they are the same object: tensors have no single truth value."""
    rnn = SRN(D, H)
    x = torch.randn(T, B, D)
    one, other = rnn(x, return_memories=True), rnn(x, return_memories=True)
    assert one == one and one != other  # noqa: PLR0124
    assert len({one, other}) == 2


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_keeps_the_gradients(reentrant: bool) -> None:
    x, rnn = torch.randn(T, B, D, requires_grad=True), SRN(D, H, tasks=TASKS)

    def gradients(out: SRNOutput) -> tuple[Tensor, ...]:
        loss = out.output.sum() + out.task("subject").square().sum()
        rnn.zero_grad()
        loss.backward()
        return tuple(parameter.grad.clone() for parameter in rnn.parameters())

    expected = gradients(rnn(x, return_memories=True))
    again = checkpoint(lambda x: rnn(x, return_memories=True), x, use_reentrant=reentrant)
    for got, one in zip(gradients(SRNOutput(*again)), expected, strict=True):
        assert torch.equal(got, one)


def test_full_backward_hooks_fire() -> None:
    rnn, fired = SRN(D, H, tasks=TASKS), []
    rnn.register_full_backward_hook(lambda module, inputs, outputs: fired.append(outputs))
    out = rnn(torch.randn(T, B, D, requires_grad=True), return_memories=True)
    assert isinstance(out, SRNOutput) and out.tasks == TASKS
    out.memory("entity").sum().backward()
    ((_, of_state, of_memories, of_names),) = fired
    assert of_memories.abs().sum() > 0 and of_state is of_names is None


def test_tensors_are_found_in_a_result() -> None:
    """By torch's own walk through nested values, which rebuilds it; and by position."""
    _, out = run(torch.randn(T, B, D))
    doubled = tree_map_only(Tensor, lambda tensor: 2 * tensor, out)
    assert isinstance(doubled, SRNOutput) and torch.equal(doubled.task("object"), 2 * out.task("object"))
    output, (h_n, _), memories, tasks = out
    assert output is out.output and h_n is out.hx[0] and memories is out.memories and tasks == TASKS


def test_memories_can_be_asked_for_by_position() -> None:
    """An exporter that fills in defaults calls a module so."""
    rnn, x = SRN(D, H, tasks=TASKS), torch.randn(T, B, D)
    assert isinstance(rnn(x, None, True), SRNOutput) and not isinstance(rnn(x, None, False), SRNOutput)
