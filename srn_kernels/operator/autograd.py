"""The operators' derivatives: ``layer_backward`` is that of ``layer``, and has one itself, through the reference.

Each is an ``autograd.Function`` under autograd's dispatch key. Every tensor is a separate argument, so that autograd
can track it. ``torch.library.register_autograd`` would take a tree of arguments apart and put it together in each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from srn_kernels import reference
from srn_kernels.operator.library import LAYER, LAYER_BACKWARD, LIBRARY, below_autograd, not_compiled, without_autocast

GRADS = 4
"""Incoming gradients of a layer: of output, h_n, c_n and memories."""


def wanted(*tensors: Tensor | None) -> bool:
    """Whether a result of these must be differentiable."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def refuse_forward_mode(*tensors: Tensor | None) -> None:
    """Without a forward-mode rule an operator would silently drop tangents, and its derivatives would be zeros.

    Raises:
        NotImplementedError: one of the tensors has a tangent.
    """
    # Private: nothing public tells whether forward mode is on, and unpacking every tensor would slow a step of a cell.
    if forward_ad._current_level < 0:
        return
    if any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors):
        raise NotImplementedError("srn_kernels has no forward-mode derivatives (jvp); use reverse mode")


def refuse_transforms(save: bool) -> None:
    """Refuses calls that would fail later, with an error about something else.

    Raises:
        NotImplementedError: within a transform of ``torch.func``; or a call that is to be differentiated (``save``) within
            ``torch.jit.trace``.
    """
    # Private: nothing public tells whether a transform is at work.
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError(
            "srn_kernels takes no part in the transforms of torch.func (grad, vjp, jacrev, vmap, ...); differentiate with "
            "torch.autograd"
        )
    if save and torch.jit.is_tracing():
        raise NotImplementedError(
            "torch.jit.trace takes no gradients of srn_kernels with it; trace under torch.no_grad(), or use torch.export"
        )


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, options: tuple, batch_sizes: Tensor | None, input: Tensor, h0: Tensor, c0: Tensor, *weights):
        done = below_autograd(LAYER, input, h0, c0, list(weights), batch_sizes, *options)
        _, _, memories, save, _ = options
        out = reference.Layer.of(done, memories, save)
        ctx.mark_non_differentiable(*(tensor for tensor in (out.gates, out.cells) if tensor is not None))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(input, h0, c0, batch_sizes, out.output, out.gates, out.cells, *weights)
        ctx.options = options
        return tuple(done)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        """Gradients of input, h0, c0 and each weight."""
        tasks, cell_clip, memories, save, backend = ctx.options
        if not save:
            raise RuntimeError("srn_kernels::layer was called with save=False although an argument required a gradient")
        grad = reference.Layer.of(grads, memories, save)[:GRADS]
        refuse_forward_mode(*grad)
        input, h0, c0, batch_sizes, output, gates, cells, *weights = ctx.saved_tensors
        need_input, need_weights = ctx.needs_input_grad[2], any(ctx.needs_input_grad[5:])
        arguments = (*grad, input, h0, c0, weights, batch_sizes, output, gates, cells)
        arguments += (tasks, cell_clip, need_input, need_weights, backend)
        twice = torch.is_grad_enabled()
        done = LAYER_BACKWARD(*arguments) if twice else below_autograd(LAYER_BACKWARD, *arguments)
        return None, None, *_by_argument(done, need_input, need_weights, len(weights))


def _by_argument(grads: Sequence[Any], need_input: bool, need_weights: bool, weights: int) -> list[Any]:
    """What ``layer_backward`` returns, or a gradient of each: for input, h0, c0 and each weight; None where not needed."""
    h0, c0, *rest = grads
    input = rest.pop(0) if need_input else None
    return [input, h0, c0, *(rest if need_weights else [None] * weights)]


@torch.library.impl(LIBRARY, "layer", "Autograd")
@not_compiled
def _layer(input, h0, c0, weights, batch_sizes, *options):
    if wanted(input, h0, c0, *weights):
        return list(_Layer.apply(options, batch_sizes, input, h0, c0, *weights))
    return below_autograd(LAYER, input, h0, c0, weights, batch_sizes, *options)


class _LayerBackward(torch.autograd.Function):
    """The saved activations are functions of the inputs, so the whole derivative flows through the inputs, and none
    through the activations."""

    @staticmethod
    def forward(ctx: Any, saved: tuple, options: tuple, batch_sizes: Tensor | None, *tensors: Tensor | None):
        """``tensors``: the incoming gradients, input, h0, c0 and each weight."""
        *given, weights = _with_weights(tensors)
        done = below_autograd(LAYER_BACKWARD, *given, weights, batch_sizes, *saved, *options)
        ctx.set_materialize_grads(False)
        ctx.present = [tensor is not None for tensor in tensors]
        ctx.save_for_backward(batch_sizes, *(tensor for tensor in tensors if tensor is not None))
        ctx.options = options
        return tuple(done)

    @staticmethod
    def backward(ctx: Any, *gg: Tensor | None):
        """Differentiates the gradient through the reference."""
        tasks, cell_clip, need_input, need_weights, _ = ctx.options
        batch_sizes, *saved = ctx.saved_tensors
        with torch.enable_grad(), without_autocast(saved[-1]):
            # Views cut the reference's graph from the caller's, so that a gradient counts each path once; they stay
            # attached to it where the caller wants to differentiate once more.
            leaves = [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in saved]
            present = ctx.present[:GRADS]
            given, inputs = leaves[: sum(present)], leaves[sum(present) :]
            input, h0, c0, *weights = inputs
            done = reference.layer(input, h0, c0, weights, batch_sizes, tasks, cell_clip)
            targets = [t for t, is_present in zip(done[:GRADS], present, strict=True) if is_present]
            first = _gradients(targets, inputs, given)
            gg_by_argument = _by_argument(gg, need_input, need_weights, len(weights))
            values = [value for value, grad in zip(first, gg_by_argument, strict=True) if grad is not None]
            second = iter(_gradients(values, leaves, [grad for grad in gg_by_argument if grad is not None]))
        return None, None, None, *(next(second) if is_present else None for is_present in ctx.present)


def _gradients(values: list[Tensor | None], inputs: list[Tensor], seeds: list[Tensor]) -> list[Tensor | None]:
    """``torch.autograd.grad`` with a graph, of the values that have one; None for inputs that none depends on."""
    pairs = [(v, seed) for v, seed in zip(values, seeds, strict=True) if v is not None and v.requires_grad]
    if not pairs:
        return [None] * len(inputs)
    values, seeds = zip(*pairs, strict=True)
    return list(torch.autograd.grad(values, inputs, seeds, create_graph=True, allow_unused=True))


@torch.library.impl(LIBRARY, "layer_backward", "Autograd")
@not_compiled
def _layer_backward(*arguments):
    *tensors, weights, batch_sizes = arguments[: GRADS + 5]
    saved, options = arguments[GRADS + 5 : GRADS + 8], arguments[GRADS + 8 :]
    if not wanted(*tensors, *weights):
        return below_autograd(LAYER_BACKWARD, *arguments)
    return list(_LayerBackward.apply(saved, options, batch_sizes, *tensors, *weights))


def _with_weights(tensors: tuple[Tensor | None, ...]) -> list[Any]:
    """The gradients, input, h0 and c0, and then the weights as a list."""
    return [*tensors[: GRADS + 3], list(tensors[GRADS + 3 :])]
