"""Builds srn_kernels._C: hands CMakeLists.txt to CMake and ninja. Everything else about the package is in pyproject.toml.

Environment: SRN_KERNELS_CUDA (AUTO, ON or OFF), TORCH_CUDA_ARCH_LIST, CUDACXX and CUDA_HOME choose the CUDA build, MAX_JOBS
bounds the number of compilers at a time, CMAKE_ARGS goes to CMake as it is. See docs/building.md.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, SetupError

ROOT = Path(__file__).resolve().parent
# What CMake reads only when it first configures a build folder.
STICKY = ("CXX", "CXXFLAGS", "LDFLAGS", "CUDACXX", "CUDA_HOME", "CUDAFLAGS", "CUDAHOSTCXX", "CMAKE_ARGS")


def program(name: str) -> str:
    """The path of a build tool. PATH first: an isolated build has its own tools there, and no others would run in it."""
    found = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    if found is None:
        raise SetupError(f"building srn-kernels needs {name}, which is not on PATH; `pip install {name}` provides it")
    return found


def jobs() -> list[str]:
    """How many compilers run at a time: MAX_JOBS, or as ninja sees fit."""
    text = os.environ.get("MAX_JOBS", "").strip()
    if not text:
        return []
    if not text.isdecimal() or int(text) < 1:
        raise SetupError(f"MAX_JOBS is {text!r}; expected the number of compilers to run at a time, 1 or more")
    return ["--parallel", text]


class CMakeBuild(build_ext):
    """One extension, one CMake build. A build that fails fails the installation: there is no package without its kernels."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11  # a build requirement: setup.py is also read where only the metadata is wanted

        # One folder for every way to build: setuptools would give an editable installation a temporary one, and so compile
        # everything again each time.
        build = ROOT / "build" / f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
        build.mkdir(parents=True, exist_ok=True)
        prefix = Path(self.get_ext_fullpath(ext.name)).resolve().parent.parent
        compile = ["--build", str(build), *jobs()]

        # The build folder outlives the temporary environment of an isolated build, and CMake's cache remembers where the
        # tools of the last one were. So they are said again each time.
        configure = [
            *("-S", str(ROOT), "-B", str(build), "-G", "Ninja"),
            f"-DCMAKE_MAKE_PROGRAM={program('ninja')}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DSRN_CUDA={os.environ.get('SRN_KERNELS_CUDA') or 'AUTO'}",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]
        if self.is_stale(build):
            configure.append("--fresh")
        self.cmake("configure", configure)
        self.cmake("build", compile)
        self.cmake("install", ["--install", str(build), "--prefix", str(prefix), "--strip"])

    @staticmethod
    def is_stale(build: Path) -> bool:
        """Whether the folder was configured under settings that CMake's cache would hold on to: a compiler, an argument, or
        the place of the source folder, which may have been moved or copied with its build folder inside."""
        settings = "".join(f"{name}={os.environ.get(name, '')}\n" for name in STICKY) + f"source={ROOT}\n"
        record = build / "settings.txt"
        stale = not record.exists() or record.read_text() != settings
        record.write_text(settings)
        return stale

    @staticmethod
    def cmake(step: str, arguments: list[str]) -> None:
        # CMake takes two files for the same when their times are less than a second apart, and does not install the new one.
        environment = os.environ | {"CMAKE_INSTALL_ALWAYS": "1"}
        status = subprocess.run([program("cmake"), *arguments], env=environment, check=False).returncode
        if status != 0:
            raise CompileError(f"srn_kernels._C: cmake {step} failed with status {status}; its messages are above")


setup(ext_modules=[Extension("srn_kernels._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
