"""``python sanitized.py BACKEND``: a few small calls of a backend, to be run under ``compute-sanitizer``.

Every tensor must have separate memory (PYTORCH_NO_CUDA_MEMORY_CACHING=1); otherwise an access past the end of one would
land in its neighbour and go unseen.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE)]

import torch
from gpu_calls import draw_on, problem_of
from srn.cases import Case

from srn_kernels import backends
from srn_kernels.backends import cuda

CASES = [
    (Case(steps=4, batch=3, hidden_size=17, directions=2, ragged=True), torch.bfloat16),
    (Case(steps=3, batch=17, hidden_size=33, tasks=2), torch.float32),
    (Case(steps=3, batch=33, hidden_size=300, input_size=20, ragged=True), torch.float16),
]


def main(backend: str) -> int:
    """Every case in every way in which the backend's blocks exchange numbers on this GPU; each must serve some."""
    counts = {exchange: served(backend, exchange) for exchange in exchanges(backend)}
    torch.cuda.synchronize()
    for exchange, count in counts.items():
        print(f"{backend} {exchange}: {count} calls, forward and backward")
    return 0 if all(counts.values()) else 1


def exchanges(backend: str) -> list[str]:
    """The backend's ways; one without a name where it has no several."""
    if backend != cuda.CUDABackend.name:
        return [""]
    clusters = torch.cuda.get_device_capability() >= (9, 0)
    return [exchange for exchange in cuda.EXCHANGES if clusters or exchange != "cluster"]


def served(backend: str, exchange: str) -> int:
    """How many of the cases the backend serves, and so has run."""
    os.environ[cuda.EXCHANGE] = exchange  # empty: as if it were not there
    count = 0
    for case, dtype in CASES:
        call = draw_on(case, dtype)
        if backends.refusal(backends.BACKENDS[backend], problem_of(call)) is None:
            leaves = call.leaves()
            outputs = leaves.run(backend)
            torch.autograd.grad(outputs, leaves.tensors(), [torch.ones_like(output) for output in outputs])
            count += 1
    return count


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
