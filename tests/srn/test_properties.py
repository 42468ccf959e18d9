"""Properties that hold for every shape of network and batch that hypothesis thinks of."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

from srn_kernels import SRN, srn_layer
from srn_kernels.layout import gate_blocks, memory_count, parameter_shapes
from srn_kernels.testing import assert_within, movements, one_at_a_time, unit_roundoff

few = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def networks(draw: st.DrawFn) -> SRN:
    hidden = draw(st.integers(1, 20))
    return SRN(
        input_size=draw(st.integers(1, 6)),
        hidden_size=hidden,
        num_layers=draw(st.integers(1, 3)),
        bias=draw(st.booleans()),
        batch_first=draw(st.booleans()),
        bidirectional=draw(st.booleans()),
        proj_size=draw(st.integers(0, hidden - 1)),
        tasks=draw(st.integers(1, 5)),
        dtype=torch.float64,
    ).requires_grad_(False)


lengths = st.lists(st.integers(1, 7), min_size=1, max_size=6)


def random_state(rnn: SRN, batch: int) -> tuple[Tensor, Tensor]:
    layers = rnn.num_layers * (1 + rnn.bidirectional)
    sizes = rnn.proj_size or rnn.hidden_size, rnn.hidden_size
    h, c = (torch.randn(layers, batch, size, dtype=torch.float64) for size in sizes)
    return h, c


Run = Callable[..., list[Tensor]]
"""Of a network and tensors: whatever it makes of them."""


def assert_alike(one: Run, other: Run, rnn: SRN, *tensors: Tensor) -> None:
    """Two ways to the same results differ by no more than the effect of a few roundings of every number."""
    parameters = [name for name, _ in rnn.named_parameters()]

    def of_numbers(*numbers: Tensor) -> tuple[Tensor, ...]:
        copied = copy.deepcopy(rnn)
        copied.load_state_dict(dict(zip(parameters, numbers, strict=False)))
        return tuple(other(copied, *numbers[len(parameters) :]))

    got = one(rnn, *tensors)
    names = [f"result {index}" for index in range(len(got))]
    unit = unit_roundoff(torch.float64)
    truth, moved = movements(of_numbers, [*rnn.parameters(), *tensors], unit, names, one_at_a_time)
    tasks = len(rnn.tasks)
    longest = max(rnn.input_size, max(gate_blocks(tasks), memory_count(tasks)) * rnn.hidden_size)
    assert_within(dict(zip(names, got, strict=True)), truth, moved, unit, longest)


@few
@given(networks(), lengths, st.booleans())
def test_a_packed_run_is_each_sequence_s_own_run(rnn: SRN, lengths: list[int], with_state: bool) -> None:
    sequences = [torch.randn(length, rnn.input_size, dtype=torch.float64) for length in lengths]
    hx = random_state(rnn, len(lengths)) if with_state else ()

    def packed(rnn: SRN, *tensors: Tensor) -> list[Tensor]:
        sequences, hx = tensors[: len(lengths)], tensors[len(lengths) :]
        out = rnn(pack_sequence(sequences, enforce_sorted=False), hx or None, return_memories=True)
        output, got_lengths = pad_packed_sequence(out.output)
        memories, _ = pad_packed_sequence(out.memories)
        assert got_lengths.tolist() == lengths
        padded = [padded[:length, b] for b, length in enumerate(lengths) for padded in (output, memories)]
        return [*padded, *out.hx]

    def alone(rnn: SRN, *tensors: Tensor) -> list[Tensor]:
        sequences, hx = tensors[: len(lengths)], tensors[len(lengths) :]
        each = [
            rnn(sequence, tuple(state[:, b] for state in hx) or None, return_memories=True)
            for b, sequence in enumerate(sequences)
        ]
        final = [torch.stack([out.hx[index] for out in each], dim=1) for index in (0, 1)]
        return [*(value for out in each for value in (out.output, out.memories)), *final]

    assert_alike(packed, alone, rnn, *sequences, *hx)


@few
@given(networks(), lengths)
def test_equal_lengths_packed_are_a_dense_batch(rnn: SRN, lengths: list[int]) -> None:
    batch, steps = len(lengths), lengths[0]
    shape = (batch, steps) if rnn.batch_first else (steps, batch)
    x = torch.randn(*shape, rnn.input_size, dtype=torch.float64)

    def packed(rnn: SRN, x: Tensor) -> list[Tensor]:
        out = rnn(pack_padded_sequence(x, torch.full((batch,), steps), rnn.batch_first), return_memories=True)
        return [*(pad_packed_sequence(one, rnn.batch_first)[0] for one in (out.output, out.memories)), *out.hx]

    def dense(rnn: SRN, x: Tensor) -> list[Tensor]:
        out = rnn(x, return_memories=True)
        return [out.output, out.memories, *out.hx]

    assert_alike(packed, dense, rnn, x)


@few
@given(networks(), lengths)
def test_padding_is_never_read(rnn: SRN, lengths: list[int]) -> None:
    steps = max(lengths)
    x = torch.full((len(lengths), steps, rnn.input_size), torch.nan, dtype=torch.float64)
    for b, length in enumerate(lengths):
        x[b, :length] = torch.randn(length, rnn.input_size)
    out = rnn(pack_padded_sequence(x, torch.tensor(lengths), True, enforce_sorted=False), return_memories=True)
    for tensor in (out.output.data, out.memories.data, *out.hx):
        assert tensor.isfinite().all()


@few
@given(networks(), lengths, st.randoms(use_true_random=False))
def test_the_order_of_the_batch_does_not_matter(rnn: SRN, lengths: list[int], random) -> None:
    sequences = [torch.randn(length, rnn.input_size, dtype=torch.float64) for length in lengths]
    hx = random_state(rnn, len(lengths))
    order = list(range(len(lengths)))
    random.shuffle(order)
    index = torch.tensor(order)

    def in_order(rnn: SRN, h: Tensor, c: Tensor, *sequences: Tensor) -> list[Tensor]:
        packed: PackedSequence = pack_sequence(sequences, enforce_sorted=False)
        output, hx = rnn(packed, (h, c))
        return [pad_packed_sequence(output)[0], *hx]

    def shuffled(rnn: SRN, h: Tensor, c: Tensor, *sequences: Tensor) -> list[Tensor]:
        return in_order(rnn, h[:, index], c[:, index], *(sequences[b] for b in order))

    def then_shuffled(rnn: SRN, *tensors: Tensor) -> list[Tensor]:
        return [result[:, index] for result in in_order(rnn, *tensors)]

    assert_alike(shuffled, then_shuffled, rnn, *hx, *sequences)


@few
@given(networks(), st.integers(1, 4), st.integers(2, 8), st.data())
def test_a_run_can_be_cut_anywhere(rnn: SRN, batch: int, steps: int, data: st.DataObject) -> None:
    if rnn.bidirectional:
        rnn = SRN(rnn.input_size, rnn.hidden_size, rnn.num_layers, proj_size=rnn.proj_size, dtype=torch.float64)
    rnn.batch_first = False
    x = torch.randn(steps, batch, rnn.input_size, dtype=torch.float64)
    cut = data.draw(st.integers(1, steps - 1))

    def whole(rnn: SRN, x: Tensor) -> list[Tensor]:
        output, hx = rnn(x)
        return [output, *hx]

    def in_two(rnn: SRN, x: Tensor) -> list[Tensor]:
        first, middle = rnn(x[:cut])
        second, end = rnn(x[cut:], middle)
        return [torch.cat([first, second]), *end]

    assert_alike(in_two, whole, rnn, x)


@few
@given(networks(), st.integers(1, 4), st.integers(1, 6))
def test_a_reversed_direction_is_the_direction_on_reversed_input(rnn: SRN, batch: int, steps: int) -> None:
    """The two halves of a layer differ in nothing but the order of the steps."""
    sizes = rnn.input_size, rnn.hidden_size, rnn.proj_size, len(rnn.tasks), rnn.bias
    weights = [torch.randn(shape, dtype=torch.float64) for shape in parameter_shapes(*sizes)]
    x = torch.randn(steps, batch, rnn.input_size, dtype=torch.float64)
    h0 = torch.randn(2, batch, rnn.proj_size or rnn.hidden_size, dtype=torch.float64)
    c0 = torch.randn(2, batch, rnn.hidden_size, dtype=torch.float64)

    def plain(rnn: SRN, x: Tensor, h0: Tensor, c0: Tensor, *weights: Tensor) -> list[Tensor]:
        output, h_n, c_n, memories = srn_layer(
            x.flatten(0, 1), h0, c0, [*weights, *weights], tasks=len(rnn.tasks), memories=True
        )
        return [output.unflatten(0, (steps, batch)), memories.unflatten(0, (steps, batch)), h_n, c_n]

    def reversed(rnn: SRN, x: Tensor, h0: Tensor, c0: Tensor, *weights: Tensor) -> list[Tensor]:
        *over_time, h_n, c_n = plain(rnn, x.flip(0), h0.flip(0), c0.flip(0), *weights)
        swapped = [torch.cat(one.chunk(2, dim=-1)[::-1], dim=-1).flip(0) for one in over_time]
        return [*swapped, h_n.flip(0), c_n.flip(0)]

    assert_alike(reversed, plain, rnn, x, h0, c0, *weights)
