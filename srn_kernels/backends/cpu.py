"""The native CPU backend: hands tensors to the kernels of ``csrc/cpu`` as raw pointers."""

from __future__ import annotations

from torch import Tensor

from srn_kernels.backends.problem import Backend, Grads, Problem
from srn_kernels.gradients import DirectionGradients
from srn_kernels.layout import DirectionWeights, Steps
from srn_kernels.reference import Direction


class CPUBackend(Backend):
    name = "cpu"

    def unavailable(self) -> str | None:
        return "not built"

    def unsupported(self, problem: Problem) -> str | None:
        return None

    def forward(self, *args):
        raise NotImplementedError

    def backward(self, *args):
        raise NotImplementedError
