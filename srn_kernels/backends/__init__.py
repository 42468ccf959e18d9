"""The registry of implementations: which there are, which of them serves a problem, and which one ran."""

from __future__ import annotations

import threading
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
"""Every backend by name, fastest first: the order in which ``auto`` asks them."""

AUTO = "auto"

_recorders: list[list[str]] = []
_recorders_lock = threading.Lock()


def check_name(name: str) -> str:
    """Returns ``name`` if it is ``auto`` or a backend's.

    Raises:
        ValueError: any other name, with the names there are.
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
        RuntimeError: a backend asked for by name cannot serve the problem, or for ``auto`` none of them; the message
            gives the reasons.
        ProofError: the records of which backends are proved cannot be read.
    """
    if name == AUTO:
        on_cpu = problem.device.type == "cpu"  # where nothing is proved: a step of a cell has no time to ask
        for backend in BACKENDS.values():
            if backend.needs_proof and (on_cpu or proof.unproven(backend, problem.device) is not None):
                continue
            if refusal(backend, problem) is None:
                return backend
        raise RuntimeError(f"no backend serves this call: {_reasons(problem)}")
    backend = BACKENDS[check_name(name)]
    reason = refusal(backend, problem)
    if reason is not None:
        raise RuntimeError(f"backend {name!r} cannot serve this call: {reason}")
    return backend


def _reasons(problem: Problem) -> str:
    """Why ``auto`` takes none of the backends."""
    return "; ".join(
        f"{name}: {refusal(backend, problem) or proof.unproven(backend, problem.device)}"
        for name, backend in BACKENDS.items()
    )


@contextmanager
def record() -> Iterator[list[str]]:
    """Collects the name of the backend behind every layer pass, forward and backward, of any thread, while it is open.

    ``with backends.record() as ran: rnn(x)`` leaves ``["cpu"]`` in ``ran`` for one layer that the CPU kernels served.
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
