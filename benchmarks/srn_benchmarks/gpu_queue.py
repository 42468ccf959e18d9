"""Measures one item after another on a GPU while there is time; what fails is left out and said so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time

from .gpu_state import State
from .gpu_timing import Clock, by_events, by_wall
from .results import Results


@dataclass
class Bench:
    """What an item works with: where its cases go, the backends that take part, and the clocks."""

    results: Results
    backends: Sequence[str]
    turn: Callable[[str], object] = lambda name: None
    """To be told which implementation runs next, so that one that takes the process down is known."""
    clock: Clock = by_events
    wall: Clock = by_wall


@dataclass(frozen=True)
class Item:
    """``seconds``: about how long it takes, and so how much time must be left for it to be begun."""

    key: str
    seconds: float
    run: Callable[[Bench], object]
    backend: str | None = None
    """The one backend that it is of; None if it is of all that take part."""

    @property
    def group(self) -> str:
        """What it is part of, in a word or two, where there are many alike."""
        return self.key.partition(", ")[0] if self.key.startswith("sizes") else self.key


def work_through(
    items: Sequence[Item],
    state: State,
    bench: Bench,
    files: tuple[Path, Path],
    *,
    synchronize: Callable[[], object],
    now: Callable[[], float] = time,
    say: Callable[[str], object] = print,
) -> None:
    """Runs what is open, in order, as long as there is time, and writes results and state (``files``) after each.

    An item that raises is given up, with its cases so far, and the next one begun, unless ``synchronize`` raises: then the
    device is lost to this process.
    """
    results_file, state_file = files

    def turn(name: str) -> None:
        state.turn = name
        state.write(state_file)

    bench.turn = turn
    for item in items:
        if not state.is_open(item.key):
            continue
        if item.backend in state.dropped:
            state.lost[item.key] = f"{item.backend} was left out: the process {state.dropped[item.backend]}"
            continue
        if now() + item.seconds > state.deadline:
            say(f"no time for {item.key}")
            continue
        say(f"measuring {item.key}")
        state.item = item.key
        turn("")
        cases = len(bench.results.cases)
        try:
            item.run(bench)
            synchronize()
        except Exception as error:  # noqa: BLE001  whatever it is, the items after it are still wanted
            synchronize()
            del bench.results.cases[cases:]
            state.lost[item.key] = f"{type(error).__name__}: {error}".splitlines()[0]
            say(f"given up: {item.key}: {state.lost[item.key]}")
        else:
            state.done.append(item.key)
        bench.results.write(results_file)
        state.item = ""
        turn("")
