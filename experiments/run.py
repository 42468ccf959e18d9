"""``python experiments/run.py --corpus DIR --trunk DIR [TABLE ...]``: trains and scores models, and rebuilds the results.

A table is a file in ``experiments/tables``: its rows are options of ``cascade train`` (and ``without_relations``, which
trains on entities alone), each trained with several seeds. A run, one row with one seed, leaves one file in
``experiments/results`` and is not done again, whatever table asks for it; one that was stopped goes on from its last
checkpoint. The first seed of every row comes before the second of any.
``docs/results.md`` is made of these files alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __package__ is None:
    sys.path.insert(0, str(HERE.parent))

from cascade.creation import FINAL_MODEL
from experiments.report import write_report
from experiments.tables import Run, Table, read_tables

SPLITS = ("train", "dev", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="names of tables, in the order of their importance")
    parser.add_argument("--corpus", type=Path, help="folder with train.json, dev.json and test.json")
    parser.add_argument("--trunk", type=Path, help="folder of the trunk")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; the processor's cores are shared out")
    parser.add_argument("--seeds", type=int, help="at most so many seeds a row")
    parser.add_argument("--work", type=Path, default=Path(".experiments"), help="where checkpoints go")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where a file for each run goes")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "results.md")
    parser.add_argument(
        "--amend",
        action="store_true",
        help="score what the files of earlier runs lack, whose models are still in --work",
    )
    parser.add_argument("--list", action="store_true", help="say what would be run, and stop")
    parser.add_argument("--report", action="store_true", help="rebuild the page, and stop")
    args = parser.parse_args()
    try:
        tables = read_tables(args.tables)
    except FileNotFoundError as error:
        parser.error(f"expected the name of a table, found none in {error.filename}")
    if args.report:
        runs = []
    elif args.amend:
        runs = incomplete(tables, args.results, args.work)
    else:
        runs = pending(tables, args.results, args.seeds)
    if args.list:
        print("\n".join(run.name for run in runs))
        return
    if runs and not (args.corpus and args.trunk):
        parser.error(f"{len(runs)} runs are to be done, which need --corpus and --trunk")
    with ThreadPoolExecutor(max(args.jobs, 1)) as pool:
        failed = [name for name in pool.map(lambda run: perform(run, args), runs) if name]
    write_report(read_tables(()), args.results, args.page)
    if failed:
        sys.exit(f"failed, with a log each in {args.work}: {', '.join(failed)}")


def pending(tables: list[Table], results: Path, seeds: int | None) -> list[Run]:
    """The runs without a result, each once: the first seed of every row, then the second, ..."""
    most = max((len(table.seeds) for table in tables), default=0)
    ordered = [
        run
        for place in range(most if seeds is None else min(most, seeds))
        for table in tables
        for row in table.runs().values()
        for run in row[place : place + 1]
    ]
    return [run for run in dict.fromkeys(ordered) if not run.result(results).is_file()]


def incomplete(tables: list[Table], results: Path, work: Path) -> list[Run]:
    """The runs whose file has no scores of relations between given entities, where the model is still there."""
    every = dict.fromkeys(run for table in tables for runs in table.runs().values() for run in runs)
    return [
        run
        for run in every
        if run.result(results).is_file()
        and "given" not in json.loads(run.result(results).read_text())
        and (work / run.name / FINAL_MODEL).is_dir()
    ]


def perform(run: Run, args: argparse.Namespace) -> str | None:
    """Does a run in a process of its own. Returns its name if that fails."""
    args.work.mkdir(parents=True, exist_ok=True)
    threads = max((os.cpu_count() or 1) // max(args.jobs, 1), 1)
    command = [sys.executable, "-m", "experiments.single", run.as_json()]
    command += [str(path.resolve()) for path in (args.corpus, args.trunk, args.work / run.name, args.results)]
    print(f"{run.name}: begun", flush=True)
    with (args.work / f"{run.name}.log").open("a") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        status = subprocess.run(
            command, cwd=HERE.parent, stdout=log, stderr=log, env=environment, check=False
        ).returncode
    print(f"{run.name}: {'done' if status == 0 else f'failed with exit code {status}'}", flush=True)
    return run.name if status else None


if __name__ == "__main__":
    main()
