"""Windows of long sentences: what they hold together, and what is made of that which several of them found."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import long_document, tiny_model

from cascade.data import Entity, Relation, Sentence
from cascade.data.overlaps import OVERLAPS, overlap
from cascade.model.findings import Found
from cascade.tensors import Example
from cascade.tokenization import WordTokenizer
from cascade.windows import Window, cut, merged

rooms = st.integers(1, 40)


def sentences(room: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, room), max_size=60)


@given(st.data(), rooms)
def test_windows_hold_what_fits_into_half_of_one(data: st.DataObject, room: int) -> None:
    pieces = data.draw(sentences(room))
    windows = cut(pieces, room)
    assert {word for first, last in windows for word in range(first, last)} == set(range(len(pieces)))
    assert all(0 < sum(pieces[first:last]) <= room for first, last in windows)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(windows))  # none inside another
    for start, end in combinations(range(len(pieces) + 1), 2):
        if sum(pieces[start:end]) <= room // 2:
            assert any(first <= start and end <= last for first, last in windows)


@given(st.data(), rooms)
def test_a_sentence_that_fits_is_one_window(data: st.DataObject, room: int) -> None:
    pieces = data.draw(sentences(room).filter(lambda pieces: sum(pieces) <= room))
    assert cut(pieces, room) == cut(pieces, None) == ([(0, len(pieces))] if pieces else [])


def test_windows_are_no_more_than_needed() -> None:
    assert cut([1] * 11, 10) == [(0, 10), (1, 11)]
    assert cut([1] * 15, 10) == [(0, 10), (5, 15)]
    assert cut([1] * 16, 10) == [(0, 10), (5, 15), (6, 16)]
    assert cut([1] * 30, 10) == [(0, 10), (5, 15), (10, 20), (15, 25), (20, 30)]
    assert cut([9, 9, 9], 10) == [(0, 1), (1, 2), (2, 3)]


@given(st.integers(1, 300), st.integers(4, 40))
def test_every_word_has_context_on_both_sides(words: int, room: int) -> None:
    windows = cut([1] * words, room)
    for word in range(words):
        around = [(min(word, word - first), min(words, last) - word - 1) for first, last in windows]
        enough = room // 4 - 1
        assert any(before >= min(enough, word) and after >= min(enough, words - word - 1) for before, after in around)


def example(window: Window) -> Example:
    first, last = window
    return Example(sentence=0, first_word=first, word_count=last - first)


def found_by(window: Window, *items: Entity | Relation) -> Found:
    """What a window reports of ``items``, whose words count the sentence's: it sees only what it holds."""
    first, last = window

    def moved(entity: Entity) -> Entity:
        return Entity(entity.start - first, entity.end - first, entity.label)

    def inside(entity: Entity) -> bool:
        return first <= entity.start and entity.end < last

    return (
        tuple(moved(item) for item in items if isinstance(item, Entity) and inside(item)),
        tuple(
            Relation(moved(item.subject), moved(item.object), item.label)
            for item in items
            if isinstance(item, Relation) and inside(item.subject) and inside(item.object)
        ),
    )


def joined(words: int, parts: dict[Window, Found], *overlaps: str) -> Sentence:
    [sentence] = merged(
        [Sentence(("word",) * words)], [example(window) for window in parts], list(parts.values()), overlaps or OVERLAPS
    )
    assert len(set(sentence.entities)) == len(sentence.entities)
    assert len(set(sentence.relations)) == len(sentence.relations)
    return sentence


@given(st.data(), st.integers(1, 60), st.integers(2, 20))
def test_each_span_is_for_one_window_to_find(data: st.DataObject, words: int, room: int) -> None:
    """If all windows but one find nothing, a span is found when that is the one that holds it farthest from a cut."""
    windows = cut([1] * words, room)
    start = data.draw(st.integers(0, words - 1))
    entity = Entity(start, data.draw(st.integers(start, min(start + room // 2, words) - 1)), "Place")
    nothing = dict.fromkeys(windows, ((), ()))
    finders = [w for w in windows if joined(words, {**nothing, w: found_by(w, entity)}).entities]
    assert len(finders) == 1

    def room_around(window: Window) -> int:
        first, last = window
        sides = [entity.start - first] * (first > 0) + [last - 1 - entity.end] * (last < words)
        return min(sides, default=words)

    assert room_around(finders[0]) == max(map(room_around, windows))
    assert joined(words, {window: found_by(window, entity) for window in windows}).entities == (entity,)


@pytest.mark.parametrize("fusion", ["early", "late"])
def test_a_model_that_finds_what_its_window_holds_loses_nothing_at_the_cuts(fusion: str) -> None:
    """Between windows that do not overlap, the entities and the relations of this sentence that lie across are lost."""
    model, tokenizer = tiny_model(positions=20, fusion=fusion)
    [sentence] = long_document().sentences
    examples = WordTokenizer(tokenizer, model.config)([sentence], labelled=True)
    assert len(examples.windows) > 2
    assert examples.lost == {"sentences split into windows": 1}
    found = []
    for window in examples.windows:
        first, count = window["first_word"], window["word_count"]
        found.append(found_by((first, first + count), *sentence.entities, *sentence.relations))
        types, labels = model.config.entity_types, model.config.relation_types
        entities = tuple(Entity(start, end, types[label]) for start, end, label in window["entities"])
        relations = tuple(Relation(entities[s], entities[o], labels[label]) for s, o, label in window["relations"])
        assert found[-1] == (entities, relations)  # what it is trained on is complete
    [whole] = merged([sentence], examples.windows, found, ("none",))
    assert (whole.entities, set(whole.relations)) == (sentence.entities, set(sentence.relations))


FIRST, SECOND = (0, 10), (5, 15)


def test_the_window_with_more_context_is_right() -> None:
    left, right, middle = Entity(6, 6, "Place"), Entity(8, 8, "Place"), Entity(7, 7, "Place")
    only_first = joined(15, {FIRST: found_by(FIRST, left, middle, right), SECOND: ((), ())})
    only_second = joined(15, {FIRST: ((), ()), SECOND: found_by(SECOND, left, middle, right)})
    assert only_first.entities == (left, middle)  # of two windows with the same context, the earlier
    assert only_second.entities == (right,)


def test_what_windows_find_together_may_not_overlap_either() -> None:
    """Each end of the overlap is best seen by another window: the entity farther from its cut stays."""
    left, right, far = Entity(3, 6, "Person"), Entity(6, 9, "Place"), Entity(12, 12, "Place")
    inner, outer = Relation(left, left, "IS"), Relation(right, far, "IN")
    parts = {FIRST: found_by(FIRST, left, inner), SECOND: found_by(SECOND, right, far, outer)}
    assert joined(15, parts).entities == (left, right, far)
    assert joined(15, parts, "nested").relations == (inner,)
    assert joined(15, parts, "nested", "types").entities == (left, far)
    assert joined(15, parts, "crossing").relations == (inner, outer)


entities_of_fifteen = st.builds(
    lambda start, length, label: Entity(start, min(start + length, 14), label),
    *(st.integers(0, 14), st.integers(0, 5), st.sampled_from(["Place", "Person"])),
)


@given(
    st.sets(entities_of_fifteen, max_size=8),
    st.sets(entities_of_fifteen, max_size=8),
    st.sets(st.sampled_from(OVERLAPS)),
)
def test_only_the_allowed_overlaps_remain(ones: set[Entity], others: set[Entity], allowed: set[str]) -> None:
    found = joined(15, {FIRST: found_by(FIRST, *ones), SECOND: found_by(SECOND, *others)}, *(allowed or ["none"]))
    assert {overlap(a, b) for a, b in combinations(found.entities, 2)} <= {None, *allowed}


def test_a_relation_needs_both_its_entities() -> None:
    """The window that sees the relation best reports it, but not the one that sees its subject best."""
    subject, object_ = Entity(2, 2, "Person"), Entity(9, 9, "Place")
    relation = Relation(subject, object_, "IN")
    parts = {FIRST: ((), ()), (1, 12): found_by((1, 12), subject, object_, relation), SECOND: ((), ())}
    assert joined(15, parts) == Sentence(("word",) * 15)
    parts[FIRST] = found_by(FIRST, subject)
    parts[SECOND] = found_by(SECOND, object_)
    assert joined(15, parts) == Sentence(("word",) * 15, (subject, object_), (relation,))


def test_an_end_that_no_window_calls_an_entity_stays_without_type() -> None:
    nobody, place = Entity(7, 7, ""), Entity(3, 3, "Place")
    relation = Relation(nobody, place, "IN")
    parts = {FIRST: found_by(FIRST, place, relation), SECOND: ((), ())}
    assert joined(15, parts) == Sentence(("word",) * 15, (place,), (relation,))


def test_the_ends_of_a_relation_have_the_scores_of_their_entities() -> None:
    """Though another window found the relation, and there the entity with another score."""
    near, far = (0, 10), (5, 15)
    subject, object_ = Entity(6, 6, "Person"), Entity(12, 12, "Place")
    sentence = joined(
        15,
        {
            near: ((replace(subject, score=0.9),), ()),
            far: (
                (replace(subject, start=1, end=1, score=0.6), replace(object_, start=7, end=7, score=0.8)),
                (Relation(replace(subject, start=1, end=1, score=0.6), replace(object_, start=7, end=7), "IN", 0.7),),
            ),
        },
    )
    [relation] = sentence.relations
    assert [entity.score for entity in sentence.entities] == [0.9, 0.8]
    assert (relation.subject.score, relation.object.score, relation.score) == (0.9, 0.8, 0.7)
