"""Binary cross-entropy (Eq. 14), of logits, and of pairs of words, whose logits are computed a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def ones_at(index: tuple[Tensor, Tensor], shape: tuple[int, ...]) -> Tensor:
    """Zeros of ``shape`` (N, K), and ones at ``index`` (rows, labels)."""
    targets = torch.zeros(shape, device=index[0].device)
    targets[index] = 1.0
    return targets


def summed_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy summed over ``logits`` (N, K), in float32 at least: the sum runs over thousands of terms."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return F.binary_cross_entropy_with_logits(logits.to(dtype), targets.to(dtype), reduction="sum")


class PairLoss(torch.autograd.Function):
    """``summed_bce`` of pairs, a part of them at a time.

    The forward pass computes the gradient too: a sum's is the sum of its parts', so that no part has to be kept for the
    backward pass or computed again there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Callable[[Tensor, Tensor], Tensor],
        parts: Iterable[tuple[Tensor, Tensor, Tensor]],
        differentiate: bool,
        left: Tensor,
        right: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        """Scalar.

        Args:
            logits: what the two words of P pairs contribute in sum (P, inner), and how far the second is behind the first
                (P,), to logits (P, K), by means of ``weights``.
            parts: words i (P,), words j (P,) and targets (P, K) of P pairs each.
            differentiate: whether there will be a backward pass.
            left, right: what each word contributes to the pairs in which it is i, or j, (N, inner) each.
        """
        losses, inputs = [], (left, right, *weights) if differentiate else ()
        # in float32 at least: a word's gradient is a sum over all pairs that it is in
        gradients = [torch.zeros_like(one, dtype=torch.promote_types(one.dtype, torch.float32)) for one in inputs]
        for i, j, targets in parts:
            pairs = (left[i] + right[j]).requires_grad_(differentiate)  # (P, inner)
            with torch.set_grad_enabled(differentiate):
                loss = summed_bce(logits(pairs, j - i), targets)
            losses.append(loss.detach())
            if differentiate:
                of_pairs, *of_weights = torch.autograd.grad(loss, (pairs, *weights))
                of_pairs = of_pairs.to(gradients[0].dtype)
                gradients[0].index_put_((i,), of_pairs, accumulate=True)
                gradients[1].index_put_((j,), of_pairs, accumulate=True)
                for gradient, of_weight in zip(gradients[2:], of_weights, strict=True):
                    gradient += of_weight
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [one.dtype for one in inputs]
        return torch.stack(losses).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return None, None, None, *((gradient * tensor).to(dtype) for tensor, dtype in scaled)
