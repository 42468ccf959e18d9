"""The arithmetic behind the tables, and the results file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from srn_benchmarks.results import FORMAT, TIMED, Case, Results, ResultsError


def timed(seconds: list[float], baseline: list[float], work: int = 6, baseline_work: int = 6) -> Case:
    return Case("cell", {}, {"flops": work}, {"flops": baseline_work}, TIMED, seconds, baseline)


def test_rate_is_the_median_rounds():
    case = timed([1.0, 3.0, 100.0], [])
    assert case.median_seconds == 3.0
    assert case.rate("flops") == 2.0


def test_spread_is_half_the_quartile_distance_over_the_median():
    assert timed([8.0, 9.0, 10.0, 11.0, 12.0], []).spread == pytest.approx(0.1)
    assert timed([8.0], []).spread is None


def test_speedup_pairs_each_round_with_its_own_baseline():
    # The machine is ten times slower in the last two rounds, for both: medians taken apart would say 10.
    case = timed([1.0, 10.0, 10.0], [2.0, 20.0, 20.0])
    assert case.speedup("flops") == 2.0


def test_speedup_is_a_ratio_of_rates_when_the_work_differs():
    assert timed([1.0], [1.0], work=9, baseline_work=3).speedup("flops") == 3.0


def test_what_ran_beside_is_paired_by_round_too():
    case = timed([1.0, 10.0, 10.0], [2.0, 20.0, 20.0], work=6)
    case.beside, case.beside_work = {"ceiling": [3.0, 30.0, 40.0], "absent": []}, {"ceiling": {"flops": 24.0}}
    assert case.over_beside("ceiling", "flops") == 0.75
    assert case.rate_beside("ceiling", "flops") == 0.8
    for name in ("absent", "never asked for"):
        assert case.over_beside(name, "flops") is case.rate_beside(name, "flops") is None
    assert case.baseline_rate("flops") == 0.3


def test_files_from_before_there_was_anything_beside_are_read(tmp_path: Path):
    path = tmp_path / "results.json"
    Results({}, cases=[timed([1.0], [2.0])]).write(path)
    content = json.loads(path.read_text())
    for name in ("beside", "beside_work", "bytes", "least_seconds"):
        del content["cases"][0][name]
    path.write_text(json.dumps(content))
    [case] = Results.read(path).cases
    assert (case.beside, case.beside_work, case.bytes) == ({}, {}, {})


def test_a_case_that_was_not_timed_has_no_numbers():
    case = Case("cell", {}, {"flops": 1}, seconds=[1.0], baseline_seconds=[1.0], beside={"ceiling": [1.0]})
    assert case.status == "failed"
    assert case.median_seconds is case.rate("flops") is case.speedup("flops") is case.spread is None
    assert (
        case.baseline_rate("flops")
        is case.over_beside("ceiling", "flops")
        is case.rate_beside("ceiling", "flops")
        is None
    )


def test_results_survive_their_file(tmp_path: Path):
    results = Results({"processor": "x"}, cases=[timed([1.0], [2.0])])
    results.note("cell", "D 768, H 300")
    results.note("cell", "D 768, H 300")
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results
    assert results.notes == {"cell": ["D 768, H 300"]}


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"format": FORMAT + 1})])
def test_other_files_are_refused(tmp_path: Path, content: str):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ResultsError, match=r"results\.json: expected a results file"):
        Results.read(path)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ResultsError, match="expected a results file"):
        Results.read(tmp_path / "none.json")
