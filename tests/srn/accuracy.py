"""How wrong a backend may be on a call: :mod:`srn_kernels.testing`, with the reference as the truth."""

from __future__ import annotations

import torch
from torch import Tensor

from srn_kernels import layout, reference
from srn_kernels.testing import assert_within, movements, unit_roundoff

from .cases import Call

VALUES = ("output", "h_n", "c_n", "memories")

Results = dict[str, Tensor]
"""All that a call computes, by name: values, and gradients for random incoming ones."""


def backend_results(call: Call, seeds: list[Tensor], backend: str) -> Results:
    """The operator on one backend, differentiated by the backend's backward pass."""
    call = call.leaves()
    outputs = call.run(backend)
    grads = torch.autograd.grad(outputs, call.tensors(), seeds, materialize_grads=True)
    return {name: value.detach() for name, value in zip(result_names(call), (*outputs, *grads), strict=True)}


def draw_seeds(call: Call) -> list[Tensor]:
    """Random incoming gradients for output, h_n, c_n and memories."""
    with torch.no_grad():
        return [torch.randn_like(value) for value in call.run("reference")]


def assert_accurate(got: Results, call: Call, seeds: list[Tensor] | None = None, unit: float | None = None) -> None:
    """Every result of ``got`` is off by no more than a few times what roundings of ``unit`` move.

    ``seeds``: incoming gradients; without them ``got`` has values alone. ``unit``: of the call's dtype by default; a
    backend that multiplies in TF32 is judged by :data:`TF32`.
    """
    dtype = call.input.dtype
    truth, moved = truth_and_movements(call, seeds, unit or unit_roundoff(dtype))
    for name, value in got.items():
        assert value.dtype == dtype and value.shape == truth[name].shape, name
    assert_within(got, truth, moved, unit or unit_roundoff(dtype), longest_sum(call))


def assert_gradients_accurate(call: Call, given: tuple[int, ...], backend: str, unit: float | None = None) -> None:
    """Random incoming gradients for some of the four values, and for the others none, not even zeros."""
    seeds, leaves = draw_seeds(call), call.leaves()
    outputs = leaves.run(backend)
    some = [outputs[index] for index in given], leaves.tensors(), [seeds[index] for index in given]
    got = torch.autograd.grad(*some, materialize_grads=True)
    zeros = [seed if index in given else torch.zeros_like(seed) for index, seed in enumerate(seeds)]
    assert_accurate(dict(zip(result_names(call)[len(VALUES) :], got, strict=True)), call, zeros, unit)


def longest_sum(call: Call) -> int:
    """The number of terms in a call's longest sum: of a product forward or backward, or over all rows."""
    gates, memories = layout.gate_blocks(call.tasks), layout.memory_count(call.tasks)
    return max(*call.input.shape, max(gates, memories) * call.c0.shape[2])


def truth_and_movements(call: Call, seeds: list[Tensor] | None, unit: float) -> tuple[Results, Results]:
    """The reference's results in float64, differentiated by autograd, and how they move: :func:`movements`."""
    count = len(call.tensors())

    def values(*arguments: Tensor) -> tuple[Tensor, ...]:
        drawn = call.with_tensors(arguments)
        of_layer = drawn.input, drawn.h0, drawn.c0, drawn.weights, drawn.batch_sizes, drawn.tasks, drawn.cell_clip
        return reference.layer(*of_layer)[:4]

    def values_and_gradients(*tensors: Tensor) -> tuple[Tensor, ...]:
        outputs, pull_back = torch.func.vjp(values, *tensors[:count])
        return *outputs, *pull_back(tensors[count:])

    if seeds is None:
        return movements(values, call.tensors(), unit, VALUES)
    return movements(values_and_gradients, [*call.tensors(), *seeds], unit, result_names(call))


def result_names(call: Call) -> list[str]:
    """Names of the four values, and of the gradient of every tensor of the call."""
    return [*VALUES, *(f"gradient of {name}" for name in call.names())]
