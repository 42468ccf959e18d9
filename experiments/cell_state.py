"""``python experiments/cell_state.py``: what bounds and carries the cell state; a few minutes of a core.

*Reach*: before any training, the size of the gradient of the last output by the input ten steps back, over that by the
last input. *Characters*: the text of Python's own ``argparse``, read in pieces of 70 with the state carried on, as language
models are trained; the loss. *Gap*: the first of 10 or 20 inputs says which of 8 the last output should be, noise between;
the share of right answers. Adam, gradients clipped to 1, the mean of the last 30 of 300 steps; mean and range over the
seeds, or the steps at which something was no longer finite.
"""

from __future__ import annotations

import argparse
import inspect
import math
from collections.abc import Callable, Iterator
from functools import partial
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
STEPS, LAST = 300, 30

Make = Callable[[int, int], nn.Module]
Task = Callable[[Make], tuple[nn.ModuleList, Iterator[tuple[Tensor, float]]]]
"""A model's parts, and step by step its loss, to be minimised before the next, and what is reported of it."""


def characters(make: Make) -> tuple[nn.ModuleList, Iterator[tuple[Tensor, float]]]:
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


def gap(make: Make, length: int) -> tuple[nn.ModuleList, Iterator[tuple[Tensor, float]]]:
    batch, classes, hidden = 32, 8, 64
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


TASKS: dict[str, tuple[Task, float]] = {
    "characters, Adam 1e-3: loss": (characters, 1e-3),
    "characters, Adam 3e-3: loss": (characters, 3e-3),
    "gap of 10, Adam 3e-3: right": (partial(gap, length=10), 3e-3),
    "gap of 20, Adam 3e-3: right": (partial(gap, length=20), 3e-3),
}


def run(task: Task, make: Make, rate: float, seed: int) -> float | int:
    """The mean of what is reported of the last steps; or, negative, the step whose loss was not finite."""
    torch.manual_seed(seed)
    parts, losses = task(make)
    optimizer, found = torch.optim.Adam(parts.parameters(), rate), []
    for step, (loss, report) in enumerate(islice(losses, STEPS), 1):
        found.append(report)
        if not math.isfinite(loss.item()):
            return -step
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
    return sum(found[-LAST:]) / LAST


def reach(make: Make, seed: int) -> float:
    """The gradient by the input ten steps back over that by the last."""
    torch.manual_seed(seed)
    rnn = make(16, 32).double()
    x = torch.randn(11, 8, 16, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(rnn(x)[0][-1].sum(), x)
    sizes = gradient.flatten(1).norm(dim=1)
    return (sizes[0] / sizes[-1]).item()


def text(found: list[float | int]) -> str:
    if any(one < 0 for one in found):
        return "not finite: step " + ", ".join(str(-one) if one < 0 else "–" for one in found)
    return f"{sum(found) / len(found):.2f} ({min(found):.2f}–{max(found):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each model")
    options = parser.parse_args()
    seeds, rows = range(options.seeds), []
    for name, make in MODELS.items():
        reached = sum(reach(make, seed) for seed in seeds) / options.seeds
        learned = [text([run(task, make, rate, seed) for seed in seeds]) for task, rate in TASKS.values()]
        rows.append([name, f"{reached:.0e}", *learned])
    print(tabulate(rows, ["", "reach", *TASKS], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
