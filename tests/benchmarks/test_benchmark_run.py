"""Timing, and a run of pytest with the benchmarks' conftest over made-up cases: failing rows, the closing report."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from samples import cell
from srn_benchmarks.precision import tf32
from srn_benchmarks.results import TIMED, Results
from srn_benchmarks.timing import Clock, Companion, measure, rounds_within

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

CASES = """
import time
import pytest
from srn_benchmarks.timing import Companion

LABELS = {"device": "cpu", "precision": "float32", "threads": 1, "pass": "forward", "batch": 1, "steps": 1}

def check(result):
    assert result == "right"

@pytest.mark.parametrize(("name", "result"), [("nn.LSTM", "right"), ("SRN good", "right"), ("SRN bad", "wrong")])
def test_case(bench, benchmark, name, result):
    case = bench.open("cell", LABELS | {"implementation": name}, {"flops": 9, "steps": 1}, {"flops": 9, "steps": 1})
    baseline = None if name == "nn.LSTM" else lambda: time.sleep(0.002)
    ran = []
    beside = {
        "float32": Companion(lambda: ran.append("settled") or time.sleep(0.003), {"flops": 9}),
        "ceiling": Companion(lambda: ran.append("at once"), {"flops": 3}, settles=False),
    }
    run = lambda: ran.append("case") or time.sleep(0.001) or result
    bench.time(case, run, baseline, beside=beside, check=check, budget=0.0, rounds=(4, 9))
    assert not benchmark.stats or ran[-2:] == ["at once", "case"]
    assert ran.count("at once") in (0, 5)  # a warm-up and a sample a round
    assert len(benchmark.stats.stats.data if benchmark.stats else []) == len(case.seconds)
"""


@pytest.fixture
def run(tmp_path: Path):
    """Runs pytest over CASES; returns its output and the results it wrote."""
    shutil.copy(BENCHMARKS / "conftest.py", tmp_path)
    (tmp_path / "test_made_up.py").write_text(CASES)

    def run(*arguments: str) -> tuple[str, Results]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        environment = inherited | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *sys.path])}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stdout + done.stderr  # the bad case fails
        return done.stdout, Results.read(tmp_path / ".benchmarks" / "report" / "results.json")

    return run


def test_cases_are_timed_with_their_baseline_and_reported_last(run):
    output, results = run()
    lstm, good, bad = results.cases
    assert [len(lstm.seconds), len(lstm.baseline_seconds)] == [4, 0]
    assert [len(good.seconds), len(good.baseline_seconds)] == [4, 4]
    assert min(good.seconds) >= 0.001 and min(good.baseline_seconds) >= 0.002
    assert all(len(case.beside[name]) == 4 for case in (lstm, good) for name in ("float32", "ceiling"))
    assert min(good.beside["float32"]) >= 0.003
    assert good.beside_work == {"float32": {"flops": 9}, "ceiling": {"flops": 3}}
    assert (bad.status, bad.seconds) == ("failed", [])
    benchmarks_own, table = output.split("The cell: SRN against nn.LSTM")
    assert "benchmark: 2 tests" in benchmarks_own
    assert "FAILED" in next(line for line in table.splitlines() if "SRN bad" in line)
    [note] = results.notes["cell"]
    assert note.startswith("wrong, so not timed: test_case[SRN bad-wrong]: assert 'wrong' == 'right'")
    assert f"{Path('.benchmarks') / 'report' / 'cell.svg'}\n" in table


def test_disabled_run_checks_and_times_nothing(run):
    output, results = run("--benchmark-disable")
    assert [case.status for case in results.cases] == ["not timed", "not timed", "failed"]
    assert not any(case.seconds or case.baseline_seconds or case.beside for case in results.cases)
    assert "not timed" in output


def test_rounds_fit_the_budget_within_bounds():
    assert rounds_within(10.0, 2.0, (3, 20)) == 5
    assert rounds_within(10.0, 9.0, (3, 20)) == 3
    assert rounds_within(10.0, 0.001, (3, 20)) == 20
    assert rounds_within(10.0, 0.0, (3, 20)) == 20


# -- the clock ---------------------------------------------------------------------------------------------------------


class Stopwatch:
    """Replaces pytest-benchmark's fixture, which pytest-xdist disables."""

    disabled = False

    def __init__(self) -> None:
        self.extra_info: dict[str, object] = {}

    def pedantic(self, target, setup, rounds: int) -> None:
        for _ in range(rounds):
            setup()
            target()


def timed(seconds: dict[str, float], settles: bool = True, warm_ups: int = 1, budget: float = 0.0):
    """Times a case "run", its baseline "first" and a "beside" by a clock that knows their times; returns what ran."""
    ran: list[tuple[str, int]] = []

    def tell(call, times: int) -> tuple[float, str]:
        name = call()
        ran.append((name, times))
        return seconds[name], name

    case, stopwatch = cell("SRN new", 9, 1.0, 1.0), Stopwatch()
    case.seconds, case.baseline_seconds, case.status = [], [], "failed"
    measure(
        stopwatch,
        case,
        lambda: "run",
        lambda: "first",
        beside={"beside": Companion(lambda: "beside", {}, settles)},
        clock=Clock(tell, settling=5e-3, burst=5e-3, warm_ups=warm_ups),
        budget=budget,
        rounds=(3, 9),
    )
    assert case.status == TIMED and stopwatch.extra_info["implementation"] == "SRN new"
    return case, ran


def test_every_round_has_a_turn_of_each_after_it_has_settled_in_bursts():
    case, ran = timed({"first": 1e-3, "beside": 1e-4, "run": 1.0}, warm_ups=2)
    assert (case.baseline_seconds, case.beside["beside"], case.seconds) == ([1e-3] * 3, [1e-4] * 3, [1.0] * 3)
    assert ran[:6] == [(name, 1) for name in ("first", "beside", "run") for _ in range(2)]  # warming up
    settled = [("first", 1)] * 5 + [("first", 5)] + [("beside", 1)] * 50 + [("beside", 50)] + [("run", 1)]
    assert ran[6:] == settled * 3


def test_what_does_not_settle_comes_right_before_the_case():
    _, ran = timed({"first": 1.0, "beside": 5e-3, "run": 1e-3}, settles=False)
    assert ran[3:] == ([("first", 1)] + [("run", 1)] * 5 + [("beside", 1)] + [("run", 5)]) * 3


def test_rounds_are_as_many_as_the_budget_holds():
    case, _ = timed({"first": 0.1, "beside": 0.05, "run": 0.05}, budget=1.5)
    assert len(case.seconds) == 7


def test_tf32_is_allowed_and_forbidden_and_put_back():
    flags = torch.backends.cuda.matmul, torch.backends.cudnn.rnn
    before = [flag.fp32_precision for flag in flags]
    for allowed in (True, False):
        with tf32(allowed):
            assert [flag.fp32_precision for flag in flags] == ["tf32" if allowed else "ieee"] * 2
    assert [flag.fp32_precision for flag in flags] == before
