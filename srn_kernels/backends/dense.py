"""Tensors as kernels over raw addresses take them."""

from __future__ import annotations

from torch import Tensor

from srn_kernels.layout import DirectionCall, DirectionWeights


def contiguous(call: DirectionCall) -> DirectionCall:
    """The call with every tensor dense."""
    tensors = (call.input, call.h0, call.c0, *call.weights)
    if all(tensor is None or tensor.is_contiguous() for tensor in tensors):
        return call
    weights = DirectionWeights(*(None if weight is None else weight.contiguous() for weight in call.weights))
    return call._replace(
        input=call.input.contiguous(), h0=call.h0.contiguous(), c0=call.c0.contiguous(), weights=weights
    )


def dense_rows(tensor: Tensor | None) -> Tensor | None:
    """The tensor with a dense last dimension; other strides may be anything."""
    return tensor if tensor is None or tensor.shape[-1] < 2 or tensor.stride(-1) == 1 else tensor.contiguous()
