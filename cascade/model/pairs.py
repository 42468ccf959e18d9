"""Scores of word pairs (Eq. 13): a first layer that splits into a part for each word, then a sum or a hidden layer."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .losses import PairLoss, ones_at

PAIRS_AT_ONCE = 1 << 13  # bounds the memory of training and of decoding


WIDEST = 16  # words: wider spans are taken as so wide


class LogitLinear(nn.Linear):
    """A layer whose outputs are logits of rare events: its bias starts where they have the probability ``PRIOR``.

    With a bias of 0 half of all pairs would fire at first, and their loss would drown that of the few true ones.
    """

    PRIOR = 0.01

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)
        nn.init.constant_(self.bias, math.log(self.PRIOR / (1 - self.PRIOR)))


class PairScorer(nn.Module):
    """Logits of K labels for pairs (i, j) of words with ``features`` numbers each.

    ``additive`` is Eq. 13 as printed, u_i + v_j. For two pairs (a, b) and (c, d) it gives
    (a, b) + (c, d) = (a, d) + (c, b): when both fire, one of the crossed pairs must.
    ``hidden`` puts a nonlinear layer of ``hidden_size`` between, where with ``widths`` it also counts how many words there
    are from i <= j on to j. In both the layer over [x_i; x_j] is computed as
    W_l x_i + W_r x_j, once per word, so that no concatenation of pairs is ever built.
    """

    def __init__(
        self, features: int, labels: int, match: str, hidden_size: int, dropout: float, widths: bool = False
    ) -> None:
        super().__init__()
        self.labels = labels
        if match == "hidden":
            self.left = nn.Linear(features, hidden_size)
            self.right = nn.Linear(features, hidden_size, bias=False)
            self.out = LogitLinear(hidden_size, labels)
            self.width = nn.Embedding(WIDEST, hidden_size) if widths else None
        else:
            self.left = LogitLinear(features, labels)
            self.right = nn.Linear(features, labels, bias=False)
            self.out = self.width = None
        self.dropout = nn.Dropout(dropout)

    def halves(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What each word contributes on the left and on the right of a pair: (N, features) to twice (N, inner)."""
        return self.left(features), self.right(features)

    def forward(self, halves: tuple[Tensor, Tensor], i: Tensor, j: Tensor) -> Tensor:
        """(P, K) logits of the pairs of words ``i`` (P,) and ``j`` (P,)."""
        left, right = halves
        return self._logits(left[i] + right[j], j - i)

    def above(
        self, halves: tuple[Tensor, Tensor], i: Tensor, j: Tensor, threshold: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Which of the pairs of ``forward`` count for which labels: pairs, labels and their probabilities, (F,) each, for
        those that reach ``threshold``, in the order of pairs and labels. Logits are computed for a part of the pairs at a
        time."""
        found, first = [], 0
        for part in zip(i.split(PAIRS_AT_ONCE), j.split(PAIRS_AT_ONCE), strict=True):
            probability = self(halves, *part).float().sigmoid()  # (P, K)
            pair, label = (probability >= threshold).nonzero(as_tuple=True)
            found.append((first + pair, label, probability[pair, label]))
            first += len(part[0])
        pair, label, probability = (torch.cat(parts) for parts in zip(*found, strict=True))
        return pair, label, probability

    def loss(self, halves: tuple[Tensor, Tensor], i: Tensor, j: Tensor, ones: tuple[Tensor, Tensor]) -> Tensor:
        """Binary cross-entropy (Eq. 14) of the logits of ``forward``, summed; ``ones`` (pairs, labels) marks the true ones.

        There are far more pairs than words: (P, inner) numbers are never in memory for all of them.
        """
        targets = ones_at(ones, (len(i), self.labels))
        parts = zip(*(each.split(PAIRS_AT_ONCE) for each in (i, j, targets)), strict=True)
        layers = [layer for layer in (self.out, self.width) if layer is not None]
        weights = [weight for layer in layers for weight in layer.parameters() if weight.requires_grad]
        return PairLoss.apply(self._logits, parts, torch.is_grad_enabled(), *halves, *weights)

    def _logits(self, pairs: Tensor, apart: Tensor) -> Tensor:
        """(P, K), of what the two words of each pair contribute in sum (P, inner), and how far they are apart (P,)."""
        if self.out is None:
            return pairs
        if self.width is not None:
            pairs = pairs + self.width(apart.clamp(max=WIDEST - 1))
        return self.out(self.dropout(F.gelu(pairs)))
