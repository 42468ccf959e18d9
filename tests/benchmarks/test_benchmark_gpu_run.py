"""A run on a GPU, with stand-ins for the GPU: what hangs, dies or fails, the time it may take, what is recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from time import time
from types import SimpleNamespace

import gpu as script
import pytest
import torch
from samples import MACHINE
from srn_benchmarks import commit, gpu_cell, gpu_items, gpu_measure, gpu_record
from srn_benchmarks.cell import EAGER
from srn_benchmarks.corpus import load
from srn_benchmarks.fusion import TINY as TINY_TRUNK
from srn_benchmarks.fusion import Setting, Workload
from srn_benchmarks.gpu_build import ROOT, environment
from srn_benchmarks.gpu_fusion import measure_fusion
from srn_benchmarks.gpu_process import OUT_OF_TIME, Ending, watch
from srn_benchmarks.gpu_queue import Bench, Item, work_through
from srn_benchmarks.gpu_record import Ground, record_passed
from srn_benchmarks.gpu_session import Session
from srn_benchmarks.gpu_state import State
from srn_benchmarks.gpu_tables import BACKWARD, FORWARD, GPU_CELL, GPU_PACKED, GPU_STEP, recurrence
from srn_benchmarks.gpu_tests import Outcome, outcome
from srn_benchmarks.results import FAILED, TIMED, Case, Results
from srn_benchmarks.shapes import TINY, Shape
from srn_benchmarks.tables import BATCHED, FUSION, LATE, LSTM, TRUNK

from srn_kernels import backends
from srn_kernels.backends import proof
from srn_kernels.backends.torch_reference import ReferenceBackend

FAR = time() + 10_000


class NewBackend(ReferenceBackend):
    """A stand-in for a GPU backend."""

    name = "new"
    needs_proof = True
    sources = ("srn_kernels/reference.py",)


class WrongBackend(NewBackend):
    name = "wrong"

    def forward(self, call, outs, memories, save) -> None:
        super().forward(call, outs, memories, save)
        outs[0].output.mul_(1.001)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """``new`` and ``wrong`` are the GPU backends there are; the records are an empty file, which is returned."""
    own = {"new": NewBackend(), "wrong": WrongBackend(), EAGER: backends.BACKENDS[EAGER]}
    monkeypatch.setattr(backends, "BACKENDS", own)
    file = tmp_path / "records.json"
    file.write_text("[]\n")
    monkeypatch.setattr(proof, "FILE", file)
    proof.forget()
    yield file
    proof.forget()


# -- processes that hang or die ----------------------------------------------------------------------------------------


def run_python(program: str, *, seconds: float = 60.0, silence: float = 60.0) -> tuple[Ending, list[str], str]:
    log, heard = StringIO(), []
    ending = watch(
        [sys.executable, "-c", program],
        log,
        deadline=time() + seconds,
        silence=silence,
        environment={},
        folder=ROOT,
        hear=heard.append,
    )
    return ending, heard, log.getvalue()


def test_output_is_heard_and_logged():
    ending, heard, log = run_python("import sys; print('one'); print('two', file=sys.stderr)")
    assert ending == Ending(0, "exited with status 0") and sorted(heard) == ["one", "two"]
    assert "one\n" in log and "two\n" in log and sys.executable in log


def test_a_program_that_fails_or_dies_is_told_apart():
    assert run_python("raise SystemExit(3)")[0] == Ending(3, "exited with status 3")
    assert run_python("import os; os.abort()")[0] == Ending(-6, "died of signal 6")


def test_a_program_that_hangs_is_ended_with_what_it_started():
    program = "import subprocess, sys; print('started', flush=True); subprocess.run(['sleep', '100'])"
    for ending, heard, log in (run_python(program, silence=1.5), run_python(program, seconds=1.5)):
        assert ending.status is None and heard == ["started"] and "[ended from outside: it " in log
    assert run_python(program, silence=1.0)[0].text == "was silent for 1 s"
    assert run_python(program, seconds=1.0)[0].text == "ran out of time"


# -- the tests' outcome ------------------------------------------------------------------------------------------------

PASSED = '<testcase name="good"/>'
SKIPPED = '<testcase name="left out"><skipped message="needs two GPUs"/></testcase>'
WRONG = '<testcase name="bad"><failure message="wrong"/></testcase>'
BROKEN = '<testcase name="broken"><error message="no fixture"/></testcase>'


def outcome_of(folder: Path, *cases: str, status: int | None = 0) -> Outcome:
    junit = folder / "tests.xml"
    junit.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return outcome("new", Ending(status, f"exited with status {status}"), junit, "test_last")


def test_outcome_counts(tmp_path: Path):
    done = outcome_of(tmp_path, PASSED, PASSED, SKIPPED)
    assert (done.passed, done.failed, done.skipped, done.all_passed) == (2, 0, 1, True)
    failed = outcome_of(tmp_path, PASSED, WRONG, BROKEN, SKIPPED, status=1)
    assert (failed.passed, failed.failed, failed.skipped) == (1, 2, 1)
    assert failed.problem == "2 of 4 tests failed" and failed.failures == ["bad", "broken"]


def test_nothing_but_whole_and_clean_runs_count_as_passed(tmp_path: Path):
    assert outcome_of(tmp_path, SKIPPED).problem == "no test ran"
    assert outcome_of(tmp_path, PASSED, status=3).problem == "the tests' process exited with status 3, at test_last"
    hung = outcome("new", Ending(None, "was silent for 200 s"), tmp_path / "none.xml", "test_streams")
    assert hung.problem == "the tests' process was silent for 200 s, at test_streams"


# -- records -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="NVIDIA H200", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)


@pytest.mark.usefixtures("gpu")
def test_what_passed_is_recorded_and_nothing_else(registry: Path):
    before = gpu_record.ground(["new", "wrong"], "abc")
    said: list[str] = []
    outcomes = [Outcome("new", 100, 0, 3), Outcome("wrong", 99, 1, 3, "1 of 103 tests failed")]
    [made] = record_passed(outcomes, before, registry, said.append)
    assert proof.records(registry) == (made,)
    assert (made.backend, made.capability, made.gpu, made.commit) == ("new", "9.0", "NVIDIA H200", "abc")
    assert (made.passed, made.skipped, made.digest) == (100, 3, proof.digest(backends.BACKENDS["new"]))
    assert said[1] == "no record of wrong: 1 of 103 tests failed"


@pytest.mark.usefixtures("gpu")
def test_sources_that_changed_under_the_tests_are_not_recorded(registry: Path):
    said: list[str] = []
    assert record_passed([Outcome("new", 100)], Ground("abc", {"new": "0" * 64}), registry, said.append) == []
    assert said == ["no record of new: its sources have changed while they were tested"]
    assert registry.read_text() == "[]\n"


def test_the_commit_is_asked_of_git_or_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(commit, "get_commit_info", lambda name: {"id": "0123456789abcdef", "dirty": True})
    assert gpu_record.ground([], None).commit == "0123456789ab with uncommitted changes"
    assert gpu_record.ground([], "v1").commit == "v1"


# -- the queue ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "results.json", tmp_path / "state.json"


def add_case(bench: Bench) -> None:
    bench.results.cases.append(Case("cell", {}, {}))


def run_queue(state: State, files: tuple[Path, Path], items: list[Item], **options) -> tuple[Results, list[str]]:
    results, said = Results({}), []
    options = {"synchronize": lambda: None, "say": said.append} | options
    work_through(items, state, Bench(results, state.taking_part), files, **options)
    assert Results.read(files[0]) == results if files[0].exists() else not results.cases
    return results, said


def test_an_item_that_fails_is_given_up_and_the_next_one_measured(files: tuple[Path, Path]):
    def fail(bench: Bench) -> None:
        add_case(bench)
        raise ValueError("too large\nby far")

    state = State(["new"], FAR)
    results, said = run_queue(state, files, [Item("one", 1, fail), Item("two", 1, add_case)])
    assert state.done == ["two"] and state.lost == {"one": "ValueError: too large"}
    assert len(results.cases) == 1 and "given up: one: ValueError: too large" in said
    assert State.read(files[1]) == state and (state.item, state.turn) == ("", "")


def test_what_has_no_time_is_left_open_and_shorter_items_still_fit(files: tuple[Path, Path]):
    state, clock = State([], deadline=100.0), iter([50.0, 60.0, 95.0])
    items = [Item("long", 90, add_case), Item("short", 30, add_case), Item("late", 10, add_case)]
    results, said = run_queue(state, files, items, now=lambda: next(clock))
    assert state.done == ["short"] and state.is_open("long") and state.is_open("late")
    assert len(results.cases) == 1 and said == ["no time for long", "measuring short", "no time for late"]


def test_what_is_done_or_lost_is_not_begun_again(files: tuple[Path, Path]):
    state = State([], FAR, done=["one"], lost={"two": "died"})
    results, said = run_queue(state, files, [Item("one", 1, add_case), Item("two", 1, add_case)])
    assert said == [] and results.cases == []


def test_a_lost_device_ends_the_process_and_leaves_behind_what_was_running(files: tuple[Path, Path]):
    def fail(bench: Bench) -> None:
        bench.turn("new")
        raise RuntimeError("illegal memory access")

    def synchronize() -> None:
        raise RuntimeError("illegal memory access")

    with pytest.raises(RuntimeError):
        run_queue(State(["new"], FAR), files, [Item("one", 1, fail)], synchronize=synchronize)
    state = State.read(files[1])
    assert (state.item, state.turn, state.done, state.lost) == ("one", "new", [], {})


def test_a_backend_that_brought_the_process_down_is_dropped_and_the_item_tried_without_it(files: tuple[Path, Path]):
    state = State(["new", "wrong"], FAR, item="one", turn="wrong")
    assert state.blame("died of signal 11") == "wrong is left out from here on: the process died of signal 11 in 'one'"
    assert state.taking_part == ["new"] and state.is_open("one")
    _, said = run_queue(state, files, [Item("one", 1, add_case), Item("of wrong", 1, add_case, "wrong")])
    assert state.done == ["one"] and said == ["measuring one"]
    assert state.lost == {"of wrong": "wrong was left out: the process died of signal 11 in 'one'"}


def test_without_a_backend_to_blame_the_item_is_given_up():
    state = State(["new"], FAR, item="one", turn=LSTM)
    assert state.blame("was silent for 9 s") == "'one' is given up: the process was silent for 9 s"
    assert state.lost == {"one": "the process was silent for 9 s"} and state.taking_part == ["new"]
    assert state.blame("exited with status 1") == "the process exited with status 1 between two measurements"


def supervised(folder: Path, *endings: Callable[[State], Ending]) -> tuple[list[str], int]:
    """Runs processes that end one way after the other; returns what was said, and how many were started."""
    said, started = [], []

    def run() -> Ending:
        state = State.read(folder / gpu_measure.STATE)
        ending = endings[len(started)](state)
        started.append(ending)
        state.write(folder / gpu_measure.STATE)
        return ending

    State(["new"], FAR).write(folder / gpu_measure.STATE)
    gpu_measure.supervise(folder, run, said.append)
    return said, len(started)


def test_measuring_goes_on_in_a_new_process(tmp_path: Path):
    def die(state: State) -> Ending:
        state.item, state.turn = "one", "new"
        return Ending(-11, "died of signal 11")

    said, started = supervised(tmp_path, die, lambda state: Ending(0, ""))
    assert started == 2 and said == ["new is left out from here on: the process died of signal 11 in 'one'"]


def test_a_process_that_cannot_even_begin_is_not_started_again(tmp_path: Path):
    said, started = supervised(tmp_path, lambda state: Ending(1, "exited with status 1"))
    assert started == 1 and said == ["the process exited with status 1 between two measurements"]


def test_time_that_runs_out_is_nobodys_fault(tmp_path: Path):
    def hurry(state: State) -> Ending:
        state.item, state.turn = "one", "new"
        return Ending(None, OUT_OF_TIME)

    assert supervised(tmp_path, hurry) == ([], 1)
    state = State.read(tmp_path / gpu_measure.STATE)
    assert state.is_open("one") and not state.dropped


def test_a_process_that_never_ends_well_is_started_so_many_times(tmp_path: Path):
    def die(state: State) -> Ending:
        state.item = "one"
        return Ending(1, "exited with status 1")

    assert supervised(tmp_path, *[die] * 99)[1] == gpu_measure.MOST_PROCESSES


# -- the measurements, on the CPU --------------------------------------------------------------------------------------


def clock(call: Callable[[], object], times: int) -> float:
    call()
    return 1.0


def bench(*names: str) -> Bench:
    return Bench(Results(MACHINE), names, clock=clock, wall=clock)


def shape(training: bool = False, **sizes: int) -> Shape:
    return Shape("cpu", torch.float32, 1, training, 3, 5, **TINY | sizes)


@pytest.mark.parametrize("training", [False, True])
def test_a_shape_is_measured_with_what_is_right(training: bool):
    made = bench("new", "wrong")
    turns: list[str] = []
    made.turn = turns.append
    gpu_cell.measure_shape(made, GPU_CELL, shape(training), eager=True, budget=0.0)
    status = {case.labels["implementation"]: case.status for case in made.results.cases}
    assert status == {LSTM: TIMED, "SRN reference (eager)": TIMED, "SRN new": TIMED, "SRN wrong": FAILED}
    lstm, eager, new, _ = made.results.cases
    assert (len(lstm.seconds), len(eager.seconds), len(new.seconds)) == (5, gpu_cell.EAGER_ROUNDS, 5)
    assert (len(lstm.baseline_seconds), len(eager.baseline_seconds), len(new.baseline_seconds)) == (0, 3, 5)
    assert {LSTM, EAGER, "new", "wrong"} == set(turns)
    [note] = made.results.notes[GPU_CELL]
    assert note.startswith("wrong, so not timed: SRN wrong on cpu-float32") and "roundings move" in note


def test_a_backend_that_refuses_is_noted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(NewBackend, "unsupported", lambda self, problem: "it is too small")
    made = bench("new")
    gpu_cell.measure_shape(made, GPU_CELL, shape(), budget=0.0)
    assert [case.labels["implementation"] for case in made.results.cases] == [LSTM]
    assert made.results.notes == {GPU_CELL: ["not in the table: new on float32: it is too small"]}


@pytest.mark.parametrize("training", [False, True])
def test_a_step_is_measured_over_two_lengths(training: bool):
    made = bench("new")
    gpu_cell.measure_step(made, shape(training), budget=0.0)
    lstm, new = made.results.cases
    for case in (lstm, new):
        assert case.status == TIMED and case.table == GPU_STEP and case.work["steps"] == 5
        assert case.labels["pass"] == (BACKWARD if training else FORWARD)
        assert recurrence(case) == 0.0  # by a clock to which all calls are alike
        assert {len(seconds) for seconds in case.beside.values()} == {5}


def test_inputs_rotate():
    run = gpu_cell.Run(shape(True), EAGER)
    rotating = gpu_cell.Rotating(run)
    first, second, third = (rotating() for _ in range(3))
    assert not torch.equal(first[0], second[0])
    assert all(torch.equal(one, other) for one, other in zip(first, third, strict=True))


def test_backward_alone_gives_the_gradients():
    run = gpu_cell.Run(shape(True), EAGER)
    expected = run()
    alone = gpu_cell.BackwardAlone(run)
    for got in (alone(), alone(), alone())[::2]:
        assert all(torch.allclose(one, other) for one, other in zip(got, expected, strict=True))


def test_packed_sentences_are_measured():
    made = bench("new", "wrong")
    gpu_cell.measure_packed(made, shape(), (2, 5, 3, 7), budget=0.0)
    status = {case.labels["implementation"]: case.status for case in made.results.of(GPU_PACKED)}
    assert status == {LSTM: TIMED, "SRN reference (eager)": TIMED, "SRN new": TIMED, "SRN wrong": FAILED}
    assert made.results.cases[2].work == {"tokens": 17} and len(made.results.cases[2].baseline_seconds) == 5


def test_fusion_is_measured_on_the_backend_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SCIERC_DIR", raising=False)
    work = Workload(Setting("cpu", torch.float32), load(40), TINY_TRUNK)
    made = bench()
    with backends.record() as ran:
        measure_fusion(made, work, "new", (LATE, TRUNK, BATCHED), rounds=(2, 2), budget=0.0)
    assert "new" in ran and "cpu" not in ran
    late, trunk, batched = made.results.of(FUSION)
    assert [case.status for case in (late, trunk, batched)] == [TIMED] * 3
    assert late.labels["precision"] == "float32, SRN new" and late.baseline_seconds == []
    assert len(trunk.baseline_seconds) == len(batched.baseline_seconds) == 2
    assert batched.work["passes"] > late.work["passes"] == 40
    assert {model.encoder.rnn.backend for model in work.models.values()} == {"auto"}


def test_items_have_names_of_their_own_and_the_bars_come_first():
    made = gpu_items.items(["new", "wrong"])
    keys = [item.key for item in made]
    assert len(set(keys)) == len(keys)
    assert keys[:5] == [
        "the cell, bfloat16, forward",
        "the cell, bfloat16, training",
        "a step, bfloat16, forward",
        "a step, bfloat16, backward",
        "packed sentences, bfloat16",
    ]
    assert {item.backend for item in made} == {None, "new", "wrong"}
    swept = {key for key in keys if key.startswith("sizes, ") and key.endswith("forward")}
    assert {f"sizes, B 32, H {hidden}, forward" for hidden in (64, 300, 1024)} <= swept
    assert {f"sizes, B {batch}, H 300, forward" for batch in (1, 32, 256)} <= swept
    results = Results(MACHINE)
    gpu_items.add_notes(results)
    assert {"bars", GPU_CELL, GPU_STEP, GPU_PACKED, "gpu_sweep", FUSION} == results.notes.keys()


# -- the session -------------------------------------------------------------------------------------------------------


def session(folder: Path, tests: dict[str, Outcome], measure: Callable[..., Ending], minutes: float = 9.0) -> Session:
    said: list[str] = []
    made = Session(folder, StringIO(), time() + 60 * minutes, say=said.append)
    made.test = lambda name, until: tests[name]
    made.measure = lambda: measure(made)
    made.said = said
    return made


def measure_nothing(session: Session) -> Ending:
    return Ending(0, "exited with status 0")


def measure_one(session: Session) -> Ending:
    """The first item alone; the time is over then."""
    folder = session.folder
    state = State.read(folder / gpu_measure.STATE)
    made = bench(*state.taking_part)
    gpu_cell.measure_shape(made, GPU_CELL, shape(), budget=0.0)
    made.results.write(folder / "results.json")
    state.done.append(gpu_items.items(state.backends)[0].key)
    state.write(folder / gpu_measure.STATE)
    return Ending(0, "exited with status 0")


GOOD, BAD = Outcome("new", 250, 0, 19), Outcome("wrong", 200, 50, 19, "50 of 269 tests failed", ["a", "b"])


@pytest.mark.usefixtures("gpu")
def test_a_session_tests_records_measures_and_sums_up(tmp_path: Path, registry: Path):
    made = session(tmp_path, {"new": GOOD, "wrong": BAD}, measure_one)
    names = made.usable()
    assert names == ["new", "wrong"]
    made.record("abc", names, tables_follow=True)
    made.run_tables(names)
    made.finish()
    assert [record.backend for record in proof.records(registry)] == ["new"]
    assert [record["backend"] for record in json.loads((tmp_path / "proof.json").read_text())] == ["new"]
    results = Results.read(tmp_path / "results.json")
    assert {case.labels["implementation"] for case in results.cases} == {LSTM, "SRN new"}
    text = "\n".join(made.said)
    for expected in (
        "GPU tests of new: 250 passed, 0 failed, 19 skipped",
        "GPU tests of wrong: 50 of 269 tests failed; 200 passed",
        "no record of wrong: 50 of 269 tests failed",
        "wrong is in no table: its tests have not all passed",
        "not measured, for want of time: the cell, bfloat16, training; a step",
    ):
        assert expected in text and expected in (tmp_path / "report.md").read_text()
    assert "forward: recurrence, µs a step" in made.said[-1]  # the bars come last
    assert not (tmp_path / gpu_measure.STATE).exists()


def test_a_session_that_measured_nothing_says_so(tmp_path: Path):
    made = session(tmp_path, {"new": GOOD, "wrong": BAD}, measure_nothing)
    made.run_tests(["new"], tables_follow=False)
    made.finish()
    assert made.said[-1] == "\nno table was measured"
    assert (tmp_path / "report.md").read_text().startswith("- GPU tests of new: 250 passed")


def test_a_part_that_breaks_off_does_not_end_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(session: Session) -> Ending:
        raise OSError("no space left")

    made = session(tmp_path, {}, fail)
    made.attempt("tables", lambda: made.run_tables(["new"]))
    monkeypatch.setattr("srn_benchmarks.report.write_plots", lambda *args: fail(made))
    made.finish()
    assert made.broken == ["tables", "report"] and not made.passed
    assert "tables: broken off, OSError: no space left" in made.said[-2]
    assert "in fail" in made.log.getvalue()  # the traceback


def test_a_session_without_time_begins_no_tests(tmp_path: Path):
    made = session(tmp_path, {}, measure_nothing, minutes=0.1)
    made.run_tests(["new"], tables_follow=True)
    assert made.outcomes[0].problem == "no time was left for its tests" and not made.outcomes[0].all_passed


def test_a_backend_that_cannot_run_here_is_left_out_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(WrongBackend, "unavailable", lambda self: "it is not built")
    made = session(tmp_path, {}, measure_nothing)
    assert made.usable() == ["new"] and made.remarks == ["wrong cannot be used here: it is not built"]


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
        (["--out", "x", "--minutes", "0"], "--minutes: expected a number above 0, found 0"),
        (["--out", "x", "--record", "--skip", "tests"], "--record needs the tests"),
        (["--out", "x", "--skip", "lunch"], "lunch"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        script.main(arguments)
    assert ended.value.code == 2 and message in capsys.readouterr().err


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch, gpu: None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *device: (9, 0))


@pytest.mark.usefixtures("with_gpu")
@pytest.mark.parametrize("passed", [True, False])
def test_the_script_runs_every_part_and_ends_with_what_failed(
    passed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Path
):
    built: list[tuple[int, int]] = []
    monkeypatch.setattr(script, "build", lambda capability, *rest: built.append(capability) or Ending(0, ""))
    good = Outcome("new", 9), Outcome("wrong", 9)
    outcomes = dict(zip(("new", "wrong"), good if passed else (good[0], BAD), strict=True))
    monkeypatch.setattr(Session, "test", lambda session, name, until: outcomes[name])
    monkeypatch.setattr(Session, "measure", measure_one)
    status = script.main(["--out", str(tmp_path / "out"), "--record", "--commit", "abc"])
    assert built == [(9, 0)] and status == (0 if passed else 1)
    assert [record.backend for record in proof.records(registry)] == (["new", "wrong"] if passed else ["new"])


@pytest.mark.usefixtures("with_gpu")
def test_a_record_needs_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(commit, "get_commit_info", lambda name: {"id": "unversioned", "dirty": False})
    assert script.main(["--out", str(tmp_path), "--record"]) == 2
    assert "say it with --commit" in capsys.readouterr().err


def test_a_build_is_for_the_device_at_hand_unless_told_otherwise():
    assert environment((9, 0), {})["TORCH_CUDA_ARCH_LIST"] == "9.0"
    told = environment((9, 0), {"TORCH_CUDA_ARCH_LIST": "8.0", "MAX_JOBS": "1"})
    assert told == {"TORCH_CUDA_ARCH_LIST": "8.0", "MAX_JOBS": "1"}
