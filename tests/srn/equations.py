"""A second transcription of the SRN's equations, in NumPy, one sequence and one step at a time.

It shares nothing with ``srn_kernels``: not the order of the memories, not the names of the parameters, not the form of
the mask gates. Equation numbers are those of arXiv 2202.07281.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Array = np.ndarray

MEMORIES = {
    1: ["e"],
    2: ["e", "s", "es"],
    3: ["e", "s", "o", "es", "eo", "so", "eso"],
    4: ["e", "s", "o", "x", "es", "eo", "ex", "so", "sx", "ox", "eso", "esx", "eox", "sox", "esox"],
}
"""The tasks that share each memory, in the order of Eq. 10: by size, then in the order of the tasks e, s, o, x."""


def sigmoid(x: Array) -> Array:
    """0.5 (1 + tanh(x/2)): no overflow on either side."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def mask_gates(rho: Mapping[str, Array]) -> dict[str, Array]:
    """The gate of each memory, as the paper prints it: Eq. 4 and 5 for three tasks, Eq. 16-19 for two."""
    if len(rho) == 1:
        return {"e": rho["e"]}
    if len(rho) == 2:
        e, s = rho["e"], rho["s"]
        g_es = e * s
        return {"es": g_es, "e": e - g_es, "s": s - g_es}
    if len(rho) == 3:
        e, s, o = rho["e"], rho["s"], rho["o"]
        g_es, g_eo, g_so, g_eso = e * s, e * o, s * o, e * s * o
        return {
            "eso": g_eso,
            "es": g_es,
            "eo": g_eo,
            "so": g_so,
            "e": e - g_es - g_eo + g_eso,
            "s": s - g_es - g_so + g_eso,
            "o": o - g_eo - g_so + g_eso,
        }
    # The same beyond what the paper prints: products for what is shared, inclusion and exclusion for what is not.
    gates = {}
    for name in MEMORIES[len(rho)]:
        gates[name] = np.prod([rho[task] for task in name], axis=0)
    for task in rho:
        gates[task] = sum(
            (-1) ** (len(name) - 1) * np.prod([rho[t] for t in name], axis=0)
            for name in MEMORIES[len(rho)]
            if task in name
        )
    return gates


class Step(NamedTuple):
    h: Array  # (P)
    c: Array  # (H)
    memories: Array  # (M, H)


def step(x: Array, h: Array, c: Array, parameters: Mapping[str, Array], tasks: int) -> Step:
    """One step of one sequence; ``parameters`` by name without the layer's suffix, absent ones left out."""
    hidden = len(c)
    z = parameters["weight_ih"] @ x + parameters["weight_hh"] @ h
    if "bias_ih" in parameters:
        z = z + parameters["bias_ih"] + parameters["bias_hh"]
    f, o, candidate, *rest = [z[i * hidden : (i + 1) * hidden] for i in range(3 + 2 * tasks)]
    f, o, candidate = sigmoid(f), sigmoid(o), np.tanh(candidate)  # Eq. 1
    names = "esox"[:tasks]
    on_candidate = mask_gates({name: sigmoid(block) for name, block in zip(names, rest[:tasks], strict=True)})  # Eq. 3
    on_history = mask_gates({name: sigmoid(block) for name, block in zip(names, rest[tasks:], strict=True)})
    history = f * c  # Eq. 2
    s = [on_history[m] * history + on_candidate[m] * candidate for m in MEMORIES[tasks]]  # Eq. 6, 7
    c = parameters["weight_mc"] @ np.concatenate(s)  # Eq. 8
    if "bias_mc" in parameters:
        c = c + parameters["bias_mc"]
    h = o * np.tanh(c)  # Eq. 9
    if "weight_hr" in parameters:
        h = parameters["weight_hr"] @ h
    return Step(h, c, np.tanh(np.stack(s)))  # Eq. 10


class Sequence(NamedTuple):
    output: Array  # (T, directions·P)
    h_n: Array  # (layers·directions, P)
    c_n: Array  # (layers·directions, H)
    memories: Array  # (T, M, directions·H), of the last layer


def network(
    x: Array, h0: Array, c0: Array, state: Mapping[str, Array], tasks: int, layers: int, bidirectional: bool
) -> Sequence:
    """A whole network over one sequence: ``x`` (T, D), ``h0`` (layers·directions, P), ``state`` a state dict."""
    h_n, c_n = [], []
    for layer in range(layers):
        outputs, memories = [], []
        for direction in range(1 + bidirectional):
            suffix = f"_l{layer}" + "_reverse" * direction
            parameters = {name.removesuffix(suffix): v for name, v in state.items() if name.endswith(suffix)}
            h, c = h0[len(h_n)], c0[len(c_n)]
            done = []
            for row in x[::-1] if direction else x:
                done.append(step(row, h, c, parameters, tasks))
                h, c = done[-1].h, done[-1].c
            h_n.append(h)
            c_n.append(c)
            if direction:
                done.reverse()
            outputs.append(np.stack([one.h for one in done]))
            memories.append(np.stack([one.memories for one in done]))
        x = np.concatenate(outputs, axis=-1)
    return Sequence(x, np.stack(h_n), np.stack(c_n), np.concatenate(memories, axis=-1))
