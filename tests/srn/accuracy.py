"""How wrong a backend may be: no worse than twice what PyTorch's own eager run makes of it in the same dtype."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from srn_kernels import reference

from .cases import Call

VALUES = ("output", "h_n", "c_n", "memories")
FEW = 16
"""Results of fewer numbers than this are judged together."""


Results = dict[str, Tensor]
"""All that a call computes, by name: values, and gradients for random incoming ones."""


def reference_results(call: Call, seeds: list[Tensor]) -> Results:
    """The reference in the call's dtype, differentiated by autograd."""
    call = call.leaves()
    done = reference.layer(call.input, call.h0, call.c0, call.weights, call.batch_sizes, call.tasks)
    return _results(call, list(done[:4]), seeds)


def backend_results(call: Call, seeds: list[Tensor], backend: str) -> Results:
    """The operator on one backend, differentiated by its own backward."""
    call = call.leaves()
    return _results(call, list(call.run(backend)), seeds)


def _results(call: Call, outputs: list[Tensor], seeds: list[Tensor]) -> Results:
    grads = torch.autograd.grad(outputs, call.tensors(), seeds, materialize_grads=True)
    named = dict(zip(VALUES, outputs, strict=True))
    named |= {f"gradient of {name}": grad for name, grad in zip(call.names(), grads, strict=True)}
    return {name: value.detach() for name, value in named.items()}


def draw_seeds(call: Call) -> list[Tensor]:
    """Random incoming gradients for output, h_n, c_n and memories."""
    with torch.no_grad():
        return [torch.randn_like(value) for value in call.run("reference")]


def norm_error(value: Tensor, truth: Tensor) -> float:
    """Relative error in norm."""
    scale = truth.norm().item()
    return (value.double() - truth).norm().item() / scale if scale else value.double().norm().item()


def largest_error(value: Tensor, truth: Tensor) -> float:
    """The largest error of an element, relative to the largest element."""
    if not truth.numel():
        return 0.0
    scale = truth.abs().max().item()
    return (value.double() - truth).abs().max().item() / (scale or 1.0)


def assert_no_worse(
    got: Results, call: Call, seeds: list[Tensor], names: Collection[str] | None = None, times: float = 2.0
) -> None:
    """Every result of ``got`` (or of ``names``) is within twice (``times``) the eager run's error in the call's dtype.

    A few roundings come on top, because the error of a small eager run may be small by chance, and more so its largest.
    The truth is the float64 run on the same, already rounded arguments. Where float64 itself is on trial, the eager
    run's float32 error stands in for its own, in proportion to the precisions.
    """
    dtype = call.input.dtype
    truth = reference_results(call.to(torch.float64), [seed.double() for seed in seeds])
    scale, eager, eager_truth = 1.0, None, truth
    if dtype == torch.float64:
        scale = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
        call, seeds = call.to(torch.float32), [seed.float() for seed in seeds]
        eager_truth = reference_results(call.to(torch.float64), [seed.double() for seed in seeds])
    eager = reference_results(call, seeds)
    assert got.keys() == truth.keys()
    for name, value in got.items():
        assert value.dtype == dtype and value.shape == truth[name].shape, name
    names = got.keys() if names is None else names
    wrong = []
    got, truth, eager, eager_truth = (_pooled(results, names) for results in (got, truth, eager, eager_truth))
    for name, value in got.items():
        for measure, roundings in ((norm_error, 1), (largest_error, 4)):
            error = measure(value, truth[name])
            few = roundings * torch.finfo(dtype).eps / (4 if dtype == torch.bfloat16 else 1)
            allowed = times * scale * measure(eager[name], eager_truth[name]) + few
            if not error <= allowed:  # NaN is an error too
                wrong.append(f"{name}: {measure.__name__} {error:.3g}, allowed {allowed:.3g}")
    assert not wrong, "\n".join(wrong)


def _pooled(results: Results, names: Collection[str]) -> Results:
    """The results named, with those of few numbers put together: one alone may be right in the eager run by chance."""
    large = {name: results[name] for name in names if results[name].numel() >= FEW}
    small = [results[name].flatten().double() for name in names if results[name].numel() < FEW]
    return large | ({"small results": torch.cat(small)} if small else {})
