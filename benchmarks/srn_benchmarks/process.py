"""Runs a program that may hang or die, with a limit on its time; its output goes into a log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ending:
    """How a program ended: its exit status, None if it was killed from here, the same in words, and what it printed."""

    status: int | None
    text: str
    printed: str = ""
    seconds: float = 0.0

    @property
    def last_test(self) -> str:
        """Where a pytest that did not end well was: the last test that it named."""
        named = re.findall(r"^(?:\[gw\d+\].* )?(\S+::\S+)", self.printed, re.MULTILINE)
        return f", at {named[-1]}" if named else ""


def run(command: Sequence[str], log: Path, seconds: float, environment: Mapping[str, str] = os.environ) -> Ending:
    """Runs ``command`` in the checkout and adds what it prints to ``log``. After ``seconds`` it is killed, with all it
    has started."""
    started = perf_counter()
    path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks"), *filter(None, [environment.get("PYTHONPATH")])])
    with log.open("a+", encoding="utf-8", errors="replace") as output:
        output.write(f"\n$ {' '.join(command)}\n")
        output.flush()
        before = output.tell()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environment) | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
            text = f"exited with status {status}" if status >= 0 else f"died of signal {-status}"
        except subprocess.TimeoutExpired:
            status, text = None, f"was not done after {seconds:g} s, and was killed"
        finally:
            _kill(process)
        output.seek(before)
        printed = output.read()
    return Ending(status, text, printed, perf_counter() - started)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills the process and what it may have left running: all that its session holds."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
