"""The loss of word pairs: the same in parts as in one, with its gradient, in memory that the words decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cascade.model import pairs as pairs_module
from cascade.model.losses import ones_at, summed_bce
from cascade.model.pairs import WIDEST, PairScorer
from cascade.tensors import Ragged

FEATURES, LABELS, INNER = 5, 3, 16
MATCHES = pytest.mark.parametrize("match", ["additive", "hidden", "hidden, with widths"])


def scorer(match: str, dropout: float = 0.0) -> PairScorer:
    match, _, widths = match.partition(", ")
    made = PairScorer(FEATURES, LABELS, match, INNER, dropout, bool(widths)).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def loss_of(scorer: PairScorer, lengths: list[int]) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The loss over all pairs of rows of words, as a function of the two halves and of the weights; and those."""
    words = Ragged(torch.tensor(lengths))
    i, j, _ = words.upper_pairs()
    pair, label = (torch.rand(len(i), LABELS) < 0.1).nonzero(as_tuple=True)
    weights = [weight for layer in (scorer.out, scorer.width) if layer is not None for weight in layer.parameters()]
    halves = scorer.halves(torch.randn(len(words), FEATURES, dtype=torch.float64))

    def loss(left: Tensor, right: Tensor, *_: Tensor) -> Tensor:
        torch.manual_seed(0)  # of dropout
        return scorer.loss((left, right), i, j, (pair, label))

    return loss, [*(half.detach().requires_grad_() for half in halves), *weights]


@contextmanager
def at_once(pairs: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs_module, "PAIRS_AT_ONCE", pairs)
        yield


@MATCHES
def test_parts_change_neither_loss_nor_gradient(match: str) -> None:
    made = scorer(match)
    loss, tensors = loss_of(made, [7, 0, 1, 12])
    whole = loss(*tensors)
    expected = torch.autograd.grad(whole, tensors)
    for size in (1, 5, 1000):
        with at_once(size):
            parts = loss(*tensors)
        torch.testing.assert_close(parts, whole)
        torch.testing.assert_close(torch.autograd.grad(parts, tensors), expected)
    with torch.no_grad():
        assert torch.equal(loss(*tensors), whole)


@MATCHES
def test_loss_is_that_of_the_logits(match: str) -> None:
    made = scorer(match)
    words = Ragged(torch.tensor([4, 3]))
    i, j, _ = words.upper_pairs()
    halves = made.halves(torch.randn(7, FEATURES, dtype=torch.float64))
    ones = torch.tensor([0, 5, 5]), torch.tensor([2, 0, 1])
    logits = made(halves, i, j)
    torch.testing.assert_close(made.loss(halves, i, j, ones), summed_bce(logits, ones_at(ones, logits.shape)))


def test_widths_are_those_of_spans() -> None:
    made, features = scorer("hidden, with widths"), torch.randn(40, FEATURES, dtype=torch.float64)
    i, j, _ = Ragged(torch.tensor([40])).upper_pairs()
    before = made(made.halves(features), i, j)
    made.width.weight.data[[2, WIDEST - 1]] += 1
    moved = (made(made.halves(features), i, j) != before).any(1)
    assert torch.equal(moved, (j - i == 2) | (j - i >= WIDEST - 1))


@MATCHES
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradcheck(match: str, dropout: float) -> None:
    loss, tensors = loss_of(scorer(match, dropout), [4, 3])
    with at_once(3):
        assert torch.autograd.gradcheck(loss, tensors)


def test_gradients_of_low_precision_are_summed_in_float32() -> None:
    made = scorer("hidden")
    loss, exact = loss_of(made, [300])
    low = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
    exact = [tensor.detach().double().requires_grad_() for tensor in low]
    expected = torch.autograd.grad(loss(*exact), exact[:2])
    made.bfloat16()
    for got, want in zip(torch.autograd.grad(loss(*low), low[:2]), expected, strict=True):
        assert got.dtype == torch.bfloat16
        assert (got - want).norm() < 0.01 * want.norm()


def test_frozen_weights() -> None:
    made = scorer("hidden")
    made.out.weight.requires_grad_(False)
    loss, (left, right, weight, bias) = loss_of(made, [4, 3])
    loss(left, right).backward()
    assert weight.grad is None
    assert all(tensor.grad is not None for tensor in (left, right, bias))


class Saved:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Largest(TorchDispatchMode):
    """Numbers in the largest tensor that any operation made."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        sizes = (result.numel() for result in tree_leaves(results) if isinstance(result, Tensor))
        self.size = max(self.size, *sizes, 0)
        return results


@MATCHES
def test_memory_grows_with_the_words_and_not_with_the_pairs(match: str) -> None:
    """Four times the words are sixteen times the pairs."""

    def memory(words: int) -> tuple[int, int]:
        """Numbers kept for the backward pass, and in the largest tensor but the targets, which have no inner size."""
        loss, tensors = loss_of(scorer(match), [words])
        live: WeakSet[Saved] = WeakSet()

        def save(tensor: Tensor) -> Saved:
            live.add(saved := Saved(tensor))
            return saved

        with at_once(32), Largest() as largest, saved_tensors_hooks(save, lambda saved: saved.tensor):
            done = loss(*tensors)
            kept = sum(saved.tensor.numel() for saved in live)
            done.backward()
        return kept, largest.size

    few, many, pairs = memory(30), memory(120), 120 * 121 // 2
    assert many[0] <= 4 * few[0]
    assert many[1] <= max(pairs * LABELS, 120 * INNER)
