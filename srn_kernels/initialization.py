"""How the parameters of ``SRN`` and ``SRNCell`` begin."""

from __future__ import annotations

import math

import torch
from torch import nn

from srn_kernels import layout

UNIFORM, CARRY = "uniform", "carry"
CARRY_NOISE = 0.1
"""Of the usual draw, what ``carry`` leaves in the weights of the memories, so that units do not begin alike."""


def check_name(init: str) -> str:
    """Returns the name of an initialisation.

    Raises:
        ValueError: there is none of that name.
    """
    if init not in (UNIFORM, CARRY):
        raise ValueError(f"init should be {UNIFORM!r} or {CARRY!r}, got {init!r}")
    return init


@torch.no_grad()
def initialize(module: nn.Module, hidden_size: int, tasks: int, init: str) -> None:
    """Draws every parameter from U(-1/√H, 1/√H); for ``carry`` those called ``weight_mc...`` (H, M·H) are then a tenth of
    that, plus the identity on each memory times its coefficient of :func:`srn_kernels.layout.union_coefficients`.

    So c_t begins as (∪ρ̃) ⊙ f ⊙ c_{t-1} + (∪ρ̂) ⊙ ĉ_t, ∪ being the union of a step's master gates: what a unit holds goes on in
    that unit, as in an LSTM, and not in a mixture of all.
    """
    bound = 1.0 / math.sqrt(hidden_size)
    for weight in module.parameters():
        nn.init.uniform_(weight, -bound, bound)
    if init == CARRY:
        for name, weight in module.named_parameters():
            if name.startswith("weight_mc"):
                weight.mul_(CARRY_NOISE)
                memories = weight.view(hidden_size, layout.memory_count(tasks), hidden_size)
                coefficients = weight.new_tensor(layout.union_coefficients(tasks))
                memories.diagonal(dim1=0, dim2=2).add_(coefficients[:, None])  # (M, H)
