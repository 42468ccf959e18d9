"""Export to ONNX by both of PyTorch's exporters: onnxruntime computes the same numbers."""

from __future__ import annotations

import io
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from srn_kernels import SRN, SRNCell

T, B, D, H = 5, 3, 4, 6

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the older exporter's of itself
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),  # sizes that become constants of the graph
]

each_exporter = pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])


class Everything(nn.Module):
    """All that a call returns, as a flat tuple."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.rnn = SRN(D, H, **settings)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        output, (h_n, c_n), memories, _ = self.rnn(x, return_memories=True)
        return output, h_n, c_n, memories


def run(file: Path, *inputs: Tensor) -> list[Tensor]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [input.name for input in session.get_inputs()]
    return [
        torch.from_numpy(one) for one in session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
    ]


@each_exporter
@pytest.mark.parametrize(
    "settings",
    [{}, {"num_layers": 2, "bidirectional": True, "proj_size": 2, "batch_first": True, "tasks": 2}, {"bias": False}],
    ids=str,
)
def test_the_same_numbers(settings: dict, dynamo: bool, tmp_path: Path) -> None:
    model, x = Everything(**settings).eval(), torch.randn(T, B, D)
    torch.onnx.export(model, (x,), tmp_path / "model.onnx", dynamo=dynamo, verbose=False)
    for got, expected in zip(run(tmp_path / "model.onnx", x), model(x), strict=True):
        torch.testing.assert_close(got, expected.detach())


def test_a_batch_of_any_size(tmp_path: Path) -> None:
    model = Everything().eval()
    shapes = {"x": {1: torch.export.Dim("batch")}}
    torch.onnx.export(model, (torch.randn(T, B, D),), tmp_path / "model.onnx", dynamic_shapes=shapes, verbose=False)
    for batch in (2, 7):
        x = torch.randn(T, batch, D)
        for got, expected in zip(run(tmp_path / "model.onnx", x), model(x), strict=True):
            torch.testing.assert_close(got, expected.detach())


@each_exporter
def test_a_cell(dynamo: bool, tmp_path: Path) -> None:
    cell, x = SRNCell(D, H).eval(), torch.randn(B, D)
    torch.onnx.export(cell, (x,), tmp_path / "cell.onnx", dynamo=dynamo, verbose=False)
    for got, expected in zip(run(tmp_path / "cell.onnx", x), cell(x), strict=True):
        torch.testing.assert_close(got, expected.detach())


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = SRN(D, H)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(pack_sequence([x[:, 0], x[:3, 1]]))[0].data


def test_sequences_of_different_lengths_are_refused() -> None:
    """The newer exporter keeps the reason to itself: it goes on to try what it cannot translate."""
    x = torch.randn(T, B, D)
    with pytest.raises(NotImplementedError, match="export it without a PackedSequence"):
        torch.onnx.export(Packed().eval(), (x,), io.BytesIO(), dynamo=False, verbose=False)
    with pytest.raises(torch.onnx.errors.OnnxExporterError):
        torch.onnx.export(Packed().eval(), (x,), io.BytesIO(), dynamo=True, verbose=False)


def test_an_open_number_of_steps_is_refused() -> None:
    shapes = {"x": {0: torch.export.Dim("time")}}
    with pytest.raises(torch.onnx.errors.OnnxExporterError):
        torch.onnx.export(
            Everything().eval(), (torch.randn(T, B, D),), io.BytesIO(), dynamic_shapes=shapes, verbose=False
        )
