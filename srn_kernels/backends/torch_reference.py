"""The reference as a backend: plain PyTorch on any device and dtype, for any number of tasks."""

from __future__ import annotations

from torch import Tensor

from srn_kernels import gradients, reference
from srn_kernels.backends.problem import Backend, Grads, Problem
from srn_kernels.gradients import DirectionGradients
from srn_kernels.layout import DirectionWeights, Steps
from srn_kernels.reference import Direction


class ReferenceBackend(Backend):
    """Serves everything, slowly: a few dozen PyTorch operations a step."""

    name = "reference"

    def unavailable(self) -> str | None:
        return None

    def unsupported(self, problem: Problem) -> str | None:
        return None

    def forward(
        self,
        input: Tensor,
        h0: Tensor,
        c0: Tensor,
        weights: DirectionWeights,
        steps: Steps,
        tasks: int,
        reverse: bool,
        out: Direction,
        memories: bool,
        save: bool,
    ) -> None:
        done = reference.direction(input, h0, c0, weights, steps, tasks, reverse)
        wanted = {"memories": memories, "gates": save, "cells": save}
        for name, target, value in zip(Direction._fields, out, done, strict=True):
            if wanted.get(name, True):
                target.copy_(value)

    def backward(
        self,
        input: Tensor,
        h0: Tensor,
        c0: Tensor,
        weights: DirectionWeights,
        steps: Steps,
        tasks: int,
        reverse: bool,
        saved: Direction,
        grad: Grads,
        need_input: bool,
        need_weights: bool,
    ) -> DirectionGradients:
        rows = gradients.recurrence(
            weights, steps, tasks, reverse, c0, saved.gates, saved.cells, grad.output, grad.h_n, grad.c_n, grad.memories
        )
        return gradients.finish(
            rows,
            weights,
            steps,
            tasks,
            reverse,
            input,
            h0,
            saved.output,
            saved.gates,
            saved.cells,
            need_input,
            need_weights,
        )
