"""A run on a GPU, rehearsed on the CPU: stages that fail or hang, what is recorded, and the script."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import sleep, time
from types import SimpleNamespace
from typing import Any

import gpu as script
import pytest
import torch
from rehearsal import STAND_INS
from samples import MACHINE, cell, gpu_cell
from srn_benchmarks import machine, process, proving, stages
from srn_benchmarks.names import (
    BARS,
    FUSION,
    GPU_CELL,
    GPU_PACKED,
    GPU_PARTS,
    GPU_SMOKE,
    GPU_STEP,
    GPU_SWEEP,
    LATE,
    LSTM,
)
from srn_benchmarks.process import Ending
from srn_benchmarks.proving import Ground, Outcome, outcome, record_passed
from srn_benchmarks.results import FAILED, TIMED, Results
from srn_benchmarks.stages import STAGES, Run
from srn_benchmarks.tables import sections

from srn_kernels import backends, native
from srn_kernels.backends import proof

STAGE = {stage.name: stage for stage in STAGES}
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Makes the stand-ins the only GPU backends; returns an empty file of records."""
    monkeypatch.setattr(backends, "BACKENDS", {**STAND_INS, "reference": backends.BACKENDS["reference"]})
    file = tmp_path / "records.json"
    file.write_text("[]\n")
    monkeypatch.setattr(proof, "FILE", file)
    proof.forget()
    yield file
    proof.forget()


# -- processes that hang or die ----------------------------------------------------------------------------------------


def run_python(folder: Path, program: str) -> tuple[Ending, str]:
    ending = process.run([sys.executable, "-c", program], folder / "log.txt", 60.0)
    return ending, (folder / "log.txt").read_text()


def test_output_is_logged_and_returned(tmp_path: Path):
    (tmp_path / "log.txt").write_text("before\n")
    ending, log = run_python(tmp_path, "import sys; print('one'); print('two', file=sys.stderr)")
    assert (ending.status, ending.text, ending.printed) == (0, "exited with status 0", "one\ntwo\n")
    assert log.startswith("before\n") and log.endswith("one\ntwo\n") and sys.executable in log


def test_a_program_that_fails_or_dies_is_told_apart(tmp_path: Path):
    failed, died = (run_python(tmp_path, text)[0] for text in ("raise SystemExit(3)", "import os; os.abort()"))
    assert (failed.status, failed.text) == (3, "exited with status 3")
    assert (died.status, died.text) == (-6, "died of signal 6")


def test_a_program_that_hangs_is_killed_with_what_it_started(tmp_path: Path):
    ending = process.run(["sh", "-c", "sleep 100 & echo $!; wait"], tmp_path / "log.txt", 3.0)
    assert ending.status is None and ending.text == "was not done after 3 s, and was killed"
    deadline = time() + 10
    while alive(int(ending.printed)) and time() < deadline:
        sleep(0.05)
    assert not alive(int(ending.printed))


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().split()[2] != "Z"  # nobody may have reaped it yet
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_module_of_other_sources_is_not_measured(monkeypatch: pytest.MonkeyPatch):
    backend = STAND_INS["new"]
    monkeypatch.setattr(native, "sources", lambda: "0" * 64)
    assert stages.unusable(backend) is None
    monkeypatch.setattr(type(backend), "sources", ("csrc/cell.h",))
    assert stages.unusable(backend) == "srn_kernels._C was built from other sources than csrc holds now: install again"


# -- the tests' outcome, and records -----------------------------------------------------------------------------------

PASSED = '<testcase name="good"/>'
SKIPPED = '<testcase name="left out"><skipped message="needs two GPUs"/></testcase>'
WRONG = '<testcase name="bad"><failure message="wrong"/></testcase>'
BROKEN = '<testcase name="broken"><error message="no fixture"/></testcase>'


def outcome_of(folder: Path, *cases: str, status: int | None = 0) -> Outcome:
    junit = folder / "tests.xml"
    junit.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return outcome(Ending(status, f"exited with status {status}", "tests/a.py::test_last PASSED\n"), junit)


def test_outcome_counts(tmp_path: Path):
    done = outcome_of(tmp_path, PASSED, PASSED, SKIPPED)
    assert (done.passed, len(done.failures), done.skipped, done.problem) == (2, 0, 1, None)
    failed = outcome_of(tmp_path, PASSED, WRONG, BROKEN, SKIPPED, status=1)
    assert (failed.passed, failed.skipped) == (1, 1)
    assert failed.problem == "2 of 4 tests failed" and failed.failures == ("bad", "broken")
    assert (done + failed).passed == 3 and (done + failed).problem == "2 of 7 tests failed"


def test_nothing_but_whole_and_clean_runs_count_as_passed(tmp_path: Path):
    assert outcome_of(tmp_path, SKIPPED).problem == "no test ran"
    exited = "the tests' process exited with status 3, at tests/a.py::test_last"
    assert outcome_of(tmp_path, PASSED, status=3).problem == exited
    hung = outcome(Ending(None, "was not done", "tests/a.py::test_streams "), tmp_path / "none.xml")
    assert hung.problem == "the tests' process was not done, at tests/a.py::test_streams"
    assert (hung + outcome_of(tmp_path, PASSED)).problem == hung.problem
    worker = Ending(
        1, "", "[gw3] [ 12%] PASSED tests/a.py::test_one[x] \n[gw0] [ 13%] FAILED tests/a.py::test_two[y] \n"
    )
    assert worker.last_test == ", at tests/a.py::test_two[y]"
    nothing = outcome_of(tmp_path, SKIPPED)  # no compute-sanitizer, say
    assert (outcome_of(tmp_path, PASSED) + nothing).problem == "no test ran"


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="NVIDIA H200", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(machine, "describe", lambda: dict(MACHINE))


@pytest.mark.usefixtures("with_gpu")
def test_what_passed_is_recorded_and_nothing_else(records: Path):
    before = proving.ground(["new", "wrong"], "abc")
    said: list[str] = []
    [made] = record_passed({"new": Outcome(100, 3), "wrong": Outcome(99, 3, ("bad",))}, before, records, said.append)
    assert proof.records(records) == (made,)
    assert (made.backend, made.capability, made.gpu, made.commit) == ("new", "9.0", "NVIDIA H200", "abc")
    assert (made.passed, made.skipped, made.digest) == (100, 3, proof.digest(backends.BACKENDS["new"]))
    assert said[1] == "no record of wrong: 1 of 103 tests failed"


@pytest.mark.usefixtures("with_gpu")
def test_sources_that_changed_under_the_tests_are_not_recorded(records: Path):
    said: list[str] = []
    assert record_passed({"new": Outcome(100)}, Ground("abc", {"new": "0" * 64}), records, said.append) == []
    assert said == ["no record of new: its sources have changed while they were tested"]
    assert records.read_text() == "[]\n"


def test_the_commit_is_asked_of_git_or_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "get_commit_info", lambda name: {"id": "0123456789abcdef", "dirty": True})
    assert proving.ground([], None).commit == "0123456789ab with uncommitted changes"
    assert proving.ground([], "v1").commit == "v1"


# -- the stages, rehearsed ---------------------------------------------------------------------------------------------


def rehearse(folder: Path, patch: pytest.MonkeyPatch, names: list[str], *chosen: stages.Stage) -> tuple[Run, list[str]]:
    """The processes and lines of a real run, with the stand-ins and the CPU."""
    patch.setenv("PYTEST_PLUGINS", "rehearsal")
    patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, sys.path)]))
    patch.setenv("OMP_NUM_THREADS", "1")  # small products: on busy cores their threads would wait for each other
    for name in ("SCIERC_DIR", "PYTEST_ADDOPTS"):
        patch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        patch.delenv(name)
    said: list[str] = []
    run = Run(folder, chosen, names, rehearse=True, say=said.append)
    run.go()
    assert len(list(folder.iterdir())) <= 8
    assert Results.read(folder / "results.json") == run.results
    return run, said


@pytest.mark.slow
def test_backends_that_hang_or_are_wrong_hide_nobodys_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, said = rehearse(tmp_path / "out", monkeypatch, ["lost", "dying", "wrong"], STAGE["smoke"])
    status = {(case.name, case.status) for case in run.results.of(GPU_SMOKE)}
    assert status == {(LSTM, TIMED), *((f"SRN {name}", FAILED) for name in ("wrong", "lost", "dying"))}
    assert len([case for case in run.results.cases if case.name == "SRN lost"]) == 1
    assert all(case.labels.get("unproved") for case in run.results.cases if case.name != LSTM)
    notes = run.results.notes[GPU_SMOKE]
    assert any(
        note.startswith("wrong, so not timed: test_cell[gpu_smoke-") and "roundings move" in note for note in notes
    )
    ends = run.results.notes[BARS]
    where = "at benchmarks/test_cell_speed.py::test_cell[gpu_smoke"
    assert ends[0].startswith(f"smoke of lost exited with status 3, {where}")
    assert any(note.startswith("RuntimeError: test_cell[gpu_smoke-") and "illegal" in note for note in notes)
    assert ends[1].startswith(f"smoke of dying died of signal 6, {where}")
    assert ends[2].startswith("smoke of wrong exited with status 1, after")
    assert run.failed and any(line.startswith("FAILED benchmarks/test_cell_speed.py") for line in said)
    [hung] = rehearse(tmp_path / "hung", monkeypatch, ["hanging"], replace(STAGE["smoke"], seconds=8))[0].results.notes[
        BARS
    ]
    assert hung.startswith("smoke of hanging was not done after 8 s, and was killed")


@pytest.mark.slow
def test_a_backend_that_is_right_is_in_every_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the stages of the cell in one process, as a process takes seconds to start."""
    cell = replace(STAGE["sizes"], arguments=(stages.CELL_FILE, "--full", "-k", f"not {GPU_SMOKE}"))
    run, _ = rehearse(tmp_path / "out", monkeypatch, ["new"], cell, STAGE["fusion"])
    assert not run.failed, (tmp_path / "out" / "log.txt").read_text()[-5000:]
    assert {case.status for case in run.results.cases} == {TIMED}
    for table in (GPU_CELL, GPU_STEP, GPU_PACKED, GPU_SWEEP):
        names = [case.name for case in run.results.of(table)]
        assert names[:2] == [LSTM, "SRN new"]
    for case in run.results.cases:
        paired = case.name not in (LSTM, LATE) and case.table != GPU_STEP
        assert len(case.baseline_seconds) == (len(case.seconds) if paired else 0), case
    [packed] = [case for case in run.results.of(GPU_PACKED) if case.name != LSTM and case.labels["precision"] == "tf32"]
    assert packed.work["tokens"] == packed.baseline_work["tokens"]
    for case in run.results.of(GPU_STEP):
        assert {len(seconds) for seconds in case.beside.values()} == {len(case.seconds)} and len(case.beside) == 3
    fused = {case.name: case for case in run.results.of(FUSION)}
    assert len(fused) == 5 and {case.labels["backend"] for case in fused.values()} == {"new"}
    assert fused[LATE].labels["precision"] == "bfloat16 (autocast), SRN new" and not fused[LATE].stages
    assert fused["early, batched"].work["passes"] > fused[LATE].work["passes"] == 4
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.startswith("## On a GPU: what was to be reached") and "--rehearse: the CPU stood for a GPU" in text


def test_stages_of_tests_are_run_by_backend_and_their_outcomes_added_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """pytest runs made-up tests as it runs the real ones."""
    (tmp_path / "conftest.py").write_text("def pytest_addoption(parser):\n    parser.addoption('--gpu-backend')\n")
    (tmp_path / "test_one.py").write_text(
        "def test_it(request):\n    assert request.config.getoption('--gpu-backend') != 'wrong'\n"
    )
    (tmp_path / "test_hang.py").write_text("import time\ndef test_hang():\n    time.sleep(100)\n")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def stage(name: str, seconds: float) -> stages.Stage:
        return stages.Stage(
            name, "", seconds, (str(tmp_path / f"test_{name}.py"), "--rootdir", str(tmp_path)), tests=True
        )

    run = Run(tmp_path / "out", [stage("one", 60)], ["new", "wrong"], say=lambda text: None)
    assert not run.go()
    assert (run.outcomes["new"].problem, run.outcomes["wrong"].problem) == (None, "1 of 1 tests failed")
    hung = Run(tmp_path / "out", [stage("one", 60), stage("hang", 3)], ["new"], say=lambda text: None)
    assert not hung.go()
    assert "was not done after 3 s, and was killed" in hung.outcomes["new"].problem and hung.outcomes["new"].passed == 1
    assert any(note.startswith("hang of new: the tests' process was") for note in hung.results.notes[BARS])


# -- what a run makes of it --------------------------------------------------------------------------------------------


def run_of(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    endings: dict[tuple[str, str], Ending],
    names: Sequence[str] = ("new", "wrong"),
    **options: Any,
) -> Run:
    """A run whose processes end as told by stage and backend; each has a row, or tests that pass if it exits with 0."""

    def run(command: list[str], log: Path, seconds: float) -> Ending:
        [name] = [command[command.index(flag) + 1] for flag in ("--backend", "--gpu-backend") if flag in command]
        [stage] = [stage.name for stage in STAGES if list(stage.arguments) == command[3 : 3 + len(stage.arguments)]]
        ending = endings.get((stage, name), Ending(0, "exited with status 0"))
        if "--report-dir" in command:
            file = Path(command[command.index("--report-dir") + 1]) / "results.json"
            Results(MACHINE, cases=[gpu_cell(LSTM, 0.002), gpu_cell(f"SRN {name}", 0.001)]).write(file)
        else:
            [junit] = [Path(word.partition("=")[2]) for word in command if word.startswith("--junitxml=")]
            outcome_of(junit.parent, PASSED if ending.status == 0 else WRONG, SKIPPED)
        return ending

    monkeypatch.setattr(stages, "run", run)
    monkeypatch.setattr(machine, "describe", lambda: dict(MACHINE))
    said: list[str] = []
    made = Run(folder, STAGES, names, say=said.append, **options)
    made.said = said
    return made


def test_every_stage_is_run_whatever_became_of_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = run_of(tmp_path, monkeypatch, {("smoke", "new"): Ending(None, "was not done after 60 s, and was killed")})
    assert not made.go()
    notes = made.results.notes[BARS]
    counts = {stage.name: 1 if stage.stamped else 2 + stage.eager for stage in STAGES}
    assert [note.split()[0] for note in notes] == [name for name, count in counts.items() for _ in range(count)]
    assert "parts left out: no module with stamps was given (--stamped)" in notes
    assert notes[0] == "smoke of new was not done after 60 s, and was killed, after 0 s"
    rows = [case.name for case in made.results.of(GPU_CELL)]
    assert rows == [LSTM, "SRN new", "SRN wrong", "SRN reference"]  # nn.LSTM once, though each process timed it
    assert "forward, H 300: time over nn.LSTM" in made.said[-1]  # what was reached comes last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "records.json", "report.md", "results.json"]


def test_a_module_with_stamps_is_for_the_persistent_kernels_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(backends.BACKENDS, stages.STAMPED, STAND_INS["new"])
    made = run_of(tmp_path / "out", monkeypatch, {}, ["new", stages.STAMPED], stamped=tmp_path / "_C.so")
    commands: list[list[str]] = []
    run = stages.run
    monkeypatch.setattr(stages, "run", lambda command, *rest: commands.append(command) or run(command, *rest))
    assert made.go()
    [command] = [command for command in commands if "--stamped" in command]
    assert command[command.index("--stamped") + 1] == str(tmp_path / "_C.so")
    assert command[command.index("-k") + 1] == GPU_PARTS and command[command.index("--backend") + 1] == stages.STAMPED


@pytest.mark.usefixtures("with_gpu")
@pytest.mark.parametrize("fault", ["tests", "sanitizer"])
def test_a_backend_is_recorded_once_all_its_tests_have_passed(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: Path
):
    wrong = {(fault, "wrong"): Ending(1, "exited with status 1")}
    made = run_of(tmp_path / "out", monkeypatch, wrong, record=True, commit="abc")
    assert not made.go()
    assert [record.backend for record in proof.records(records)] == ["new"]
    assert [record["backend"] for record in json.loads((tmp_path / "out" / "proof.json").read_text())] == ["new"]
    assert made.results.machine["commit"] == "abc"
    text = (tmp_path / "out" / "report.md").read_text()
    for expected in ("tests of new: 1 passed, 0 failed, 1 skipped", "no record of wrong: 1 of"):
        assert expected in "\n".join(made.said) and expected in text


def test_a_timed_row_is_kept_when_another_process_could_not_time_it():
    results, other = Results({}), Results({}, cases=[cell(LSTM, 9, 1.0, 1.0), cell("SRN new", 9, 1.0, 1.0)])
    failed = [cell(LSTM, 9, 1.0, 1.0)]
    failed[0].status = FAILED
    for more in (Results({}, cases=failed), other, Results({}, cases=failed)):
        results.add(more)
    assert [(case.name, case.status) for case in results.cases] == [(LSTM, TIMED), ("SRN new", TIMED)]


def test_a_report_that_breaks_off_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: object) -> None:
        raise OSError("no space left")

    made = run_of(tmp_path, monkeypatch, {})
    monkeypatch.setattr("srn_benchmarks.report.write_plots", fail)
    assert not made.go()
    assert made.results.notes[BARS].count("report: broken off, OSError: no space left") == 1
    assert len(made.results.of(GPU_CELL)) == 4


def test_a_part_that_breaks_off_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The part's results of an earlier run are still removed."""

    def fail(*args: object) -> None:
        raise OSError("no process left")

    (tmp_path / "results.json").write_text("old")
    made = run_of(tmp_path, monkeypatch, {})
    assert not (tmp_path / "results.json").exists()
    monkeypatch.setattr(made, "test", fail)
    assert not made.go()
    assert "sanitizer of wrong: broken off, OSError: no process left" in made.results.notes[BARS]
    assert made.results.notes[BARS][-1].startswith("sizes of wrong exited with status 0")


def test_a_backend_that_cannot_run_here_is_left_out_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(STAND_INS["wrong"]), "unavailable", lambda self: "it is not built")
    made = run_of(tmp_path, monkeypatch, {})
    assert made.usable() == ["new"] and made.results.notes[BARS] == ["wrong cannot be used here: it is not built"]
    assert [section.kind for section in sections(made.results)] == [BARS]


# -- the script --------------------------------------------------------------------------------------------------------


def test_without_a_gpu_the_script_says_so_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert script.main(["--out", str(tmp_path / "out"), "--record"]) == 2
    assert capsys.readouterr().err == "benchmarks/gpu.py needs a CUDA device that torch can use; there is none\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--out"),
        (["--out", "x", "--record", "--stage", "speed"], "--record needs the stage 'tests'"),
        (["--out", "x", "--record", "--rehearse"], "--record needs a GPU"),
        (["--out", "x", "--stage", "lunch"], "lunch"),
        (["--out", "x", "--backend", "reference"], "reference"),
        (["--out", "x", "--stamped", "missing.so"], "--stamped: there is no file missing.so"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        script.main(arguments)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_the_script_runs_the_stages_asked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ran: list[Run] = []
    monkeypatch.setattr(Run, "go", lambda run: bool(ran.append(run)) or len(ran) == 1)
    arguments = ["--out", str(tmp_path / "out"), "--rehearse", "--stage", "tests", "--stage", "smoke", "--seed", "3"]
    assert [script.main(arguments), script.main(arguments)] == [0, 1]
    assert [stage.name for stage in ran[0].stages] == ["smoke", "tests"] and ran[0].seed == 3


@pytest.mark.usefixtures("with_gpu")
def test_a_record_needs_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(machine, "get_commit_info", lambda name: {"id": "unversioned", "dirty": False})
    assert script.main(["--out", str(tmp_path), "--record"]) == 2
    assert "say it with --commit" in capsys.readouterr().err
