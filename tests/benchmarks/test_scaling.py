"""What prediction takes against sizes: measured, and put into a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scaling

PAGE = "# Title\n\nText.\n\n{}\n\nold\n\n{}\n\nMore.\n".format(*scaling.MARKERS)


def test_points_are_measured_and_fill_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "TABLES", {"words": [scaling.Point(4, 1, 2), scaling.Point(40, 1, 2)]})
    file, page = tmp_path / "results.json", tmp_path / "page.md"
    page.write_text(PAGE)
    scaling.main(["--tiny", "--out", str(file), "--page", str(page), str(file)])
    results = json.loads(file.read_text())["words"]
    assert [result["procedure"] for result in results] == [*scaling.PROCEDURES] * 2
    assert all(result["milliseconds"] > 0 for result in results)
    short, long = results[:3], results[3:]
    assert all(few["megabytes"] < many["megabytes"] for few, many in zip(short, long, strict=True))
    text = page.read_text()
    assert "old" not in text and text.startswith("# Title") and text.endswith("More.\n")
    page.write_text("no markers")
    with pytest.raises(SystemExit, match=f"{page}: expected the line {scaling.MARKERS[0]}"):
        scaling.main(["--page", str(page), str(file)])
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == "words" and rows[2:] == ["4", "40"]


def test_the_page_in_the_repository_shows_its_results() -> None:
    root = Path(scaling.__file__).parents[1]
    page, results = root / "docs" / "scaling.md", root / "benchmarks/results/xeon-avx512-2-cores/scaling.json"
    assert scaling.filled(page, json.loads(results.read_text())) == page.read_text("utf-8")


def test_sentences_are_alike_and_have_their_subjects() -> None:
    [*sentences] = scaling.Point(words=9, subjects=3, batch=4).corpus().sentences
    assert len(sentences) == 4 and len({sentence.words for sentence in sentences}) == 4
    for sentence in sentences:
        assert (len(sentence.words), len(sentence.entities), len(sentence.relations)) == (9, 6, 3)
        assert len({relation.subject for relation in sentence.relations}) == 3
