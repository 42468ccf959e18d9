"""Where a verb writes: the standard output, a stream that is open already, or a file that is complete when it appears."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from .data import DataError
from .files import lock, replacing

STANDARD_OUTPUT = "-"
PARTIAL = ".partial"


@dataclass
class Output:
    """Lines that are written as they are made. ``resumed``: how many an earlier, interrupted run left, which are
    ``earlier`` and take ``size`` bytes; None: there can be none."""

    file: BinaryIO
    name: str
    resumed: int = 0
    written: int = 0
    size: int | None = None

    def earlier(self) -> Iterator[bytes]:
        """Lines with their ends, one at a time. Whoever takes them all accepts them as this run's: half a line behind them is
        then cut off, and writing goes on there."""
        if self.size is not None:
            self.file.seek(0)
            yield from islice(self.file, self.resumed)
            self.file.seek(self.size)
            self.file.truncate()

    def write(self, line: str) -> None:
        """A line without its end. Another process sees it after ``flush``. Raises OSError, as ``flush`` does."""
        with _named(self.name):
            self.file.write(line.encode("utf-8") + b"\n")
        self.written += 1

    def flush(self) -> None:
        with _named(self.name):
            self.file.flush()


@contextmanager
def opened(path: str | None, *, resume: bool | None = False, end: str | None = None) -> Iterator[Output]:
    """The output that ``path`` names; None or ``-``: the standard output.

    A name of a stream that is open for writing (``/dev/stdout``, ``/dev/fd/3``, a link to one, its file) is that stream,
    which is never opened again: that would erase what a file that was opened to append holds. Pipes and devices are
    written to directly. For a file, lines go to ``path.partial``, which takes its place at the end; if anything stops
    the run before, they stay there.

    Args:
        resume: go on after the whole lines that ``path.partial`` holds, if there is one. None: nothing is to go on later,
            so that there is no such file, and nothing stays when the run is stopped.
        end: a line that may close the file, and behind which nothing goes on: it is written again.

    Raises:
        OSError: it cannot be written, is a folder, or its folder does not exist.
        DataError: ``path.partial`` holds lines of an earlier run, and ``resume`` is false; or it is true, and ``path`` is
            no file; or ``path`` is empty.
    """
    if path == "":
        raise DataError("output: expected the name of a file, found an empty one")
    if path and path.endswith(os.sep):
        raise IsADirectoryError(f"cannot write {path}: expected a file, found the name of a folder")
    descriptor = 1 if path in (None, STANDARD_OUTPUT) else _descriptor(path)
    target = None if descriptor is not None else Path(os.path.realpath(path))
    if descriptor is None and (target.is_file() or not target.exists()):
        if not target.parent.is_dir():
            raise FileNotFoundError(f"cannot write {path}: the folder {target.parent} does not exist")
        with _whole(path, target) if resume is None else _going_on(path, target, resume, end) as output:
            yield output
        return
    name = path or "the standard output"
    if resume:
        raise DataError(f"resume: expected an output that is a file, found {name}")
    if target is not None and target.is_dir():
        raise IsADirectoryError(f"cannot write {name}: expected a file, found a folder")
    with _closing(target.open("wb")) if target is not None else _stream(descriptor) as file:
        output = Output(file, name)
        yield output
        output.flush()


@contextmanager
def _stream(descriptor: int) -> Iterator[BinaryIO]:
    """An open stream, which stays open."""
    standard = {1: sys.stdout, 2: sys.stderr}
    if descriptor not in standard:
        with _closing(os.fdopen(os.dup(descriptor), "wb")) as file:
            yield file
        return
    stream = standard[descriptor]
    if stream is None:
        raise OSError(f"cannot write to stream {descriptor}: it is closed")
    stream.flush()  # what was printed before comes first
    yield stream.buffer


@contextmanager
def _whole(path: str, target: Path) -> Iterator[Output]:
    with replacing(target) as written, written.open("xb") as file:
        output = Output(file, path)
        yield output
        output.flush()


@contextmanager
def _going_on(path: str, target: Path, resume: bool, end: str | None) -> Iterator[Output]:
    partial = target.with_name(target.name + PARTIAL)
    output = Output(partial.open("r+b" if partial.exists() else "x+b"), path)
    if not lock(output.file):
        output.file.close()
        raise OSError(f"cannot write {partial}: another run is writing it")
    output.size = _find_lines(output, end)
    if not resume and os.fstat(output.file.fileno()).st_size:
        output.file.close()
        raise DataError(
            f"output: {partial} holds {output.resumed} lines of an interrupted run; continue it with `--resume`, "
            "or remove the file"
        )
    try:
        yield output
        output.flush()
        os.fsync(output.file.fileno())
        if target.is_file():
            shutil.copymode(target, partial)
        partial.rename(target)
    except BaseException:
        if output.written:
            print(
                f"cascade: {output.resumed + output.written} lines are in {partial}; `--resume` goes on behind them",
                file=sys.stderr,
            )
        raise
    finally:
        _close(output.file)
        if partial.is_file() and not partial.stat().st_size:
            partial.unlink()


@contextmanager
def _closing(file: BinaryIO) -> Iterator[BinaryIO]:
    try:
        yield file
    finally:
        _close(file)


def _close(file: BinaryIO) -> None:
    """Closing tries once more to write what ``Output.flush`` could not, and has said so."""
    with suppress(OSError):
        file.close()


def _find_lines(output: Output, end: str | None) -> int:
    """Counts the whole lines of the file but for ``end``, and returns the bytes that they take."""
    closing = None if end is None else f"{end}\n".encode()
    size = 0
    for line in output.file:
        if not line.endswith(b"\n") or line == closing:
            break
        size += len(line)
        output.resumed += 1
    return size


def _descriptor(path: str) -> int | None:
    """The number of the stream that is open for writing and that ``path`` leads to, if it leads to one."""
    try:
        named = os.stat(path)
    except (OSError, ValueError):
        return None
    for number in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            writable = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
            if writable and os.path.samestat(os.fstat(number), named):
                return number
        except OSError:  # that of the listing itself
            continue
    return None


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Says which output it is that a disk is full for."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(f"cannot write {name}: {error.strerror}") from error
