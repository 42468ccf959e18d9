"""The reference as a backend: plain PyTorch on any device and dtype, for any number of tasks."""

from __future__ import annotations

from srn_kernels import gradients, reference
from srn_kernels.backends.problem import Backend, Problem
from srn_kernels.gradients import DirectionGradients, Incoming, Saved
from srn_kernels.layout import DirectionCall
from srn_kernels.reference import Direction


class ReferenceBackend(Backend):
    """Serves everything, slowly: a few dozen PyTorch operations a step."""

    name = "reference"

    def unavailable(self) -> str | None:
        return None

    def unsupported(self, problem: Problem) -> str | None:
        return None

    def forward_direction(self, call: DirectionCall, out: Direction, memories: bool, save: bool) -> None:
        done = reference.direction(call)
        wanted = {"memories": memories, "gates": save, "cells": save}
        for name, target, value in zip(Direction._fields, out, done, strict=True):
            if wanted.get(name, True):
                target.copy_(value)

    def backward_direction(
        self, call: DirectionCall, saved: Saved, grad: Incoming, need_input: bool, need_weights: bool
    ) -> DirectionGradients:
        rows = gradients.recurrence(call, saved, grad)
        return gradients.finish(rows, call, saved, need_input, need_weights)
