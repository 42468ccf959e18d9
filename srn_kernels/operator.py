"""The operator: one SRN layer, all directions, as a functional ``torch.library`` operator that autograd understands.

``srn_kernels::layer`` runs the forward pass on a backend of the registry; ``srn_kernels::layer_backward`` is its
registered gradient, and is itself differentiable, through the reference.

Registered with ``torch.library.Library`` and not with ``custom_op``, which puts so many layers of Python between a call
and a kernel that they would be most of the time of a step of :class:`srn_kernels.SRNCell`. As there, the compiler is
kept out of what runs behind the operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import get_library_allowing_overwrite
from torch.autograd import forward_ad

from srn_kernels import backends, layout, reference, validation
from srn_kernels.backends import Problem
from srn_kernels.gradients import Incoming, Saved
from srn_kernels.layout import DirectionCall, Steps
from srn_kernels.reference import Direction, Layer


def srn_layer(
    input: Tensor,
    h0: Tensor,
    c0: Tensor,
    weights: Sequence[Tensor],
    batch_sizes: Tensor | None = None,
    *,
    tasks: int = 3,
    memories: bool = False,
    backend: str = backends.AUTO,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """One SRN layer over packed rows; differentiable twice.

    Args:
        input: (S, D).
        h0: (directions, B, P); c0: (directions, B, H).
        weights: each direction's parameters in turn, as :class:`srn_kernels.layout.DirectionWeights` orders them.
        batch_sizes: (T,) whole numbers, as in a ``PackedSequence``; None for sequences of equal length S / B.
        tasks: N.
        memories: whether to return tanh(s_S) of every step.
        backend: a backend's name, or ``"auto"``.

    Returns:
        output (S, directions·P), h_n (directions, B, P), c_n (directions, B, H), and the memories
        (S, M, directions·H) or None.

    Raises:
        RuntimeError: tensors that do not fit together, or a backend asked for by name that cannot serve the call.
        ValueError: batch sizes that do not describe the rows, a number of weights that makes no layer, or an unknown
            backend.
        NotImplementedError: a tensor with a forward-mode tangent.
    """
    weights = list(weights)
    _refuse_forward_mode(input, h0, c0, *weights)
    save = torch.is_grad_enabled() and any(t.requires_grad for t in (input, h0, c0, *weights))
    arguments = (input, h0, c0, weights, batch_sizes, tasks, memories, save, backend)
    plain = save or torch.compiler.is_compiling()  # a compiler traces the operator itself
    output, h_n, c_n, s, _, _ = LAYER(*arguments) if plain else _without_gradient(LAYER, *arguments)
    return output, h_n, c_n, s if memories else None


def _refuse_forward_mode(*tensors: Tensor | None) -> None:
    """An operator without a forward-mode rule would drop tangents without a word, and its derivatives would be zeros."""
    if forward_ad._current_level < 0:
        return
    if any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors):
        raise NotImplementedError("srn_kernels has no forward-mode derivatives (jvp); use reverse mode")


_LIBRARY = get_library_allowing_overwrite("srn_kernels", "layer")
"""The operators' registrations; those of a module loaded before, and since reloaded, are withdrawn."""

_LIBRARY.define(
    "layer(Tensor input, Tensor h0, Tensor c0, Tensor[] weights, Tensor? batch_sizes, int tasks, bool memories, "
    "bool save, str backend) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)
_LIBRARY.define(
    "layer_backward(Tensor? grad_output, Tensor? grad_h_n, Tensor? grad_c_n, Tensor? grad_memories, Tensor input, "
    "Tensor h0, Tensor c0, Tensor[] weights, Tensor? batch_sizes, Tensor output, Tensor gates, Tensor cells, int tasks, "
    "bool need_input, bool need_weights, str backend) -> (Tensor, Tensor, Tensor, Tensor[])",
    tags=torch.Tag.pt2_compliant_tag,
)
LAYER = torch.ops.srn_kernels.layer.default
LAYER_BACKWARD = torch.ops.srn_kernels.layer_backward.default


def _without_gradient(operator: torch._ops.OpOverload, *arguments: Any) -> Any:
    """Calls an operator past autograd, for results that need no gradient."""
    with torch._C._AutoDispatchBelowAutograd():
        return operator(*arguments)


@torch.library.impl(_LIBRARY, "layer", "CompositeExplicitAutograd")
@torch._disable_dynamo
def _layer(
    input: Tensor,
    h0: Tensor,
    c0: Tensor,
    weights: list[Tensor],
    batch_sizes: Tensor | None,
    tasks: int,
    memories: bool,
    save: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    validation.layer_arguments(input, h0, c0, weights, tasks)
    out = _empty_layer(input, h0, c0, tasks, memories, save)
    problem = Problem.of(input, h0, weights, batch_sizes, tasks)
    chosen = backends.select(problem, backend)
    backends.note_run(chosen)
    steps = Steps.of(batch_sizes, input.shape[0], h0.shape[1])
    calls = _direction_calls(input, h0, c0, weights, steps, tasks)
    with _without_autocast(input):
        chosen.forward(calls, [_direction_view(out, index) for index in range(len(calls))], memories, save)
    return tuple(out)


@torch.library.register_fake("srn_kernels::layer", lib=_LIBRARY)
def _(input, h0, c0, weights, batch_sizes, tasks, memories, save, backend):
    return tuple(_empty_layer(input, h0, c0, tasks, memories, save))


def _empty_layer(input: Tensor, h0: Tensor, c0: Tensor, tasks: int, memories: bool, save: bool) -> Layer:
    """Outputs to be written; what is not wanted has no rows."""
    rows = input.shape[0]
    directions, batch, state = h0.shape
    hidden = c0.shape[2]
    return Layer(
        output=input.new_empty(rows, directions * state),
        h_n=input.new_empty(directions, batch, state),
        c_n=input.new_empty(directions, batch, hidden),
        memories=input.new_empty(rows if memories else 0, layout.memory_count(tasks), directions * hidden),
        gates=input.new_empty(directions, rows if save else 0, layout.gate_blocks(tasks) * hidden),
        cells=input.new_empty(directions, rows if save else 0, hidden),
    )


def _direction_calls(
    input: Tensor, h0: Tensor, c0: Tensor, weights: Sequence[Tensor], steps: Steps, tasks: int
) -> list[DirectionCall]:
    return [
        DirectionCall(input, h0[index], c0[index], own, steps, tasks, reverse=index == 1)
        for index, own in enumerate(layout.split_weights(weights, h0.shape[0]))
    ]


def _direction_view(out: Layer, index: int) -> Direction:
    """One direction's part of a layer's outputs, as views."""
    directions = out.h_n.shape[0]
    return Direction(
        output=_own_columns(out.output, index, directions),
        h_n=out.h_n[index],
        c_n=out.c_n[index],
        memories=_own_columns(out.memories, index, directions),
        gates=out.gates[index],
        cells=out.cells[index],
    )


def _own_columns(tensor: Tensor, index: int, directions: int) -> Tensor:
    """The part of the last dimension that belongs to a direction, as a view."""
    if directions == 1:
        return tensor
    width = tensor.shape[-1] // directions
    return tensor.narrow(-1, index * width, width)


def _without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Autocast is over once the operator runs: its inputs are cast, and a backward pass must not cast again."""
    device_type = tensor.device.type
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


# -- gradient ----------------------------------------------------------------------------------------------------------


@torch.library.impl(_LIBRARY, "layer_backward", "CompositeExplicitAutograd")
@torch._disable_dynamo
def _layer_backward(
    grad_output: Tensor | None,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
    grad_memories: Tensor | None,
    input: Tensor,
    h0: Tensor,
    c0: Tensor,
    weights: list[Tensor],
    batch_sizes: Tensor | None,
    output: Tensor,
    gates: Tensor,
    cells: Tensor,
    tasks: int,
    need_input: bool,
    need_weights: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    problem = Problem.of(input, h0, weights, batch_sizes, tasks)
    chosen = backends.select(problem, backend)
    backends.note_run(chosen)
    directions = h0.shape[0]
    steps = Steps.of(batch_sizes, input.shape[0], h0.shape[1])
    calls = _direction_calls(input, h0, c0, weights, steps, tasks)
    saved = [Saved(_own_columns(output, index, directions), gates[index], cells[index]) for index in range(directions)]
    grads = [
        Incoming(
            output=None if grad_output is None else _own_columns(grad_output, index, directions),
            h_n=None if grad_h_n is None else grad_h_n[index],
            c_n=None if grad_c_n is None else grad_c_n[index],
            memories=None if grad_memories is None else _own_columns(grad_memories, index, directions),
        )
        for index in range(directions)
    ]
    with _without_autocast(input):
        done = chosen.backward(calls, saved, grads, need_input, need_weights)
    grad_input = torch.stack([one.input for one in done]).sum(0) if len(done) > 1 and need_input else done[0].input
    return (
        input.new_empty(0) if grad_input is None else grad_input,
        torch.stack([one.h0 for one in done]),
        torch.stack([one.c0 for one in done]),
        [grad for one in done for grad in one.weights] if need_weights else [],
    )


@torch.library.register_fake("srn_kernels::layer_backward", lib=_LIBRARY)
def _(
    grad_output,
    grad_h_n,
    grad_c_n,
    grad_memories,
    input,
    h0,
    c0,
    weights,
    batch_sizes,
    output,
    gates,
    cells,
    tasks,
    need_input,
    need_weights,
    backend,
):
    return (
        input.new_empty(input.shape if need_input else 0),
        h0.new_empty(h0.shape),
        c0.new_empty(c0.shape),
        [weight.new_empty(weight.shape) for weight in weights] if need_weights else [],
    )


class _DifferentiableLayer(torch.autograd.Function):
    """The operator as autograd sees it: every tensor an argument of its own, of which it can keep track."""

    @staticmethod
    def forward(ctx, options, batch_sizes, input, h0, c0, *weights):
        tasks, memories, save, backend = options
        done = _without_gradient(LAYER, input, h0, c0, list(weights), batch_sizes, *options)
        output, _, _, _, gates, cells = done
        ctx.mark_non_differentiable(gates, cells)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(input, h0, c0, batch_sizes, output, gates, cells, *weights)
        ctx.tasks, ctx.memories, ctx.save, ctx.backend = tasks, memories, save, backend
        return done

    @staticmethod
    def backward(ctx, *grads):
        return None, None, *_backward_layer(ctx, *grads)


@torch.library.impl(_LIBRARY, "layer", "Autograd")
@torch._disable_dynamo
def _differentiable_layer(input, h0, c0, weights, batch_sizes, tasks, memories, save, backend):
    options = (tasks, memories, save, backend)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (input, h0, c0, *weights)):
        return _DifferentiableLayer.apply(options, batch_sizes, input, h0, c0, *weights)
    return _without_gradient(LAYER, input, h0, c0, weights, batch_sizes, *options)


def _backward_layer(ctx, grad_output, grad_h_n, grad_c_n, grad_memories, _gates, _cells):
    """Gradients of input, h0, c0 and each weight."""
    if not ctx.save:
        raise RuntimeError("srn_kernels::layer was called with save=False although an argument required a gradient")
    _refuse_forward_mode(grad_output, grad_h_n, grad_c_n, grad_memories)
    input, h0, c0, batch_sizes, output, gates, cells, *weights = ctx.saved_tensors
    need_input, need_weights = ctx.needs_input_grad[2], any(ctx.needs_input_grad[5:])
    arguments = (
        grad_output,
        grad_h_n,
        grad_c_n,
        grad_memories if ctx.memories else None,
        input,
        h0,
        c0,
        weights,
        batch_sizes,
        output,
        gates,
        cells,
        ctx.tasks,
        need_input,
        need_weights,
        ctx.backend,
    )
    twice = torch.is_grad_enabled()
    grad_input, grad_h0, grad_c0, grad_weights = (
        LAYER_BACKWARD(*arguments) if twice else _without_gradient(LAYER_BACKWARD, *arguments)
    )
    return (
        grad_input if need_input else None,
        grad_h0,
        grad_c0,
        *(grad_weights if need_weights else [None] * len(weights)),
    )


# -- second derivative -------------------------------------------------------------------------------------------------


def _setup_layer_backward(ctx, inputs, output):
    *grads, input, h0, c0, weights, batch_sizes, _out, _gates, _cells, tasks, need_input, need_weights, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.present = [grad is not None for grad in grads]
    ctx.save_for_backward(batch_sizes, *(g for g in grads if g is not None), input, h0, c0, *weights)
    ctx.tasks, ctx.need_input, ctx.need_weights = tasks, need_input, need_weights


def _backward_layer_backward(ctx, gg_input, gg_h0, gg_c0, gg_weights):
    """Differentiates the gradient through the reference.

    The saved activations are functions of the inputs, so the whole derivative flows through the inputs, and none
    through the activations.
    """
    batch_sizes, *saved = ctx.saved_tensors
    with torch.enable_grad(), _without_autocast(saved[-1]):
        # Views cut the reference's graph from the caller's, so that a gradient counts each path once; they stay
        # attached to it where the caller wants to differentiate once more.
        leaves = [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in saved]
        given, inputs = leaves[: sum(ctx.present)], leaves[sum(ctx.present) :]
        input, h0, c0, *weights = inputs
        done = reference.layer(input, h0, c0, weights, batch_sizes, ctx.tasks)
        targets = [t for t, present in zip(done[:4], ctx.present, strict=True) if present]
        first = _gradients(targets, inputs, given)
        gg = [gg_input if ctx.need_input else None, gg_h0, gg_c0]
        gg += gg_weights if ctx.need_weights else [None] * len(weights)
        values = [value for value, grad in zip(first, gg, strict=True) if grad is not None]
        second = _gradients(values, leaves, [grad for grad in gg if grad is not None])
    it = iter(second)
    grads = [next(it) if present else None for present in ctx.present]
    grad_input, grad_h0, grad_c0, *grad_weights = it
    return (*grads, grad_input, grad_h0, grad_c0, grad_weights, *[None] * 8)


def _gradients(values: list[Tensor | None], inputs: list[Tensor], seeds: list[Tensor]) -> list[Tensor | None]:
    """``torch.autograd.grad`` with a graph; None where nothing depends on an input, values that do not included."""
    pairs = [(v, seed) for v, seed in zip(values, seeds, strict=True) if v is not None and v.requires_grad]
    if not pairs:
        return [None] * len(inputs)
    values, seeds = zip(*pairs, strict=True)
    return list(torch.autograd.grad(values, inputs, seeds, create_graph=True, allow_unused=True))


torch.library.register_autograd(
    "srn_kernels::layer_backward", _backward_layer_backward, setup_context=_setup_layer_backward, lib=_LIBRARY
)


# -- autocast ----------------------------------------------------------------------------------------------------------


def _register_autocast(device_type: str) -> None:
    """Casts every floating-point argument to the region's dtype, whichever that is, and runs without autocast.

    ``torch.library.register_autocast`` knows one fixed dtype; autocast regions come in float16 and bfloat16.
    """
    key = getattr(torch._C.DispatchKey, f"Autocast{device_type.upper()}")
    keyset = torch._C.DispatchKeySet(key)

    def cast(value: object) -> object:
        if isinstance(value, list):
            return [cast(one) for one in value]
        if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64:
            return value.to(torch.get_autocast_dtype(device_type))
        return value

    def with_cast(*args):
        with torch._C._ExcludeDispatchKeyGuard(keyset):
            return LAYER(*[cast(arg) for arg in args])

    _LIBRARY.impl("layer", with_cast, f"Autocast{device_type.upper()}")


for _device_type in ("cpu", "cuda"):
    _register_autocast(_device_type)
