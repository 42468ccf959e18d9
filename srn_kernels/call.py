"""A call of one layer: an operator's arguments, checked and split once, in the form that every backend takes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from srn_kernels import layout
from srn_kernels.layout import DirectionWeights, Steps


class Problem(NamedTuple):
    """The parts of a call that decide whether a backend can serve it, and how."""

    rows: int
    batch: int
    input_size: int
    hidden_size: int
    state_size: int
    tasks: int
    directions: int
    bias: bool
    projection: bool
    ragged: bool
    dtype: torch.dtype
    device: torch.device


class DirectionCall(NamedTuple):
    """What one direction of a layer is asked to compute; all tensors of one dtype and device."""

    input: Tensor  # (S, D)
    h0: Tensor  # (B, P)
    c0: Tensor  # (B, H)
    weights: DirectionWeights
    steps: Steps
    tasks: int
    cell_clip: float | None  # c_t is held to ± this number, which the dtype has; None for no bound
    reverse: bool


class LayerCall(NamedTuple):
    """What a layer is asked to compute: its directions, the reverse one second."""

    problem: Problem
    directions: list[DirectionCall]

    @classmethod
    def of(
        cls,
        input: Tensor,
        h0: Tensor,
        c0: Tensor,
        weights: Sequence[Tensor],
        batch_sizes: Tensor | None,
        tasks: int,
        cell_clip: float | None = None,
    ) -> LayerCall:
        """Checks that an operator's arguments fit together: kernels read and write by address.

        Args:
            input: (S, D).
            h0: (directions, B, P); c0: (directions, B, H).
            weights: the flat list of :func:`srn_kernels.layout.split_weights`.
            batch_sizes: as :class:`srn_kernels.layout.Steps` takes them.
            tasks: N.
            cell_clip: the bound of the cell state, or None.

        Raises:
            RuntimeError: a shape, dtype or device that does not fit the others; the message names the argument.
            ValueError: a number of weights that no layer has, batch sizes that do not describe the rows, or a bound of 0
                or less.
        """
        if input.dim() != 2 or h0.dim() != 3 or c0.dim() != 3:
            raise RuntimeError(
                f"input should be (S, D), h0 and c0 (directions, B, .), got {list(input.shape)}, {list(h0.shape)}, "
                f"{list(c0.shape)}"
            )
        (rows, input_size), (directions, batch, state), hidden = input.shape, h0.shape, c0.shape[2]
        split = layout.split_weights(weights, directions)
        bias, projection = split[0].b_ih is not None, split[0].hr is not None
        if not projection and state != hidden:
            raise RuntimeError(f"h0 is {state} wide and c0 {hidden}: without a projection they are equally wide")
        expected = _expected_shapes(directions, batch, input_size, hidden, state, tasks, bias, projection)
        dtype, device = input.dtype, input.device
        for (name, shape), tensor in zip(expected, (c0, h0, *weights), strict=True):
            if tensor.shape != shape:
                raise RuntimeError(f"{name} should have the shape {list(shape)}, got {list(tensor.shape)}")
            if tensor.dtype is not dtype or tensor.device != device:
                raise RuntimeError(
                    f"{name} should be {dtype} on {device} as the input, got {tensor.dtype} on {tensor.device}"
                )
        steps, ragged = Steps.of(batch_sizes, rows, batch), batch_sizes is not None
        clip = None if cell_clip is None else _bound_in(dtype, cell_clip)
        # By position: keywords would slow a step of a cell.
        return cls(
            Problem(rows, batch, input_size, hidden, state, tasks, directions, bias, projection, ragged, dtype, device),
            [
                DirectionCall(input, h0[index], c0[index], its_weights, steps, tasks, clip, index == 1)
                for index, its_weights in enumerate(split)
            ],
        )


@lru_cache(maxsize=64)
def _bound_in(dtype: torch.dtype, number: float) -> float:
    """A bound as the dtype rounds it: what is stored at the bound is then the bound."""
    rounded = torch.tensor(number, dtype=dtype).item()
    if not rounded > 0:
        raise ValueError(f"cell_clip should be above 0, and so in {dtype}, or None, got {number}")
    return rounded


@lru_cache(maxsize=256)
def _expected_shapes(
    directions: int, batch: int, input_size: int, hidden: int, state: int, tasks: int, bias: bool, projection: bool
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Names and shapes of c0, h0 and the weights of a layer. Cached, as finding them takes as long as a short call."""
    expected: list[tuple[str, tuple[int, ...]]] = [
        ("c0", (directions, batch, hidden)),
        ("h0", (directions, batch, state)),
    ]
    shapes = layout.parameter_shapes(input_size, hidden, state if projection else 0, tasks, bias)
    for index in range(directions):
        names = layout.parameter_names(0, index == 1, bias, projection)
        expected += zip([name.replace("_l0", "") for name in names], shapes, strict=True)
    return tuple(expected)
