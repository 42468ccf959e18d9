"""What the README, the pages and the docstrings show in Python runs."""

from __future__ import annotations

import doctest
import re
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import cascade.training
from cascade import Corpus, create_model
from cascade.data import overlap_kinds, sample_corpus, write_corpus
from cascade.tiny import make_tiny_trunk
from cascade.training import CascadeTrainingArguments, save_model

ROOT = Path(__file__).parents[2]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("srn_kernels", "cascade")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text()
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [
    path for pattern in ("*.md", "docs/*.md") for path in sorted(ROOT.glob(pattern)) if BLOCK.search(path.read_text())
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring(name: str) -> None:
    failed, tried = doctest.testmod(import_module(name))
    assert tried
    assert not failed


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A folder that holds what the examples read; the names that they take as given."""
    monkeypatch.chdir(tmp_path)
    corpus = sample_corpus()
    few = Corpus(corpus.documents[:1])
    for name in ("train.json", "dev.json", "test.json", "large.jsonl"):
        write_corpus(name, few)
    make_tiny_trunk((word for sentence in corpus.sentences() for word in sentence.words), "path/to/trunk")
    save_model(*create_model("path/to/trunk", few.labels(), overlaps=overlap_kinds(few)), "run/model")
    Path("runs").mkdir()
    Path("runs/scierc").symlink_to(tmp_path / "run")
    monkeypatch.setattr(cascade.training, "CascadeTrainingArguments", partial(CascadeTrainingArguments, max_steps=1))
    return {"predicted": few}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, names: dict[str, Any]) -> None:
    for block in BLOCK.findall(page.read_text()):
        exec(block, names)  # noqa: S102  it is ours
