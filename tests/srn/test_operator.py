"""The operators as PyTorch sees them: ``opcheck``, autocast, checkpointing, inference mode, CPU threads of autograd."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from srn_kernels import SRN, SRNCell, backends, srn_layer

from .cases import USABLE, Call, Case, draw

D, H = 4, 6
LAYER = torch.ops.srn_kernels.layer.default
BACKWARD = torch.ops.srn_kernels.layer_backward.default

SAMPLES = [
    Case(),
    Case(steps=4, ragged=True, directions=2, proj_size=3),
    Case(tasks=2, bias=False),
    Case(batch=0),
    Case(steps=0, tasks=1),
    Case(cell_clip=0.25),
]


def layer_arguments(call: Call, memories: bool, save: bool) -> tuple:
    tensors = call.input, call.h0, call.c0, list(call.weights), call.batch_sizes
    return (*tensors, call.tasks, call.cell_clip, memories, save, "auto")


@pytest.mark.parametrize("memories", [True, False])
@pytest.mark.parametrize("case", SAMPLES, ids=str)
def test_opcheck_of_the_layer(case: Case, memories: bool) -> None:
    torch.library.opcheck(LAYER, layer_arguments(draw(case).leaves(), memories, True))


@pytest.mark.parametrize("case", SAMPLES, ids=str)
def test_opcheck_of_the_layer_without_gradient(case: Case) -> None:
    torch.library.opcheck(LAYER, layer_arguments(draw(case, torch.float32), True, False))


@pytest.mark.parametrize("wanted", ["everything", "no weights", "no input", "some gradients missing"])
@pytest.mark.parametrize("case", SAMPLES, ids=str)
def test_opcheck_of_the_backward(case: Case, wanted: str) -> None:
    """Traced without its gradient: AOTAutograd does not differentiate twice."""
    call = draw(case)
    output, h_n, c_n, memories, gates, cells = LAYER(*layer_arguments(call, True, True))
    grads = [torch.randn_like(value) for value in (output, h_n, c_n, memories)]
    if wanted == "some gradients missing":
        grads[1] = grads[2] = None
    input, h0, c0, weights, batch_sizes, tasks, cell_clip, *_ = layer_arguments(call, True, True)
    needs = wanted != "no input", wanted != "no weights", "auto"
    saved = (batch_sizes, output, gates, cells, tasks, cell_clip)
    torch.library.opcheck(BACKWARD, (*grads, input, h0, c0, weights, *saved, *needs))
    leaves = call.leaves()
    differentiable = (*grads, leaves.input, leaves.h0, leaves.c0, list(leaves.weights), *saved, *needs)
    for test in ("test_schema", "test_autograd_registration", "test_faketensor"):
        torch.library.opcheck(BACKWARD, differentiable, test_utils=test)


def test_the_backward_checks_its_arguments_too() -> None:
    """Kernels read by address."""
    call = draw(Case())
    output, *_, gates, cells = LAYER(*layer_arguments(call, True, True))
    seeds = torch.randn_like(output), None, None, None
    wrong = (call.input, call.h0, call.c0[:, :1], list(call.weights), None, output, gates, cells)
    with pytest.raises(RuntimeError, match=r"c0 should have the shape \[1, 3, 6\], got \[1, 1, 6\]"):
        BACKWARD(*seeds, *wrong, call.tasks, None, True, True, "auto")


def test_tensors_of_another_rank_are_refused() -> None:
    call = draw(Case())
    with pytest.raises(RuntimeError, match=r"input should be \(S, D\), h0 and c0 \(directions, B, .\), got \[1, "):
        srn_layer(call.input[None], call.h0, call.c0, call.weights)


def test_the_package_can_be_loaded_again() -> None:
    """As notebooks do after an edit: the operators loaded last replace the earlier ones."""
    program = (
        "import importlib, sys, torch, srn_kernels, srn_kernels.operator as operator\n"
        "first = torch.ops.srn_kernels.layer.default\n"
        "importlib.reload(operator)\n"
        "for name in [name for name in sys.modules if name.startswith('srn_kernels.') or name == 'srn_kernels']:\n"
        "    del sys.modules[name]\n"
        "import srn_kernels\n"
        "x = torch.randn(3, 2, 4, requires_grad=True)\n"
        "srn_kernels.SRN(4, 6)(x)[0].sum().backward()\n"
        "assert x.grad.abs().sum() > 0 and torch.ops.srn_kernels.layer.default is not first\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_layer_that_saved_nothing_has_no_gradient() -> None:
    outputs = LAYER(*layer_arguments(draw(Case()).leaves(), True, False))
    with pytest.raises(RuntimeError, match="save=False"):
        outputs[0].sum().backward()


@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_gives_the_dtypes_that_nn_lstm_gives(dtype: torch.dtype, with_state: bool) -> None:
    """Output and state are bfloat16, whatever the input's dtype; gradients have the dtype of the parameters."""
    # where oneDNN has no bfloat16, as on processors with AVX2 alone, nn.LSTM fails or gives float32
    for cls in (nn.LSTM, SRN) if torch.ops.mkldnn._is_mkldnn_bf16_supported() else (SRN,):
        module, x = cls(D, H), torch.randn(5, 3, D, dtype=dtype, requires_grad=True)
        hx = (torch.randn(1, 3, H), torch.randn(1, 3, H)) if with_state else None
        with torch.autocast("cpu", torch.bfloat16):
            outputs = module(x, hx)
        tree_leaves(outputs)[0].float().sum().backward()
        assert [tensor.dtype for tensor in tree_leaves(outputs)] == [torch.bfloat16] * 3
        assert x.grad.dtype == dtype
        assert {parameter.grad.dtype for parameter in module.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_what_a_network_of_that_dtype_computes(dtype: torch.dtype) -> None:
    rnn = SRN(D, H, 2, bidirectional=True, proj_size=3)
    low = SRN(D, H, 2, bidirectional=True, proj_size=3, dtype=dtype)
    low.load_state_dict(rnn.state_dict())
    x = torch.randn(5, 3, D)
    with torch.autocast("cpu", dtype), backends.record() as ran:
        out = rnn(x, return_memories=True)
        loss = out.output.float().sum() + out.memories.float().sum()
    loss.backward()
    expected = low(x.to(dtype), return_memories=True)
    assert torch.equal(out.output, expected.output) and torch.equal(out.memories, expected.memories)
    (expected.output.float().sum() + expected.memories.float().sum()).backward()
    for (name, one), other in zip(rnn.named_parameters(), low.parameters(), strict=True):
        assert one.grad.dtype == torch.float32
        assert torch.equal(one.grad, other.grad.float()), name
    assert set(ran) == {"cpu" if dtype == torch.bfloat16 else "reference"}


def test_autocast_reaches_the_backward_neither_inside_nor_outside_the_region() -> None:
    rnn, x = SRN(D, H), torch.randn(5, 3, D)
    gradients = []
    for inside in (True, False):
        rnn.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = rnn(x)[0].float().sum()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        gradients.append([parameter.grad for parameter in rnn.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("backend", USABLE)
def test_a_region_around_the_backward_alone_changes_nothing(backend: str) -> None:
    """A call in float32 is differentiated in float32, twice, in any region."""
    rnn, x = SRN(D, H, 2, bidirectional=True, backend=backend), torch.randn(5, 3, D, requires_grad=True)

    def gradients(region: torch.autocast) -> list[Tensor]:
        loss = rnn(x)[0].pow(2).sum()
        with region:
            (first,) = torch.autograd.grad(loss, x, create_graph=True)
            return [first, *torch.autograd.grad(first.pow(2).sum(), list(rnn.parameters()))]

    inside, outside = (gradients(torch.autocast("cpu", torch.bfloat16, enabled=on)) for on in (True, False))
    assert all(torch.equal(one, other) for one, other in zip(inside, outside, strict=True))


def test_second_derivative_under_autocast() -> None:
    rnn, x = SRN(D, H), torch.randn(5, 3, D, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        (first,) = torch.autograd.grad(rnn(x)[0].float().pow(2).sum(), x, create_graph=True)
        first.float().pow(2).sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in rnn.parameters())
    assert rnn.weight_hh_l0.grad.abs().sum() > 0


def test_autocast_of_a_disabled_region_and_of_float64() -> None:
    x = torch.randn(5, 3, D)
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        assert SRN(D, H)(x)[0].dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        with torch.autocast("cpu", enabled=False):
            assert SRN(D, H)(x)[0].dtype == torch.float32
        assert SRN(D, H).double()(x.double())[0].dtype == torch.float64


def test_autocast_of_one_device_meets_tensors_of_another() -> None:
    """A device's rule applies if any tensor is on that device, and ends after the call, wherever the input is."""
    call = draw(Case(), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output, *_ = call.with_tensors([call.input.to("meta"), *call.tensors()[1:]]).run("reference")
    assert output.is_meta and output.dtype == torch.bfloat16


def test_cell_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        h, c = SRNCell(D, H)(torch.randn(3, D), (torch.randn(3, H), torch.randn(3, H)))
    assert h.dtype == c.dtype == torch.bfloat16


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoint_recomputes_the_same(use_reentrant: bool) -> None:
    rnn = SRN(D, H, 2, dropout=0.5, recurrent_dropout=0.3)
    results = []
    for wrapped in (False, True):
        x = torch.linspace(-1, 1, 5 * 3 * D).reshape(5, 3, D).requires_grad_()
        torch.manual_seed(3)
        rnn.zero_grad()
        with backends.record() as ran:
            output = checkpoint(rnn, x, use_reentrant=use_reentrant)[0] if wrapped else rnn(x)[0]
            output.pow(2).sum().backward()
        assert len(ran) == (6 if wrapped else 4)
        results.append([output, x.grad, *(parameter.grad for parameter in rnn.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_inference_mode_and_no_grad() -> None:
    rnn, x = SRN(D, H, 2, bidirectional=True), torch.randn(5, 3, D)
    expected = rnn(x)[0]
    with torch.inference_mode():
        output, (h_n, c_n) = rnn(x)
        assert output.is_inference() and h_n.is_inference() and c_n.is_inference()
    with torch.no_grad():
        again = rnn(x)[0]
    assert torch.equal(output, expected) and torch.equal(again, expected)
    assert not again.requires_grad
    torch.testing.assert_close(rnn(output.clone()[..., :D])[0].shape, expected.shape)


def test_a_gradient_may_be_taken_in_another_thread() -> None:
    rnn, x = SRN(D, H), torch.randn(5, 3, D)
    rnn(x)[0].sum().backward()
    expected = rnn.weight_hh_l0.grad.clone()
    rnn.zero_grad()
    loss = rnn(x)[0].sum()
    with backends.record() as ran:
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
    assert torch.equal(rnn.weight_hh_l0.grad, expected)
    assert len(ran) == 1  # a recorder sees every thread


def test_saved_tensor_hooks_see_what_is_kept() -> None:
    """Offloading and memory accounting work through these hooks."""
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    rnn, x = SRN(D, H), torch.randn(5, 3, D)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = rnn(x)[0].sum()
    loss.backward()
    shapes = {tuple(tensor.shape) for tensor in kept}
    assert (1, 15, 9 * H) in shapes and (1, 15, H) in shapes  # gates and cells, no more a step
    assert rnn.weight_hh_l0.grad.abs().sum() > 0
