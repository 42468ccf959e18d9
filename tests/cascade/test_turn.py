"""The span head: its decoding against every span there is, its loss against a dense one, and what its match can say."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cascade.model import pairs as pairs_module
from cascade.model import turn as turn_module
from cascade.model.config import DECISIONS
from cascade.model.turn import SpanHead, Turn
from cascade.tensors import Ragged, Spans

FEATURES, HIDDEN = 5, 6


def make(labels: int, match: str, seed: int) -> SpanHead:
    torch.manual_seed(seed)
    head = SpanHead(FEATURES, labels, match, HIDDEN, dropout=0.0).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head.eval()


def turn_of(lengths: list[int]) -> Turn:
    words = Ragged(torch.tensor(lengths, dtype=torch.int64))
    return Turn(torch.randn(len(words), FEATURES, dtype=torch.float64), words, torch.arange(len(lengths)))


def dense(head: SpanHead, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Start (T, K), end (T, K) and match (T, T, K) logits of one row (T, F), by concatenating every pair."""
    start, end = (x @ head.edges.weight.T + head.edges.bias).split(head.edges.out_features // 2, dim=1)
    match = head.match
    weight = torch.cat([match.left.weight, match.right.weight], dim=1)
    pairs = torch.cat([x[:, None].expand(-1, len(x), -1), x[None].expand(len(x), -1, -1)], dim=-1)  # (T, T, 2F)
    inner = pairs @ weight.T + match.left.bias
    return start, end, inner if match.out is None else match.out(F.gelu(inner))


@torch.no_grad()
def brute_force(
    head: SpanHead, turn: Turn, threshold: float, decision: str = "each"
) -> dict[tuple[int, int, int, int], float]:
    found = {}
    for row, x in enumerate(turn.features.split(turn.words.lengths.tolist())):
        start, end, match = (logits.sigmoid() for logits in dense(head, x))
        for i, j in itertools.combinations_with_replacement(range(len(x)), 2):
            for label in range(start.shape[1]):
                three = start[i, label], end[j, label], match[i, j, label]
                product = three[0] * three[1] * three[2]
                if {"each": min(three), "product": product, "match": three[2]}[decision] >= threshold:
                    found[row, i, j, label] = float(three[2] if decision == "match" else product)
    return found


def as_dict(spans: Spans) -> dict[tuple[int, int, int, int], float]:
    keys = zip(*(x.tolist() for x in (spans.row, spans.start, spans.end, spans.label)), strict=True)
    found = dict(zip(keys, spans.score.tolist(), strict=True))
    assert len(found) == len(spans), "a span was found twice"
    return found


cases = {
    "lengths": st.lists(st.integers(0, 9), min_size=1, max_size=5),
    "labels": st.integers(1, 4),
    "match": st.sampled_from(["additive", "hidden"]),
    "seed": st.integers(0, 10_000),
}
DECISION = st.sampled_from(DECISIONS)


@given(
    **cases,
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.8]),
    at_once=st.sampled_from([1, 3, 1 << 17]),
    decision=DECISION,
)
def test_decoding_finds_what_brute_force_finds(
    lengths: list[int], labels: int, match: str, seed: int, threshold: float, at_once: int, decision: str
) -> None:
    head, turn = make(labels, match, seed), turn_of(lengths)
    with pytest.MonkeyPatch.context() as patch:
        for module in (turn_module, pairs_module):
            patch.setattr(module, "PAIRS_AT_ONCE", at_once)
        spans = head.decode(turn, threshold, decision=decision)
    expected = brute_force(head, turn, threshold, decision)
    assert as_dict(spans) == pytest.approx(expected, rel=1e-4)
    assert list(as_dict(spans)) == sorted(expected)


@given(**cases, share=st.floats(0, 1), decision=DECISION)
def test_candidates_only_restrict(
    lengths: list[int], labels: int, match: str, seed: int, share: float, decision: str
) -> None:
    head, turn = make(labels, match, seed), turn_of(lengths)
    every = [
        (row, i, j) for row, n in enumerate(lengths) for i, j in itertools.combinations_with_replacement(range(n), 2)
    ]
    kept = [span for span in every if torch.rand(()) < share]
    row, start, end = torch.tensor(kept, dtype=torch.int64).reshape(-1, 3).unbind(1)
    spans = head.decode(turn, 0.5, Spans.given(row, start, end, torch.zeros_like(row)), decision)
    expected = {key: score for key, score in brute_force(head, turn, 0.5, decision).items() if key[:3] in set(kept)}
    assert as_dict(spans) == pytest.approx(expected, rel=1e-4)


@given(**cases, others=st.none() | st.integers(0, 4))
def test_loss_is_the_dense_one(lengths: list[int], labels: int, match: str, seed: int, others: int | None) -> None:
    """``others``: so many candidates a row, at most, that are not gold; None: there are no candidates."""
    head, turn = make(labels, match, seed), turn_of(lengths)

    def drawn(n: int) -> tuple[int, int]:
        return tuple(sorted(torch.randint(0, n, (2,)).tolist()))

    spans = sorted(
        {(row, *drawn(n), int(torch.randint(0, labels, ()))) for row, n in enumerate(lengths) if n for _ in range(3)}
    )
    gold = Spans.given(*torch.tensor(spans, dtype=torch.int64).reshape(-1, 4).unbind(1))
    candidates, scored = None, [torch.ones(n, n, dtype=torch.bool).triu() for n in lengths]
    if others is not None:
        more = {(row, *drawn(n)) for row, n in enumerate(lengths) if n for _ in range(others)}
        kept = sorted(more | {span[:3] for span in spans})
        row, start, end = torch.tensor(kept, dtype=torch.int64).reshape(-1, 3).unbind(1)
        candidates = Spans.given(row, start, end, torch.zeros_like(row))
        scored = [torch.zeros(n, n, dtype=torch.bool) for n in lengths]
        for row, i, j in kept:
            scored[row][i, j] = True
    expected = torch.zeros(3, dtype=torch.float64)
    for row, x in enumerate(turn.features.split(turn.words.lengths.tolist())):
        logits = dense(head, x)
        targets = [torch.zeros_like(part) for part in logits]
        for _, i, j, label in (span for span in spans if span[0] == row):
            targets[0][i, label] = targets[1][j, label] = targets[2][i, j, label] = 1
        for term, (part, target) in enumerate(zip(logits, targets, strict=True)):
            if term == 2:
                part, target = part[scored[row]], target[scored[row]]
            expected[term] += F.binary_cross_entropy_with_logits(part, target, reduction="sum")
    loss = head.loss(turn, gold, candidates).double()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def best_fit(match: str) -> SpanHead:
    """A head fitted to one row whose gold spans are nested, (0, 3) and (1, 2), and share neither end."""
    torch.manual_seed(0)
    head = SpanHead(FEATURES, 1, match, 16, dropout=0.0)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        (head.loss(nested_turn(), NESTED).sum() / 4).backward()
        optimizer.step()
    return head


def nested_turn() -> Turn:
    x = torch.eye(4, FEATURES)
    return Turn(x, Ragged(torch.tensor([4])), torch.zeros(1, dtype=torch.int64))


NESTED = Spans.given(*torch.tensor([[0, 0, 3, 0], [0, 1, 2, 0]]).unbind(1))


def test_additive_match_as_printed_cannot_tell_nested_spans_apart() -> None:
    head = best_fit("additive")
    halves = head.match.halves(nested_turn().features)
    i, j = torch.tensor([0, 1, 0, 1]), torch.tensor([3, 2, 2, 3])
    outer, inner, crossed, other = head.match(halves, i, j)[:, 0].tolist()
    assert outer + inner == pytest.approx(crossed + other, abs=1e-4)
    found = set(as_dict(head.decode(nested_turn(), 0.5)))
    assert found != {(0, 0, 3, 0), (0, 1, 2, 0)}


def test_hidden_match_tells_nested_spans_apart() -> None:
    found = set(as_dict(best_fit("hidden").decode(nested_turn(), 0.5)))
    assert found == {(0, 0, 3, 0), (0, 1, 2, 0)}


@pytest.mark.parametrize("match", ["additive", "hidden"])
def test_no_words(match: str) -> None:
    head, turn = make(2, match, 0), turn_of([0, 0])
    assert len(head.decode(turn, 0.5)) == 0
    assert head.loss(turn, Spans.empty(torch.device("cpu"))).tolist() == [0, 0, 0]


@pytest.mark.parametrize("match", ["additive", "hidden"])
def test_a_fresh_head_expects_little(match: str) -> None:
    head = SpanHead(FEATURES, 3, match, HIDDEN, dropout=0.0)
    start, end = head.edge_logits(torch.randn(50, FEATURES))
    assert start.sigmoid().max() < 0.1
    assert end.sigmoid().max() < 0.1
