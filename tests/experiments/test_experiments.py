"""Experiments: their tables ask for options that there are, a run is done once, and the page is made of its file."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cascade import cli, create_model, load_model, read_corpus
from cascade.data import sample_corpus, write_corpus
from cascade.options import CorpusArguments, ModelArguments
from cascade.tiny import make_tiny_trunk
from cascade.training import CascadeTrainingArguments, save_model
from experiments import run as runner
from experiments import single
from experiments.report import COLUMNS, MORE_COLUMNS, write_report
from experiments.tables import Run, Table, read_tables

SPLITS = ("dev", "test", "nested")
OPTIONS = {"max_steps": 2, "hidden_size": 8, "tag_size": 4, "use_cpu": True, "encoder": "none"}
TABLE = Table("tiny", "A title", "A text.", (0, 1), OPTIONS, {"late": {}, "early": {"fusion": "early"}}, ("nested RE",))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for split, source in (("train", "train"), ("dev", "dev"), ("test", "dev")):
        write_corpus(folder / f"{split}.json", sample_corpus(source))
    words = [word for sentence in sample_corpus("train").sentences() for word in sentence.words]
    make_tiny_trunk(words, folder / "trunk", hidden_size=32, pieces=300)
    return folder


@pytest.mark.parametrize("table", read_tables(()), ids=lambda table: table.name)
def test_tables_ask_for_options_that_there_are(table: Table, tmp_path: Path) -> None:
    assert table.title and table.text and len(table.seeds) >= 3 and set(table.columns) <= set(MORE_COLUMNS)
    for row in table.runs().values():
        arguments = single.train_arguments(row[0], tmp_path, tmp_path, tmp_path / "out", resumed=False)
        _, model, _ = cli.parse("train", (CorpusArguments, ModelArguments, CascadeTrainingArguments), arguments)
        assert {name: value for name, value in row[0].options if hasattr(model, name)} == cli.given(model)


def test_a_run_may_be_of_entities_alone(corpus: Path, tmp_path: Path) -> None:
    options = {**OPTIONS, "max_steps": 1, "without_relations": True}
    run = Run.of(options, 0)
    record = single.perform(run, corpus, corpus / "trunk", tmp_path / "run")
    found = record["scores"]["match"]["printed"]["test"]
    assert found["ner_gold"] > 0 and found["re_gold"] == 0
    assert load_model(tmp_path / "run")[0].labels.relation_types == ()
    run.result(tmp_path).write_text("{}")
    single.main(run.as_json(), *map(str, (corpus, corpus / "trunk", tmp_path / "run", tmp_path)))
    assert json.loads(run.result(tmp_path).read_text()) == {"given": record["given"]}


def test_the_page_in_the_repository_is_that_of_its_results(tmp_path: Path) -> None:
    write_report(read_tables(()), runner.HERE / "results", tmp_path / "results.md")
    page = runner.HERE.parent / "docs" / "results.md"
    assert (tmp_path / "results.md").read_text() == page.read_text(), "python experiments/run.py --report"
    for plot in (tmp_path / "results").iterdir():
        assert (page.with_suffix("") / plot.name).is_file()


def test_the_same_options_are_the_same_run() -> None:
    one, other = Run.of({"a": 1, "b": [1.0, 2.0]}, 3), Run.of({"b": [1.0, 2.0], "a": 1}, 3)
    assert one == other and one.name == other.name
    assert Run.from_json(one.as_json()) == one
    assert len({one.name, Run.of({"a": 1, "b": [1.0, 2.0]}, 4).name, Run.of({"a": 2, "b": [1.0, 2.0]}, 3).name}) == 3


def test_every_row_has_its_first_seed_before_any_has_its_second(tmp_path: Path) -> None:
    again = Table("again", "", "", (0, 1, 2), OPTIONS, {"the same as late": {}})
    late, early = (TABLE.runs()[row] for row in ("late", "early"))
    third = again.runs()["the same as late"][2]
    assert runner.pending([TABLE, again], tmp_path, None) == [late[0], early[0], late[1], early[1], third]
    assert runner.pending([TABLE, again], tmp_path, 1) == [late[0], early[0]]
    late[0].result(tmp_path).write_text("{}")
    assert runner.pending([TABLE], tmp_path, 1) == [early[0]]


@pytest.mark.slow
def test_a_run_leaves_a_file_and_the_page_is_made_of_it(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, page = tmp_path / "results", tmp_path / "results.md"
    monkeypatch.setattr(runner, "read_tables", lambda names: [TABLE])
    common = ["--results", str(results), "--work", str(tmp_path / "work"), "--page", str(page), "--seeds", "1"]
    places = ["--corpus", str(corpus), "--trunk", str(corpus / "trunk")]

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["run.py", *common, *arguments])
        runner.main()
        return capsys.readouterr().out

    names = [TABLE.runs()[row][0].name for row in ("late", "early")]
    assert run("--list").split() == names
    with pytest.raises(SystemExit):
        run()
    out = run(*places, "--jobs", "2")
    assert {f"{name}: done" for name in names} <= set(out.splitlines())
    record = json.loads((results / f"{names[1]}.json").read_text())
    assert record["options"] == {**OPTIONS, "fusion": "early"}
    assert [entry["epoch"] for entry in record["curve"] if "eval_re_f1" in entry]
    # early fusion reads again for every threshold: they are chosen for its own way to decide alone
    assert {name: [*found] for name, found in record["scores"].items()} == {
        "each": ["printed"],
        "product": ["printed"],
        "match": ["printed", "chosen"],
    }
    gold = {
        split: found["ner_gold"] for split, found in record["scores"]["match"]["printed"].items() if split in SPLITS
    }
    assert gold["dev"] == gold["test"] > gold["nested"] > 0
    given = record.pop("given")
    assert (
        given["dev"] == given["test"]
        and given["dev"]["re_gold"] == record["scores"]["match"]["printed"]["dev"]["re_gold"]
    )
    assert run("--amend", "--list").split() == []
    (results / f"{names[1]}.json").write_text(json.dumps(record))
    assert run("--amend", "--list").split() == names[1:]
    run(*places, "--amend")
    assert json.loads((results / f"{names[1]}.json").read_text()) == {**record, "given": given}
    text = page.read_text()
    assert "## A title" in text and "late (1), early (1)" in text
    assert all(column in text for column in (*COLUMNS, "nested RE"))
    assert run("--list").split() == []

    other = replace(TABLE, name="other", title="Another", rows={"late": {}, "none": {"fusion": "none"}})
    write_report([other], results, tmp_path / "other.md")
    assert "Tables of which not two rows are done yet: *Another*." in (tmp_path / "other.md").read_text()
    write_report([TABLE], results, tmp_path / "again.md")
    assert (tmp_path / "again.md").read_text() == text.replace("results/tiny.svg", "again/tiny.svg")
    assert "dev RE F1" in (tmp_path / "results" / "tiny.svg").read_text()
    assert (tmp_path / "again" / "tiny.svg").read_bytes() == (tmp_path / "results" / "tiny.svg").read_bytes()


def test_given_gold_spans_leave_the_relations_to_the_object_turn(corpus: Path, tmp_path: Path) -> None:
    """A model that finds no entity, and whose object turn says that every pair has every relation."""
    model, tokenizer = create_model(corpus / "trunk", read_corpus(corpus / "train.json").labels(), encoder="none")
    for turn, bias in (("entity", -20.0), ("subject", -20.0), ("object", 20.0)):
        model.heads[turn].match.out.bias.data.fill_(bias)
    save_model(model, tokenizer, tmp_path)
    found = single.given_scores(tmp_path, corpus)["test"]
    gold = [one for one in read_corpus(corpus / "test.json").sentences() if one.relations]
    pairs = sum(len({relation.subject for relation in one.relations}) * len(set(one.entities)) for one in gold)
    assert found["re_recall"] == 1.0
    assert found["re_predicted"] == pairs * len(model.labels.relation_types)


def test_a_table_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--list", "fusoin"])
    with pytest.raises(SystemExit, match="2"):
        runner.main()
    assert "expected the name of a table, found none in" in (line := capsys.readouterr().err.splitlines()[-1])
    assert line.endswith("fusoin.toml")


def test_a_run_that_fails_is_named(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table("broken", "", "", (0,), {**OPTIONS, "fusion": "both"}, {"row": {}})
    monkeypatch.setattr(runner, "read_tables", lambda names: [table])
    name = table.runs()["row"][0].name
    arguments = ["--corpus", str(corpus), "--trunk", str(corpus / "trunk"), "--work", str(tmp_path / "work")]
    page = ["--results", str(tmp_path / "results"), "--page", str(tmp_path / "page.md")]
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments, *page])
    with pytest.raises(SystemExit, match=name):
        runner.main()
    assert "fusion: expected one of early, late, packed" in (tmp_path / "work" / f"{name}.log").read_text()
    assert not (tmp_path / "results" / f"{name}.json").exists()
