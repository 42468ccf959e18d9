"""A copy of the source tree whose kernels are stand-ins of a few lines, so that building it takes seconds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

DISPATCH = """
namespace srn { int answer() { return 42; } }
"""
# Each instruction set has a separate function: without SRN_ISA, or with the same one twice, this does not link.
KERNELS = """
#define SRN_JOIN_(a, b) a##b
#define SRN_JOIN(a, b) SRN_JOIN_(a, b)
namespace srn { int SRN_JOIN(isa_, SRN_ISA)() { return 1; } }
"""
MODULE = """
#include <Python.h>
#include "srn_build_info.h"
namespace srn { int answer(); int isa_portable(); }
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
PyMODINIT_FUNC PyInit__C() {
  PyObject* module = PyModule_Create(&definition);
  PyModule_AddIntConstant(module, "answer", srn::answer() * srn::isa_portable());
  PyModule_AddStringConstant(module, "version", SRN_VERSION_STRING);
  PyModule_AddStringConstant(module, "compiler", SRN_COMPILER);
  PyModule_AddStringConstant(module, "build_type", SRN_BUILD_TYPE);
  PyModule_AddStringConstant(module, "cpu_isas", SRN_CPU_ISAS);
  PyModule_AddStringConstant(module, "cuda_compiler", SRN_CUDA_COMPILER);
  PyModule_AddStringConstant(module, "cuda_architectures", SRN_CUDA_ARCHITECTURES);
  return module;
}
"""


def copy_tree(copy: Path) -> Path:
    """Copies what a build reads, without what git ignores, to the new folder ``copy``, with the stand-in kernels."""
    unwanted = shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__", ".*_cache", "build", "dist")
    copy.mkdir()
    for name in ("cmake", "srn_kernels", "cascade", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, copy / file.name)
    sources = {"cpu/kernels.cpp": KERNELS, "cpu/bfloat16.cpp": KERNELS}
    sources |= {"cpu/dispatch.cpp": DISPATCH, "python/module.cpp": MODULE, "python/cuda.cpp": ""}
    for name, text in sources.items():
        source = copy / "csrc" / name
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text)
    return copy


def run(command: list[object], environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command; ``stdout`` has both of its outputs."""
    return subprocess.run(
        [str(part) for part in command],
        env=dict(environment),
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def build_extension(tree: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Builds the native module alone, into ``tree/out``."""
    return run([sys.executable, "setup.py", "build_ext", "--build-lib", "out"], environment, tree)
