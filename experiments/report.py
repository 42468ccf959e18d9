"""``docs/results.md``: a table and a plot for each file in ``experiments/tables``, from the files of the runs alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tabulate import tabulate

from experiments.tables import Table

HEAD = """# What the models learn

Made by `python experiments/run.py --report` of the files in `experiments/results`, one for each run: its options, seed,
versions, curve and scores. `python experiments/run.py --corpus DIR --trunk DIR TABLE` does the runs of a table that are
not there yet. F1 in per cent: mean and standard deviation over the seeds; RE is strict. The checkpoint is the best on dev.
*Printed*: start, end and match reach the thresholds of training, 0.5. *Chosen*: the thresholds by which dev scores best.
"""
Value = Callable[[dict[str, Any]], float | None]
"""Of a run's record; None where the model has no such thing."""


def score_of(decision: str, thresholds: str, split: str, name: str) -> Value:
    def value(record: dict[str, Any]) -> float | None:
        found = record["scores"].get(decision)
        return found and 100 * found[thresholds][split][f"{name}_f1"]

    return value


COLUMNS: dict[str, Value] = {
    "test NER, printed": score_of("each", "printed", "test", "ner"),
    "test RE, printed": score_of("each", "printed", "test", "re"),
    "dev RE, chosen": score_of("each", "chosen", "dev", "re"),
    "test NER, chosen": score_of("each", "chosen", "test", "ner"),
    "test RE, chosen": score_of("each", "chosen", "test", "re"),
    "test RE, product": score_of("product", "chosen", "test", "re"),
    "test RE, match": score_of("match", "chosen", "test", "re"),
}


def write_report(tables: Sequence[Table], results: Path, page: Path) -> None:
    parts = [HEAD]
    for table in tables:
        records = {
            row: [json.loads(run.result(results).read_text()) for run in runs if run.result(results).is_file()]
            for row, runs in table.runs().items()
        }
        if any(records.values()):
            parts.append(_section(table, records))
    page.write_text("\n".join(parts))


def _section(table: Table, records: dict[str, list[dict[str, Any]]]) -> str:
    rows = [
        [row, len(runs), *(_cell([value(record) for record in runs]) for value in COLUMNS.values())]
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
    grid = tabulate(rows, ["", "seeds", *COLUMNS], tablefmt="github", disable_numparse=True)
    return f"## {table.title}\n\n{table.text.strip()}\n\n{grid}\n\n{' '.join(notes)}\n"


def _cell(values: list[float | None]) -> str:
    if None in values:
        return "–"
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
