"""The registry of backends: which there are, which one serves a problem, and which one ran."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from srn_kernels.backends import proof
from srn_kernels.backends.backend import Backend
from srn_kernels.backends.cpu import CPUBackend
from srn_kernels.backends.cuda import CUDABackend
from srn_kernels.backends.torch_reference import ReferenceBackend
from srn_kernels.backends.triton import TritonBackend
from srn_kernels.call import Problem

BACKENDS: dict[str, Backend] = {
    backend.name: backend for backend in (CUDABackend(), TritonBackend(), CPUBackend(), ReferenceBackend())
}
"""Every backend by name, fastest first, the order in which ``auto`` asks them."""

AUTO, REFERENCE = "auto", "reference"

_warned_of: set[str] = set()
"""Why the reference was taken, each reason told once."""

_recorders: list[list[str]] = []
_recorders_lock = threading.Lock()


class BackendError(RuntimeError):
    """No backend, or not the one that was asked for, serves a call here. The message gives the reasons."""


def check_name(name: str) -> str:
    """Returns ``name`` if it is ``auto`` or a backend's.

    Raises:
        ValueError: any other name; the message lists the names.
    """
    if name != AUTO and name not in BACKENDS:
        raise ValueError(f"backend should be one of {[AUTO, *BACKENDS]}, got {name!r}")
    return name


def refusal(backend: Backend, problem: Problem) -> str | None:
    """Why ``backend`` cannot serve ``problem`` here, or None."""
    return backend.unavailable() or backend.unsupported(problem)


def select(problem: Problem, name: str = AUTO) -> Backend:
    """The backend asked for by name, or for ``auto`` the first that serves the problem and is proved on its device.

    Raises:
        ValueError: an unknown name.
        BackendError: a backend asked for by name cannot serve the problem, or with ``auto`` none can; the message gives
            the reasons.
        ProofError: the records of proved backends cannot be read.
    """
    if name == AUTO:
        on_cpu = problem.device.type == "cpu"  # where nothing is proved: asking would slow a step of a cell
        for backend in BACKENDS.values():
            if backend.needs_proof and (on_cpu or proof.unproven(backend, problem.device) is not None):
                continue
            if refusal(backend, problem) is None:
                if backend.name == REFERENCE:
                    _warn_of_reference(problem)
                return backend
        raise BackendError(f"no backend serves this call: {_reasons(problem)}")
    backend = BACKENDS[check_name(name)]
    reason = refusal(backend, problem)
    if reason is not None:
        raise BackendError(f"backend {name!r} cannot serve this call: {reason}")
    return backend


def _reasons(problem: Problem, *, kernels: bool = False) -> str:
    """Why ``auto`` takes none of the backends; or none of the ``kernels`` that are made for the problem's device."""
    on_cpu = problem.device.type == "cpu"
    return "; ".join(
        f"{name}: {refusal(backend, problem) or proof.unproven(backend, problem.device)}"
        for name, backend in BACKENDS.items()
        if not kernels or (name != REFERENCE and backend.needs_proof != on_cpu)
    )


def _warn_of_reference(problem: Problem) -> None:
    """Once for each reason: what serves the call is several times slower than what would be expected."""
    reasons = _reasons(problem, kernels=True)
    if reasons not in _warned_of:
        _warned_of.add(reasons)
        warnings.warn(
            f"SRN runs on its reference in plain PyTorch, several times slower than on its kernels ({reasons}); "
            f"backend={REFERENCE!r} takes it without this warning, `python -m srn_kernels.info` tells what can be used",
            stacklevel=2,
        )


@contextmanager
def record() -> Iterator[list[str]]:
    """Collects the name of the backend behind every layer pass, forward and backward, of any thread, while it is open.

    Example:
        >>> import torch
        >>> from srn_kernels import SRN
        >>> with record() as ran:
        ...     output, state = SRN(768, 300)(torch.randn(24, 8, 768))
        >>> ran
        ['cpu']
    """
    ran: list[str] = []
    with _recorders_lock:
        _recorders.append(ran)
    try:
        yield ran
    finally:
        with _recorders_lock:
            _recorders[:] = [other for other in _recorders if other is not ran]


def note_run(backend: Backend) -> None:
    """Tells the open recorders that ``backend`` runs."""
    for ran in tuple(_recorders):
        ran.append(backend.name)
