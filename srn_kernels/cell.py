"""``SRNCell``: a single step of the SRN, with the contract of ``torch.nn.LSTMCell``, for streaming."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor, nn

from srn_kernels import backends, layout, validation
from srn_kernels.initialization import UNIFORM, check_name, initialize
from srn_kernels.operator import srn_layer
from srn_kernels.output import SRNOutput
from srn_kernels.tracing import call_module, proxy_of


class SRNCell(nn.Module):
    """One step of the SRN, with the arguments, call form and shapes of ``torch.nn.LSTMCell``.

    Parameters are those of one layer of :class:`srn_kernels.SRN` without the layer suffix: ``weight_ih`` (G·H, D),
    ``weight_hh`` (G·H, H), ``bias_ih``, ``bias_hh`` (G·H), ``weight_mc`` (H, M·H), ``bias_mc`` (H).

    Args:
        input_size: D, the number of features of the input.
        hidden_size: H, the number of hidden units.
        bias: whether there are bias parameters.
        tasks: the tasks' names, or their number.
        cell_clip: what the new cell state is clipped to, as in :class:`srn_kernels.SRN`.
        init: how the parameters begin, as there.
        backend: the implementation to use by name, or ``"auto"``.

    Example:
        >>> cell = SRNCell(768, 300)
        >>> h, c = cell(torch.randn(8, 768))
        >>> h, c = cell(torch.randn(8, 768), (h, c))
        >>> h.shape
        torch.Size([8, 300])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        tasks: int | Sequence[str] = 3,
        cell_clip: float | None = None,
        init: str = UNIFORM,
        backend: str = backends.AUTO,
    ) -> None:
        super().__init__()
        validation.flag("bias", bias)
        validation.sizes(input_size, hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self.tasks: tuple[str, ...] = validation.task_names(tasks)
        self.cell_clip: float | None = validation.bound("cell_clip", cell_clip)
        self.init: str = check_name(init)
        self.backend: str = backends.check_name(backend)
        self._names = [name.removesuffix("_l0") for name in layout.parameter_names(0, False, bias, False)]
        shapes = layout.parameter_shapes(input_size, hidden_size, 0, len(self.tasks), bias)
        for name, shape in zip(self._names, shapes, strict=True):
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        if not bias:
            for name in ("bias_ih", "bias_hh", "bias_mc"):
                self.register_parameter(name, None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws every parameter as ``init`` says."""
        initialize(self, self.hidden_size, len(self.tasks), self.init)

    def extra_repr(self) -> str:
        bias = "" if self.bias else ", bias=False"
        defaults = {"cell_clip": None, "init": UNIFORM, "backend": backends.AUTO}
        parts = [f", {name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return f"{self.input_size}, {self.hidden_size}{bias}, tasks={self.tasks}{''.join(parts)}"

    @overload
    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None, return_memories: Literal[False] = False
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None, *, return_memories: Literal[True]
    ) -> SRNOutput: ...

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None, return_memories: bool = False
    ) -> tuple[Tensor, Tensor] | SRNOutput:
        """One step: ``input`` (B, D) or (D); ``hx`` is (h, c), each (B, H) or (H), zeros when absent.

        Returns:
            The new (h, c); or, with ``return_memories``, an :class:`srn_kernels.SRNOutput` whose ``output`` is h and
            whose memories are (B, M, H).

        Raises:
            ValueError: ranks other than 1 or 2, or an input dtype that is not that of the weights.
            RuntimeError: wrong sizes or devices.
            TypeError: ``hx`` is not a pair of tensors.
        """
        if (proxy := proxy_of(input, hx)) is not None:
            return call_module(proxy, self, input, hx, {"return_memories": return_memories} if return_memories else {})
        if input.dim() not in (1, 2):
            raise ValueError(f"LSTMCell: Expected input to be 1D or 2D, got {input.dim()}D instead")
        batched = input.dim() == 2
        rows = input if batched else input.unsqueeze(0)
        if rows.shape[1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {rows.shape[1]} expected {self.input_size}")
        if hx is None:
            h = c = rows.new_zeros(rows.shape[0], self.hidden_size)
        else:
            h, c = validation.pair(hx)
            fits = h.shape == c.shape == (*input.shape[:-1], self.hidden_size)
            if not fits:
                validation.cell_state_ranks((h, c), input.dim())
            if not batched:
                h, c = h.unsqueeze(0), c.unsqueeze(0)
            if not fits:
                validation.cell_state_sizes((h, c), rows.shape[0], self.hidden_size)
        registered = self._parameters  # getattr takes longer: only for a weight that a parametrization computes
        weights = [registered[name] if name in registered else getattr(self, name) for name in self._names]
        if not validation.alike(weights[0], rows, h, c):
            validation.input_dtype(rows, weights[0])
            validation.devices(rows, weights[0], (h, c))
            validation.state_dtypes((h, c), rows)
        _, h, c, memories = srn_layer(  # not the output, which is the same: it is saved, and must not be changed
            rows,
            h.unsqueeze(0),
            c.unsqueeze(0),
            weights,
            tasks=len(self.tasks),
            cell_clip=self.cell_clip,
            memories=return_memories,
            backend=self.backend,
        )
        h, c = h[0], c[0]
        if not batched:
            h, c, memories = h[0], c[0], None if memories is None else memories[0]
        return (h, c) if memories is None else SRNOutput(h, (h, c), memories, self.tasks)
