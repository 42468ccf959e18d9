"""``python -m srn_kernels.info`` in every state of the native module, and the reasons it gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from standin import ROOT, run

from srn_kernels import __version__, info, native
from srn_kernels.backends import BACKENDS, proof

BUILD = {
    "version": __version__,
    "compiler": "GNU 12.2.0",
    "build_type": "Release",
    "cpu_isas": "portable avx2",
    "cuda_compiler": "",
    "cuda_architectures": "",
}


def use_native(monkeypatch: pytest.MonkeyPatch, **build: str) -> None:
    """Installs a native module that was built as ``build`` says."""
    module = ModuleType("srn_kernels._C")
    module.__file__ = "/somewhere/_C.so"
    module.build_info = lambda: BUILD | build
    module.cpu_isa = lambda: "avx2"
    monkeypatch.setattr(native, "missing", lambda: None)
    monkeypatch.setattr(native, "module", lambda: module)


def test_whole_build(monkeypatch: pytest.MonkeyPatch) -> None:
    use_native(monkeypatch)
    found = info.collect()
    assert found["version"] == __version__
    assert found["native"]["problem"] is None
    assert found["native"]["cpu_isa"] == "avx2"
    assert found["torch"]["version"] == torch.__version__
    text = info.report(found)
    assert "GNU 12.2.0, Release, /somewhere/_C.so" in text
    assert "built for portable avx2; in use here: avx2" in text


def test_real_build_says_what_the_report_needs() -> None:
    found = info.native_module()
    assert found["problem"] is None
    assert found["build"].keys() >= BUILD.keys()
    assert found["cpu_isa"] in found["build"]["cpu_isas"].split()


def test_missing_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "missing", lambda: "it is not there")
    found = info.collect()
    assert found["native"] == {"file": None, "build": None, "cpu_isa": None, "problem": "it is not there"}
    assert "native module it is not there" in info.report(found).splitlines()


def test_build_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    use_native(monkeypatch, version="0.0.1")
    problem = info.collect()["native"]["problem"]
    assert problem.startswith(f"srn_kernels._C was built from version 0.0.1, not {__version__}")


def test_build_of_other_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.stale() is None
    monkeypatch.setattr(native, "sources", lambda: "0" * 64)
    problem = "srn_kernels._C was built from other sources than csrc holds now: install again"
    assert info.collect()["native"]["problem"] == problem
    monkeypatch.setattr(native, "sources", lambda: None)  # an installed package
    assert info.collect()["native"]["problem"] is None


def check_report_without_library(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout
    assert "native module the native library could not be loaded" in done.stdout
    assert "pip install" in done.stdout
    assert "  cpu         not usable: " in done.stdout
    assert "  reference   usable" in done.stdout


def test_command_runs_without_the_library(tmp_path: Path) -> None:
    """Nothing that happens at import may need the native module."""
    program = "import runpy, sys; sys.modules['srn_kernels._C'] = None; runpy.run_module('srn_kernels.info', run_name='__main__')"
    check_report_without_library(run([sys.executable, "-c", program], os.environ, tmp_path))


def test_command_runs_with_a_damaged_library(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "srn_kernels", tmp_path / "srn_kernels", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    (tmp_path / f"srn_kernels/_C{sysconfig.get_config_var('EXT_SUFFIX')}").write_bytes(b"not a library")
    check_report_without_library(run([sys.executable, "-m", "srn_kernels.info"], os.environ, tmp_path))


@pytest.mark.parametrize(
    ("compiler", "architectures", "sentence"),
    [
        ("", "", "not built: no nvcc was found, or it was switched off (SRN_KERNELS_CUDA)"),
        ("nvcc 13.0.88", "", "nvcc 13.0.88 found, but this version has no CUDA kernels"),
        ("nvcc 13.0.88", "80-real 90", "nvcc 13.0.88 for 80-real 90"),
    ],
)
def test_cuda_line(monkeypatch: pytest.MonkeyPatch, compiler: str, architectures: str, sentence: str) -> None:
    use_native(monkeypatch, cuda_compiler=compiler, cuda_architectures=architectures)
    assert f"  CUDA        {sentence}" in info.report(info.collect()).splitlines()


def test_backends_give_their_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(unavailable=lambda: "it needs a moon", needs_proof=False)
    monkeypatch.setitem(BACKENDS, "other", other)
    found = info.collect()
    assert found["backends"].keys() == BACKENDS.keys()
    assert found["backends"]["reference"] is None
    assert "  other       not usable: it needs a moon" in info.report(found).splitlines()


def use_gpus(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    """Has torch see a GPU of each capability."""
    gpus = [
        SimpleNamespace(name=f"GPU of {major}.{minor}", major=major, minor=minor, total_memory=141 * 2**30)
        for major, minor in capabilities
    ]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: gpus[index])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capabilities[index])


def test_gpus_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    use_gpus(monkeypatch, (8, 0), (9, 0))
    text = info.report(info.collect())
    assert "GPU 1         GPU of 9.0, compute capability 9.0, 141.0 GiB" in text.splitlines()


RECORD = {
    "backend": "other",
    "capability": "9.0",
    "gpu": "NVIDIA H200",
    "date": "2026-01-31",
    "version": "0.1.0",
    "commit": "abc",
    "digest": "0" * 64,
    "torch": "2.13.0",
    "triton": None,
    "cuda": "13.0",
    "passed": 100,
    "skipped": 0,
}


@pytest.fixture
def prove(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Registers ``other``, a backend that must be proved and gives ``reason``, with these records."""

    def prove(*records: dict[str, object], reason: str | None = None) -> None:
        (tmp_path / "proof.json").write_text(json.dumps(records))
        other = SimpleNamespace(name="other", needs_proof=True, unavailable=lambda: reason)
        monkeypatch.setitem(BACKENDS, "other", other)
        monkeypatch.setattr(proof, "FILE", tmp_path / "proof.json")
        proof.forget()

    yield prove
    proof.forget()


def backend_lines(name: str) -> list[str]:
    """What the report says of a backend."""
    lines = [text.removeprefix(" " * 14) for text in info.report(info.collect()).splitlines()]
    first = next(place for place, text in enumerate(lines) if text.startswith(f"  {name} "))
    last = next((place for place in range(first + 1, len(lines)) if lines[place].startswith("  ")), len(lines))
    return [lines[first][14:], *lines[first + 1 : last]]


@pytest.mark.parametrize(
    ("records", "classes"),
    [
        ([], "none yet"),
        ([RECORD], "9.0 (NVIDIA H200, 2026-01-31)"),
        (
            [RECORD, RECORD | {"capability": "8.0", "gpu": "A100"}, RECORD | {"backend": "another"}],
            "9.0 (NVIDIA H200, 2026-01-31), 8.0 (A100, 2026-01-31)",
        ),
    ],
)
def test_without_a_gpu_the_proofs_are_listed(
    prove: Callable[..., None], records: list[dict[str, object]], classes: str
) -> None:
    prove(*records, reason="there is no GPU")
    assert backend_lines("other") == ["not usable: there is no GPU", f"proved on: {classes}"]
    prove(*records)
    assert backend_lines("other") == ["usable", f"proved on: {classes}"]


def test_on_each_gpu_the_report_says_whether_the_backend_is_proved(
    monkeypatch: pytest.MonkeyPatch, prove: Callable[..., None]
) -> None:
    use_gpus(monkeypatch, (8, 0), (9, 0), (8, 0))
    prove(RECORD)
    unproven = "by name only on GPU of 8.0 (compute capability 8.0): its tests have not passed on one yet"
    assert backend_lines("other") == [unproven, "usable; proved on: 9.0 (NVIDIA H200, 2026-01-31)"]
    found = info.collect()["proof"]
    sentence = "it runs by name only on GPUs of compute capability 8.0: its tests have not passed on one yet"
    assert found["backends"]["other"] == {
        "records": [{"capability": "9.0", "gpu": "NVIDIA H200", "date": "2026-01-31"}],
        "unproven": [sentence, None, sentence],
    }
    assert "reference" not in found["backends"] and found["problem"] is None


def test_records_that_cannot_be_read_are_reported_and_do_not_end_the_report(prove: Callable[..., None]) -> None:
    prove(RECORD | {"passed": 0})
    found = info.collect()
    assert "record 1: field 'passed': expected a number above 0, found 0" in found["proof"]["problem"]
    assert info.report(found).splitlines()[-1].startswith("proofs        ")
    assert "  reference   usable" in info.report(found).splitlines()


def test_json_is_the_same_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert info.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == info.collect()
