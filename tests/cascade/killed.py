"""Trains in processes that are killed at random moments, and goes on until the trainings are done.

``python killed.py FOLDER KILLS SEED ARGUMENT ...``: arguments of ``cascade train`` without ``--output_dir``. Trains once
without a kill, in FOLDER/whole, then in FOLDER/0, FOLDER/1, ... until KILLS processes were killed and the last training
is done. The first kill comes when there is a checkpoint, so that one is resumed from, the others at random moments. Prints,
as JSON, for each kill after how many seconds it was and which checkpoint was the last. Processes are forked, so that none
of them imports anything again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from cascade.cli import main
from cascade.training import last_checkpoint


def trained(arguments: list[str], folder: Path, seconds: float | None = None, saved: bool = False) -> bool:
    """Begins or goes on with the training in ``folder``, for so many seconds, counted from its first checkpoint if it is to
    have ``saved`` one, or to its end. Whether it came to its end."""
    resume = ["--resume_from_checkpoint", "last"] if last_checkpoint(folder) else []
    process = os.fork()
    if not process:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        main(["train", *arguments, "--output_dir", str(folder), *resume])
        os._exit(0)
    if seconds is not None:
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT  # asks, and leaves the answer to be asked for again
        while saved and not last_checkpoint(folder) and os.waitid(os.P_PID, process, ended) is None:
            time.sleep(0.01)
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"a training in {folder} ended with {status}")
    return status == 0


def kill(folder: Path, kills: int, seed: int, arguments: list[str]) -> None:
    begun = time.monotonic()
    trained(arguments, folder / "whole")
    whole = time.monotonic() - begun
    draw, killed, count = random.Random(seed), [], 0
    while len(killed) < kills:
        while len(killed) < kills:
            seconds = draw.uniform(0, whole if killed else whole / 10)
            if trained(arguments, folder / str(count), seconds, saved=not killed):
                break
            last = last_checkpoint(folder / str(count))
            killed.append((round(seconds, 2), last and last.name))
        else:
            trained(arguments, folder / str(count))
        count += 1
    print(json.dumps(killed))


if __name__ == "__main__":
    kill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
