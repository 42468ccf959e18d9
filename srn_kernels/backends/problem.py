"""What a backend is asked to do, and what it must answer: the interface that every implementation meets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from srn_kernels import layout
from srn_kernels.gradients import DirectionGradients, Incoming, Saved
from srn_kernels.layout import DirectionCall
from srn_kernels.reference import Direction


class Problem(NamedTuple):
    """The parts of a call that decide whether a backend can serve it, and how."""

    rows: int
    batch: int
    input_size: int
    hidden_size: int
    state_size: int
    tasks: int
    directions: int
    bias: bool
    projection: bool
    ragged: bool
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(
        cls, input: Tensor, h0: Tensor, weights: Sequence[Tensor], batch_sizes: Tensor | None, tasks: int
    ) -> Problem:
        """Reads the problem off an operator's arguments: ``input`` (S, D), ``h0`` (directions, B, P)."""
        first = layout.split_weights(weights, h0.shape[0])[0]
        return cls(
            rows=input.shape[0],
            batch=h0.shape[1],
            input_size=input.shape[1],
            hidden_size=first.hidden_size,
            state_size=h0.shape[2],
            tasks=tasks,
            directions=h0.shape[0],
            bias=first.b_ih is not None,
            projection=first.hr is not None,
            ragged=batch_sizes is not None,
            dtype=input.dtype,
            device=input.device,
        )


class Backend(ABC):
    """One implementation of a layer. Stateless: an instance serves every call."""

    name: str

    needs_proof: bool = False
    """Whether ``auto`` takes it only on a class of GPU on which its tests are recorded to have passed (``proof.py``)."""

    sources: tuple[str, ...] = ()
    """What a proof is of: the files of its kernels, as glob patterns under the repository's root."""

    @abstractmethod
    def unavailable(self) -> str | None:
        """Why nothing can run on this machine, in a sentence; None when the backend is usable."""

    @abstractmethod
    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be served, in a sentence; None when it can. Only asked of a usable backend."""

    def forward(self, calls: Sequence[DirectionCall], outs: Sequence[Direction], memories: bool, save: bool) -> None:
        """Runs a layer: every direction in turn, unless a backend can do better.

        Writes every element of ``outs``, whose members are views that may be strided by row but are dense in the last
        dimension; ``memories`` only if ``memories`` says so, ``gates`` and ``cells`` only if ``save``. The gates of a
        step's rows may lie in an order of the backend's own: only its ``backward`` reads them.
        """
        for call, out in zip(calls, outs, strict=True):
            self.forward_direction(call, out, memories, save)

    def backward(
        self,
        calls: Sequence[DirectionCall],
        saved: Sequence[Saved],
        grads: Sequence[Incoming],
        need_input: bool,
        need_weights: bool,
    ) -> list[DirectionGradients]:
        """The gradients of every direction of a layer, those of input and weights only if they are needed."""
        return [
            self.backward_direction(*of_one, need_input, need_weights)
            for of_one in zip(calls, saved, grads, strict=True)
        ]

    @abstractmethod
    def forward_direction(self, call: DirectionCall, out: Direction, memories: bool, save: bool) -> None:
        """Runs one direction: :meth:`forward` of it alone."""

    @abstractmethod
    def backward_direction(
        self, call: DirectionCall, saved: Saved, grad: Incoming, need_input: bool, need_weights: bool
    ) -> DirectionGradients:
        """The gradients of one direction: :meth:`backward` of it alone."""
