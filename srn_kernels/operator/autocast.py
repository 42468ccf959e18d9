"""The operators' autocast rule: a layer runs in the region's dtype, whichever that is."""

from __future__ import annotations

import torch
from torch import Tensor

from srn_kernels.operator.library import LAYER, LIBRARY


def _register(device_type: str) -> None:
    """Casts every floating-point argument except float64, and runs without autocast.

    ``torch.library.register_autocast`` knows one fixed dtype; autocast regions come in float16 and bfloat16.
    """

    def cast(value: object) -> object:
        if isinstance(value, list):
            return [cast(one) for one in value]
        if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64:
            return value.to(torch.get_autocast_dtype(device_type))
        return value

    def with_cast(*arguments: object) -> object:
        done = [cast(argument) for argument in arguments]
        # For this device, wherever the input is: otherwise the call would come back here.
        with torch.autocast(device_type, enabled=False):
            return LAYER(*done)

    LIBRARY.impl("layer", with_cast, f"Autocast{device_type.upper()}")


for _device_type in ("cpu", "cuda"):
    _register(_device_type)
