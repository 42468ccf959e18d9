"""A stream read by ``SRNCell``, one frame at a time: equal to ``SRN`` over the whole of it, and what a step costs.

    python examples/streaming.py
    python examples/streaming.py --streams 8 --threads 2

Networks are trained as an ``SRN``, over whole sequences. ``SRNCell`` has the same parameters, named without the layer,
and answers each frame when it comes; between frames there is only the state (h, c). ``torch.inference_mode`` keeps
autograd from recording a graph that grows with the stream.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from statistics import median

import torch
from torch import Tensor, nn

from srn_kernels import SRN, SRNCell

TASKS = ("speech", "speaker", "noise")


def frames(count: int, streams: int, size: int) -> Iterator[Tensor]:
    """Stands for a source that delivers a frame of every stream at a time, (B, D): a random walk."""
    frame = torch.zeros(streams, size)
    for _ in range(count):
        frame = 0.9 * frame + 0.4 * torch.randn(streams, size)
        yield frame


def microseconds(cell: nn.Module, inputs: list[Tensor]) -> float:
    """The median time of a step."""
    state, times = None, []
    for x in inputs:
        start = time.perf_counter()
        state = cell(x, state)
        times.append(time.perf_counter() - start)
    return median(times) * 1e6


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="frames")
    parser.add_argument("--streams", type=int, default=1, help="read side by side")
    parser.add_argument("--size", type=int, default=80, help="numbers in a frame")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)

    # A stream has no end, and nothing else bounds the cell state (docs/replacing-lstm.md).
    rnn = SRN(options.size, options.hidden, tasks=TASKS, cell_clip=3)
    cell = SRNCell(options.size, options.hidden, tasks=TASKS, cell_clip=3)
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in rnn.state_dict().items()})

    state, inputs, outputs, speech = None, [], [], []
    for frame in frames(options.steps, options.streams, options.size):
        out = cell(frame, state, return_memories=True)
        state = out.hx  # (h, c), each (B, H)
        inputs.append(frame)
        outputs.append(out.output)
        speech.append(out.task("speech"))  # (B, 4·H), what a head for that task would read now

    whole = rnn(torch.stack(inputs), return_memories=True)
    torch.testing.assert_close(torch.stack(outputs), whole.output)
    torch.testing.assert_close(torch.stack(speech), whole.task("speech"))
    torch.testing.assert_close(state, tuple(last.squeeze(0) for last in whole.hx))
    off = (torch.stack(outputs) - whole.output).abs().max()
    print(f"{options.steps} steps one at a time equal the whole sequence: largest difference {off:.1e}")

    lstm = nn.LSTMCell(options.size, options.hidden)
    work = sum(p.numel() for p in cell.parameters()) / sum(p.numel() for p in lstm.parameters())
    sizes = f"B {options.streams}, D {options.size}, H {options.hidden}, threads {options.threads}"
    print(f"{sizes}; SRNCell does {work:.1f} times the work of nn.LSTMCell")
    for name, one in (("SRNCell", cell), ("nn.LSTMCell", lstm)):
        print(f"{name:12}{microseconds(one, inputs):8.1f} µs/step")


if __name__ == "__main__":
    main()
