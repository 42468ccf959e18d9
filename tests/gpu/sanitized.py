"""``python sanitized.py BACKEND``: a few small calls of a backend, to be run under ``compute-sanitizer``.

Every tensor must have separate memory (PYTORCH_NO_CUDA_MEMORY_CACHING=1); otherwise an access past the end of one would
land in its neighbour and go unseen.
"""

from __future__ import annotations

import os
import sys
from itertools import product
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
    """Every case in every way in which the backend's blocks exchange numbers, where it has several."""
    served = 0
    for exchange, (case, dtype) in product(cuda.EXCHANGES if backend == cuda.CUDABackend.name else [""], CASES):
        os.environ[cuda.EXCHANGE] = exchange  # empty: as if it were not there
        call = draw_on(case, dtype)
        if backends.refusal(backends.BACKENDS[backend], problem_of(call)) is None:
            leaves = call.leaves()
            outputs = leaves.run(backend)
            torch.autograd.grad(outputs, leaves.tensors(), [torch.ones_like(output) for output in outputs])
            served += 1
    torch.cuda.synchronize()
    print(f"{backend}: {served} calls, forward and backward")
    return 0 if served else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
