"""Where these tests run: on a GPU if there is one, and otherwise on the CPU, in Triton's interpreter."""

from __future__ import annotations

import torch
from srn.cases import Call, Case, draw

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def draw_here(case: Case, dtype: torch.dtype) -> Call:
    """A random call with its tensors on the device; lengths stay on the CPU."""
    call = draw(case, dtype)
    return call.with_tensors([tensor.to(DEVICE) for tensor in call.tensors()])
