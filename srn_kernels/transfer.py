"""Copies small tables from the host to a device without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor

_captured: list[Tensor] = []
"""Host memory that a captured graph copies from: a replay reads it again, so it stays."""


def to_device(table: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on ``device``, copied on the current stream."""
    if device.type != "cuda":
        return table.to(device)
    pinned = table.pin_memory()
    if torch.cuda.is_current_stream_capturing():
        _captured.append(pinned)
    return pinned.to(device, non_blocking=True)
