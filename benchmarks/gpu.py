"""``python benchmarks/gpu.py --out DIR``: on a machine with a GPU, builds, tests, measures, and says what was reached."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import time

import torch

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # this checkout's packages, installed or not

from srn_benchmarks.commit import UNVERSIONED, present_commit
from srn_benchmarks.gpu_build import build

PARTS = ("build", "tests", "tables")
BUILDING = 0.5
"""The part of the time that a build may take."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/gpu.py",
        description="Builds the native module for the GPU here, runs the GPU tests, measures, and prints a summary last.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for results, report, plots, logs")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything (default: 9)")
    parser.add_argument("--record", action="store_true", help="record each backend all of whose tests passed")
    parser.add_argument("--commit", help="the commit that is tested, where there is no git to ask")
    parser.add_argument("--seed", type=int, help="replays the random numbers of an earlier run of the tests")
    parser.add_argument("--skip", action="append", choices=PARTS, default=[], help="leaves a part out")
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error(f"--minutes: expected a number above 0, found {options.minutes:g}")
    if options.record and "tests" in options.skip:
        parser.error("--record needs the tests: it records that they have passed")
    return options


def say(text: str) -> None:
    print(text, flush=True)  # or what was said is lost with a run that is ended from outside


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0; 1 if the build or a test failed, or a part broke off; 2 if nothing could be begun."""
    started = time()
    options = parse(arguments)
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a CUDA device that torch can use; there is none", file=sys.stderr)
        return 2
    if options.record and not options.commit and present_commit() == UNVERSIONED:
        print("--record: there is no git here to ask for the commit; say it with --commit", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").unlink(missing_ok=True)
    with (options.out / "log.txt").open("w", encoding="utf-8") as log:
        ending = None
        if "build" not in options.skip:
            ending = build(torch.cuda.get_device_capability(), log, started + 60 * options.minutes * BUILDING)

        # Not before: it loads the native module.
        from srn_benchmarks.gpu_session import Session

        session = Session(options.out, log, started + 60 * options.minutes, options.seed, say)
        if ending is not None and ending.status != 0:
            session.broken.append("build")
            session.remark(f"build: the native module was not built, the build {ending.text}; see log.txt")
        names = session.usable()
        tables = "tables" not in options.skip
        if options.record:
            session.attempt("tests", lambda: session.record(options.commit, names, tables_follow=tables))
        elif "tests" not in options.skip:
            session.attempt("tests", lambda: session.run_tests(names, tables_follow=tables))
        if tables:
            session.attempt("tables", lambda: session.run_tables(names))
        session.finish()
    return 0 if session.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
