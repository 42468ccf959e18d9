"""One turn: what it reads, and how it finds spans (Eq. 12, 13), by match, start and end logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..tensors import Ragged, Spans
from .losses import ones_at, summed_bce
from .pairs import PAIRS_AT_ONCE, LogitLinear, PairScorer


@dataclass(frozen=True)
class Turn:
    """What one turn reads: N words in R rows.

    ``features`` (N, F); ``words`` lays them out in rows; ``sentence`` (R,) int64 is the sentence of the batch that each
    row shows. A row is a sentence, or in the object turn a sentence read for one subject.
    """

    features: Tensor
    words: Ragged
    sentence: Tensor


class SpanHead(nn.Module):
    """The head of a turn, with K labels.

    A span (i, j, k), i <= j, counts when the match of i and j for k reaches the threshold; or when start i, end j and match
    each do, as printed, or their product: ``decision``.
    """

    def __init__(
        self, features: int, labels: int, match: str, hidden_size: int, dropout: float, widths: bool = False
    ) -> None:
        super().__init__()
        self.edges = LogitLinear(features, 2 * labels)  # start and end of Eq. 12 in one product
        self.match = PairScorer(features, labels, match, hidden_size, dropout, widths)
        self.dropout = nn.Dropout(dropout)

    def edge_logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Start and end logits, (N, K) each, of words (N, F)."""
        start, end = self.edges(features).chunk(2, dim=-1)
        return start, end

    def loss(self, turn: Turn, gold: Spans, candidates: Spans | None = None) -> Tensor:
        """(3,): the start, end and match terms of Eq. 14, summed over words or pairs, and over labels.

        ``gold.row`` and ``candidates.row`` count the turn's rows. The match is scored for the ``candidates`` alone, which
        are ``unique`` and hold all of ``gold``; without them, for every pair i <= j of a row.
        """
        if not len(turn.words):
            return turn.features.new_zeros(3, dtype=torch.float32)
        features = self.dropout(turn.features)
        first, last = _words_of(gold, turn.words)
        if candidates is None:
            i, j, pairs_of = turn.words.upper_pairs()
            spans = pairs_of[first] + last - first
        else:
            i, j = _words_of(candidates, turn.words)
            width = len(turn.words)
            spans = torch.searchsorted(candidates.keys(width), gold.keys(width))
        start, end = self.edge_logits(features)
        terms = (
            summed_bce(start, ones_at((first, gold.label), start.shape)),
            summed_bce(end, ones_at((last, gold.label), end.shape)),
            self.match.loss(self.match.halves(features), i, j, (spans, gold.label)),
        )
        return torch.stack(terms)

    def decode(self, turn: Turn, threshold: float, candidates: Spans | None = None, decision: str = "match") -> Spans:
        """The spans that count, in the order of rows, starts, ends and labels.

        With ``candidates`` (``row`` counts the turn's rows, labels ignored) only those spans are considered.
        If the match does not decide alone, it is computed only where start and end fired.
        """
        if not len(turn.words) or (candidates is not None and not len(candidates)):
            return Spans.empty(turn.features.device)
        if decision == "match":
            scored = [self._matches(turn, threshold, candidates)]
        else:
            scored = self._with_edges(turn, threshold, candidates, decision)
        found = [
            Spans(turn.words.row[i], turn.words.position[i], turn.words.position[j], label, score)
            for i, j, label, score in scored
        ]
        if not found:
            return Spans.empty(turn.features.device)
        return _ordered(Spans.concatenate(found), len(turn.words), self.match.labels)

    def _matches(self, turn: Turn, threshold: float, candidates: Spans | None) -> tuple[Tensor, ...]:
        """Words i and j, labels and scores of the spans that count by their match alone."""
        if candidates is None:
            i, j, _ = turn.words.upper_pairs()
        else:
            i, j = _words_of(candidates, turn.words)
        pair, label, score = self.match.above(self.match.halves(turn.features), i, j, threshold)
        return i[pair], j[pair], label, score

    def _with_edges(
        self, turn: Turn, threshold: float, candidates: Spans | None, decision: str
    ) -> Iterator[tuple[Tensor, ...]]:
        """As ``_matches``, a part at a time, where start and end decide, too: a product is no larger than its factors."""
        start, end = (logits.float().sigmoid() for logits in self.edge_logits(turn.features))
        halves = self.match.halves(turn.features)
        if candidates is None:
            fired = _fired_edges(start, end, turn.words, threshold)
        else:
            fired = _fired_candidates(start, end, turn.words, threshold, candidates)
        for i, j, label in fired:
            match = self.match(halves, i, j).float().gather(1, label[:, None])[:, 0].sigmoid()
            score = start[i, label] * end[j, label] * match
            keep = (score if decision == "product" else match) >= threshold
            yield i[keep], j[keep], label[keep], score[keep]


def _fired_edges(start: Tensor, end: Tensor, words: Ragged, threshold: float) -> Iterator[tuple[Tensor, ...]]:
    """Word pairs (i, j, label) whose start and end fired for one label in one row, i <= j, a bounded number at a time.

    Fired starts and ends are sorted by (row, label, word), so the partners of a start are one run of the ends.
    """
    labels, total = start.shape[1], len(words)

    def sorted_keys(probability: Tensor) -> tuple[Tensor, Tensor]:
        word, label = (probability >= threshold).nonzero(as_tuple=True)
        keys, _ = ((words.row[word] * labels + label) * total + word).sort()
        return keys, keys // total

    starts, start_group = sorted_keys(start)
    ends, _ = sorted_keys(end)
    low = torch.searchsorted(ends, starts)
    high = torch.searchsorted(ends, (start_group + 1) * total)
    reach = (high - low).cumsum(0)  # pairs up to and including each start
    first = 0
    while first < len(starts):
        before = reach[first - 1] if first else reach.new_zeros(())
        last = max(int(torch.searchsorted(reach, before + PAIRS_AT_ONCE, right=True)), first + 1)
        runs = Ragged((high - low)[first:last])
        which = first + runs.row
        yield starts[which] % total, ends[low[which] + runs.position] % total, start_group[which] % labels
        first = last


def _fired_candidates(
    start: Tensor, end: Tensor, words: Ragged, threshold: float, candidates: Spans
) -> Iterator[tuple[Tensor, ...]]:
    """Word pairs (i, j, label) of given spans whose start and end fired, a bounded number at a time."""
    for part in candidates.chunks(max(1, PAIRS_AT_ONCE // start.shape[1])):
        i, j = _words_of(part, words)
        which, label = ((start[i] >= threshold) & (end[j] >= threshold)).nonzero(as_tuple=True)
        yield i[which], j[which], label


def _words_of(spans: Spans, words: Ragged) -> tuple[Tensor, Tensor]:
    """(S,) each: the first and the last word of each span, among all words."""
    first = words.offsets[spans.row]
    return first + spans.start, first + spans.end


def _ordered(spans: Spans, width: int, labels: int) -> Spans:
    """By row, start, end and label; ``width`` exceeds every word index."""
    return spans[torch.argsort(spans.keys(width) * labels + spans.label)]
