"""How far the measuring on a GPU has come: kept in a file, so that it goes on where a process died or hung."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class State:
    """``done``: keys of the items measured; ``lost``: those that cannot be, with the reason; ``dropped``: backends that
    took a process down, with what happened, left out from then on; ``item`` and ``turn``: what is being measured, and
    which implementation has its turn, empty between items.
    """

    backends: list[str]
    deadline: float  # seconds since the epoch
    done: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    item: str = ""
    turn: str = ""

    @classmethod
    def read(cls, path: Path) -> State:
        return cls(**json.loads(path.read_text("utf-8")))

    def write(self, path: Path) -> None:
        whole = path.with_suffix(".new")  # a process that dies here leaves the old file, not half a one
        whole.write_text(json.dumps(asdict(self)), "utf-8")
        whole.replace(path)

    @property
    def taking_part(self) -> list[str]:
        return [name for name in self.backends if name not in self.dropped]

    def is_open(self, key: str) -> bool:
        return key not in self.done and key not in self.lost

    def blame(self, what: str) -> str:
        """After a process has died or hung: drops the backend that had its turn, or gives up the item. Says which."""
        if self.turn in self.backends:
            self.dropped[self.turn] = f"{what} in {self.item!r}"
            said = f"{self.turn} is left out from here on: the process {self.dropped[self.turn]}"
        elif self.item:
            self.lost[self.item] = f"the process {what}"
            said = f"{self.item!r} is given up: the process {what}"
        else:
            said = f"the process {what} between two measurements"
        self.item = self.turn = ""
        return said
