"""The tables, from made-up results."""

from __future__ import annotations

from samples import sample
from srn_benchmarks.results import NOT_TIMED, Case
from srn_benchmarks.tables import LATE, LSTM, NOTHING, ONE_BY_ONE, Table, sections


def row(table: Table, name: str) -> dict[str, str]:
    [found] = [cells for cells in table.rows if name in cells]
    return dict(zip(table.headers, found, strict=True))


def case(cases: list[Case], name: str) -> Case:
    return next(one for one in cases if one.labels["implementation"] == name)


def test_fusion_stands_first_with_the_papers_numbers_beside_ours():
    first, second = sections(sample())
    assert (first.kind, second.kind) == ("fusion", "cell")
    assert first.notes == ["batches of 32"]
    early = row(first.tables[0], ONE_BY_ONE)
    assert early["sentences/s"] == "4.00"
    assert early["passes/s"] == "13.5"
    assert early["passes"] == "108"
    assert early["ratio to late"] == "8.00x"
    assert early["tokenize ms"] == "62.5"
    assert early["encode ms"] == "125"
    assert early["paper"] == "9.04"
    assert early["paper's ratio"] == "32.6x"
    assert row(first.tables[0], LATE)["ratio to late"] == "1.00x"


def test_cell_ratio_is_of_flops():
    table = sections(sample())[1].tables[0]
    assert table.title == "cpu, float32, 2 threads"
    srn = row(table, "SRN cpu")
    assert srn["ms"] == "20.0"
    assert srn["GFLOP/s"] == "150"
    assert srn["µs/step"] == "625"
    assert srn["GFLOP/s over nn.LSTM"] == "1.50x"
    assert row(table, LSTM)["GFLOP/s over nn.LSTM"] == "1.00x"


def test_a_failed_row_has_no_speed():
    results = sample()
    case(results.cases, "SRN cpu").status = "failed"
    cells = row(sections(results)[1].tables[0], "SRN cpu")
    assert cells["ms"] == "FAILED"
    assert {cells[name] for name in ("GFLOP/s", "µs/step", "GFLOP/s over nn.LSTM")} == {NOTHING}


def test_nothing_is_held_against_a_row_that_failed_or_did_not_run():
    failed, absent = sample(), sample()
    case(failed.cases, LATE).status = "failed"
    absent.cases.remove(case(absent.cases, LATE))
    for results in (failed, absent):
        early = row(sections(results)[0].tables[0], ONE_BY_ONE)
        assert early["ratio to late"] == NOTHING
        assert early["sentences/s"] == "4.00"


def test_a_smoke_run_says_that_it_timed_nothing():
    results = sample()
    for one in results.cases:
        one.status = NOT_TIMED
    fusion, cell = sections(results)
    assert row(fusion.tables[0], LATE)["sentences/s"] == "not timed"
    assert row(cell.tables[0], "SRN cpu")["ms"] == "not timed"


def test_settings_have_tables_of_their_own():
    results = sample()
    case(results.cases, "SRN cpu").labels["threads"] = 1
    one, two = sections(results)[1].tables
    assert (one.title, two.title) == ("cpu, float32, 1 thread", "cpu, float32, 2 threads")
    assert row(one, "SRN cpu")["GFLOP/s over nn.LSTM"] == NOTHING  # its nn.LSTM ran in the other setting
