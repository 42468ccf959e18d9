"""Builds the package the way pip does: what the wheel and the source distribution hold, and how a build may fail."""

from __future__ import annotations

import json
import re
import shutil
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from standin import ROOT, build_extension, run

from srn_kernels import __version__

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
NATIVE = f"srn_kernels/_C{sysconfig.get_config_var('EXT_SUFFIX')}"


def constants(folder: Path, environment: Mapping[str, str]) -> dict[str, object]:
    """What the stand-in module under ``folder`` says of its build, imported in a new process."""
    program = (
        "import importlib.util, json; "
        f"spec = importlib.util.spec_from_file_location('_C', {str(folder / NATIVE)!r}); "
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); "
        "print(json.dumps({name: value for name, value in vars(module).items() if name[0] != '_'}))"
    )
    done = run([sys.executable, "-c", program], environment, folder)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)


def test_wheel_holds_both_packages_and_the_native_module(
    tree: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    done = run([*PIP, "wheel", "--no-build-isolation", "--no-deps", "-w", tmp_path / "wheel", tree], environment, tree)
    assert done.returncode == 0, done.stdout
    (wheel,) = (tmp_path / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "unpacked")

    python = {
        str(file.relative_to(tree))
        for package in ("srn_kernels", "cascade")
        for file in tree.glob(f"{package}/**/*.py")
    }
    sample = {str(file.relative_to(tree)) for file in tree.glob("cascade/data/sample/*.json*")}
    info = f"srn_kernels-{__version__}.dist-info"
    shipped = {name for name in names if not name.startswith(info)}
    assert sample, "the sample corpus is missing from the source tree"
    others = {"srn_kernels/py.typed", "cascade/py.typed", "srn_kernels/backends/proof.json"}
    assert shipped == python | sample | others | {NATIVE}
    assert f"{info}/licenses/LICENSE" in names
    assert f"Version: {__version__}\n" in (tmp_path / "unpacked" / info / "METADATA").read_text()

    said = constants(tmp_path / "unpacked", environment)
    assert said["answer"] == 42
    assert said["version"] == __version__
    assert said["build_type"] == "Release"
    assert re.fullmatch(r"\w+ \d+\.\d+\.\d+", said["compiler"])
    assert said["cpu_isas"].split()[0] == "portable"
    assert said["cuda_compiler"] == said["cuda_architectures"] == ""


def test_source_distribution_holds_all_that_builds_it(tree: Path, environment: dict[str, str]) -> None:
    files = {str(file.relative_to(tree)) for file in tree.rglob("*") if file.is_file()}
    done = run([sys.executable, "setup.py", "sdist"], environment, tree)
    assert done.returncode == 0, done.stdout
    (archive,) = (tree / "dist").iterdir()
    with tarfile.open(archive) as opened:
        held = {member.name.partition("/")[2] for member in opened.getmembers() if member.isfile()}
    assert files - held <= {".gitignore"}


def test_failed_compile_fails_the_installation(tree: Path, environment: dict[str, str], tmp_path: Path) -> None:
    (tree / "csrc/cpu/dispatch.cpp").write_text("#error this kernel does not compile\n")
    command = [*PIP, "install", "--no-build-isolation", "--no-deps", "--target", tmp_path / "site", tree]
    done = run(command, environment, tree)
    assert done.returncode != 0
    assert "this kernel does not compile" in done.stdout
    assert "cmake build failed with status 1" in done.stdout
    assert not (tmp_path / "site").exists()


def test_build_outlives_the_tools_of_an_earlier_one(tree: Path, environment: dict[str, str]) -> None:
    """An isolated build's ninja and pybind11 are gone by the next one; CMake's cache still names them."""
    assert build_extension(tree, environment).returncode == 0
    (cache,) = tree.glob("build/*/CMakeCache.txt")
    text = cache.read_text()
    for variable in ("CMAKE_MAKE_PROGRAM", "pybind11_DIR"):
        text, found = re.subn(rf"^({variable}:\w+)=.*$", r"\1=/nowhere/gone", text, flags=re.MULTILINE)
        assert found == 1
    cache.write_text(text)

    done = build_extension(tree, environment)
    assert done.returncode == 0, done.stdout
    assert "no work to do" in done.stdout  # ninja's: nothing was compiled twice


def test_build_folder_may_move_with_the_tree(tree: Path, environment: dict[str, str]) -> None:
    assert build_extension(tree, environment).returncode == 0
    moved = tree.rename(tree.with_name("moved"))
    shutil.rmtree(moved / "out")
    done = build_extension(moved, environment)
    assert done.returncode == 0, done.stdout
    assert constants(moved / "out", environment)["answer"] == 42


def test_settings_do_not_outlive_the_environment(tree: Path, environment: dict[str, str]) -> None:
    debug = environment | {"CMAKE_ARGS": "-DCMAKE_BUILD_TYPE=Debug"}
    for variables, build_type in ((debug, "Debug"), (environment, "Release")):
        done = build_extension(tree, variables)
        assert done.returncode == 0, done.stdout
        assert constants(tree / "out", environment)["build_type"] == build_type


@pytest.mark.parametrize("jobs", ["many", "0", "-1", "1.5"])
def test_max_jobs_must_be_a_count(tree: Path, environment: dict[str, str], jobs: str) -> None:
    done = build_extension(tree, environment | {"MAX_JOBS": jobs})
    assert done.returncode != 0
    assert f"MAX_JOBS is '{jobs}'; expected the number of compilers to run at a time, 1 or more" in done.stdout


def test_warnings_are_errors_where_asked(tree: Path, environment: dict[str, str]) -> None:
    (tree / "csrc/cpu/dispatch.cpp").write_text("namespace srn { int answer() { int unused; return 42; } }\n")
    assert build_extension(tree, environment).returncode == 0
    done = build_extension(tree, environment | {"CMAKE_ARGS": "-DSRN_WERROR=ON"})
    assert done.returncode != 0
    assert "unused variable" in done.stdout


COMPILED = sorted(ROOT.glob("build/*/CMakeFiles/srn_cpu_*.dir/csrc/cpu/[kb]*.cpp.o"))


@pytest.mark.skipif(not COMPILED, reason="needs the objects of a build in this checkout (pip install -e .)")
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm, of binutils")
@pytest.mark.parametrize("object_file", COMPILED, ids=lambda file: file.parents[2].stem)
def test_instruction_sets_share_no_inline_function(object_file: Path, environment: dict[str, str]) -> None:
    """The linker keeps one copy of a weak symbol: another set's instructions would reach a processor without them."""
    isa = object_file.parents[2].stem.removeprefix("srn_cpu_")
    listed = run(["nm", "--demangle", "--defined-only", object_file], environment, ROOT).stdout.splitlines()
    assert any(f" srn::{isa}::" in line for line in listed)
    weak = [line for line in listed if line.split()[1] in "WVu"]
    assert [line for line in weak if f"srn::{isa}::" not in line] == []
