"""``python benchmarks/scaling.py --out FILE``: time and memory of prediction against length, batch and subjects.

Over a trunk of SciBERT's shape with random weights, as the fusion table (docs/benchmarks.md): gold spans drive the later
turns. ``--page docs/scaling.md FILE`` puts the tables of such a file between the markers of the page.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from srn_benchmarks.corpus import SpeedCorpus
from srn_benchmarks.machine import describe, summary
from srn_benchmarks.names import BATCHED, LATE, PACKED_FUSION
from srn_benchmarks.report import PageError, put_between
from srn_benchmarks.workloads.memory import peak_bytes
from srn_benchmarks.workloads.procedures import SCIBERT, TINY, Setting, Workload
from tabulate import tabulate

from cascade.data import Entity, LabelSet, Relation, Sentence

PROCEDURES = (LATE, PACKED_FUSION, BATCHED)
SETTING = Setting("cpu", torch.float32)
LABELS = LabelSet(("Person", "Place"), ("IN", "OF"))
MARKERS = "<!-- scaling: begin -->", "<!-- scaling: end -->"
ROUNDS = 2


@dataclass(frozen=True)
class Point:
    """Sentences alike: of so many words, with so many subjects, each with one object; ``batch`` of them at a time."""

    words: int = 32
    subjects: int = 2
    batch: int = 8

    def corpus(self) -> SpeedCorpus:
        sentences = [self._sentence(n) for n in range(self.batch)]
        return SpeedCorpus("alike", sentences, sentences, LABELS)

    def _sentence(self, seed: int) -> Sentence:
        draw = torch.Generator().manual_seed(seed)
        words = tuple(f"w{n}" for n in torch.randint(3000, (self.words,), generator=draw).tolist())
        places = torch.linspace(0, self.words - 1, 2 * self.subjects).long().tolist()
        entities = [Entity(place, place, LABELS.entity_types[n % 2]) for n, place in enumerate(places)]
        pairs = zip(entities[::2], entities[1::2], strict=True)
        relations = tuple(Relation(subject, object, LABELS.relation_types[0]) for subject, object in pairs)
        return Sentence(words, tuple(entities), relations)


TABLES = {
    "words": [Point(words=words) for words in (16, 32, 64, 128, 256)],
    "batch": [Point(batch=batch) for batch in (1, 2, 8, 32)],
    "subjects": [Point(subjects=subjects) for subjects in (1, 2, 4, 8)],
}


def measured(point: Point, tiny: bool) -> Iterator[dict[str, Any]]:
    """The time a sentence takes by each procedure, in turn each round, and the most that its batch's tensors hold."""
    work = Workload(SETTING, point.corpus(), sizes=TINY if tiny else SCIBERT)
    work.batches = [work.corpus.sentences]
    seconds: dict[str, list[float]] = {procedure: [] for procedure in PROCEDURES}
    for count in range(ROUNDS + 1):  # the first warms up
        for procedure in PROCEDURES:
            begun = time.perf_counter()
            found = work.run(procedure)
            if count:
                seconds[procedure].append(time.perf_counter() - begun)
            else:
                work.check(procedure, found)
    for procedure in PROCEDURES:
        yield {
            **vars(point),
            "procedure": procedure,
            "milliseconds": 1e3 * median(seconds[procedure]) / point.batch,
            "megabytes": 1e-6 * peak_bytes(lambda name=procedure: work.run(name), torch.get_num_threads()),
        }


def filled(page: Path, results: dict[str, Any]) -> str:
    """The text of the page with the tables of ``results``."""
    parts = []
    for name, points in TABLES.items():
        found = {(result[name], result["procedure"]): result for result in results[name]}
        rows = []
        for value in (getattr(point, name) for point in points):
            units = [f"{found[value, each][unit]:.3g}" for unit in ("milliseconds", "megabytes") for each in PROCEDURES]
            rows.append((value, *units))
        fixed = ", ".join(f"{value} {key}" for key, value in vars(Point()).items() if key != name)
        headers = (name, *(f"{each}, {unit}" for unit in ("ms", "MB") for each in PROCEDURES))
        parts += [f"Against {name}, with {fixed}:", tabulate(rows, headers, tablefmt="github", disable_numparse=True)]
    body = "\n\n".join([*parts, f"Measured on: {summary(results['machine'])}.\n"])
    return put_between(page, page.read_text("utf-8"), MARKERS, body)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="results to write")
    parser.add_argument("--tiny", action="store_true", help="a tiny trunk, to try it")
    parser.add_argument("--page", type=Path, nargs=2, metavar=("PAGE", "FILE"), help="a page to fill from results")
    options = parser.parse_args(arguments)
    if options.out:
        results: dict[str, Any] = {"machine": describe()}
        for name, points in TABLES.items():
            results[name] = [result for point in points for result in measured(point, options.tiny)]
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    if options.page:
        page, file = options.page
        try:
            page.write_text(filled(page, json.loads(file.read_text())), "utf-8")
        except PageError as error:
            raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
