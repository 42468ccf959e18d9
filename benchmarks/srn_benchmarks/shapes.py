"""A shape of the cell: sizes, precision, threads and device; its name, and its work."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from srn_kernels import layout
from srn_kernels.backends import Problem

from .names import FORWARD, LSTM, TRAINING

TASKS = 3

TINY = {"input_size": 24, "hidden_size": 20}
"""Sizes for a run that checks and does not time."""


@dataclass(frozen=True)
class Shape:
    """One setting of a table. A row of the input is a step of a sequence: there are ``batch`` · ``steps``."""

    device: str
    dtype: torch.dtype
    threads: int
    training: bool
    batch: int
    steps: int
    input_size: int = 768
    hidden_size: int = 300
    tf32: bool = False
    """Whether products of float32 may round their operands to TF32's 10 bits; see :mod:`precision`."""

    @property
    def precision(self) -> str:
        return "tf32" if self.tf32 else str(self.dtype).removeprefix("torch.")

    def __str__(self) -> str:
        kind = "training" if self.training else "forward"
        size = f"B{self.batch}-T{self.steps}-H{self.hidden_size}"
        return f"{self.device}-{self.precision}-{self.threads}t-{kind}-{size}"

    def sizes(self) -> str:
        """For the notes under a table."""
        return f"one layer, one direction, D {self.input_size}, H {self.hidden_size}, three tasks"

    def labels(self, implementation: str) -> dict[str, str | int]:
        return {
            "implementation": implementation,
            "device": self.device,
            "precision": self.precision,
            "threads": self.threads,
            "pass": TRAINING if self.training else FORWARD,
            "batch": self.batch,
            "steps": self.steps,
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
        }

    def work(self, implementation: str) -> dict[str, int]:
        """Flops and steps of one call. A backward pass counts twice a forward pass."""
        rows = self.batch * self.steps
        if implementation == LSTM:
            flops = lstm_flops(rows, self.input_size, self.hidden_size)
        else:
            flops = layout.forward_flops(rows, self.input_size, self.hidden_size, TASKS)
        return {"flops": flops * (3 if self.training else 1), "steps": self.steps}

    def problem(self) -> Problem:
        return Problem(
            rows=self.batch * self.steps,
            batch=self.batch,
            input_size=self.input_size,
            hidden_size=self.hidden_size,
            state_size=self.hidden_size,
            tasks=TASKS,
            directions=1,
            bias=True,
            projection=False,
            ragged=False,
            dtype=self.dtype,
            device=torch.device("cuda", torch.cuda.current_device()) if self.device == "cuda" else torch.device("cpu"),
        )


def lstm_flops(rows: int, input_size: int, hidden_size: int) -> int:
    """Floating-point operations of a forward pass of ``nn.LSTM``'s four gates over ``rows`` rows."""
    return 2 * rows * 4 * hidden_size * (input_size + hidden_size)
