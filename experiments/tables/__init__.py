"""Tables of experiments: files that say which options are compared, and the runs that they ask for."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
RECIPE = FOLDER.parent / "recipe.toml"


@dataclass(frozen=True)
class Run:
    """One training: options of ``cascade train``, by name, and a seed. The same options are the same run."""

    options: tuple[tuple[str, Any], ...]
    seed: int

    @classmethod
    def of(cls, options: Mapping[str, Any], seed: int) -> Run:
        frozen = ((name, tuple(value) if isinstance(value, list) else value) for name, value in options.items())
        return cls(tuple(sorted(frozen)), seed)

    @property
    def name(self) -> str:
        """Of its file, its checkpoints and its log."""
        return f"{hashlib.sha256(json.dumps(self.options).encode()).hexdigest()[:10]}-{self.seed}"

    def as_json(self) -> str:
        return json.dumps({"options": dict(self.options), "seed": self.seed})

    @classmethod
    def from_json(cls, text: str) -> Run:
        return cls.of(**json.loads(text))

    def result(self, results: Path) -> Path:
        return results / f"{self.name}.json"


@dataclass(frozen=True)
class Table:
    """Rows by name, each with its options, beside the common ``options``; every row is run with each of ``seeds``.

    ``columns`` are shown beside those of every table.
    """

    name: str
    title: str
    text: str
    seeds: tuple[int, ...]
    options: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, Any]]
    columns: tuple[str, ...] = ()

    def runs(self) -> dict[str, list[Run]]:
        """The runs of each row, one a seed."""
        return {row: [Run.of({**self.options, **its}, seed) for seed in self.seeds] for row, its in self.rows.items()}


def read_tables(names: Iterable[str]) -> list[Table]:
    """The tables of these names, or all; the recipe's options are among their common ones.

    Raises FileNotFoundError for a table that is not there.
    """
    recipe = tomllib.loads(RECIPE.read_text())
    paths = [FOLDER / f"{name}.toml" for name in names] or sorted(FOLDER.glob("*.toml"))
    tables = []
    for path in paths:
        read = tomllib.loads(path.read_text())
        tables.append(
            Table(
                path.stem,
                read["title"],
                read["text"],
                tuple(read["seeds"]),
                {**recipe, **read["options"]},
                read["rows"],
                tuple(read.get("columns", ())),
            )
        )
    return tables
