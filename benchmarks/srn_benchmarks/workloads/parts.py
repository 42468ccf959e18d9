"""Where the time of a step of the persistent kernels goes: the ticks that a build with SRN_STAMPS counts by part."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from srn_kernels import native
from srn_kernels.backends import cuda

from ..bench import Bench
from ..names import BACKWARD, FORWARD
from ..registry import Item
from ..results import MEASURED
from ..shapes import Shape
from .calls import Call, check, labels, refusal

IMPLEMENTATIONS = ("cuda",)
WARM, CALLS = 3, 20
MOST_BLOCKS = 4096


def load(path: Path) -> Any:
    """The kernels of a module at ``path``: a native module, or one with nothing but the kernels."""
    spec = importlib.util.spec_from_file_location(path.name.split(".")[0], path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kernels = getattr(module, "cuda", module)
    if not hasattr(kernels, "stamp_to"):
        raise ValueError(f"{path} was not built with SRN_STAMPS")
    if kernels is not module and module.build_info()["sources"] != native.sources():
        raise ValueError(f"{path} was built from other sources than csrc holds now")
    return kernels


@contextmanager
def serving(kernels: Any, exchange: str) -> Iterator[None]:
    """Makes the backend use these kernels, with this exchange."""
    cuda._kept_plan.cache_clear()  # of other kernels
    with patch.object(cuda, "kernels", lambda: kernels), patch.dict(os.environ, {cuda.EXCHANGE: exchange}):
        try:
            yield
        finally:
            kernels.stamp_to(0)
            cuda._kept_plan.cache_clear()


def ticks(kernels: Any, call: Call) -> tuple[Tensor, Tensor]:
    """Ticks of the forward and the backward pass by part, the mean over blocks and calls."""
    first, grad = call.inputs
    stamps = torch.zeros(2, MOST_BLOCKS, kernels.MOST_PARTS, dtype=torch.int64, device=first.device)

    def run() -> None:
        input = first.detach().requires_grad_()
        kernels.stamp_to(stamps[0].data_ptr())
        output, _ = call.module(input)
        kernels.stamp_to(stamps[1].data_ptr())
        torch.autograd.grad(output, [input, *call.module.parameters()], grad)

    _repeat(run, WARM)
    stamps.zero_()
    _repeat(run, CALLS)
    forward, backward = (one[one.any(1)].double().mean(0).cpu() / CALLS for one in stamps)
    return forward, backward


def _repeat(run: Callable[[], None], times: int) -> None:
    for _ in range(times):
        run()


def notes(table: str, shapes: Sequence[Shape], bench: Bench) -> list[str]:
    shape = shapes[0]
    return [
        f"{shape.sizes()}, B {shape.batch}, T {shape.steps}",
        f"kernels built with SRN_STAMPS, which take a little longer: the mean over {CALLS} calls and all blocks, by one thread",
        "a part ends with its barrier, if it has one: how warps differ in the second product is in the wait that follows",
    ]


def measure(bench: Bench, item: Item, implementation: str) -> None:
    assert bench.options.stamped is not None
    kernels, shape = load(bench.options.stamped), item.shape
    for exchange in cuda.EXCHANGES:
        with serving(kernels, exchange):
            if reason := refusal(implementation, shape):
                bench.note(item.table, f"not in the table: {exchange}: {reason}")
                continue
            call = Call(shape, implementation)
            check(call)
            forward, backward = ticks(kernels, call)
            for kind, parts, found in (
                (FORWARD, kernels.FORWARD_PARTS, forward),
                (BACKWARD, kernels.BACKWARD_PARTS, backward),
            ):
                for part, cycles in zip(parts, found.tolist(), strict=False):  # the other pass may have more parts
                    work = {"steps": shape.steps, "cycles": round(cycles), "all cycles": round(found.sum().item())}
                    case = bench.open(item.table, labels(shape, implementation), work)
                    case.labels |= {"pass": kind, "exchange": exchange, "part": part}
                    case.status = MEASURED
