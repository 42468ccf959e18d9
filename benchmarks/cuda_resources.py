"""Registers and spills of every CUDA kernel in a built module, read from its machine code; no GPU is needed.

``python benchmarks/cuda_resources.py srn_kernels/_C*.so`` prints a table, ``--json FILE`` writes the record, and
``--check FILE`` compares with one: no kernel may spill, whatever its compiler, and with the same nvcc every kernel
takes what is recorded. ``benchmarks/results/compiled/cuda.json`` is that record.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EXCHANGES = ("mailbox", "cluster")
"""In the order of the enumeration in csrc/cuda/plan.h."""

ELEMENTS = {"BFloat16": "bfloat16", "Float16": "float16", "TensorFloat32": "float32"}


@dataclass(frozen=True, order=True)
class Usage:
    """What a kernel takes on an architecture: registers of a thread, and bytes of its stack, where spills go."""

    architecture: int
    kernel: str
    exchange: str
    dtype: str
    rows: int
    tasks: int
    registers: int
    stack: int


def cuobjdump() -> str:
    """The program: the CUDA toolkit's on PATH, or the one that Triton's package carries.

    Raises:
        SystemExit: there is neither.
    """
    if found := shutil.which("cuobjdump"):
        return found
    triton = importlib.util.find_spec("triton")
    if triton is not None and triton.origin is not None:
        carried = Path(triton.origin).parent / "backends/nvidia/bin/cuobjdump"
        if carried.exists():
            return str(carried)
    raise SystemExit("this needs cuobjdump: put the CUDA toolkit's on PATH, or pip install triton, which carries one")


def usages(module: Path) -> list[Usage]:
    """Every kernel of the module on every architecture that it holds machine code for."""
    text = subprocess.run([cuobjdump(), "-res-usage", module], capture_output=True, text=True, check=True).stdout
    return sorted(set(parse(text)))


def parse(text: str) -> Iterator[Usage]:
    """Reads what ``cuobjdump -res-usage`` prints."""
    architecture = None
    kernel: tuple[str, str, str, int, int] | None = None
    mangled = r"Function \S*?\d+(forward|backward)_kernelI\w*?\d+(\D+\d+)ELi(\d+)ELi(\d+)ELN\w*?8ExchangeE(\d)E"
    for line in text.splitlines():
        if match := re.match(r"arch = sm_(\d+)", line):
            architecture = int(match[1])
        elif match := re.search(mangled, line):
            element = next(name for name in sorted(ELEMENTS, key=len, reverse=True) if match[2].endswith(name))
            kernel = match[1], EXCHANGES[int(match[5])], ELEMENTS[element], int(match[3]), int(match[4])
        elif kernel is not None and (match := re.search(r"REG:(\d+) STACK:(\d+)", line)):
            assert architecture is not None, "a kernel before any architecture"
            yield Usage(architecture, *kernel, int(match[1]), int(match[2]))
            kernel = None


def nvcc(module: Path) -> str:
    """The compiler that the module says it was built with."""
    spec = importlib.util.spec_from_file_location("_C", module)
    assert spec is not None and spec.loader is not None
    built = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(built)
    return built.build_info()["cuda_compiler"]


def wrong(found: list[Usage], compiler: str, record: dict[str, Any]) -> list[str]:
    """What is wrong with the kernels found, one sentence each."""
    problems = [] if found else ["the module has no CUDA kernels"]
    problems += [f"{usage} spills" for usage in found if usage.stack]
    if compiler == record["nvcc"]:
        recorded = {Usage(**kernel) for kernel in record["kernels"]}
        problems += [f"{usage} is not recorded so" for usage in sorted(set(found) - recorded)]
        architectures = {usage.architecture for usage in found}
        missing = sorted(usage for usage in recorded - set(found) if usage.architecture in architectures)
        problems += [f"{usage} is recorded, and not in the module" for usage in missing]
    return problems


def table(found: list[Usage]) -> str:
    """Registers by kernel and architecture, in Markdown."""
    architectures = sorted({usage.architecture for usage in found})
    lines = ["| pass | exchange | dtype | rows | tasks | " + " | ".join(f"sm_{each}" for each in architectures) + " |"]
    lines.append("|---|---|---|---|---|" + "---|" * len(architectures))
    registers = {(u.kernel, u.exchange, u.dtype, u.rows, u.tasks, u.architecture): u for u in found}

    def order(kernel: tuple[str, ...]) -> tuple[object, ...]:
        return EXCHANGES.index(kernel[1]), kernel[0] != "forward", kernel[2:]

    for kernel in sorted({key[:-1] for key in registers}, key=order):
        cells = []
        for each in architectures:
            usage = registers.get((*kernel, each))
            cells.append("–" if usage is None else f"{usage.registers}" + f" + {usage.stack} B" * (usage.stack > 0))
        lines.append(f"| {' | '.join(map(str, kernel))} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", type=Path, help="the native module, srn_kernels/_C*.so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record")
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare with a record")
    options = parser.parse_args(arguments)
    found, compiler = usages(options.module), nvcc(options.module)
    print(f"{len(found)} kernels, {compiler or 'no nvcc'}")
    print(table(found))
    if options.json:
        kernels = ",\n    ".join(json.dumps(asdict(usage)) for usage in found)
        options.json.write_text(f'{{\n  "nvcc": "{compiler}",\n  "kernels": [\n    {kernels}\n  ]\n}}\n')
    problems = wrong(found, compiler, json.loads(options.check.read_text())) if options.check else []
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
