"""cmake/SrnCuda.cmake: whether CUDA kernels are built, with which nvcc, for which GPUs; and a build with one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from standin import ROOT, build_extension, run

KERNEL = """
__global__ void increment(float* x) { x[threadIdx.x] += 1.0f; }
namespace srn { void launch(float* x) { increment<<<1, 32>>>(x); } }
"""


class CMakeScript:
    """Runs lines of CMake after cmake/SrnCuda.cmake, with no project and no compiler; PATH is an empty folder."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.cmake = shutil.which("cmake", path=environment["PATH"])
        (folder / "bin").mkdir()
        self.environment = environment | {"PATH": str(folder / "bin")}

    def nvcc(self, place: str, known: str = "sm_80 sm_90", version: str = "12.4.131") -> Path:
        """Puts a program that answers as nvcc does into the folder ``place``."""
        program = self.folder / place / "nvcc"
        program.parent.mkdir(parents=True, exist_ok=True)
        answers = (
            f'--version) echo "Cuda compilation tools, release 12.4, V{version}";; --list-gpu-code) echo "{known}";;'
        )
        program.write_text(f'#!/bin/sh\ncase "$1" in {answers} *) exit 1;; esac\n')
        program.chmod(0o755)
        return program

    def __call__(self, *lines: str, fails: bool = False, **variables: str) -> str:
        """What the lines print; with ``fails``, the error's text with its line breaks taken out."""
        script = self.folder / "script.cmake"
        script.write_text("\n".join([f'include("{ROOT}/cmake/SrnCuda.cmake")', *lines]))
        done = run([self.cmake, "-P", script], self.environment | variables, self.folder)
        assert (done.returncode != 0) == fails, done.stdout
        return " ".join(done.stdout.split())

    def compiler(self, switch: str, sources: str = "kernel.cu", fails: bool = False, **variables: str) -> str:
        """``path|version`` of the nvcc chosen."""
        call = f'srn_cuda_compiler("{switch}" "{sources}" nvcc version)'
        return self(call, 'message("${nvcc}|${version}")', fails=fails, **variables)

    def architectures(self, nvcc: Path, *before: str, fails: bool = False, **variables: str) -> str:
        call = f'srn_cuda_architectures("{nvcc}" result)'
        return self(*before, call, 'message("${result}")', fails=fails, **variables)


@pytest.fixture
def cmake(tmp_path: Path, environment: dict[str, str]) -> CMakeScript:
    return CMakeScript(tmp_path, environment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.0", "80-real"),
        ("8.0;9.0+PTX", "80-real;90"),
        ("8.0 9.0+PTX", "80-real;90"),
        (" 8.0;; 8.6,9.0 ", "80-real;86-real;90-real"),
        ("9.0a", "90a-real"),
        ("10.0f;12.0a+PTX", "100f-real;120a"),
        ("8.0;8.0", "80-real"),
        ("native", "native"),
    ],
)
def test_torch_arch_list(cmake: CMakeScript, text: str, expected: str) -> None:
    assert cmake(f'srn_parse_torch_arch_list("{text}" result)', 'message("${result}")') == expected


@pytest.mark.parametrize("item", ["Hopper", "90", "9", "9.0+ptx", "sm_90", "8.0+PTX+PTX"])
def test_torch_arch_list_refuses_what_it_does_not_know(cmake: CMakeScript, item: str) -> None:
    error = cmake(f'srn_parse_torch_arch_list("8.0;{item}" result)', fails=True)
    assert f'TORCH_CUDA_ARCH_LIST has "{item}"; expected compute capabilities such as "8.0;9.0a;12.0+PTX"' in error


def test_default_list_is_what_nvcc_knows_and_ends_in_ptx(cmake: CMakeScript) -> None:
    newest = cmake.nvcc("new", known="sm_75 sm_80 sm_86 sm_89 sm_90 sm_100 sm_103 sm_120 sm_121")
    assert cmake.architectures(newest) == "80-real;90-real;100-real;120"
    older = cmake.nvcc("old", known="sm_50 sm_70 sm_75 sm_80 sm_86 sm_89 sm_90")
    assert cmake.architectures(older) == "80-real;90"


def test_default_list_without_a_known_member_is_an_error(cmake: CMakeScript) -> None:
    error = cmake.architectures(cmake.nvcc("ancient", known="sm_50 sm_60"), fails=True)
    assert "knows none of the default architectures, only 50, 60" in error


def test_architectures_by_order_of_origin(cmake: CMakeScript) -> None:
    nvcc = cmake.nvcc("toolkit", known="sm_75 sm_80 sm_86 sm_90")
    variable = 'set(CMAKE_CUDA_ARCHITECTURES "86;90")'
    assert cmake.architectures(nvcc, variable, CUDAARCHS="80", TORCH_CUDA_ARCH_LIST="7.5") == "75-real"
    assert cmake.architectures(nvcc, variable, CUDAARCHS="80") == "86;90"
    assert cmake.architectures(nvcc, CUDAARCHS="80") == "80"
    assert cmake.architectures(nvcc, 'set(CMAKE_CUDA_ARCHITECTURES "all-major")') == "all-major"


@pytest.mark.parametrize(
    ("origin", "before", "variables"),
    [
        ("TORCH_CUDA_ARCH_LIST asks for architecture 70-real", "", {"TORCH_CUDA_ARCH_LIST": "8.0;7.0"}),
        ("CMAKE_CUDA_ARCHITECTURES asks for architecture 70", "set(CMAKE_CUDA_ARCHITECTURES 80 70)", {}),
        ("CUDAARCHS asks for architecture 70", "", {"CUDAARCHS": "80;70"}),
    ],
)
def test_architecture_that_nvcc_does_not_know_is_an_error(
    cmake: CMakeScript, origin: str, before: str, variables: dict[str, str]
) -> None:
    error = cmake.architectures(cmake.nvcc("toolkit"), before, fails=True, **variables)
    assert f"{origin}, which this nvcc cannot compile for; it knows 80, 90" in error


@pytest.mark.parametrize(
    ("architectures", "expected"),
    [
        ("80-real;90-real;100-real;120", "--generate-code=arch=compute_80,code=[compute_80,sm_80,sm_90,sm_100,sm_120]"),
        ("100-real;90-real", "--generate-code=arch=compute_90,code=[sm_100,sm_90]"),
        ("90", "--generate-code=arch=compute_90,code=[compute_90,sm_90]"),
        ("75-real;90", ""),  # nothing is compiled for 75 that 90 could use
        ("90a-real;80", ""),
        ("90-virtual;80", ""),
        ("native", ""),
    ],
)
def test_one_ptx_for_all_where_that_does(cmake: CMakeScript, architectures: str, expected: str) -> None:
    assert cmake(f'srn_cuda_one_ptx("{architectures}" result)', 'message("${result}")') == expected


def test_nvcc_by_order_of_origin(cmake: CMakeScript) -> None:
    named, home, path = (
        cmake.nvcc(place, version=f"12.{index}.1") for index, place in enumerate(["named", "home/bin", "bin"])
    )
    variables = {"CUDACXX": str(named), "CUDA_HOME": str(home.parent.parent)}
    assert cmake.compiler("AUTO", **variables) == f"{named}|nvcc 12.0.1"
    del variables["CUDACXX"]
    assert cmake.compiler("AUTO", **variables) == f"{home}|nvcc 12.1.1"
    assert cmake.compiler("AUTO") == f"{path}|nvcc 12.2.1"
    assert cmake.compiler("OFF") == "|"


@pytest.mark.parametrize(("variable", "value"), [("CUDACXX", "/nowhere/nvcc"), ("CUDA_HOME", "/nowhere")])
def test_named_nvcc_that_is_not_there_is_an_error(cmake: CMakeScript, variable: str, value: str) -> None:
    error = cmake.compiler("AUTO", fails=True, **{variable: value})
    assert f"{variable} asks for /nowhere" in error


def test_without_nvcc(cmake: CMakeScript) -> None:
    assert cmake.compiler("AUTO") == "|"
    error = cmake.compiler("ON", fails=True)
    assert "SRN_CUDA=ON asks for CUDA kernels, but there is no nvcc: set CUDACXX to its path" in error


def test_without_kernels(cmake: CMakeScript) -> None:
    path = cmake.nvcc("bin")
    assert cmake.compiler("AUTO", sources="") == f"{path}|nvcc 12.4.131"
    error = cmake.compiler("ON", sources="", fails=True)
    assert "SRN_CUDA=ON asks for CUDA kernels, but this version has none" in error


def test_switch_must_be_known(cmake: CMakeScript) -> None:
    assert 'SRN_CUDA is "yes"; expected AUTO, ON or OFF' in cmake.compiler("yes", fails=True)


def test_broken_nvcc_is_an_error(cmake: CMakeScript) -> None:
    program = cmake.nvcc("bin")
    program.write_text("#!/bin/sh\necho cannot find my libraries\nexit 3\n")
    error = cmake.compiler("AUTO", fails=True)
    assert f"{program} --version does not answer as nvcc does (status 3)" in error
    assert "cannot find my libraries" in error


@pytest.mark.skipif(
    shutil.which("nvcc") is None and not {"CUDACXX", "CUDA_HOME"} & os.environ.keys(),
    reason="needs nvcc, in CUDACXX, CUDA_HOME or PATH",
)
def test_cuda_build(tree: Path, environment: dict[str, str]) -> None:
    """Kernels in csrc/cuda are compiled for the architectures asked for, with the CUDA runtime linked statically."""
    (tree / "csrc/cuda").mkdir()
    (tree / "csrc/cuda/increment.cu").write_text(KERNEL)
    named = {name: os.environ[name] for name in ("CUDACXX", "CUDA_HOME") if name in os.environ}
    variables = environment | named | {"SRN_KERNELS_CUDA": "ON", "TORCH_CUDA_ARCH_LIST": "8.0;9.0+PTX"}
    done = build_extension(tree, variables)
    assert done.returncode == 0, done.stdout
    (header,) = tree.glob("build/*/generated/srn_build_info.h")
    assert '#define SRN_CUDA_ARCHITECTURES "80-real 90"' in header.read_text()
    assert '#define SRN_CUDA_COMPILER "nvcc ' in header.read_text()
    (library,) = tree.glob("out/srn_kernels/_C*.so")
    needed = run(["ldd", library], environment, tree).stdout
    assert "libstdc++" in needed
    assert "libcudart" not in needed

    (tree / "csrc/cuda/increment.cu").write_text("#error this CUDA kernel does not compile\n")
    done = build_extension(tree, variables)
    assert done.returncode != 0
    assert "this CUDA kernel does not compile" in done.stdout
