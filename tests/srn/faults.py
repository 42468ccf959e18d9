"""Small faults put into a backend on purpose; the measure of accuracy must find each of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor

from srn_kernels.testing import unit_roundoff

from .accuracy import assert_accurate, backend_results, draw_seeds
from .cases import Call, Case

NONE = "none"
FUNCTION = "an elementary function off by a few roundings"
SUM = "sums in bfloat16"
PRODUCT = "a product left out"
FAULTS = [NONE, FUNCTION, SUM, PRODUCT]

SMALL = Case(steps=5, batch=8, hidden_size=12)
MEDIUM = Case(steps=2, batch=3, hidden_size=130, input_size=4)
WIDE = Case(steps=1, batch=2, hidden_size=600)  # sums long enough for bfloat16 to show

Inject = Callable[[str, float], AbstractContextManager[None]]
"""Puts a fault in; where it has a size, in proportion to the unit roundoff given."""


def check(backend: str, fault: str, inject: Inject, call: Call, unit: float | None = None) -> None:
    """The backend passes without a fault, and with one it does not."""
    seeds = draw_seeds(call)
    with inject(fault, unit or unit_roundoff(call.input.dtype)):
        got = backend_results(call, seeds, backend)
    if fault == NONE:
        assert_accurate(got, call, seeds, unit)
    else:
        with pytest.raises(AssertionError, match="times what roundings move"):
            assert_accurate(got, call, seeds, unit)


def wrong_tanh(unit: float) -> Callable[[Tensor], Tensor]:
    tanh = torch.tanh
    return lambda x: tanh(x) * (1 + 8 * unit)


def wrong_product(fault: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Matrix products with sums rounded to bfloat16 after every term, or without a column's largest number."""

    def sums_in_bfloat16(a: Tensor, b: Tensor) -> Tensor:
        total = a.new_zeros(len(a), b.shape[1])
        for k in range(len(b)):
            total = (total + a[:, k, None] * b[k]).bfloat16().to(a.dtype)
        return total

    def without_a_product(a: Tensor, b: Tensor) -> Tensor:
        b = b.clone()
        b[b[:, 0].abs().argmax(), 0] = 0
        return a @ b

    return {SUM: sums_in_bfloat16, PRODUCT: without_a_product}[fault]
