"""Where lines go: streams that are open already, pipes, and files that are complete when they appear."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cascade.data import DataError
from cascade.files import lock
from cascade.output import opened


def write(path: str | None, *lines: str, resume: bool | None = False) -> None:
    with opened(path, resume=resume) as output:
        for line in lines:
            output.write(line)


def stop_after(path: Path, *lines: str, resume: bool = False) -> None:
    """A run that is stopped when it has written ``lines``."""
    with pytest.raises(KeyboardInterrupt), opened(str(path), resume=resume) as output:
        for line in lines:
            output.write(line)
        raise KeyboardInterrupt


NAMES = [
    None,
    "-",
    "/dev/stdout",
    "/dev//stdout",
    "/dev/fd/1",
    "/proc/self/fd/1",
    "/proc/thread-self/fd/1",
    "link",
    "all",
]


def test_the_standard_output_is_not_opened_again(tmp_path: Path) -> None:
    """That would erase what is in a file that was opened to append; nor is it replaced under a name of its own."""
    (tmp_path / "all").write_text("earlier\n")
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = (
        f"from cascade.output import opened\nfor name in {NAMES!r}:\n    print('before', name)\n"
        "    with opened(name) as output:\n        output.write('ü')\nprint('after')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUTF8": "1"}
    with (tmp_path / "all").open("ab") as stream:
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=stream, env=environment, check=True)
    lines = [line for name in NAMES for line in (f"before {name}", "ü")]
    assert (tmp_path / "all").read_text("utf-8").splitlines() == ["earlier", *lines, "after"]


def test_a_stream_that_was_opened_to_append_keeps_what_it_held(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text("earlier\n")
    with path.open("ab") as stream:
        write(f"/dev/fd/{stream.fileno()}", "later")
        stream.write(b"still open\n")
        stream.flush()
        with path.open("rb"):  # one that only reads it is none to write to
            write(str(path), "at last")
    assert path.read_text() == "earlier\nlater\nstill open\nat last\n"


def test_a_pipe_is_written_to_directly(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got = []
    reader = threading.Thread(target=lambda: got.append(path.read_text()))
    reader.start()
    write(str(path), "a", "b")
    reader.join()
    assert got == ["a\nb\n"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]
    write(os.devnull, "nothing")
    assert Path(os.devnull).exists()


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n")
    with opened(str(path)) as output:
        output.write("new")
        output.flush()
        assert path.read_text() == "old\n"
        assert (tmp_path / "out.jsonl.partial").read_text() == "new\n"
    assert path.read_text() == "new\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    path, link = tmp_path / "out.jsonl", tmp_path / "link"
    path.write_text("old\n")
    link.symlink_to(path)
    write(str(link), "new")
    assert link.is_symlink()
    assert path.read_text() == "new\n"


def test_what_was_written_before_an_interruption_is_kept_and_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n")
    partial = tmp_path / "out.jsonl.partial"
    stop_after(path, "a", "b")
    assert (path.read_text(), partial.read_text()) == ("old\n", "a\nb\n")
    assert f"2 lines are in {partial}" in capsys.readouterr().err
    with pytest.raises(DataError, match=f"{partial} holds 2 lines of an interrupted run; continue it with `--resume`"):
        write(str(path), "c")
    partial.write_text("a\nb\nhalf a li")
    with opened(str(path), resume=True) as output:
        assert (output.resumed, list(output.earlier())) == (2, [b"a\n", b"b\n"])
        output.write("c")
    assert path.read_text() == "a\nb\nc\n"
    assert not partial.exists()


def test_nothing_is_left_of_a_run_that_wrote_nothing(tmp_path: Path) -> None:
    stop_after(tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []
    write(str(tmp_path / "out.jsonl"), resume=True)
    assert (tmp_path / "out.jsonl").read_text() == ""


def test_what_cannot_be_written_is_said_before_anything_is_done(tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "where.jsonl"
    with pytest.raises(FileNotFoundError, match=f"cannot write {nowhere}: the folder {nowhere.parent} does not exist"):
        write(str(nowhere))
    with pytest.raises(IsADirectoryError, match=f"cannot write {tmp_path}: expected a file, found a folder"):
        write(str(tmp_path))
    with pytest.raises(IsADirectoryError, match="expected a file, found the name of a folder"):
        write(f"{tmp_path / 'new'}/")
    with pytest.raises(DataError, match="resume: expected an output that is a file, found the standard output"):
        write(None, resume=True)
    for closed in ("/dev/fd/987", "/dev/fd/99999999999999999999"):
        with pytest.raises(OSError, match=closed.removeprefix("/dev")):
            write(closed, "x")
    with pytest.raises(DataError, match="output: expected the name of a file, found an empty one"):
        write("", "x")
    with pytest.raises(OSError, match="cannot write /dev/full: No space left on device"):
        write("/dev/full", "x")


@pytest.mark.parametrize("resume", [None, False])
def test_who_could_read_a_file_can_read_what_replaces_it(tmp_path: Path, resume: bool | None) -> None:
    path = tmp_path / "out.jsonl"
    for mode in (0o600, 0o664):
        path.write_text("earlier")
        path.chmod(mode)
        write(str(path), "now", resume=resume)
        assert (path.read_text(), path.stat().st_mode & 0o777) == ("now\n", mode)


def test_two_runs_do_not_mix(tmp_path: Path) -> None:
    path = str(tmp_path / "out.jsonl")
    with opened(path, resume=False) as output:
        output.write("first")
        output.flush()
        with pytest.raises(OSError, match="another run is writing it"):
            write(path, "second", resume=True)
        output.write("still first")
    assert Path(path).read_text() == "first\nstill first\n"


def test_what_cannot_go_on_leaves_nothing_behind_and_spares_what_can(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, partial = tmp_path / "page.html", tmp_path / "page.html.partial"
    partial.write_text("lines of a run\nthat was interrupted\n")
    with pytest.raises(KeyboardInterrupt), opened(str(path), resume=None) as output:
        output.write("a")
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == [partial.name]
    assert capsys.readouterr().err == ""
    write(str(path), "b", resume=None)
    assert (path.read_text(), partial.read_text()) == ("b\n", "lines of a run\nthat was interrupted\n")


def test_a_file_by_the_name_of_a_partial_one_is_spared(tmp_path: Path) -> None:
    (tmp_path / "out.partial").write_text("of something else, without an end of a line")
    with pytest.raises(DataError, match="holds 0 lines of an interrupted run"):
        write(str(tmp_path / "out"), "a")
    assert (tmp_path / "out.partial").read_text().startswith("of something else")


def test_lines_of_something_else_are_left_as_they_are(tmp_path: Path) -> None:
    """Only who has compared them all cuts off what is behind them."""
    notes = "my notes\nand a line without an end"
    (tmp_path / "out.partial").write_text(notes)
    with pytest.raises(DataError, match="others"), opened(str(tmp_path / "out"), resume=True) as output:
        assert next(output.earlier()) == b"my notes\n"
        raise DataError("others")
    assert (tmp_path / "out.partial").read_text() == notes


def test_a_line_that_closes_the_file_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "array.json"
    (tmp_path / "array.json.partial").write_text("[1\n,2\n]\n")
    with opened(str(path), resume=True, end="]") as output:
        assert (output.resumed, list(output.earlier())) == (2, [b"[1\n", b",2\n"])
        output.write("]")
    assert path.read_text() == "[1\n,2\n]\n"


def test_a_lock_is_on_the_file_that_has_the_name(tmp_path: Path) -> None:
    """Not on one that its last holder has removed while this one waited to be opened."""
    path = tmp_path / "lock"
    with path.open("ab") as removed:
        path.unlink()
        assert not lock(removed)
        with path.open("ab") as first, path.open("ab") as second:
            assert not lock(removed)
            assert lock(first)
            assert not lock(second)


def test_where_a_file_system_has_no_locks_nobody_is_kept_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (tmp_path / "lock").open("ab") as file:
        assert lock(file)
    assert f"{tmp_path / 'lock'}: the file system has no locks" in caplog.text
