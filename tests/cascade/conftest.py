"""What the tests of the cascade share: files of made-up records, and the folders of corpora not in the package."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes records (or ready-made lines) as JSON lines to ``data.jsonl`` in a temporary folder."""

    def write(*records: object) -> Path:
        path = tmp_path / "data.jsonl"
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def _folder(variable: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"needs {variable}, a folder with train.json, dev.json and test.json")
    return Path(os.environ[variable])


@pytest.fixture
def scierc_dir() -> Path:
    """SciERC in DyGIE++'s form."""
    return _folder("SCIERC_DIR")


@pytest.fixture
def scierc_spert_dir() -> Path:
    """SciERC in SpERT's form."""
    return _folder("SCIERC_SPERT_DIR")
