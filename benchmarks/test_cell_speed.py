"""The cell's tables: SRN on every usable backend beside nn.LSTM and the eager loop, on every device."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from srn_benchmarks.bench import Bench
from srn_benchmarks.names import GPU_PACKED, GPU_PARTS, GPU_STEP, MEMORY, PACKED, STREAMING, SWEEP
from srn_benchmarks.options import Options
from srn_benchmarks.precision import tf32
from srn_benchmarks.registry import Item, items
from srn_benchmarks.workloads import cell, memory, packed, parts, step, streaming, sweep
from srn_benchmarks.workloads.calls import EAGER, implementations

WORKLOADS = {
    STREAMING: streaming,
    PACKED: packed,
    MEMORY: memory,
    SWEEP: sweep,
    GPU_STEP: step,
    GPU_PARTS: parts,
    GPU_PACKED: packed,
}
"""By table; all others are ``cell``'s."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    options = Options.of(metafunc.config)
    metafunc.parametrize(
        ("item", "implementation"),
        [
            pytest.param(item, name, id=f"{item}-{name}", marks=pytest.mark.benchmark(group=str(item)))
            for item in items(options)
            for name in rows(item, options)
        ],
    )


def rows(item: Item, options: Options) -> Iterable[str]:
    """Implementations; the sweep goes without the eager loop, which would take most of its time."""
    if item.table == GPU_PARTS:
        return parts.IMPLEMENTATIONS
    found = implementations(item.shape, options.backends)
    return [name for name in found if name != EAGER] if item.table == SWEEP else found


def test_cell(bench: Bench, item: Item, implementation: str) -> None:
    workload = WORKLOADS.get(item.table, cell)
    shapes = [one.shape for one in items(bench.options) if one.table == item.table]
    bench.note(item.table, *workload.notes(item.table, shapes, bench))
    torch.set_num_threads(item.shape.threads)
    with tf32(item.shape.tf32):
        workload.measure(bench, item, implementation)
