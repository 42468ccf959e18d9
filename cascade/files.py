"""Files that appear whole or not at all, beside their place and then moved there; and locks between processes."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
logger = logging.getLogger(__name__)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new path to write a file or a folder to, which replaces ``target`` at the end.

    No reader sees half of it. If anything fails, what was there before stays, and nothing is left beside it. A file has
    the permissions of the one that it replaces.
    """
    mark = secrets.token_hex(4)
    written, replaced = (target.with_name(f".{target.name}.{mark}.{kind}") for kind in ("new", "old"))
    try:
        yield written
        if written.is_dir() and target.exists():  # a folder cannot be renamed over another: the old one is moved aside
            target.rename(replaced)
        elif target.is_file():
            shutil.copymode(target, written)
        try:
            written.rename(target)
        except OSError:
            if replaced.exists():
                replaced.rename(target)
            raise
    finally:
        _remove(written)
        _remove(replaced)


def lock(file: BinaryIO) -> bool:
    """Whether this process has ``file`` to itself, until it is closed or the process ends; False: another one has it, or has
    just removed it. Where the file system has no locks, nobody is kept out, with a warning."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        logger.warning("%s: the file system has no locks: two runs that write there are not kept apart", file.name)
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
