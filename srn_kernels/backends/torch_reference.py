"""The reference as a backend: plain PyTorch on any device and dtype, for any number of tasks."""

from __future__ import annotations

from collections.abc import Sequence

from srn_kernels import gradients, reference
from srn_kernels.backends.backend import Backend
from srn_kernels.call import LayerCall, Problem
from srn_kernels.gradients import DirectionGradients, Incoming, Saved
from srn_kernels.reference import Direction


class ReferenceBackend(Backend):
    """Serves everything, slowly: a few dozen PyTorch operations per step."""

    name = "reference"

    def unavailable(self) -> str | None:
        return None

    def unsupported(self, problem: Problem) -> str | None:
        return None

    def forward(self, call: LayerCall, outs: Sequence[Direction]) -> None:
        for direction, out in zip(call.directions, outs, strict=True):
            for target, value in zip(out, reference.direction(direction), strict=True):
                if target is not None:
                    target.copy_(value)

    def backward(
        self, call: LayerCall, saved: Sequence[Saved], grads: Sequence[Incoming], need_input: bool, need_weights: bool
    ) -> list[DirectionGradients]:
        done = []
        for direction, of_forward, grad in zip(call.directions, saved, grads, strict=True):
            rows = gradients.recurrence(direction, of_forward, grad)
            done.append(gradients.finish(rows, direction, of_forward, need_input, need_weights))
        return done
