"""The small corpus that comes with the package: to try things on, and for tests to overfit."""

from __future__ import annotations

from importlib.resources import as_file, files

from .reading import read_corpus
from .types import Corpus

SPLITS = ("train", "dev")


def sample_corpus(split: str = "train") -> Corpus:
    """``train`` (20 sentences) or ``dev`` (7), package data in DyGIE++'s form. Raises ValueError for another name."""
    if split not in SPLITS:
        raise ValueError(f"expected a split of the sample corpus, {' or '.join(SPLITS)}, found {split!r}")
    with as_file(files(__package__).joinpath("sample", f"{split}.jsonl")) as path:
        return read_corpus(path)
