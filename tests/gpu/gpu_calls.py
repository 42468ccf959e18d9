"""Random calls on a GPU, and whether a backend takes them."""

from __future__ import annotations

import pytest
import torch
from srn.accuracy import Results, assert_accurate, backend_results, draw_seeds
from srn.cases import Call, Case, draw
from torch import Tensor

from srn_kernels import backends

PAPER = Case(steps=24, batch=32, input_size=768, hidden_size=300)
"""The sizes that every backend must serve, in float16 and bfloat16."""

NO_QUIET_DETOUR = pytest.mark.filterwarnings("error:.*could not be recorded as a CUDA graph")
"""A backend that warns so goes on in a slower way; here that is a failure."""


def draw_on(case: Case, dtype: torch.dtype, device: str = "cuda") -> Call:
    """Random arguments; ``batch_sizes`` stays on the CPU, as in a ``PackedSequence``."""
    call = draw(case, dtype)
    return call.with_tensors([tensor.to(device) for tensor in call.tensors()])


def problem_of(call: Call) -> backends.Problem:
    return call.layer_call().problem


def draw_for(backend: str, case: Case, dtype: torch.dtype) -> Call:
    """Random arguments; skips the test, with the backend's reason, where the backend does not serve such a call."""
    call = draw_on(case, dtype)
    if reason := backends.refusal(backends.BACKENDS[backend], problem_of(call)):
        pytest.skip(f"{backend} does not serve this: {reason}")
    return call


def results_on(backend: str, call: Call, seeds: list[Tensor]) -> Results:
    """Values and gradients, computed by this backend alone."""
    with backends.record() as ran:
        got = backend_results(call, seeds, backend)
    assert ran == [backend, backend]  # forward and backward
    return got


def check_accuracy(backend: str, case: Case, dtype: torch.dtype, unit: float | None = None) -> None:
    """Values, final states, memories and every gradient are accurate, judged by roundings of ``unit``, and the same
    bits three times: a backend may serve a repeated call in another way."""
    call = draw_for(backend, case, dtype)
    seeds = draw_seeds(call)
    got = results_on(backend, call, seeds)
    for _ in range(2):
        assert differing(got, results_on(backend, call, seeds)) == []
    assert_accurate(got, call, seeds, unit)


def differing(first: Results, second: Results) -> list[str]:
    """The names of the results that are not the same bits; NaN is different from everything."""
    return [name for name in first if not torch.equal(first[name], second[name])]
