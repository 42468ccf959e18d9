"""A language model of characters: the state goes on from segment to segment, bounded by ``cell_clip``.

    python examples/language_model.py                      # the documents of this repository
    python examples/language_model.py --files a.txt b.txt  # other texts

Truncated backpropagation through time: the batch's rows are pieces of the text, read a segment at a time, and each
segment starts from the state, detached, that the one before ended in. So sequences are as long as the pieces, and the
SRN's cell state needs a bound, which clipping the gradients does not give it (docs/replacing-lstm.md). The last tenth
of the text is held out, and read in one call. At the end the model writes, a character at a time.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from srn_kernels import SRN

DOCUMENTS = Path(__file__).resolve().parents[1] / "docs"
State = tuple[Tensor, Tensor]


class LanguageModel(nn.Module):
    def __init__(self, characters: int, width: int = 32, hidden: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.rnn = SRN(width, hidden, batch_first=True, cell_clip=3)
        self.head = nn.Linear(hidden, characters)

    def forward(self, characters: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Of characters (B, T) the scores of those that follow (B, T, characters), and the state to go on from."""
        output, state = self.rnn(self.embedding(characters), state)
        return self.head(output), state


def bits(scores: Tensor, characters: Tensor) -> Tensor:
    return F.cross_entropy(scores.flatten(0, -2), characters.flatten()) / math.log(2)


@torch.no_grad()
def write(model: LanguageModel, start: Tensor, length: int, temperature: float = 0.7) -> list[int]:
    scores, state = model(start[None])
    written = []
    for _ in range(length):
        chosen = torch.multinomial((scores[:, -1] / temperature).softmax(-1), 1)  # (1, 1)
        written.append(chosen.item())
        scores, state = model(chosen, state)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", nargs="+", type=Path, help="texts in UTF-8")
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # enough for a network this small, and steady where the cores are busy
    batch, segment = 16, 64

    # The benchmarks' page is numbers in tables.
    files = options.files or [file for file in sorted(DOCUMENTS.glob("*.md")) if file.name != "benchmarks.md"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    alphabet = sorted(set(text))
    characters = torch.tensor([alphabet.index(one) for one in text])
    train, held_out = characters.tensor_split([len(text) * 9 // 10])
    rows = train[: len(train) // batch * batch].view(batch, -1)
    shares = train.bincount(minlength=len(alphabet)).clamp(min=1) / len(train)
    print(f"{len(text)} characters, {len(alphabet)} different ones")
    print(f"bits per character, held out, of their frequencies alone: {-shares.log2()[held_out].mean():.2f}")

    model = LanguageModel(len(alphabet))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    state, first, seen = None, 0, []
    for step in range(1, options.steps + 1):
        if first + segment >= rows.shape[1]:
            state, first = None, 0  # from the beginning again
        x, y = rows[:, first : first + segment], rows[:, first + 1 : first + segment + 1]
        scores, state = model(x, state)
        state = tuple(part.detach() for part in state)
        first += segment
        loss = bits(scores, y)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen.append(loss.item())
        if step % 50 == 0 or step == options.steps:
            with torch.no_grad():
                unseen = bits(model(held_out[None, :-1])[0], held_out[1:])
            print(f"step {step}: {sum(seen) / len(seen):.2f} bits per character, held out {unseen:.2f}", flush=True)
            seen = []
    start = held_out[:64]
    print(*(alphabet[one] for one in start.tolist()), "|", *(alphabet[one] for one in write(model, start, 300)), sep="")


if __name__ == "__main__":
    main()
