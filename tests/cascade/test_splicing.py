"""Markers spliced between pieces, against sequences written by hand."""

from __future__ import annotations

import torch

from cascade.tensors import Batch, Ragged, Sequences, Spans, plain, splice

CLS, SEP, PAD = 101, 102, 0
# Types A and B, then the subject: opening and closing ids.
MARKERS = torch.tensor([[11, 12], [21, 22], [31, 32]])
A, B, SUBJECT = 0, 1, 2


def batch() -> Batch:
    """Sentence 0: words of pieces 1, (2 3), 4. Sentence 1: a word of pieces (5 6). Sentence 2: no words."""
    return Batch(
        Ragged(torch.tensor([3, 1, 0])),
        Ragged(torch.tensor([6, 4, 2])),
        torch.tensor([CLS, 1, 2, 3, 4, SEP, CLS, 5, 6, SEP, CLS, SEP]),
        torch.tensor([-1, 0, 1, 1, 2, 3, -1, 0, 0, 1, -1, 0]),
    )


def marked(*spans: tuple[int, int, int, int]) -> Spans:
    return Spans.given(*torch.tensor(spans, dtype=torch.int64).reshape(-1, 4).unbind(1))


def spliced(rows: torch.Tensor, spans: Spans) -> Sequences:
    return splice(batch(), rows, spans, MARKERS[spans.label], len(MARKERS), PAD)


def test_without_markers() -> None:
    sequences = plain(batch(), PAD)
    assert sequences.input_ids.tolist() == [
        [CLS, 1, 2, 3, 4, SEP],
        [CLS, 5, 6, SEP, PAD, PAD],
        [CLS, SEP, PAD, PAD, PAD, PAD],
    ]
    assert sequences.lengths.tolist() == [6, 4, 2]
    assert sequences.word_positions.tolist() == [1, 2, 4, 1]


def test_one_span() -> None:
    sequences = spliced(torch.tensor([0]), marked((0, 1, 1, B)))
    assert sequences.input_ids.tolist() == [[CLS, 1, 21, 2, 3, 22, 4, SEP]]
    assert sequences.word_positions.tolist() == [1, 3, 6]


def test_nested_spans_outer_opens_first_and_closes_last() -> None:
    # A around all, B around the last two words, A around the last
    spans = marked((0, 2, 2, A), (0, 0, 2, A), (0, 1, 2, B))
    sequences = spliced(torch.tensor([0]), spans)
    assert sequences.input_ids.tolist() == [[CLS, 11, 1, 21, 2, 3, 11, 4, 12, 22, 12, SEP]]


def test_spans_that_share_their_start() -> None:
    sequences = spliced(torch.tensor([0]), marked((0, 0, 0, B), (0, 0, 1, A)))
    assert sequences.input_ids.tolist() == [[CLS, 11, 21, 1, 22, 2, 3, 12, 4, SEP]]


def test_subject_is_outermost_around_its_own_span_only() -> None:
    # the subject's words 1 to 1 are of type A too, and lie within a B that shares their start
    spans = marked((0, 1, 1, A), (0, 1, 2, B), (0, 1, 1, SUBJECT))
    sequences = spliced(torch.tensor([0]), spans)
    assert sequences.input_ids.tolist() == [[CLS, 1, 21, 31, 11, 2, 3, 12, 32, 4, 22, SEP]]


def test_two_types_of_one_span_nest() -> None:
    sequences = spliced(torch.tensor([0]), marked((0, 0, 0, B), (0, 0, 0, A)))
    assert sequences.input_ids.tolist() == [[CLS, 11, 21, 1, 22, 12, 2, 3, 4, SEP]]


def test_neighbours_do_not_mix() -> None:
    sequences = spliced(torch.tensor([0]), marked((0, 0, 0, A), (0, 1, 1, B)))
    assert sequences.input_ids.tolist() == [[CLS, 11, 1, 12, 21, 2, 3, 22, 4, SEP]]


def test_rows_in_any_order_and_repeated() -> None:
    spans = marked((0, 0, 0, A), (2, 0, 0, SUBJECT), (3, 0, 2, B))
    sequences = spliced(torch.tensor([1, 2, 1, 0]), spans)
    assert sequences.input_ids.tolist() == [
        [CLS, 11, 5, 6, 12, SEP, PAD, PAD],
        [CLS, SEP, PAD, PAD, PAD, PAD, PAD, PAD],
        [CLS, 31, 5, 6, 32, SEP, PAD, PAD],
        [CLS, 21, 1, 2, 3, 4, 22, SEP],
    ]
    assert sequences.lengths.tolist() == [6, 2, 6, 8]
    assert sequences.words.lengths.tolist() == [1, 0, 1, 3]
    assert sequences.word_positions.tolist() == [2, 2, 2, 3, 5]
