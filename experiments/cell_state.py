"""``python experiments/cell_state.py``: what bounds and carries the cell state, on two small tasks; a few minutes of a core.

*Characters*: the text of Python's own ``argparse``, read in pieces of 70 with the state carried on, as language models
are trained; the mean loss of the last 30 of 300 steps. *Gap*: the first of 30 inputs says which of 8 the last output
should be, noise between; the share of right answers over the last 30 of 1,000 steps. Adam, gradients clipped to 1; mean
and range over the seeds, or the step after which something was not finite.
"""

from __future__ import annotations

import argparse
import inspect
import math
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from srn_kernels import SRN

MODELS: dict[str, Callable[[int, int], nn.Module]] = {
    "nn.LSTM": nn.LSTM,
    "SRN, as printed": SRN,
    **{f"cell_clip={clip:g}": lambda *sizes, clip=clip: SRN(*sizes, cell_clip=clip) for clip in (10.0, 3.0, 1.0)},
    'init="carry"': lambda *sizes: SRN(*sizes, init="carry"),
    'init="carry", cell_clip=3': lambda *sizes: SRN(*sizes, init="carry", cell_clip=3),
}
LAST = 30


def characters(make: Callable[[int, int], nn.Module]) -> tuple[nn.ModuleList, Iterator[tuple[Tensor, float]]]:
    """The model's parts, and its losses step by step, each to be minimised before the next."""
    batch, length, hidden = 16, 70, 128
    text = torch.tensor([min(ord(character), 127) for character in inspect.getsource(argparse)])
    rows = text[: len(text) // batch * batch].view(batch, -1)
    embedding, rnn, head = parts = nn.ModuleList([nn.Embedding(128, 32), make(32, hidden), nn.Linear(hidden, 128)])

    def losses() -> Iterator[tuple[Tensor, float]]:
        while True:
            state = None
            for first in range(0, rows.shape[1] - length, length):
                x, y = rows[:, first : first + length].t(), rows[:, first + 1 : first + length + 1].t()
                output, state = rnn(embedding(x), state)
                state = tuple(part.detach() for part in state)
                loss = F.cross_entropy(head(output).flatten(0, 1), y.flatten())
                yield loss, loss.item()

    return parts, losses()


def gap(make: Callable[[int, int], nn.Module]) -> tuple[nn.ModuleList, Iterator[tuple[Tensor, float]]]:
    """The same for the other task; the second number is the share of right answers."""
    batch, length, classes, hidden = 32, 30, 8, 64
    rnn, head = parts = nn.ModuleList([make(classes + 2, hidden), nn.Linear(hidden, classes)])

    def losses() -> Iterator[tuple[Tensor, float]]:
        while True:
            wanted = torch.randint(classes, (batch,))
            x = torch.zeros(length, batch, classes + 2)
            x[0, :, :classes] = F.one_hot(wanted, classes)
            x[1:, :, classes] = torch.randn(length - 1, batch)
            x[-1, :, classes + 1] = 1
            scores = head(rnn(x)[0][-1])
            yield F.cross_entropy(scores, wanted), (scores.argmax(-1) == wanted).float().mean().item()

    return parts, losses()


def run(task: Callable, make: Callable[[int, int], nn.Module], rate: float, steps: int, seed: int) -> float | int:
    """The mean of the last measures; or, negative, the step whose loss was not finite."""
    torch.manual_seed(seed)
    parts, losses = task(make)
    optimizer, measures = torch.optim.Adam(parts.parameters(), rate), []
    for step, (loss, measure) in enumerate(islice(losses, steps), 1):
        if not math.isfinite(loss.item()):
            return -step
        measures.append(measure)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
    return sum(measures[-LAST:]) / LAST


def text(found: list[float | int]) -> str:
    if any(one < 0 for one in found):
        return "not finite: step " + ", ".join(str(-one) if one < 0 else "–" for one in found)
    return f"{sum(found) / len(found):.2f} ({min(found):.2f}–{max(found):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each model on each task")
    options = parser.parse_args()
    columns = {
        "characters, Adam 1e-3: loss": (characters, 1e-3, 300),
        "characters, Adam 3e-3: loss": (characters, 3e-3, 300),
        "gap, Adam 3e-3: right": (gap, 3e-3, 1000),
    }
    rows = [
        [
            name,
            *(
                text([run(*column[:1], make, *column[1:], seed) for seed in range(options.seeds)])
                for column in columns.values()
            ),
        ]
        for name, make in MODELS.items()
    ]
    print(tabulate(rows, ["", *columns], tablefmt="github"))


if __name__ == "__main__":
    main()
