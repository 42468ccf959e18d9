"""Ragged rows and spans as tensors, against lists."""

from __future__ import annotations

from itertools import product

import torch
from hypothesis import given
from hypothesis import strategies as st

from cascade.data import Entity
from cascade.data.overlaps import OVERLAPS, overlap
from cascade.tensors import NO_LABEL, Ragged, Spans

lengths = st.lists(st.integers(0, 5), max_size=6)


def ragged(values: list[int]) -> Ragged:
    return Ragged(torch.tensor(values, dtype=torch.int64))


@given(lengths)
def test_items_of_rows(values: list[int]) -> None:
    layout = ragged(values)
    items = [(row, position) for row, length in enumerate(values) for position in range(length)]
    assert list(zip(layout.row.tolist(), layout.position.tolist(), strict=True)) == items
    assert len(layout) == len(items)
    assert layout.offsets.tolist() == [sum(values[:row]) for row in range(len(values))]


@given(lengths)
def test_pairs_of_rows(values: list[int]) -> None:
    layout = ragged(values)
    for method, allowed in ((layout.upper_pairs, lambda i, j: i <= j), (layout.all_pairs, lambda i, j: True)):
        i, j, begin = method()
        items = list(zip(layout.row.tolist(), range(len(layout)), strict=True))
        expected = [(a, b) for row, a in items for other, b in items if row == other and allowed(a, b)]
        assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected
        assert begin.tolist() == [next(n for n, pair in enumerate(expected) if pair[0] == a) for _, a in items]


@given(st.data())
def test_select_rows(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    rows = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=7))
    chosen, items = ragged(values).select(torch.tensor(rows, dtype=torch.int64))
    assert chosen.lengths.tolist() == [values[row] for row in rows]
    assert items.tolist() == [sum(values[:row]) + n for row in rows for n in range(values[row])]


def spans(*rows: tuple[int, int, int, int, float]) -> Spans:
    *numbers, score = zip(*rows, strict=True)
    return Spans(*map(torch.tensor, numbers), torch.tensor(score))


def test_unique_keeps_the_best_label_then_the_lowest() -> None:
    given_spans = spans((0, 1, 2, 3, 0.5), (0, 1, 2, 1, 0.9), (0, 0, 4, 2, 0.1), (2, 1, 2, 4, 0.7), (2, 1, 2, 3, 0.7))
    unique = given_spans.unique(9)
    assert torch.stack([unique.row, unique.start, unique.end, unique.label], 1).tolist() == [
        [0, 0, 4, 2],
        [0, 1, 2, 1],
        [2, 1, 2, 3],
    ]


def test_labels_of_spans() -> None:
    known = spans((0, 1, 2, 3, 1.0), (1, 0, 0, 2, 1.0))
    wanted = spans((1, 0, 0, 9, 1.0), (0, 1, 1, 9, 1.0), (0, 1, 2, 9, 1.0), (5, 5, 5, 9, 1.0))
    assert known.labels_of(wanted, 9).tolist() == [2, NO_LABEL, 3, NO_LABEL]
    assert Spans.empty(torch.device("cpu")).labels_of(wanted, 9).tolist() == [NO_LABEL] * 4


def test_spans_of_rows_repeat_with_their_rows() -> None:
    known = spans((0, 1, 2, 3, 1.0), (2, 0, 0, 2, 1.0), (2, 4, 5, 1, 1.0))
    found = known.of_rows(torch.tensor([2, 1, 2, 0]), rows=3)
    assert found.row.tolist() == [0, 0, 2, 2, 3]
    assert found.start.tolist() == [0, 4, 0, 4, 1]


def entity(spans: Spans, n: int) -> Entity:
    return Entity(int(spans.start[n]), int(spans.end[n]), str(int(spans.label[n])))


def one_by_one(found: Spans, allowed: set[str]) -> list[int]:
    """Which spans greedy choice keeps: each that overlaps no better one that was kept in a kind that is not allowed."""

    def worse(n: int) -> tuple:
        start, end = int(found.start[n]), int(found.end[n])
        return -float(found.score[n]), end - start, start, int(found.label[n])

    kept: list[int] = []
    for n in sorted(range(len(found)), key=worse):
        kinds = {overlap(entity(found, n), entity(found, m)) for m in kept if found.row[m] == found.row[n]}
        if kinds <= {None, *allowed}:
            kept.append(n)
    return sorted(kept)


@given(st.data(), st.sets(st.sampled_from(OVERLAPS)))
def test_of_overlapping_spans_the_best_stay(data: st.DataObject, allowed: set[str]) -> None:
    everything = [(row, i, j, k) for row, i, j, k in product(range(3), range(8), range(8), range(2)) if i <= j]
    chosen = data.draw(st.lists(st.sampled_from(everything), unique=True, max_size=25))
    score = st.sampled_from([0.25, 0.5, 0.75])  # few, so that there are ties
    found = [(*span, data.draw(score)) for span in sorted(chosen)]
    found = spans(*found) if found else Spans.empty(torch.device("cpu"))
    kept = found.without_overlaps(8, allowed)
    expected = found[torch.tensor(one_by_one(found, allowed), dtype=torch.int64)]
    for column in ("row", "start", "end", "label", "score"):
        assert getattr(kept, column).tolist() == getattr(expected, column).tolist()


def test_ties_go_to_the_shorter_then_the_earlier_then_the_lower_label() -> None:
    found = spans((0, 0, 2, 0, 0.5), (0, 1, 2, 1, 0.5), (0, 1, 2, 4, 0.5), (0, 2, 3, 0, 0.5), (1, 0, 9, 0, 0.1))
    kept = found.without_overlaps(10)
    assert torch.stack([kept.row, kept.start, kept.end, kept.label], 1).tolist() == [[0, 1, 2, 1], [1, 0, 9, 0]]
