"""Runs a program that may hang or die: its output goes into a log, and it is ended when it is silent or out of time."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TextIO

OUT_OF_TIME = "ran out of time"


@dataclass(frozen=True)
class Ending:
    """How a program ended: its exit status, None if it was killed from here; and that in words, "exited with status 1"."""

    status: int | None
    text: str


def watch(
    command: Sequence[str],
    log: TextIO,
    *,
    deadline: float,
    silence: float,
    environment: Mapping[str, str],
    folder: Path,
    hear: Callable[[str], object] = lambda line: None,
) -> Ending:
    """Runs ``command`` until it ends, the ``deadline`` (seconds since the epoch) is there, or ``silence`` seconds pass
    without a line of output. ``hear`` gets every line, without its end.

    It is killed with all that it has started.
    """
    log.write(f"\n$ {' '.join(command)}\n")
    log.flush()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        left = deadline - time()
        try:
            line = lines.get(timeout=max(0.0, min(silence, left)))
        except queue.Empty:
            _kill(process)
            text = OUT_OF_TIME if deadline - time() <= 0 else f"was silent for {silence:.0f} s"
            log.write(f"[ended from outside: it {text}]\n")
            return Ending(None, text)
        if line is None:
            status = process.wait()
            return Ending(status, f"exited with status {status}" if status >= 0 else f"died of signal {-status}")
        log.write(line)
        log.flush()
        hear(line.rstrip("\n"))


def _kill(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)  # a session of its own, so nobody else's
    except ProcessLookupError:
        pass
    process.wait()
