"""What pyproject.toml, constraints.txt and the version file say of each other."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from itertools import chain

import pytest
from packaging.requirements import Requirement
from standin import ROOT

from srn_kernels import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = {
    pin.name: pin
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if (text := line.partition("#")[0].strip())
    for pin in [Requirement(text)]
}
EXTRAS = PROJECT["project"]["optional-dependencies"]
REQUIREMENTS = [
    requirement
    for text in chain(
        PROJECT["project"]["dependencies"],
        PROJECT["build-system"]["requires"],
        *(EXTRAS[name] for name in EXTRAS if name != "gpu"),  # triton comes with a CUDA build of torch, at torch's pin
    )
    if (requirement := Requirement(text)).name != PROJECT["project"]["name"]
]


def test_version_is_said_once() -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?(dev|a|b|rc)\d+)?", __version__)
    assert version("srn-kernels") == __version__, "installed from another version of this tree: install it again"


def test_version_file_is_plain_enough_for_cmake() -> None:
    """CMake reads the version with a regular expression."""
    assert f'\n__version__ = "{__version__}"\n' in (ROOT / "srn_kernels/_version.py").read_text()


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_constraints_pin_what_is_required(requirement: Requirement) -> None:
    (pin,) = PINS[requirement.name].specifier
    assert pin.operator == "=="
    assert requirement.specifier.contains(pin.version)


def test_hooks_run_the_versions_of_development() -> None:
    used = re.findall(r"\[(.+==.+)\]", (ROOT / ".pre-commit-config.yaml").read_text())
    assert used
    for requirement in map(Requirement, used):
        assert PINS[requirement.name] == requirement


def test_build_needs_no_torch() -> None:
    needed = {Requirement(text).name for text in PROJECT["build-system"]["requires"]}
    assert "torch" not in needed
    sources = [file for file in (ROOT / "csrc").rglob("*") if file.suffix in {".h", ".cpp", ".cu", ".cuh"}]
    assert sources
    for file in sources:
        assert not re.search(r'#\s*include\s*[<"](torch|ATen|c10)/', file.read_text()), file
