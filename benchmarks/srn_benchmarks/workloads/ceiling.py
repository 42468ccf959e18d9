"""The processor's multiply-add ceiling, with which the cell's float32 speed on a CPU is compared."""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter

from srn_kernels import native

from ..timing import Companion

SECONDS = 2e-3
"""How long one sample takes: many times what it takes to wake a thread, and little beside a round."""

PROBE_ROUNDS, PROBES = 100_000, 5


def companion(threads: int) -> Companion | None:
    """Multiply-adds in registers on ``threads`` threads; None without the native library, which runs them.

    They touch no memory, so they may run right before the case without changing what it finds in the caches.
    """
    if native.missing():
        return None
    module, rounds = native.module(), rounds_in(SECONDS)
    return Companion(
        lambda: module.multiply_adds(rounds, threads),
        {"flops": module.multiply_adds(rounds, threads)},
        settles=False,
    )


@lru_cache(maxsize=1)
def rounds_in(seconds: float) -> int:
    """Rounds of multiply-adds that take a thread ``seconds``, by the fastest probe: disturbances only slow one."""

    def probe() -> float:
        start = perf_counter()
        native.module().multiply_adds(PROBE_ROUNDS, 1)
        return perf_counter() - start

    return round(PROBE_ROUNDS * seconds / min(probe() for _ in range(PROBES)))
