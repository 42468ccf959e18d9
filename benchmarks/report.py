"""``python benchmarks/report.py RESULTS.json...``: prints the tables of earlier runs, or puts them into a page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from srn_benchmarks.report import PageError, fill_page, lines
from srn_benchmarks.results import Results, ResultsError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/report.py",
        description="Prints the tables of earlier runs, or puts them between the markers of a page.",
    )
    parser.add_argument("results", nargs="*", type=Path, help="results.json of a run, as `pytest benchmarks/` wrote it")
    parser.add_argument(
        "--page", type=Path, help="a Markdown page with markers, docs/benchmarks.md say, to be rewritten"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not what it would be")
    options = parser.parse_args(arguments)
    if options.check and options.page is None:
        parser.error("--check needs --page")
    try:
        if options.page is None:
            for file in options.results:
                print("\n".join(lines(Results.read(file))))
            return 0
        text = fill_page(options.page, options.results)
    except (ResultsError, PageError) as error:
        print(error, file=sys.stderr)
        return 1
    if not options.check:
        options.page.write_text(text, "utf-8")
    elif text != options.page.read_text("utf-8"):
        print(f"{options.page} does not show these results; run the same command without --check", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
