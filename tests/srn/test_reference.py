"""The reference against a second, independent transcription of the paper's equations, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from srn_kernels import SRN, reference

from . import equations

TASK_NAMES = "esox"


def close(actual: torch.Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(actual, torch.from_numpy(np.ascontiguousarray(expected)), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("tasks", [1, 2, 3, 4])
def test_mask_gates(tasks: int) -> None:
    masters = [torch.rand(2, 5, dtype=torch.float64) for _ in range(tasks)]
    expected = equations.mask_gates({name: rho.numpy() for name, rho in zip(TASK_NAMES, masters, strict=False)})
    for gate, name in zip(reference.mask_gates(masters), equations.MEMORIES[tasks], strict=True):
        close(gate, expected[name])


def test_shared_gates_are_inclusive() -> None:
    """A neuron wide open for all three tasks belongs to every shared memory and to no single task's memory."""
    gates = reference.mask_gates([torch.ones(1, 1, dtype=torch.float64)] * 3)
    assert [gate.item() for gate in gates] == [0, 0, 0, 1, 1, 1, 1]


def make(tasks: int, layers: int, bidirectional: bool, proj_size: int, bias: bool) -> SRN:
    rnn = SRN(4, 5, layers, bias, False, 0.0, bidirectional, proj_size, tasks=tasks, dtype=torch.float64)
    rnn.backend = "reference"
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.mul_(2)
    return rnn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("proj_size", [0, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("tasks", [1, 2, 3, 4])
def test_network(tasks: int, layers: int, bidirectional: bool, proj_size: int, bias: bool) -> None:
    """Sequences of different lengths, with initial states, through every shape of network."""
    rnn = make(tasks, layers, bidirectional, proj_size, bias)
    directions = 1 + bidirectional
    lengths = [2, 5, 1, 5]
    sequences = [torch.randn(length, 4, dtype=torch.float64) for length in lengths]
    h0 = torch.randn(layers * directions, 4, proj_size or 5, dtype=torch.float64)
    c0 = torch.randn(layers * directions, 4, 5, dtype=torch.float64)
    out = rnn(pack_sequence(sequences, enforce_sorted=False), (h0, c0), return_memories=True)
    output, output_lengths = pad_packed_sequence(out.output)
    memories, _ = pad_packed_sequence(out.memories)
    assert output_lengths.tolist() == lengths
    state = {name: value.numpy() for name, value in rnn.state_dict().items()}
    for b, sequence in enumerate(sequences):
        expected = equations.network(
            sequence.numpy(), h0[:, b].numpy(), c0[:, b].numpy(), state, tasks, layers, bidirectional
        )
        close(output[: lengths[b], b].detach(), expected.output)
        close(memories[: lengths[b], b].detach(), expected.memories)
        close(out.hx[0][:, b].detach(), expected.h_n)
        close(out.hx[1][:, b].detach(), expected.c_n)


def test_dense_batch_without_initial_state() -> None:
    rnn = make(3, 1, False, 0, True)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    output, (h_n, c_n) = rnn(x)
    state = {name: value.numpy() for name, value in rnn.state_dict().items()}
    for b in range(3):
        expected = equations.network(x[:, b].numpy(), np.zeros((1, 5)), np.zeros((1, 5)), state, 3, 1, False)
        close(output[:, b].detach(), expected.output)
        close(h_n[:, b].detach(), expected.h_n)
        close(c_n[:, b].detach(), expected.c_n)


def test_initial_state_is_not_handed_back() -> None:
    """An empty run returns the state it was given, in new memory."""
    rnn = make(3, 1, False, 0, True)
    h0, c0 = torch.randn(1, 2, 5, dtype=torch.float64), torch.randn(1, 2, 5, dtype=torch.float64)
    weights = list(rnn.parameters())
    done = reference.layer(torch.empty(0, 4, dtype=torch.float64), h0, c0, weights, None, 3)
    assert torch.equal(done.h_n, h0) and torch.equal(done.c_n, c0)
    assert done.h_n.data_ptr() != h0.data_ptr() and done.c_n.data_ptr() != c0.data_ptr()
    assert done.output.shape == (0, 5) and done.memories.shape == (0, 7, 5)
