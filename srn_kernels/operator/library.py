"""The operators' schemas, and what all of their registrations share.

Registered with ``torch.library.Library`` and not with ``custom_op``, whose layers of Python between a call and a kernel
would take most of the time of a step of :class:`srn_kernels.SRNCell`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

# Private, as only `custom_op` does this in public: a module that is loaded again, as in notebooks, would define the
# operators a second time, and `torch.library.Library` refuses that.
from torch._library.custom_ops import get_library_allowing_overwrite

LIBRARY = get_library_allowing_overwrite("srn_kernels", "layer")
"""The operators' registrations; reloading the module withdraws the earlier ones."""

# Torch's caches of compiled graphs know an operator by its name alone: once there is a release, one that returns something
# else needs another name.
LIBRARY.define(
    "layer(Tensor input, Tensor h0, Tensor c0, Tensor[] weights, Tensor? batch_sizes, int tasks, float? cell_clip, "
    "bool memories, bool save, str backend) -> Tensor[]",
    tags=torch.Tag.pt2_compliant_tag,
)
LIBRARY.define(
    "layer_backward(Tensor? grad_output, Tensor? grad_h_n, Tensor? grad_c_n, Tensor? grad_memories, Tensor input, "
    "Tensor h0, Tensor c0, Tensor[] weights, Tensor? batch_sizes, Tensor output, Tensor gates, Tensor cells, int tasks, "
    "float? cell_clip, bool need_input, bool need_weights, str backend) -> Tensor[]",
    tags=torch.Tag.pt2_compliant_tag,
)
LAYER = torch.ops.srn_kernels.layer.default
"""Returns output, h_n and c_n, with ``memories`` those, and with ``save`` gates and cells for the backward pass."""
LAYER_BACKWARD = torch.ops.srn_kernels.layer_backward.default
"""Returns the gradients of h0 and c0, with ``need_input`` of input, and with ``need_weights`` of each weight."""


def not_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks what runs behind the operators: the compiler passes by the function, and by all that it calls.

    ``torch.compiler.disable`` says the same, but imports the compiler: a second and tens of megabytes, in every program.
    """
    # Private: nothing public leaves the mark without that import. It is the mark that the compiler itself leaves.
    mark = torch._C._dynamo.eval_frame
    skip = mark._FrameAction.SKIP
    mark.set_code_exec_strategy(function.__code__, mark._FrameExecStrategy(skip, skip))
    return function


def below_autograd(operator: Callable[..., Any], *arguments: Any) -> Any:
    """Calls an operator past autograd, for results that need no gradient."""
    # Private: with the public `no_grad` a call still goes through autograd's kernel, which would slow a step of a cell.
    with torch._C._AutoDispatchBelowAutograd():
        return operator(*arguments)


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Turns autocast off while an operator runs: its inputs are cast, and a backward pass must not cast again."""
    device_type = tensor.device.type
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
