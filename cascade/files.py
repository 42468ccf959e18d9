"""Writes a file or a folder whole or not at all: beside its place, then moved there."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new path to write a file or a folder to, which replaces ``target`` at the end.

    No reader sees half of it. If anything fails, what was there before stays, and nothing is left beside it.
    """
    mark = secrets.token_hex(4)
    written, replaced = (target.with_name(f".{target.name}.{mark}.{kind}") for kind in ("new", "old"))
    try:
        yield written
        if written.is_dir() and target.exists():  # a folder cannot be renamed over another: the old one is moved aside
            target.rename(replaced)
        try:
            written.rename(target)
        except OSError:
            if replaced.exists():
                replaced.rename(target)
            raise
    finally:
        _remove(written)
        _remove(replaced)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
