"""The gate for GPU backends: what ``auto`` takes with and without a record, and records that cannot be right."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from srn_kernels import SRNCell, backends
from srn_kernels.backends import proof
from srn_kernels.backends.proof import ProofError, Record
from srn_kernels.backends.torch_reference import ReferenceBackend

from .cases import Case, draw

RECORD = Record(
    backend="new",
    capability="9.0",
    gpu="NVIDIA H200",
    date="2026-01-31",
    version="0.1.0",
    commit="0123456789ab",
    digest="0" * 64,
    torch="2.13.0+cu130",
    triton="3.6.0",
    cuda="13.0",
    passed=100,
    skipped=2,
)
UNPROVEN = "it runs by name only on GPUs of compute capability 9.0: its tests have not passed on one yet"


class NewBackend(ReferenceBackend):
    """A stand-in for a GPU backend: serves whatever the reference does, and has to be proved."""

    name = "new"
    needs_proof = True


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    proof.forget()
    yield
    proof.forget()


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of records, with none in it."""
    path = tmp_path / "proof.json"
    path.write_text("[]\n")
    monkeypatch.setattr(proof, "FILE", path)
    return path


@pytest.fixture
def new(monkeypatch: pytest.MonkeyPatch, file: Path) -> NewBackend:
    """The registry with a new backend before all others."""
    backend = NewBackend()
    monkeypatch.setattr(backends, "BACKENDS", {"new": backend, **backends.BACKENDS})
    return backend


@pytest.fixture
def capabilities(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gives GPU 0 capability 9.0 and all others 8.0; returns the indices that were asked for."""
    asked: list[int] = []

    def capability(index: int) -> tuple[int, int]:
        asked.append(index)
        return (8, 0) if index else (9, 0)

    monkeypatch.setattr(torch.cuda, "get_device_capability", capability)
    return asked


def problem(device: str) -> backends.Problem:
    return draw(Case(), torch.float32).layer_call().problem._replace(device=torch.device(device))


# -- the gate ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("capabilities")
def test_auto_takes_a_new_backend_only_where_it_is_proved(new: NewBackend, file: Path) -> None:
    assert backends.select(problem("cuda:0")).name == "reference"
    proof.add(RECORD, file)
    assert backends.select(problem("cuda:0")) is new
    assert backends.select(problem("cuda:1")).name == "reference"


@pytest.mark.usefixtures("capabilities", "file")
def test_by_name_a_backend_runs_without_a_proof(new: NewBackend) -> None:
    for device in ("cpu", "cuda:0"):
        assert backends.select(problem(device), "new") is new


@pytest.mark.usefixtures("capabilities")
def test_a_record_is_of_one_backend(new: NewBackend, file: Path) -> None:
    proof.add(replace(RECORD, backend="another"), file)
    assert proof.unproven(new, torch.device("cuda", 0)) == UNPROVEN


@pytest.mark.usefixtures("new")
def test_a_call_on_a_cpu_looks_nothing_up(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """It reads neither the records, which are unreadable here, nor a device's capability."""
    file.write_text("nonsense")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: pytest.fail("asked for a device"))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: pytest.fail("asked for a device"))
    with backends.record() as ran:
        SRNCell(3, 4)(torch.randn(2, 3))
    assert ran == ["cpu"]


def test_a_device_is_looked_up_once(new: NewBackend, file: Path, capabilities: list[int]) -> None:
    proof.add(RECORD, file)
    for _ in range(3):
        assert proof.unproven(new, torch.device("cuda", 0)) is None
        assert proof.unproven(new, torch.device("cuda", 1)) is not None
    assert capabilities == [0, 1]


@pytest.mark.usefixtures("capabilities")
def test_a_device_without_an_index_is_the_current_one(
    monkeypatch: pytest.MonkeyPatch, new: NewBackend, file: Path
) -> None:
    proof.add(RECORD, file)
    for current, proved in ((0, True), (1, False)):
        monkeypatch.setattr(torch.cuda, "current_device", lambda current=current: current)
        assert (proof.unproven(new, torch.device("cuda")) is None) == proved


@pytest.mark.usefixtures("capabilities")
def test_capabilities_of_another_maker_prove_nothing(
    monkeypatch: pytest.MonkeyPatch, new: NewBackend, file: Path
) -> None:
    proof.add(RECORD, file)
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert proof.unproven(new, torch.device("cuda", 0)) == UNPROVEN


def test_what_needs_no_proof_is_not_looked_up(file: Path) -> None:
    file.write_text("nonsense")
    assert proof.unproven(ReferenceBackend(), torch.device("cuda", 0)) is None


@pytest.mark.usefixtures("capabilities")
def test_where_no_backend_serves_each_gives_its_reason(monkeypatch: pytest.MonkeyPatch, new: NewBackend) -> None:
    monkeypatch.setattr(backends, "BACKENDS", {"new": new, "cpu": backends.BACKENDS["cpu"]})
    with pytest.raises(RuntimeError) as error:
        backends.select(problem("cuda:0"))
    on_cpu = "cpu: it runs on the CPU, the tensors are on cuda:0"
    assert str(error.value) == f"no backend serves this call: new: {UNPROVEN}; {on_cpu}"


def test_the_reason_not_to_serve_stands_before_the_missing_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(NewBackend):
        def unsupported(self, problem: backends.Problem) -> str:
            return "it is too small"

    monkeypatch.setattr(backends, "BACKENDS", {"new": Refusing()})
    with pytest.raises(RuntimeError, match=r"^no backend serves this call: new: it is too small$"):
        draw(Case()).run()


# -- the records -------------------------------------------------------------------------------------------------------


def test_a_record_survives_its_file(file: Path) -> None:
    other = replace(RECORD, backend="another", triton=None, cuda=None)
    proof.add(RECORD, file)
    proof.add(other, file)
    assert proof.records(file) == (RECORD, other)
    assert proof.proved("new") == [RECORD]
    assert json.loads(file.read_text()) == [asdict(RECORD), asdict(other)]


def test_a_later_record_of_the_same_gpu_replaces_the_earlier_one(file: Path) -> None:
    later, elsewhere = replace(RECORD, date="2026-02-28", passed=101), replace(RECORD, gpu="NVIDIA H100")
    for record in (RECORD, elsewhere, later):
        proof.add(record, file)
    assert proof.records(file) == (elsewhere, later)


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in asdict(RECORD).items() if key != name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a JSON list of records"),
        ("{}", "expected a JSON list of records, found dict"),
        ([5], "record 1: expected an object, found int"),
        ([without("gpu")], "record 1: field 'gpu' is missing"),
        ([asdict(RECORD), asdict(RECORD) | {"backend": ""}], "record 2: field 'backend': expected a text, found ''"),
        ([asdict(RECORD) | {"extra": 1}], "record 1: field 'extra' is unknown; expected backend, capability, gpu"),
        ([asdict(RECORD) | {"capability": 9.0}], "field 'capability': expected a compute capability such as \"9.0\""),
        ([asdict(RECORD) | {"capability": "sm_90"}], "field 'capability'"),
        ([asdict(RECORD) | {"date": "31.1.2026"}], "field 'date': expected a date such as \"2026-01-31\""),
        ([asdict(RECORD) | {"digest": "0" * 63}], "field 'digest': expected 64 hexadecimal digits"),
        ([asdict(RECORD) | {"triton": 3}], "field 'triton': expected a text or null, found 3"),
        ([asdict(RECORD) | {"passed": 0}], "field 'passed': expected a number above 0, found 0"),
        ([asdict(RECORD) | {"passed": True}], "field 'passed'"),
        ([asdict(RECORD) | {"skipped": -1}], "field 'skipped': expected a number, 0 or more, found -1"),
        ([asdict(RECORD), asdict(RECORD) | {"passed": 7}], "record 2: a second one of new on 9.0 (NVIDIA H200)"),
    ],
)
def test_malformed_records_fail_with_file_record_and_field(file: Path, content: object, message: str) -> None:
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ProofError) as error:
        proof.records(file)
    assert str(error.value).startswith(f"{file}: ") and message in str(error.value)


def test_a_missing_file_fails(file: Path) -> None:
    file.unlink()
    with pytest.raises(ProofError, match=r"proof\.json: expected a JSON list of records"):
        proof.records(file)


@pytest.mark.usefixtures("capabilities", "new")
def test_malformed_records_stop_a_call_on_a_gpu(file: Path) -> None:
    file.write_text("[{}]")
    with pytest.raises(ProofError, match="record 1: field 'backend' is missing"):
        backends.select(problem("cuda:0"))


def test_a_malformed_record_is_not_written(file: Path) -> None:
    with pytest.raises(ProofError, match="record to be written: field 'passed'"):
        proof.add(replace(RECORD, passed=0), file)
    assert file.read_text() == "[]\n"


# -- the digest --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Writes files under a made-up root; returns the digest of a backend whose sources are ``kernels/*``."""
    monkeypatch.setattr(proof, "ROOT", tmp_path)

    class Backend(NewBackend):
        sources = ("kernels/*",)

    def tree(**files: str) -> str:
        (tmp_path / "kernels" / "__pycache__").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / "kernels" / name).write_text(text)
        return proof.digest(Backend())

    return tree


def test_digest_follows_content_and_names(tree: Callable[..., str], tmp_path: Path) -> None:
    first = tree(one="kernel", two="another")
    (tmp_path / "kernels" / "__pycache__" / "one.pyc").write_text("compiled")
    (tmp_path / "elsewhere").write_text("no kernel")
    assert tree() == first and len(first) == 64
    assert tree(one="kernel!") != first
    assert tree(one="kernel") == first
    assert tree(three="") != first
    (tmp_path / "kernels" / "three").unlink()
    assert tree() == first
    (tmp_path / "kernels" / "one").rename(tmp_path / "kernels" / "uno")
    assert tree() != first


def test_text_that_moves_from_one_file_to_another_changes_the_digest(tree: Callable[..., str]) -> None:
    assert tree(one="ab", two="c") != tree(one="a", two="bc")


def test_sources_that_are_not_there_are_an_error(tree: Callable[..., str]) -> None:
    with pytest.raises(FileNotFoundError, match=r"backend 'new' names kernels/\* among its sources; none is in"):
        tree()


# -- the repository ----------------------------------------------------------------------------------------------------

TO_BE_PROVED = [backend for backend in backends.BACKENDS.values() if backend.needs_proof]


def test_every_backend_that_must_be_proved_names_its_sources() -> None:
    """A pattern that matches nothing raises."""
    assert [backend.name for backend in TO_BE_PROVED if not (backend.sources and proof.source_files(backend))] == []


def stale(file: Path, present: dict[str, str]) -> list[str]:
    """A sentence for each record in a file whose digest differs from that of the ``present`` sources."""
    return [
        f"{file.name}: the record of {record.backend} on {record.gpu} is of other sources than the present ones: run "
        "`python benchmarks/gpu.py --out DIR --record` on such a GPU, or delete the record"
        for record in proof.records(file)
        if record.digest != present.get(record.backend)
    ]


def test_the_repositorys_records_are_of_the_present_sources() -> None:
    present = {backend.name: proof.digest(backend) for backend in TO_BE_PROVED}
    assert not (found := stale(proof.FILE, present)), "\n".join(found)


def test_a_record_of_other_sources_is_found(file: Path) -> None:
    proof.add(RECORD, file)
    assert stale(file, {"new": RECORD.digest}) == []
    for present in ({"new": "1" * 64}, {"another": RECORD.digest}):
        [message] = stale(file, present)
        assert "the record of new on NVIDIA H200 is of other sources" in message and "--record" in message


def test_the_records_are_part_of_the_package() -> None:
    data = tomllib.loads((proof.ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert proof.FILE.relative_to(proof.ROOT / "srn_kernels").as_posix() in data["srn_kernels"]
