"""A run of pytest with the benchmarks' conftest over cases made up here: timing, failing rows, the closing report."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from srn_benchmarks.results import Results
from srn_benchmarks.timing import rounds_within

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

CASES = """
import time
import pytest
from srn_benchmarks.timing import Companion, measure

LABELS = {"device": "cpu", "precision": "float32", "threads": 1, "pass": "forward", "batch": 1, "steps": 1}

def check(result):
    assert result == "right"

@pytest.mark.parametrize(("name", "result"), [("nn.LSTM", "right"), ("SRN good", "right"), ("SRN bad", "wrong")])
def test_case(benchmark, open_case, name, result):
    case = open_case("cell", LABELS | {"implementation": name}, {"flops": 9, "steps": 1}, {"flops": 9, "steps": 1})
    baseline = None if name == "nn.LSTM" else lambda: time.sleep(0.002)
    ran = []
    beside = {
        "float32": Companion(lambda: ran.append("settled") or time.sleep(0.003), {"flops": 9}),
        "ceiling": Companion(lambda: ran.append("at once"), {"flops": 3}, settles=False),
    }
    run = lambda: ran.append("case") or time.sleep(0.001) or result
    measure(benchmark, case, run, baseline, beside=beside, check=check, budget=0.0, rounds=(4, 9))
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
        own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        environment = own | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *sys.path])}
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
