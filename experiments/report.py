"""``docs/results.md``: a table and a plot for each file in ``experiments/tables``, from the files of the runs alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from tabulate import tabulate

from cascade.model.config import DECISIONS
from experiments.tables import Table

HEAD = """# What the models learn

Made by `python experiments/run.py --report` of the files in `experiments/results`, one for each run: its options, seed,
versions, curve and scores. `python experiments/run.py --corpus DIR --trunk DIR TABLE` does the runs of a table that are
not there yet. F1 in per cent: mean and standard deviation over the seeds; RE is strict. The checkpoint is the best on dev.
Thresholds are 0.5, or *tuned*: of 0.05 and 0.1 to 0.6 those by which dev scores best. *Gold given*: on test, when gold
entities and subjects are given, so that the object turn decides alone. *By each*: start, end and match of a span each
reach their threshold; *by product*, *by match*: their product does, or the match alone. *Nested*: test sentences in which
an entity is inside another. *Minutes* of training, of a core or two, depend on what else the machine did. The plots are of
dev, at 0.5.
"""
CURVES = {"dev NER F1": "eval_ner_f1", "dev RE F1": "eval_re_f1"}
Value = Callable[[dict[str, Any]], float | None]
"""Of a run's record; None where the model has no such thing."""


def score_of(decision: str | None, thresholds: str, split: str, name: str) -> Value:
    """``decision`` None: the run's own."""

    def value(record: dict[str, Any]) -> float | None:
        of_decision = record["scores"].get(decision or record["decision"], {})
        found = of_decision.get(thresholds, {}).get(split)
        return 100 * found[f"{name}_f1"] if found and found[f"{name}_gold"] else None

    return value


COLUMNS: dict[str, Value] = {
    "dev NER": score_of(None, "printed", "dev", "ner"),
    "dev RE": score_of(None, "printed", "dev", "re"),
    "test NER": score_of(None, "printed", "test", "ner"),
    "test RE": score_of(None, "printed", "test", "re"),
    "test NER, tuned": score_of(None, "chosen", "test", "ner"),
    "test RE, tuned": score_of(None, "chosen", "test", "re"),
    "minutes": lambda record: record["training_minutes"],
}
MORE_COLUMNS: dict[str, Value] = {
    "NER in triples": score_of(None, "printed", "test", "ner_in_triple"),
    "NER out of triples": score_of(None, "printed", "test", "ner_out_of_triple"),
    "nested NER": score_of(None, "printed", "nested", "ner"),
    "nested RE": score_of(None, "printed", "nested", "re"),
    "RE, gold given": lambda record: 100 * record["given"]["test"]["re_f1"] if "given" in record else None,
    **{
        f"RE by {decision}{comma}": score_of(decision, thresholds, "test", "re")
        for decision in DECISIONS
        for thresholds, comma in (("printed", ""), ("chosen", ", tuned"))
    },
}


def write_report(tables: Sequence[Table], results: Path, page: Path) -> None:
    parts, waiting = [HEAD], []
    for table in tables:
        records = {
            row: [json.loads(run.result(results).read_text()) for run in runs if run.result(results).is_file()]
            for row, runs in table.runs().items()
        }
        if sum(map(bool, records.values())) > 1:  # one row compares nothing
            plot = page.with_suffix("") / f"{table.name}.svg"
            _plot(table, records, plot)
            parts.append(_section(table, records, plot.relative_to(page.parent).as_posix()))
        else:
            waiting.append(f"*{table.title}*")
    if waiting:
        parts.append(f"Tables of which not two rows are done yet: {'; '.join(waiting)}.\n")
    page.write_text("\n".join(parts))


def _plot(table: Table, records: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Dev scores at the thresholds of training after each epoch, a line a row: the mean of the seeds."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (label, name) in zip(figure.subplots(1, 2), CURVES.items(), strict=True):
        for row, runs in ((row, runs) for row, runs in records.items() if runs):
            scores: dict[float, list[float]] = {}
            for entry in (entry for record in runs for entry in record["curve"] if name in entry):
                scores.setdefault(entry["epoch"], []).append(100 * entry[name])
            whole = {epoch: mean(values) for epoch, values in sorted(scores.items()) if len(values) == len(runs)}
            axes.plot(whole.keys(), whole.values(), label=row, linewidth=1.2)
        axes.set_title(label, fontsize=9)
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": table.name}):  # the same results give the same bytes
        FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})


def _section(table: Table, records: dict[str, list[dict[str, Any]]], plot: str) -> str:
    columns = COLUMNS | {name: MORE_COLUMNS[name] for name in table.columns}
    rows = [
        [row, len(runs), *(_cell([value(record) for record in runs]) for value in columns.values())]
        for row, runs in records.items()
        if runs
    ]
    lacking = [
        f"{row} ({len(table.seeds) - len(runs)})" for row, runs in records.items() if len(runs) < len(table.seeds)
    ]
    notes = [f"Runs that are not done yet: {', '.join(lacking)}."] if lacking else []
    if any(row[1] == 1 for row in rows):
        notes.append("A row with one seed has no deviation, and says little.")
    trunks = sorted({record["trunk"] for runs in records.values() for record in runs})
    notes.append(f"Trunk: {', '.join(trunks)}.")
    grid = tabulate(rows, ["", "seeds", *columns], tablefmt="github", disable_numparse=True)
    return f"## {table.title}\n\n{table.text.strip()}\n\n{grid}\n\n{' '.join(notes)}\n\n![{table.title}]({plot})\n"


def _cell(values: list[float | None]) -> str:
    if None in values:
        return "–"
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
