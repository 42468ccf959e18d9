"""The interface that every backend implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from srn_kernels.call import LayerCall, Problem
from srn_kernels.gradients import DirectionGradients, Incoming, Saved
from srn_kernels.reference import Direction


class Backend(ABC):
    """One implementation of a layer. Stateless: an instance serves every call."""

    name: str

    needs_proof: bool = False
    """Whether ``auto`` takes it only on a class of GPU where its tests are recorded to have passed (``proof.py``)."""

    sources: tuple[str, ...] = ()
    """The files of its kernels, for which a proof is valid, as glob patterns under the repository's root."""

    @abstractmethod
    def unavailable(self) -> str | None:
        """Why nothing can run on this machine, in a sentence; None when the backend is usable."""

    @abstractmethod
    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be served, in a sentence; None when it can. Only asked of a usable backend."""

    @abstractmethod
    def forward(self, call: LayerCall, outs: Sequence[Direction]) -> None:
        """Runs a layer, and writes each direction's results into its ``outs``.

        Writes every element of the tensors that are there, views that may be strided by row but are dense in the last
        dimension; ``gates`` and ``cells`` are both there or both None. A backend may choose the order of the gates
        within a step's rows: only its ``backward`` reads them.
        """

    @abstractmethod
    def backward(
        self, call: LayerCall, saved: Sequence[Saved], grads: Sequence[Incoming], need_input: bool, need_weights: bool
    ) -> list[DirectionGradients]:
        """The gradients of every direction of a layer, those of input and weights only if they are needed."""
