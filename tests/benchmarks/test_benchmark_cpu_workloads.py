"""The workloads of the cell on a CPU: the ceiling, streaming, packed sentences, memory; and that checks can fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from srn_benchmarks import ceiling, cell
from srn_benchmarks.memory import formula, peak_bytes
from srn_benchmarks.packed import Packed, batches, padded_tokens
from srn_benchmarks.shapes import TINY, Shape
from srn_benchmarks.streaming import Stream
from srn_benchmarks.tables import LSTM

from srn_kernels import native

SHAPE = Shape("cpu", torch.float32, 1, False, 3, 5, **TINY)
LENGTHS = (2, 5, 3, 7, 1)

BUILD: dict[str, Callable[[str], cell.Checkable]] = {
    "stream": lambda name: Stream(SHAPE, name),
    "packed": lambda name: Packed(SHAPE, LENGTHS, name),
}

# -- the ceiling -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(native.missing() is not None, reason="needs the native library")
@pytest.mark.parametrize("threads", [1, 2])
def test_ceiling_counts_what_it_runs(threads: int):
    companion = ceiling.companion(threads)
    assert companion is not None and not companion.settles
    assert companion.run() == companion.work["flops"] == threads * ceiling.companion(1).work["flops"]


def test_no_ceiling_without_the_native_library(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native, "missing", lambda: "not built")
    assert ceiling.companion(1) is None


# -- streaming and packed sentences ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BUILD)
def test_every_implementation_passes_its_check(kind: str):
    for name in cell.implementations(SHAPE):
        cell.check(BUILD[kind](name))


@pytest.mark.parametrize("kind", BUILD)
@pytest.mark.parametrize("name", [LSTM, "reference"])
def test_a_wrong_result_is_an_error(kind: str, name: str):
    run = BUILD[kind](name)
    with torch.no_grad():
        next((run.cell if isinstance(run, Stream) else run.rnn).parameters()).mul_(1.01)
    with pytest.raises(AssertionError, match="times what roundings move"):
        cell.check(run)


@pytest.mark.parametrize("kind", BUILD)
def test_another_backend_than_asked_for_is_an_error(kind: str):
    run = BUILD[kind]("reference")
    run.implementation = "cpu"
    with pytest.raises(AssertionError, match="asked for cpu, ran"):
        cell.check(run)


def test_a_stream_is_what_the_layer_computes():
    """Weights and input are drawn alike, so a step at a time must give what a sequence at once gives."""
    stream = Stream(SHAPE, LSTM)
    layer = torch.nn.LSTM(SHAPE.input_size, SHAPE.hidden_size)
    layer.load_state_dict({f"{name}_l0": value for name, value in stream.cell.state_dict().items()})
    expected, (_, c_n) = layer(torch.stack(stream.rows))
    *outputs, last = stream()
    torch.testing.assert_close(torch.stack(outputs), expected.detach())
    torch.testing.assert_close(last, c_n[0].detach())


def test_batches_are_in_order_and_padding_is_counted_to_the_longest_of_each():
    assert batches(LENGTHS, 3) == [(2, 5, 3), (7, 1)]
    assert padded_tokens(LENGTHS, 3) == 3 * 5 + 2 * 7
    packed = Packed(SHAPE, LENGTHS, LSTM)
    assert sum(len(batch.data) for batch in packed.batches) == sum(LENGTHS)
    assert packed.batches[0].batch_sizes.tolist() == [3, 3, 2, 1, 1]


# -- memory ------------------------------------------------------------------------------------------------------------


def test_peak_is_exact_and_counts_what_was_freed_again():
    before = torch.zeros(1_000_000)

    def call() -> torch.Tensor:
        first = torch.empty(1000, dtype=torch.uint8)
        second = torch.empty(5000, dtype=torch.uint8)
        del second
        third = torch.empty(3000, dtype=torch.uint8)
        assert before.numel() > first.numel()
        return third

    assert peak_bytes(call, 1) == 6000


def test_an_error_inside_is_not_lost():
    with pytest.raises(ZeroDivisionError):
        peak_bytes(lambda: 1 // 0, 1)


def test_formula_by_hand():
    parts = formula(Shape("cpu", torch.float32, 1, True, 32, 128))
    rows = 32 * 128
    assert parts["outputs S·H"] == parts["saved cells S·H"] == rows * 300 * 4
    assert parts["saved gates S·G·H"] == parts["gradients of gates S·G·H"] == rows * 2700 * 4
    assert parts["gradients of the parameters"] == 4 * (2700 * (768 + 300 + 2) + 300 * (2100 + 1))
    assert sum(parts.values()) == 4 * (rows * (768 + 300 * (1 + 9 + 1 + 9 + 1)) + 2700 * 1070 + 300 * 2101)


@pytest.mark.parametrize("name", cell.implementations(SHAPE))
def test_a_training_step_holds_at_least_its_results_and_what_was_saved(name: str):
    shape = Shape("cpu", torch.float32, 1, True, 3, 5, **TINY)
    run = cell.Run(shape, name)
    expected = sum(gradient.nbytes for gradient in run())
    if name != LSTM:
        expected += sum(size for part, size in formula(shape).items() if part.startswith(("outputs", "saved")))
    assert peak_bytes(run, 1) == peak_bytes(run, 1) >= expected
