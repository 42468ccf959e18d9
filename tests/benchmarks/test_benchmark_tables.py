"""The tables, from made-up results."""

from __future__ import annotations

import pytest
from samples import CUDA, MACHINE, TRITON, fused, gpu_cell, on_a_cpu, on_a_gpu, over_sizes, sample, step
from srn_benchmarks.bars import bars, per_step, recurrence
from srn_benchmarks.names import FORWARD, GPU_CELL, GPU_PACKED, GPU_STEP, GPU_SWEEP, LATE, LSTM, LSTM_CELL, ONE_BY_ONE
from srn_benchmarks.results import NOT_TIMED, Case, Results
from srn_benchmarks.tables import sections
from srn_benchmarks.text import NOTHING, Table
from srn_benchmarks.verdicts import bound


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


def test_ceiling_stands_in_the_title_and_the_share_of_it_in_a_column():
    results = sample()
    for one in results.cases[:2]:
        one.beside, one.beside_work = {"ceiling": [0.004]}, {"ceiling": {"flops": 10**9}}
    table = sections(results)[1].tables[0]
    assert table.title == "cpu, float32, 2 threads, ceiling 250 GFLOP/s"
    assert row(table, "SRN cpu")["of the ceiling"] == "60.0%"
    assert row(table, LSTM)["of the ceiling"] == "40.0%"


def test_a_ceiling_that_cannot_be_had_is_an_empty_column():
    results = sample()
    case(results.cases, "SRN cpu").beside = {"ceiling": []}
    table = sections(results)[1].tables[0]
    assert table.title == "cpu, float32, 2 threads"
    assert {row(table, name)["of the ceiling"] for name in (LSTM, "SRN cpu")} == {NOTHING}


def test_no_column_for_what_no_case_was_measured_beside():
    assert sections(sample())[1].tables[0].headers[-1] == "GFLOP/s over nn.LSTM"


def test_half_precision_is_held_against_float32_and_stands_after_it():
    results = sample()
    srn = case(results.cases, "SRN cpu")
    srn.labels["precision"] = "bfloat16"
    srn.beside, srn.beside_work = {"float32": [0.04]}, {"float32": srn.work}
    float32, bfloat16 = sections(results)[1].tables
    assert (float32.title, bfloat16.title) == ("cpu, float32, 2 threads", "cpu, bfloat16, 2 threads")
    assert row(bfloat16, "SRN cpu")["time over float32"] == "0.50x"
    assert "time over float32" not in float32.headers


def test_tables_of_the_cell_on_a_cpu():
    streaming, packed, memory = sections(on_a_cpu())
    step = row(streaming.tables[0], "SRNCell cpu")
    assert step["µs/step"] == "400"
    assert step["time over nn.LSTMCell"] == "4.00x"
    assert step["GFLOP/s over nn.LSTMCell"] == "0.75x"
    assert row(streaming.tables[0], LSTM_CELL)["time over nn.LSTMCell"] == "1.00x"
    tokens = row(packed.tables[0], "SRN cpu")
    assert (tokens["µs/token"], tokens["µs/token, equal lengths"]) == ("50.0", "40.0")
    assert tokens["over equal lengths"] == "1.25x"
    assert tokens["padded over real tokens"] == "1.50x"
    assert packed.notes == ["in file order"]
    held = row(memory.tables[0], "SRN cpu")
    assert (held["peak MB"], held["formula MB"]) == ("300", "200")
    assert (held["peak over formula"], held["peak over nn.LSTM"]) == ("1.50x", "3.00x")
    assert row(memory.tables[0], LSTM)["formula MB"] == NOTHING


def test_memory_of_a_row_that_failed_is_held_against_nothing():
    results = on_a_cpu()
    next(one for one in results.cases if one.table == "memory").status = "failed"
    table = sections(results)[2].tables[0]
    assert row(table, LSTM)["peak MB"] == "FAILED"
    assert row(table, "SRN cpu")["peak over nn.LSTM"] == NOTHING


def test_the_sweep_has_a_column_for_each_size_and_its_bound_where_that_is_below_the_bar():
    [section] = sections(over_sizes())
    [table] = section.tables
    assert table.title == "cpu, float32, 2 threads, ceiling 400 GFLOP/s"
    assert table.headers == ["pass", "B", "T", "implementation", "H 64", "H 300", "H 512", "H 1024"]
    assert table.rows == [
        [FORWARD, "1", "16", "SRN cpu", "1.50x", "0.50x (bound 0.60x)", "0.50x (no)", "FAILED"],
        [FORWARD, "1", "1", "SRN cpu", *[NOTHING] * 4],  # no nn.LSTM at T 1
    ]
    assert section.notes == ["D 768", "at least 0.9x: yes 1, bound 1, no 1, not measured 2"]


def test_a_bound_is_set_by_the_weights_or_by_the_ceiling():
    small, weights, _, failed, _ = (case for case in over_sizes().cases if case.name != LSTM)
    assert (bound(small), bound(weights), bound(failed)) == (pytest.approx(4.0), pytest.approx(0.6), None)


# -- a GPU's -----------------------------------------------------------------------------------------------------------


def found(results: Results) -> dict[tuple[str, str, str], list[str]]:
    """The bars' texts: bound, value, verdict."""
    return {tuple(row[:3]): row[3:] for row in bars(results)}


def test_a_step_is_a_slope_less_that_of_its_products():
    case = step(CUDA, FORWARD, 1.5, 0.25)
    assert per_step(case) == (pytest.approx(1.5e-6), pytest.approx(0.25e-6))
    assert recurrence(case) == pytest.approx(1.25e-6)
    case.status = "failed"
    assert per_step(case) is recurrence(case) is None


def test_bars_say_what_was_reached():
    rows = found(on_a_gpu())
    assert rows["forward, H 300: time over nn.LSTM", "bfloat16", CUDA] == ["at most 0.5", "0.500", "yes"]
    assert rows["forward+backward, H 300: time over nn.LSTM", "bfloat16", CUDA] == ["at most 0.6", "0.500", "yes"]
    assert rows["forward, H 256: time over nn.LSTM", "float16", CUDA] == ["at most 1", NOTHING, "not measured"]
    assert rows["forward: recurrence, µs a step", "bfloat16", CUDA] == ["at most 1.5", "1.25", "yes"]
    assert rows["backward: recurrence, µs a step", "bfloat16", CUDA] == ["at most 2", "2.50", "no"]
    assert rows["packed sentences: time over nn.LSTM", "bfloat16", CUDA] == ["at most 0.5", "0.400", "yes"]
    assert rows["late fusion over the trunk alone", "bfloat16", CUDA] == ["at least 0.9", "0.950", "yes"]
    assert rows["late fusion, sentences/s", "bfloat16", CUDA] == ["at least 30000", "27550", "no"]
    assert rows["late fusion over early, batched", "bfloat16", CUDA] == ["at most 4.3", "3.50", "yes"]
    assert {who for _, _, who in rows} == {CUDA}


def test_a_backend_that_failed_has_reached_nothing():
    results = on_a_gpu()
    results.cases.append(gpu_cell(TRITON, 0.001))
    results.cases[-1].status = "failed"
    rows = found(results)
    assert rows["forward, H 300: time over nn.LSTM", "bfloat16", TRITON] == ["at most 1.5", NOTHING, "not measured"]
    assert {rows[key][2] for key in rows if key[2] == TRITON} == {"not measured"}


def test_without_nn_lstm_there_is_no_ratio():
    results = on_a_gpu()
    results.cases[0].status = "failed"
    assert found(results)["forward, H 300: time over nn.LSTM", "bfloat16", CUDA][2] == "not measured"


def test_bars_of_a_run_that_measured_no_backend_are_there_and_empty():
    rows = found(Results(MACHINE, cases=[gpu_cell(LSTM, 0.002)]))
    assert {who for _, _, who in rows} == {NOTHING} and {texts[2] for texts in rows.values()} == {"not measured"}


def test_tables_of_a_gpu():
    by_kind = {section.kind: section for section in sections(on_a_gpu())}
    assert next(iter(by_kind)) == "bars" and by_kind[GPU_CELL].notes == ["a note"]
    table = by_kind[GPU_CELL].tables[0]
    row = next(
        dict(zip(table.headers, cells, strict=True)) for cells in table.rows if (cells[0], cells[4]) == (FORWARD, CUDA)
    )
    assert (row["ms"], row["µs/step"], row["time over nn.LSTM"], row["H"]) == ("1.00", "7.81", "0.50x", "300")
    steps = by_kind[GPU_STEP].tables[0]
    assert steps.rows[1] == [FORWARD, "32", CUDA, "1.50", "0.250", "1.25"]
    sentences = by_kind[GPU_PACKED].tables[0]
    assert sentences.rows[1] == [CUDA, "4.00", NOTHING, "4.00", "0.40x"]
    sizes = by_kind[GPU_SWEEP].tables[0]
    assert [row[-1] for row in sizes.rows if row[4] == CUDA] == ["0.50x", "0.50x", NOTHING]  # no nn.LSTM at B 1


def test_a_run_without_a_gpu_has_no_bars():
    assert sections(Results(MACHINE, cases=[fused(LATE, 0.02, 0.02)]))[0].kind == "fusion"


def test_what_is_unproved_is_marked_so():
    results = on_a_gpu()
    case(results.cases, CUDA).labels["unproved"] = 1
    by_kind = {section.kind: section for section in sections(results)}
    assert [cells[4] for cells in by_kind[GPU_CELL].tables[0].rows][:2] == [LSTM, f"{CUDA} (unproved)"]
    assert found(results)["forward, H 300: time over nn.LSTM", "bfloat16", CUDA][2] == "yes"
