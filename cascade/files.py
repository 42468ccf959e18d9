"""Whole or nothing: a file or a folder is written beside its place, and then takes it."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new path to write a file or a folder to, which at the end takes the place of ``target``.

    No reader sees half of it. Whatever fails, what was there before stays, and nothing is left beside it.
    """
    mark = secrets.token_hex(4)
    written, replaced = (target.with_name(f".{target.name}.{mark}.{kind}") for kind in ("new", "old"))
    try:
        yield written
        if written.is_dir() and target.exists():  # no folder is renamed over another: that one steps aside
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
