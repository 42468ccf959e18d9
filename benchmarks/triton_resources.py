"""Registers and spills of every Triton kernel, compiled ahead of time; no GPU is needed.

``python benchmarks/triton_resources.py`` prints the registers of every kernel for each architecture, and what they
could not hold; ``--json`` that and shared memory as data, ``--architectures 90`` takes some of them, ``--jobs 2`` two
at a time. ``benchmarks/results/compiled/triton.json`` is such a record; a test compares it with what is compiled now.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from srn_kernels.backends.triton import fused, pointwise

ARCHITECTURES = (80, 90, 100, 120)
DTYPES = {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
"""torch's names, and Triton's."""

CARRIED = ("c", "dc")
"""Arguments in the arithmetic's dtype."""
LENGTHS = ("offsets", "lengths")
OPTIONAL = (*LENGTHS, "memories", "bias", "output", "cells", "grad_output", "grad_memories", "m")
"""Arguments that may be None; in the backward kernels the cells are always there."""


@dataclass(frozen=True)
class Variant:
    """One kernel for one dtype, number of tasks and architecture: ``whole`` with all that is optional, or without.

    ``width`` is the largest hidden size of a kernel of :mod:`fused`; 0 stands for any, in those of :mod:`pointwise`.
    """

    kernel: str
    dtype: str
    tasks: int
    width: int
    whole: bool
    architecture: int

    def source(self) -> ASTSource:
        """What Triton compiles."""
        function: JITFunction = getattr(fused if self.width else pointwise, self.kernel)
        values = {
            "N": self.tasks,
            "MASKS": pointwise.masks(self.tasks),
            "BLOCK": pointwise.BLOCK,
            "SAVE": self.whole,
            "REVERSE": False,
            "PRECISION": "ieee",
            "CLIP": 3.0 if self.whole else None,
            "WIDTH": self.width,
            "ROWS": fused.ROWS,
        }
        signature, constants = {}, {}
        for param in function.params:
            name = param.name
            if param.is_constexpr:
                signature[name], constants[name] = "constexpr", values[name]
            elif self._absent(name):
                signature[name], constants[name] = "constexpr", None
            elif re.fullmatch(r"units|hidden|continued|steps|batch|\w+_(row|each)", name):
                signature[name] = "i32"
            elif name in LENGTHS:
                signature[name] = "*i64"
            else:
                arithmetic = "fp64" if self.dtype == "float64" else "fp32"
                signature[name] = f"*{arithmetic if name in CARRIED else DTYPES[self.dtype]}"
        return ASTSource(function, signature, constants)

    def _absent(self, name: str) -> bool:
        needed = name == "cells" and self.kernel.endswith("_backward")
        return not self.whole and not needed and name in OPTIONAL


@dataclass(frozen=True)
class Usage(Variant):
    """What a compiled kernel takes: registers of a thread, and bytes."""

    registers: int
    stack: int  # of a thread; what registers could not hold is spilled here
    local: int  # of a thread, beside the stack
    shared: int  # of a program


def variants(architectures: Iterable[int] = ARCHITECTURES) -> Iterator[Variant]:
    """What is compiled: enough to see every kernel, dtype and number of tasks, and the most that any of them takes.

    float32 and float64 take the most registers, so the others are compiled for three tasks alone; other numbers of
    tasks take long to compile, so this is done for one architecture. The kernels of the state do not depend on tasks.
    The kernels of all steps are compiled for the largest sizes that they serve, in one of the two 16-bit types.
    """
    for architecture in architectures:
        for dtype in DTYPES:
            wide = dtype in ("float32", "float64")
            for kernel in ("memories_forward", "memories_backward"):
                for tasks in (1, 2, 3, 4) if wide and architecture == 90 else (3,):
                    yield Variant(kernel, dtype, tasks, 0, True, architecture)
                if dtype == "float32" and architecture == 90:
                    yield Variant(kernel, dtype, 5, 0, True, architecture)
            for kernel in ("state_forward", "state_backward"):
                yield Variant(kernel, dtype, 3, 0, True, architecture)
        for kernel in ("memories_forward", "memories_backward", "state_forward", "state_backward"):
            yield Variant(kernel, "float32", 3, 0, False, architecture)
        for kernel in ("fused_forward", "fused_backward"):
            for dtype in (torch.float32, torch.bfloat16):
                yield Variant(kernel, str(dtype).removeprefix("torch."), 3, fused.WIDEST[dtype], True, architecture)


def compiled(variant: Variant) -> Usage:
    """Compiles it, or takes what Triton's cache holds."""
    target = GPUTarget("cuda", variant.architecture, 32)
    warps = fused.WARPS if variant.width else pointwise.WARPS
    kernel = triton.compile(variant.source(), target=target, options={"num_warps": warps})
    return Usage(**asdict(variant), **resources(kernel.asm["cubin"]))


def resources(cubin: bytes) -> dict[str, int]:
    """What ``cuobjdump -res-usage`` says of the one kernel of a binary; Triton itself can only ask a driver.

    Raises:
        RuntimeError: it says something other than expected.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        tool = triton.knobs.nvidia.cuobjdump.path
        said = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    names = {"REG": "registers", "STACK": "stack", "LOCAL": "local", "SHARED": "shared"}
    found = {names[name]: int(value) for name, value in re.findall(r"(\w+):(\d+)", said) if name in names}
    if found.keys() != set(names.values()):
        raise RuntimeError(f"cuobjdump was expected to report {', '.join(names)}, it said:\n{said}")
    return found


def report(architectures: Iterable[int] = ARCHITECTURES, jobs: int = 1) -> dict[str, Any]:
    """The record: ``triton``, its version, and ``kernels``, a list of :class:`Usage` as plain data."""
    # Spawned, not forked: torch has threads.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        usages = list(pool.map(compiled, variants(architectures)))
    return {"triton": triton.__version__, "kernels": [asdict(usage) for usage in usages]}


def dumps(record: dict[str, Any]) -> str:
    """A record as JSON, one kernel per line."""
    lines = ",\n".join(f"    {json.dumps(kernel)}" for kernel in record["kernels"])
    return f'{{\n  "triton": {json.dumps(record["triton"])},\n  "kernels": [\n{lines}\n  ]\n}}'


def table(record: dict[str, Any]) -> str:
    """A Markdown table of a record: registers by architecture, and bytes of stack or local memory if there are any."""
    kernels = record["kernels"]
    architectures = sorted({one["architecture"] for one in kernels})
    rows: dict[tuple[Any, ...], dict[int, str]] = {}
    for one in kernels:
        key = one["kernel"], one["dtype"], one["tasks"], one["width"] or "any", "all" if one["whole"] else "none"
        memory = one["stack"] + one["local"]
        rows.setdefault(key, {})[one["architecture"]] = f"{one['registers']}" + (f" + {memory} B" if memory else "")
    head = ["kernel", "dtype", "tasks", "hidden", "optional", *(f"sm_{architecture}" for architecture in architectures)]
    text = [head, ["---"] * len(head)]
    text += [[*map(str, key), *(of.get(one, "") for one in architectures)] for key, of in sorted(rows.items())]
    lines = ["| " + " | ".join(row) + " |" for row in text]
    return "\n".join([f"Triton {record['triton']}, registers of a thread:", "", *lines])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the record, not a table")
    parser.add_argument("--jobs", type=int, default=1, help="compilers at work at once")
    parser.add_argument("--architectures", type=int, nargs="+", default=ARCHITECTURES, metavar="SM")
    options = parser.parse_args(arguments)
    record = report(options.architectures, options.jobs)
    print(dumps(record) if options.json else table(record))


if __name__ == "__main__":
    main()
