"""``python benchmarks/gpu_module.py --python python3.12 --gpus 9.0``: builds the native module for another machine.

For a machine whose time is too expensive to compile on. It leaves two modules under ``build/gpu``, where git ignores
them: ``_C*.so``, to be put into ``srn_kernels/``, and ``stamped/_C*.so`` for ``benchmarks/gpu.py --stamped``. Both are
loaded by that Python, and checked against the other machine's versions of the C and C++ libraries.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pybind11

ROOT = Path(__file__).resolve().parents[1]

LOADED = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("_C", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.build_info(), hasattr(module.cuda, "stamp_to"))
"""


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def needed(symbols: str, library: str) -> str:
    """The latest version of a library that symbols ask for, as ``objdump -T`` prints them."""
    return max(re.findall(rf"\b{library}_(\d+(?:\.\d+)+)", symbols), key=version, default="0")


def too_new(symbols: str, limits: Iterable[tuple[str, str | None]]) -> list[str]:
    """What a machine with such versions of the libraries lacks, one sentence each."""
    return [
        f"it needs {library} {needed(symbols, library)}, the machine has {limit}"
        for library, limit in limits
        if limit is not None and version(needed(symbols, library)) > version(limit)
    ]


def build(folder: Path, python: str, gpus: str, stamps: bool) -> Path:
    """The module, with the CPU kernels too, for those compute capabilities alone.

    Raises:
        SystemExit: the build has failed, with what it printed.
    """
    cmake = [
        *("cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", "-DSRN_CUDA=ON"),
        *(f"-DSRN_STAMPS={'ON' if stamps else 'OFF'}", f"-DPython_EXECUTABLE={python}"),
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
    ]
    for command in (cmake, ["cmake", "--build", str(folder), "--target", "_C"]):
        environment = os.environ | {"TORCH_CUDA_ARCH_LIST": gpus}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stdout + done.stderr)
    (module,) = folder.glob("_C.*.so")
    return module


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="the other machine's Python, of the same version")
    parser.add_argument("--gpus", default="9.0", help="compute capabilities, as in TORCH_CUDA_ARCH_LIST (default: 9.0)")
    parser.add_argument("--glibc", help="the other machine's version of the C library")
    parser.add_argument("--glibcxx", help="the latest GLIBCXX of the other machine's C++ library")
    parser.add_argument("--out", type=Path, default=ROOT / "build/gpu")
    options = parser.parse_args(arguments)
    problems = 0
    for name, stamps in ((".", False), ("stamped", True)):
        module = build(options.out / "cmake", options.python, options.gpus, stamps)  # one folder: one build of the rest
        target = options.out / name / module.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(module.read_bytes())
        subprocess.run(["strip", str(target)], check=True)
        loaded = subprocess.run(
            [options.python, "-c", LOADED, str(target)], capture_output=True, text=True, check=False
        )
        symbols = subprocess.run(["objdump", "-T", str(target)], capture_output=True, text=True, check=True).stdout
        print(f"{target} ({target.stat().st_size / 2**20:.1f} MiB): {loaded.stdout.strip() or loaded.stderr.strip()}")
        print(f"  needs GLIBC {needed(symbols, 'GLIBC')}, GLIBCXX {needed(symbols, 'GLIBCXX')}")
        sentences = too_new(symbols, (("GLIBC", options.glibc), ("GLIBCXX", options.glibcxx)))
        if not loaded.stdout.strip().endswith(str(stamps)):
            sentences.append("it cannot be loaded, or has stamps where it should not")
        for sentence in sentences:
            print(f"  {sentence}", file=sys.stderr)
        problems += len(sentences)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
