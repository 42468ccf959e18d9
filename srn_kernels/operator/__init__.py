"""The operator: one SRN layer, all directions, as a functional ``torch.library`` operator that autograd understands.

``srn_kernels::layer`` runs the forward pass on a backend of the registry; ``srn_kernels::layer_backward`` is its
registered gradient, and is itself differentiable, through the reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from srn_kernels import backends
from srn_kernels.operator import autocast, autograd, passes, unrolled  # noqa: F401  imported to register themselves
from srn_kernels.operator.library import LAYER, below_autograd


def srn_layer(
    input: Tensor,
    h0: Tensor,
    c0: Tensor,
    weights: Sequence[Tensor],
    batch_sizes: Tensor | None = None,
    *,
    tasks: int = 3,
    cell_clip: float | None = None,
    memories: bool = False,
    backend: str = backends.AUTO,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """One SRN layer over packed rows; differentiable twice.

    Args:
        input: (S, D).
        h0: (directions, B, P).
        c0: (directions, B, H).
        weights: each direction's parameters in turn, as :class:`srn_kernels.layout.DirectionWeights` orders them.
        batch_sizes: (T,) whole numbers, as in a ``PackedSequence``; None for sequences of equal length S / B.
        tasks: N, their number.
        cell_clip: what c_t is clipped to after Eq. 8, ± this number rounded to the dtype; None leaves it.
        memories: whether to return tanh(s_S) of every step.
        backend: a backend's name, or ``"auto"``.

    Returns:
        output (S, directions·P), h_n (directions, B, P), c_n (directions, B, H), and the memories
        (S, M, directions·H) or None.

    Raises:
        RuntimeError: tensors that do not fit together, or a backend asked for by name that cannot serve the call.
        ValueError: batch sizes that do not describe the rows, a number of weights that no layer has, a bound of 0 or
            less, or an unknown backend.
        NotImplementedError: a tensor with a forward-mode tangent; a transform of ``torch.func``; a trace with gradients; or
            an export to ONNX of sequences of different lengths.
    """
    weights = list(weights)
    compiling = torch.compiler.is_compiling()
    if (compiling or torch.jit.is_tracing()) and torch.onnx.is_in_onnx_export():  # the last takes a microsecond
        output, h_n, c_n, s = unrolled.layer(input, h0, c0, weights, batch_sizes, tasks, cell_clip)
        return output, h_n, c_n, s if memories else None
    autograd.refuse_forward_mode(input, h0, c0, *weights)
    save = autograd.wanted(input, h0, c0, *weights)
    autograd.refuse_transforms(save)
    arguments = (input, h0, c0, weights, batch_sizes, tasks, cell_clip, memories, save, backend)
    through_autograd = save or compiling  # a compiler traces the operator itself
    output, h_n, c_n, *more = LAYER(*arguments) if through_autograd else below_autograd(LAYER, *arguments)
    return output, h_n, c_n, more[0] if memories else None
