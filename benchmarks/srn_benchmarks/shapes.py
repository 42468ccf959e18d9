"""The settings of the cell's table: sizes, precisions and threads, and which of them a run takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from srn_kernels import layout
from srn_kernels.backends import Problem

from .tables import LSTM

TASKS = 3

SWEPT_BATCH, SWEPT_HIDDEN = 32, 300
"""Where the other size of a sweep on a GPU stays."""

TINY = {"input_size": 24, "hidden_size": 20}
"""Sizes for a run that checks and does not time."""


@dataclass(frozen=True)
class Shape:
    """One setting of the table. A row of the input is a step of a sequence: there are ``batch`` · ``steps``."""

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
        return f"{self.device}-{self.precision}-{self.threads}t-{kind}-B{self.batch}-T{self.steps}"

    def labels(self, implementation: str) -> dict[str, str | int]:
        return {
            "implementation": implementation,
            "device": self.device,
            "precision": self.precision,
            "threads": self.threads,
            "pass": "forward+backward" if self.training else "forward",
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
            device=torch.device("cuda", torch.cuda.current_device())
            if self.device == "cuda"
            else torch.device(self.device),
        )


def lstm_flops(rows: int, input_size: int, hidden_size: int) -> int:
    """Floating-point operations of a forward pass of ``nn.LSTM``'s four gates over ``rows`` rows."""
    return 2 * rows * 4 * hidden_size * (input_size + hidden_size)


def default_shapes(devices: Sequence[str], threads: int) -> list[Shape]:
    """What fits two cores in three minutes: float32 on one and two threads, and one setting of bfloat16 on all."""
    float32 = [
        Shape(device, torch.float32, count, training, batch, steps)
        for device in devices
        for count in (sorted({1, min(2, threads)}) if device == "cpu" else (threads,))
        for training in (False, True)
        for batch, steps in ((1, 32), (8, 32), (32, 32), (32, 128))
    ]
    return float32 + [Shape(device, torch.bfloat16, threads, False, 32, 32) for device in devices]


def left_out(threads: int) -> str:
    """What :func:`full_shapes` has and :func:`default_shapes` has not."""
    parts = ["T 128 at B 1 and 8"]
    if threads > 2:
        parts.append(f"float32 on all {threads} threads of the CPU")
    return "; ".join([*parts, "bfloat16, but for forward at B 32, T 32 on all threads"])


def full_shapes(devices: Sequence[str], threads: int) -> list[Shape]:
    """Two lengths; on a CPU one, two and all threads; half precision too."""
    return [
        Shape(device, dtype, count, training, batch, steps)
        for device in devices
        for dtype in (torch.float32, torch.bfloat16)
        for count in (sorted({1, min(2, threads), threads}) if device == "cpu" else (threads,))
        for training in (False, True)
        for batch in (1, 8, 32)
        for steps in (32, 128)
    ]


def smoke_shapes(devices: Sequence[str], threads: int) -> list[Shape]:
    """Tiny, for a run that checks and does not time."""
    return [
        Shape(device, dtype, threads, training, 3, 5, **TINY)
        for device in devices
        for dtype, training in ((torch.float32, False), (torch.float32, True), (torch.bfloat16, False))
    ]


def shapes(devices: Sequence[str], threads: int, *, full: bool, smoke: bool) -> list[Shape]:
    build: Callable[[Sequence[str], int], list[Shape]] = (
        smoke_shapes if smoke else full_shapes if full else default_shapes
    )
    return build(devices, threads)
