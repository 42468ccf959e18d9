"""Errors by kind against cases judged by hand, and against the counts of the scorer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.data import Corpus, Document, Entity, Relation, Sentence
from cascade.error_analysis import ENTITY_KINDS, RELATION_KINDS, error_table, errors
from cascade.scoring import score

WORDS = tuple("abcdefgh")
A, B, C = (Entity(i, i, "X") for i in range(3))
LONG = Entity(4, 6, "Y")


def corpus(*sentences: Sentence) -> Corpus:
    return Corpus((Document("one", ()), Document("two", sentences)))


def kinds(gold: tuple[list, list], predicted: tuple[list, list]) -> list[str]:
    """Of a sentence with these entities and relations."""
    sides = [Sentence(WORDS, tuple(entities), tuple(relations)) for entities, relations in (gold, predicted)]
    return [error.kind for error in errors(corpus(sides[0]), [sides[1]])]


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        ([A, LONG], [A, LONG], []),
        ([LONG], [Entity(4, 5, "Y")], ["boundary"]),
        ([LONG], [Entity(4, 6, "X")], ["type"]),
        ([LONG], [Entity(3, 4, "X")], ["several faults"]),
        ([LONG], [A], ["spurious", "missing"]),
        # the pair of fewer faults, whatever comes first
        ([LONG], [Entity(3, 4, "X"), Entity(6, 6, "Y")], ["spurious", "boundary"]),
        ([A, LONG], [A, Entity(0, 0, "Y")], ["spurious", "missing"]),
        ([A, Entity(0, 0, "Y")], [A], ["missing"]),
    ],
)
def test_kinds_of_entities(gold: list[Entity], predicted: list[Entity], expected: list[str]) -> None:
    assert kinds((gold, []), (predicted, [])) == expected


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (Relation(A, LONG, "R"), []),
        (Relation(A, LONG, "Q"), ["type"]),
        (Relation(LONG, A, "R"), ["direction"]),
        (Relation(LONG, A, "Q"), ["several faults"]),
        (Relation(A, C, "R"), ["missing", "spurious"]),
    ],
)
def test_kinds_of_relations(predicted: Relation, expected: list[str]) -> None:
    entities = [A, C, LONG]
    assert sorted(kinds((entities, [Relation(A, LONG, "R")]), (entities, [predicted]))) == expected


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (Entity(4, 5, "Y"), ["boundary", "boundary"]),
        (Entity(4, 6, "X"), ["type", "end type"]),
        (Entity(5, 7, "X"), ["several faults", "several faults"]),
        (Entity(2, 2, "Y"), ["spurious", "missing", "missing, as is an end", "spurious"]),
    ],
)
def test_an_end_that_is_wrong_is_an_error_of_its_own(end: Entity, expected: list[str]) -> None:
    found = kinds(([A, LONG], [Relation(A, LONG, "R")]), ([A, end], [Relation(A, end, "R")]))
    assert sorted(found) == sorted(expected)


def test_a_relation_whose_end_is_not_predicted_is_wrong_in_it() -> None:
    relation = Relation(A, LONG, "R")
    assert kinds(([A, LONG], [relation]), ([A], [relation])) == ["missing", "end type"]


def test_a_reversed_relation_of_nested_ends_is_reversed() -> None:
    outer, inner = Entity(4, 6, "Y"), Entity(6, 6, "X")
    entities = [outer, inner]
    assert kinds((entities, [Relation(outer, inner, "R")]), (entities, [Relation(inner, outer, "R")])) == ["direction"]


def test_an_error_tells_where_it_is() -> None:
    gold = Sentence(WORDS, (A, LONG), (Relation(A, LONG, "R"),))
    predicted = Sentence(WORDS, (A, Entity(4, 5, "Y")), (Relation(A, Entity(4, 4, ""), "R"),))
    first, second = errors(corpus(Sentence(WORDS), gold), [Sentence(WORDS), predicted])
    assert (first.document, first.sentence, first.words) == ("two", 1, WORDS)
    assert str(first) == 'two, sentence 1: entity: boundary: gold "e f g" (Y); predicted "e f" (Y)'
    assert str(second) == (
        'two, sentence 1: relation: several faults: gold "a" (X) R "e f g" (Y); predicted "a" (X) R "e" (no entity)'
    )
    assert [line.split() for line in error_table([first, second]).splitlines()[2:4]] == [
        ["boundary", "1", "0"],
        ["type", "0", "0"],
    ]


ENTITIES = st.builds(
    lambda start, length, label: Entity(start, min(start + length, 7), label),
    st.integers(0, 7),
    st.integers(0, 2),
    st.sampled_from("XY"),
)


@st.composite
def sentences(draw: st.DrawFn) -> Sentence:
    entities = draw(st.lists(ENTITIES, max_size=5))
    ends = st.sampled_from(entities) if entities and draw(st.booleans()) else ENTITIES
    relations = draw(st.lists(st.builds(Relation, ends, ends, st.sampled_from("RQ")), max_size=4))
    return Sentence(WORDS, tuple(entities), tuple(relations))


@settings(deadline=None)
@given(st.lists(st.tuples(sentences(), sentences()), min_size=1, max_size=3))
def test_errors_add_up_to_the_scores(pairs: list[tuple[Sentence, Sentence]]) -> None:
    gold, predicted = corpus(*(pair[0] for pair in pairs)), [pair[1] for pair in pairs]
    found, scores = list(errors(gold, predicted)), score(gold, predicted)
    for total, of_relation, allowed in ((scores.ner, False, ENTITY_KINDS), (scores.re, True, RELATION_KINDS)):
        these = [error for error in found if error.of_relation is of_relation]
        assert {error.kind for error in these} <= set(allowed)
        assert total.gold - total.correct == sum(error.gold is not None for error in these)
        assert total.predicted - total.correct == sum(error.predicted is not None for error in these)
