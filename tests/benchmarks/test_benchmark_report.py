"""What a run leaves on disk and on the terminal, and how pages are filled from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import report as script
from samples import on_a_cpu, on_a_gpu, over_sizes, sample
from srn_benchmarks.report import PageError, fill_page, lines, markers, write
from srn_benchmarks.results import Results

ROOT = Path(__file__).parents[2]
BEGIN, END = markers("results")
PAGE = f"# Speed\n\n{BEGIN}\nold\n{END}\n\nafter\n"


def test_terminal_shows_every_table_and_the_machine():
    text = "\n".join(lines(sample()))
    assert text.index("Early versus late fusion") < text.index("The cell") < text.index("Sample, 2 cores")
    assert "batches of 32" in text and "1.50x" in text


def test_files_of_a_run(tmp_path: Path):
    written = write(sample(), tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["results.json", "report.md", "fusion.svg", "cell.svg"]
    assert Results.read(written[0]) == sample()
    assert "](cell.svg)" in written[1].read_text()
    assert all(path.read_text().startswith("<?xml") for path in written[2:])


def test_tables_without_a_plot_are_reported_like_the_others(tmp_path: Path):
    written = write(on_a_cpu(), tmp_path)
    assert [path.name for path in written] == ["results.json", "report.md"]
    assert Results.read(written[0]) == on_a_cpu()
    assert "## The cell, packed sentences" in written[1].read_text()


def test_plots_are_the_same_bytes_for_the_same_results(tmp_path: Path):
    first, second = write(sample(), tmp_path / "1"), write(sample(), tmp_path / "2")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_files_and_plot_of_a_gpu(tmp_path: Path):
    written = write(on_a_gpu(), tmp_path)
    assert [path.name for path in written] == ["results.json", "report.md", "fusion.svg", "gpu_sweep.svg"]
    assert Results.read(written[0]) == on_a_gpu()
    text = written[1].read_text()
    assert text.startswith("## On a GPU: what was to be reached") and "](gpu_sweep.svg)" in text
    plot = written[3].read_text()
    write(on_a_gpu(), tmp_path)
    assert plot.startswith("<?xml") and written[3].read_text() == plot


def test_plot_of_the_sweep(tmp_path: Path):
    written = write(over_sizes(), tmp_path)
    assert [path.name for path in written] == ["results.json", "report.md", "sweep.svg"]
    assert Results.read(written[0]) == over_sizes()
    assert "](sweep.svg)" in written[1].read_text()
    plot = written[2].read_bytes()
    assert write(over_sizes(), tmp_path)[2].read_bytes() == plot


def test_a_sweep_without_a_ratio_is_reported_too(tmp_path: Path):
    results = over_sizes()
    results.cases = [case for case in results.cases if case.name == "nn.LSTM"]
    assert [path.name for path in write(results, tmp_path)] == ["results.json", "report.md", "sweep.svg"]


def test_no_plot_without_a_timed_case(tmp_path: Path):
    results = sample()
    for case in results.cases:
        case.status = "failed"
    assert [path.name for path in write(results, tmp_path)] == ["results.json", "report.md"]


def test_page_is_filled_between_its_markers(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    results, *_ = write(sample(), tmp_path / "results" / "here")
    text = fill_page(page, [results])
    assert text.startswith(f"# Speed\n\n{BEGIN}\n") and text.endswith(f"{END}\n\nafter\n")
    assert "old" not in text and "1.50x" in text and "](results/here/cell.svg)" in text
    page.write_text(text)
    assert fill_page(page, [results]) == text


def test_a_page_of_the_few_numbers(tmp_path: Path):
    """It has cells of the tables and their machine, and leaves out what was not measured."""
    begin, end = markers("highlights")
    page = tmp_path / "page.md"
    page.write_text(f"{begin}{end}")
    text = fill_page(page, [write(sample(), tmp_path)[0]])
    assert text.startswith(f"{begin}\n\n|") and "Measured on: Sample, 2 cores" in text
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:]
    assert rows == ["late fusion", "early fusion, one object pass at a time"]
    assert "SRNCell" not in text
    other = sample()
    other.cases.clear()
    assert fill_page(page, [tmp_path / "results.json", write(other, tmp_path / "other")[0]]) == text


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}", f"{BEGIN}{BEGIN}{END}"])
def test_page_without_a_pair_of_markers_is_refused(tmp_path: Path, text: str):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(PageError, match=r"page\.md: expected the line"):
        fill_page(page, [])


def test_script_rewrites_and_checks_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    results = str(write(sample(), tmp_path)[0])
    arguments = [results, "--page", str(page)]
    assert script.main([*arguments, "--check"]) == 1
    assert "does not show these results" in capsys.readouterr().err
    assert page.read_text() == PAGE
    assert script.main(arguments) == 0
    assert script.main([*arguments, "--check"]) == 0


def test_script_prints_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert script.main([str(write(sample(), tmp_path)[0])]) == 0
    assert "1.50x" in capsys.readouterr().out


def test_script_names_the_file_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert script.main([str(tmp_path / "none.json")]) == 1
    assert "none.json: expected a results file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["README.md", "docs/benchmarks.md"])
def test_documentation_shows_the_committed_results(name: str):
    page = ROOT / name
    committed = sorted((ROOT / "benchmarks" / "results").glob("*/results.json"))
    assert fill_page(page, committed) == page.read_text("utf-8")
