"""How fast the processor reads as many bytes as a layer's weights have: a bound on its time where steps are small."""

from __future__ import annotations

from functools import lru_cache
from itertools import cycle
from time import perf_counter

import torch

from srn_kernels import layout

from ..shapes import TASKS, Shape

SECONDS = 0.5
"""How long reading is tried; the fastest counts, as disturbances only slow it."""

BLOCK = 1 << 20
"""Numbers that are read in one direction. Blocks are read back and forth, as the kernels read weights, so that a reading
begins with what the caches still hold; smaller ones would time the calls."""


def recurrent_numbers(hidden: int) -> int:
    """Weights that every step reads: W_hh and W_mc."""
    return (layout.gate_blocks(TASKS) + layout.memory_count(TASKS)) * hidden**2


def least_seconds(shape: Shape) -> float:
    """Of reading all weights in each pass of a float32 call: the recurrent ones at every step, the input's once."""
    input = layout.gate_blocks(TASKS) * shape.hidden_size * shape.input_size
    recurrent = recurrent_numbers(shape.hidden_size)
    passes = 2 if shape.training else 1
    return passes * (shape.steps * recurrent + input) * seconds_a_number(recurrent, shape.threads)


@lru_cache
def seconds_a_number(numbers: int, threads: int) -> float:
    """Of reading a buffer of so many float32 numbers over and over, from the caches that hold it."""
    torch.set_num_threads(threads)
    blocks = torch.ones(numbers).split(BLOCK)
    orders = cycle((blocks, blocks[::-1]))

    def read() -> float:
        start = perf_counter()
        for block in next(orders):
            block.sum()
        return perf_counter() - start

    best, end = read(), perf_counter() + SECONDS
    while perf_counter() < end:
        best = min(best, read())
    return best / numbers


def note(shape: Shape) -> str:
    """For the notes under a table."""
    numbers = recurrent_numbers(shape.hidden_size)
    rate = 4 / seconds_a_number(numbers, shape.threads)
    return f"H {shape.hidden_size}: recurrent weights of {numbers * 4e-6:.3g} MB, read at {rate * 1e-9:.0f} GB/s"
