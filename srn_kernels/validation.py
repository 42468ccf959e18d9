"""Checks of what a caller passes in, with the exception types and messages of ``torch.nn.LSTM`` where it has them."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor


def task_names(tasks: int | Sequence[str]) -> tuple[str, ...]:
    """The tasks' names; a number stands for as many tasks named "0", "1", ...

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


def sizes(input_size: int, hidden_size: int, bias: bool) -> None:
    """Checks what a single cell and a whole network have in common."""
    if not isinstance(bias, bool):
        raise TypeError(f"bias should be of type bool, got: {type(bias).__name__}")
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(value, int):
            raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")


def network(num_layers: int, batch_first: bool, dropout: float, proj_size: int, hidden_size: int) -> None:
    """Checks what a network has beyond a cell."""
    probability("dropout", dropout)
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
            f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=3,
        )
    if not isinstance(batch_first, bool):
        raise TypeError(f"batch_first should be of type bool, got: {type(batch_first).__name__}")
    if not isinstance(num_layers, int):
        raise TypeError(f"num_layers should be of type int, got: {type(num_layers).__name__}")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if not isinstance(proj_size, int):
        raise TypeError(f"proj_size should be of type int, got: {type(proj_size).__name__}")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


def probability(name: str, value: float) -> None:
    if not isinstance(value, numbers.Number) or isinstance(value, bool) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(
            f"{name} should be a number in range [0, 1] representing the probability of an element being zeroed"
        )


def input_tensor(input: Tensor, weight: Tensor, input_size: int) -> None:
    """Checks dtype, device and width of an input against the first weight; its rank is the caller's to check."""
    if input.dtype != weight.dtype and not torch._C._is_any_autocast_enabled():
        raise ValueError(
            f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
            f"Convert input: input.to({weight.dtype}), or convert model: model.to({input.dtype})"
        )
    if input.size(-1) != input_size:
        raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {input_size}, got {input.size(-1)}")
    if input.device != weight.device:
        raise RuntimeError(
            "Input and parameter tensors are not at the same device, found input tensor at "
            f"{input.device} and parameter tensor at {weight.device}"
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


def state(hx: tuple[Tensor, Tensor], input: Tensor, expected_h: tuple[int, ...], expected_c: tuple[int, ...]) -> None:
    """Checks shapes, device and dtype of a batched state against the input."""
    for index, (tensor, expected) in enumerate(zip(hx, (expected_h, expected_c), strict=True)):
        if tuple(tensor.shape) != expected:
            raise RuntimeError(f"Expected hidden[{index}] size {expected}, got {list(tensor.shape)}")
        if tensor.device != input.device:
            raise RuntimeError(
                "Input and hidden tensors are not at the same device, found input tensor at "
                f"{input.device} and hidden tensor at {tensor.device}"
            )
        if tensor.dtype != input.dtype and not torch._C._is_any_autocast_enabled():
            raise ValueError(
                f"hidden[{index}] dtype ({tensor.dtype}) does not match input dtype ({input.dtype}). "
                f"Convert it: hidden[{index}].to({input.dtype})"
            )
