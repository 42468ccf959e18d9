"""Checks of what a caller passes in, with the exception types and messages of ``torch.nn.LSTM`` where it has them."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor


def task_names(tasks: int | Sequence[str]) -> tuple[str, ...]:
    """The tasks' names; a number N stands for N tasks named "0", "1", ...

    Raises:
        TypeError: neither a number nor a sequence of strings.
        ValueError: no task, an empty name, or a name given twice.
    """
    if isinstance(tasks, (bool, str)) or not isinstance(tasks, (int, Sequence)):
        raise TypeError(f"tasks should be an int or a sequence of names, got: {type(tasks).__name__}")
    names = tuple(str(index) for index in range(tasks)) if isinstance(tasks, int) else tuple(tasks)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"tasks should be named by strings, got: {type(name).__name__}")
        if not name:
            raise ValueError("tasks should have names that are not empty")
    if not names:
        raise ValueError(f"tasks should be at least one, got {tasks!r}")
    if len(set(names)) != len(names):
        raise ValueError(f"tasks should be named differently, got {list(names)}")
    return names


def sizes(input_size: int, hidden_size: int) -> None:
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(value, int):
            raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")


def flag(name: str, value: bool) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")


def network(
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bias: bool,
    batch_first: bool,
    dropout: float,
    proj_size: int,
) -> None:
    """Checks a network's arguments, in the order in which ``nn.LSTM`` does."""
    probability("dropout", dropout)
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
            f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=3,
        )
    flag("bias", bias)
    flag("batch_first", batch_first)
    sizes(input_size, hidden_size)
    for name, value in (("num_layers", num_layers), ("proj_size", proj_size)):
        if not isinstance(value, int):
            raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


def probability(name: str, value: float) -> None:
    if not isinstance(value, numbers.Number) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(
            f"{name} should be a number in range [0, 1] representing the probability of an element being zeroed"
        )


def bound(name: str, value: float | None) -> float | None:
    """A bound as a float, or None.

    Raises:
        TypeError: not a number.
        ValueError: not above 0, or not finite.
    """
    if value is None:
        return None
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} should be a number or None, got: {type(value).__name__}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} should be a finite number above 0, or None, got {value}")
    return float(value)


def _mismatch(tensor: Tensor, expected: torch.dtype) -> bool:
    """Whether a dtype differs and autocast will not cast it: autocast casts on its device only, and never float64."""
    if tensor.dtype is expected:
        return False
    cast = torch.is_autocast_enabled(tensor.device.type) and tensor.is_floating_point()
    return not cast or torch.float64 in (tensor.dtype, expected)


def alike(first: Tensor, *others: Tensor) -> bool:
    """Whether all have the dtype and the device of the first."""
    dtype, device = first.dtype, first.device
    return all(tensor.dtype is dtype and tensor.device == device for tensor in others)


def input_dtype(input: Tensor, weight: Tensor) -> None:
    if _mismatch(input, weight.dtype):
        raise ValueError(
            f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
            f"Convert input: input.to({weight.dtype}), or convert model: model.to({input.dtype})"
        )


def input_width(input: Tensor, input_size: int) -> None:
    if input.size(-1) != input_size:
        raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {input_size}, got {input.size(-1)}")


def devices(input: Tensor, weight: Tensor, hx: Sequence[Tensor]) -> None:
    if input.device != weight.device:
        raise RuntimeError(
            "Input and parameter tensors are not at the same device, found input tensor at "
            f"{input.device} and parameter tensor at {weight.device}"
        )
    for tensor in hx:
        if tensor.device != input.device:
            raise RuntimeError(
                "Input and hidden tensors are not at the same device, found input tensor at "
                f"{input.device} and hidden tensor at {tensor.device}"
            )


def pair(hx: object) -> tuple[Tensor, Tensor]:
    """The state as (h, c).

    Raises:
        TypeError: not a pair of tensors.
    """
    if not isinstance(hx, (tuple, list)) or len(hx) != 2 or not all(isinstance(t, Tensor) for t in hx):
        found = type(hx).__name__ if not isinstance(hx, (tuple, list)) else [type(t).__name__ for t in hx]
        raise TypeError(f"hx should be a pair of tensors (h_0, c_0), got: {found}")
    return hx[0], hx[1]


def state_sizes(hx: tuple[Tensor, Tensor], expected_h: tuple[int, ...], expected_c: tuple[int, ...]) -> None:
    for index, (tensor, expected) in enumerate(zip(hx, (expected_h, expected_c), strict=True)):
        if tuple(tensor.shape) != expected:
            raise RuntimeError(f"Expected hidden[{index}] size {expected}, got {list(tensor.shape)}")


def cell_state_ranks(hx: tuple[Tensor, Tensor], rank: int) -> None:
    for index, tensor in enumerate(hx):
        if tensor.dim() == rank:
            continue
        if tensor.dim() not in (1, 2):
            raise ValueError(f"LSTMCell: Expected hx[{index}] to be 1D or 2D, got {tensor.dim()}D instead")
        raise RuntimeError(f"LSTMCell: Expected hx[{index}] to be {rank}D as the input, got {tensor.dim()}D instead")


def cell_state_sizes(hx: tuple[Tensor, Tensor], batch: int, hidden_size: int) -> None:
    """Does for a cell what :func:`state_sizes` does for a network, in the different words of ``nn.LSTMCell``."""
    for index, tensor in enumerate(hx):
        if tensor.shape[0] != batch:
            raise RuntimeError(f"Input batch size {batch} doesn't match hidden{index} batch size {tensor.shape[0]}")
        if tensor.shape[1] != hidden_size:
            raise RuntimeError(
                f"hidden{index} has inconsistent hidden_size: got {tensor.shape[1]}, expected {hidden_size}"
            )


def state_dtypes(hx: tuple[Tensor, Tensor], input: Tensor) -> None:
    for index, tensor in enumerate(hx):
        if _mismatch(tensor, input.dtype):
            raise ValueError(
                f"hidden[{index}] dtype ({tensor.dtype}) does not match input dtype ({input.dtype}). "
                f"Convert it: hidden[{index}].to({input.dtype})"
            )
