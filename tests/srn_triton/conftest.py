"""Without a GPU the kernels of these tests run on the CPU, in Triton's interpreter, whose faults are corrected here."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from srn.conftest import poisoned_memory

__all__ = ["poisoned_memory"]


def import_interpreted_kernels() -> None:
    """Triton looks at its environment variable when a kernel is defined, so the variable need not outlive the import.

    The other tests, which share this process and start others, never see it; nor does Triton itself, whose kernels
    others may use.
    """
    import triton.language  # noqa: F401

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        from srn_kernels.backends.triton import passes  # noqa: F401


def mend_the_interpreter() -> None:
    """Makes it do what a GPU does where Triton 3.6 and 3.7 do not.

    It cuts a float32 short on the way to bfloat16, where every GPU rounds to nearest, ties to even; multiplies the bits
    of bfloat16 operands of ``tl.dot`` as if they were whole numbers; and cannot take the end of a loop from a tensor
    under NumPy 2.4.
    """
    import triton.language as tl
    from triton.runtime import interpreter

    convert_before, patch_before = interpreter._convert_float, interpreter._patch_lang_tensor
    dot_before = interpreter.InterpreterBuilder.create_dot

    def convert(value: np.ndarray, from_dtype: tl.dtype, to_dtype: tl.dtype, rounding: object) -> np.ndarray:
        if (from_dtype, to_dtype) != (tl.float32, tl.bfloat16):
            return convert_before(value, from_dtype, to_dtype, rounding)
        return torch.from_numpy(value.copy()).bfloat16().view(torch.uint16).numpy()

    def widened(operand: interpreter.TensorHandle) -> interpreter.TensorHandle:
        if operand.dtype.scalar != tl.bfloat16:
            return operand
        exact = torch.from_numpy(operand.data.copy()).view(torch.bfloat16).float()
        return interpreter.TensorHandle(exact.numpy(), tl.float32)

    def dot(builder, a, b, *rest):
        return dot_before(builder, widened(a), widened(b), *rest)

    def patch_tensor(tensor: type, *scope: object) -> None:
        patch_before(tensor, *scope)
        tensor.__index__ = lambda self: self.handle.data.item()

    interpreter._convert_float = convert
    interpreter.InterpreterBuilder.create_dot = dot
    interpreter._patch_lang_tensor = patch_tensor


if torch.cuda.is_available():
    # The poison needs torch's deterministic mode, in which cuBLAS must know its workspace before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
else:
    import_interpreted_kernels()
    mend_the_interpreter()
