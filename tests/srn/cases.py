"""Random calls of the operator, and the backends that can run them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from srn_kernels import backends, layout, reference, srn_layer
from srn_kernels.call import LayerCall

USABLE = [
    name for name, backend in backends.BACKENDS.items() if not backend.needs_proof and backend.unavailable() is None
]
"""Every backend that runs on a CPU here, where these calls are; :mod:`test_backends` insists on the native one.

Those that need a proof are for GPUs, and have tests of their own.
"""


@dataclass(frozen=True)
class Case:
    """The sizes of a call; sequences have equal lengths, or with ``ragged`` lengths from ``steps`` down to 1."""

    steps: int = 4
    batch: int = 3
    input_size: int = 5
    hidden_size: int = 6
    tasks: int = 3
    bias: bool = True
    proj_size: int = 0
    directions: int = 1
    ragged: bool = False
    cell_clip: float | None = None

    def __str__(self) -> str:
        changed = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return ",".join(changed) or "plain"

    @property
    def batch_sizes(self) -> Tensor | None:
        """(T,) int64, or None for equal lengths."""
        if not self.ragged:
            return None
        lengths = torch.linspace(self.steps, 1, self.batch).round().long()
        return (lengths[None, :] > torch.arange(self.steps)[:, None]).sum(1)

    @property
    def rows(self) -> int:
        return self.steps * self.batch if self.batch_sizes is None else int(self.batch_sizes.sum())


@dataclass(frozen=True)
class Call:
    """Arguments of :func:`srn_kernels.srn_layer`."""

    input: Tensor  # (S, D)
    h0: Tensor  # (directions, B, P)
    c0: Tensor  # (directions, B, H)
    weights: tuple[Tensor, ...]
    batch_sizes: Tensor | None
    tasks: int
    cell_clip: float | None = None

    def tensors(self) -> list[Tensor]:
        """Everything that has a gradient."""
        return [self.input, self.h0, self.c0, *self.weights]

    def names(self) -> list[str]:
        """Names to go with :meth:`tensors`."""
        return ["input", "h0", "c0", *(f"weights[{index}]" for index in range(len(self.weights)))]

    def with_tensors(self, tensors: list[Tensor] | tuple[Tensor, ...]) -> Call:
        input, h0, c0, *weights = tensors
        return replace(self, input=input, h0=h0, c0=c0, weights=tuple(weights))

    def to(self, dtype: torch.dtype) -> Call:
        return self.with_tensors([tensor.detach().to(dtype) for tensor in self.tensors()])

    def leaves(self) -> Call:
        """The same memory as leaves that want a gradient."""
        return self.with_tensors([tensor.detach().requires_grad_() for tensor in self.tensors()])

    def layer_call(self) -> LayerCall:
        """The call as a backend gets it."""
        return LayerCall.of(self.input, self.h0, self.c0, self.weights, self.batch_sizes, self.tasks, self.cell_clip)

    def run(self, backend: str = backends.AUTO, memories: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """output, h_n, c_n and memories."""
        return srn_layer(
            self.input,
            self.h0,
            self.c0,
            self.weights,
            self.batch_sizes,
            tasks=self.tasks,
            cell_clip=self.cell_clip,
            memories=memories,
            backend=backend,
        )


CLIP_MARGIN = 2**-6
"""How far from its bound a clipped cell state is before: roundings of bfloat16 do not move it across."""


def draw(case: Case, dtype: torch.dtype = torch.float64) -> Call:
    """Random arguments, with weights large enough that gates leave their linear part. With a ``cell_clip``, which makes
    a jump of the gradients, no cell state comes close to it."""
    call = _draw(case, dtype)
    while case.cell_clip is not None and not _is_clear_cut(call):
        call = _draw(case, dtype)
    return call


def _draw(case: Case, dtype: torch.dtype) -> Call:
    shapes = layout.parameter_shapes(case.input_size, case.hidden_size, case.proj_size, case.tasks, case.bias)
    state = case.proj_size or case.hidden_size
    return Call(
        input=torch.randn(case.rows, case.input_size).to(dtype),
        h0=torch.randn(case.directions, case.batch, state).to(dtype),
        c0=torch.randn(case.directions, case.batch, case.hidden_size).to(dtype),
        weights=tuple(
            (torch.randn(shape) * (shape[-1] ** -0.5 if len(shape) > 1 else 0.5)).to(dtype)
            for _ in range(case.directions)
            for shape in shapes
        ),
        batch_sizes=case.batch_sizes,
        tasks=case.tasks,
        cell_clip=case.cell_clip,
    )


def _is_clear_cut(call: Call) -> bool:
    """Whether some cell states are clipped, some are not, and none is near the bound."""
    sums = []
    for direction in call.to(torch.float64).layer_call().directions:
        done, weights = reference.direction(direction), direction.weights
        sums.append(F.linear(torch.atanh(done.memories).flatten(1), weights.mc, weights.b_mc))  # Eq. 8 of Eq. 10
    distance = torch.cat(sums).abs() - call.cell_clip
    return bool(distance.abs().min() > CLIP_MARGIN and distance.min() < 0 < distance.max())
