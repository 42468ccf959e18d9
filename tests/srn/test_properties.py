"""Properties that hold for every shape of network and batch, whatever hypothesis thinks of."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

from srn_kernels import SRN, srn_layer
from srn_kernels.layout import parameter_shapes

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


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


@few
@given(networks(), lengths, st.booleans())
def test_a_packed_run_is_each_sequence_s_own_run(rnn: SRN, lengths: list[int], with_state: bool) -> None:
    sequences = [torch.randn(length, rnn.input_size, dtype=torch.float64) for length in lengths]
    hx = random_state(rnn, len(lengths)) if with_state else None
    out = rnn(pack_sequence(sequences, enforce_sorted=False), hx, return_memories=True)
    output, got_lengths = pad_packed_sequence(out.output)
    memories, _ = pad_packed_sequence(out.memories)
    assert got_lengths.tolist() == lengths
    for b, sequence in enumerate(sequences):
        alone = rnn(sequence, None if hx is None else (hx[0][:, b], hx[1][:, b]), return_memories=True)
        close(output[: lengths[b], b], alone.output)
        close(memories[: lengths[b], b], alone.memories)
        close(out.hx[0][:, b], alone.hx[0])
        close(out.hx[1][:, b], alone.hx[1])


@few
@given(networks(), lengths)
def test_equal_lengths_packed_are_a_dense_batch(rnn: SRN, lengths: list[int]) -> None:
    batch, steps = len(lengths), lengths[0]
    shape = (batch, steps) if rnn.batch_first else (steps, batch)
    x = torch.randn(*shape, rnn.input_size, dtype=torch.float64)
    dense = rnn(x, return_memories=True)
    packed = rnn(pack_padded_sequence(x, torch.full((batch,), steps), rnn.batch_first), return_memories=True)
    close(pad_packed_sequence(packed.output, rnn.batch_first)[0], dense.output)
    close(pad_packed_sequence(packed.memories, rnn.batch_first)[0], dense.memories)
    close(packed.hx[0], dense.hx[0])
    close(packed.hx[1], dense.hx[1])


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

    def run(order: list[int], hx) -> tuple[Tensor, Tensor, Tensor]:
        packed: PackedSequence = pack_sequence([sequences[b] for b in order], enforce_sorted=False)
        output, (h_n, c_n) = rnn(packed, hx)
        return pad_packed_sequence(output)[0], h_n, c_n

    expected = run(list(range(len(lengths))), hx)
    got = run(order, (hx[0][:, index], hx[1][:, index]))
    for one, other in zip(got, expected, strict=True):
        close(one, other[:, index])


@few
@given(networks(), st.integers(1, 4), st.integers(2, 8), st.data())
def test_a_run_can_be_cut_anywhere(rnn: SRN, batch: int, steps: int, data: st.DataObject) -> None:
    if rnn.bidirectional:
        rnn = SRN(rnn.input_size, rnn.hidden_size, rnn.num_layers, proj_size=rnn.proj_size, dtype=torch.float64)
    rnn.batch_first = False
    x = torch.randn(steps, batch, rnn.input_size, dtype=torch.float64)
    cut = data.draw(st.integers(1, steps - 1))
    output, hx = rnn(x)
    first, middle = rnn(x[:cut])
    second, end = rnn(x[cut:], middle)
    close(torch.cat([first, second]), output)
    close(end[0], hx[0])
    close(end[1], hx[1])


@few
@given(networks(), st.integers(1, 4), st.integers(1, 6))
def test_a_reversed_direction_is_the_direction_on_reversed_input(rnn: SRN, batch: int, steps: int) -> None:
    """The two halves of a layer differ in nothing but the order of the steps."""
    sizes = rnn.input_size, rnn.hidden_size, rnn.proj_size, len(rnn.tasks), rnn.bias
    weights = [torch.randn(shape, dtype=torch.float64) for shape in parameter_shapes(*sizes)]
    x = torch.randn(steps, batch, rnn.input_size, dtype=torch.float64)
    h0 = torch.randn(2, batch, rnn.proj_size or rnn.hidden_size, dtype=torch.float64)
    c0 = torch.randn(2, batch, rnn.hidden_size, dtype=torch.float64)

    def run(x: Tensor, h0: Tensor, c0: Tensor) -> list[Tensor]:
        output, h_n, c_n, memories = srn_layer(
            x.flatten(0, 1), h0, c0, [*weights, *weights], tasks=len(rnn.tasks), memories=True
        )
        return [output.unflatten(0, (steps, batch)), memories.unflatten(0, (steps, batch)), h_n, c_n]

    *over_time, h_n, c_n = run(x, h0, c0)
    *over_time_reversed, h_r, c_r = run(x.flip(0), h0.flip(0), c0.flip(0))
    for one, other in zip(over_time, over_time_reversed, strict=True):
        forward, backward = one.chunk(2, dim=-1)
        close(torch.cat([backward, forward], dim=-1), other.flip(0))
    close(h_r, h_n.flip(0))
    close(c_r, c_n.flip(0))
