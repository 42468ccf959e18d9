"""Whether float32 means float32 on a GPU: torch's products keep it by default, cuDNN's do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allows or forbids float32 products to round their operands to TF32's 10 bits: torch's, cuDNN's and ours."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.rnn
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "tf32" if allowed else "ieee"
    try:
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision
