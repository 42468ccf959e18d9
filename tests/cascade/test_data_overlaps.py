"""The kinds of overlap between entities, and what a corpus shows of them."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.data import Corpus, Document, Entity, Sentence, overlap_kinds, read_corpus, sample_corpus
from cascade.data.overlaps import overlap

entities = st.builds(
    lambda start, length, label: Entity(start, start + length, label),
    *(st.integers(0, 6), st.integers(0, 4), st.sampled_from("AB")),
)


@given(entities, entities)
def test_the_kind_of_an_overlap(a: Entity, b: Entity) -> None:
    words, others = (set(range(e.start, e.end + 1)) for e in (a, b))
    if a == b or not words & others:
        expected = None
    elif words == others:
        expected = "types"
    else:
        expected = "nested" if words <= others or others <= words else "crossing"
    assert overlap(a, b) == overlap(b, a) == expected


def corpus(*sentences: tuple[tuple[int, int, str], ...]) -> Corpus:
    made = tuple(Sentence(("word",) * 9, tuple(Entity(*entity) for entity in its)) for its in sentences)
    return Corpus((Document("made", made),))


@pytest.mark.parametrize(
    ("sentences", "kinds"),
    [
        ((), ("none",)),
        ((((0, 1, "A"), (2, 3, "A")), ((1, 2, "A"),)), ("none",)),  # sentences do not overlap each other
        ((((0, 1, "A"), (0, 1, "A")),), ("none",)),
        ((((0, 1, "A"), (0, 1, "B")),), ("types",)),
        ((((4, 4, "A"), (2, 2, "B"), (0, 4, "A")),), ("nested",)),
        ((((3, 5, "A"), (0, 3, "A")),), ("crossing",)),
        ((((3, 5, "A"), (0, 3, "A")), ((1, 1, "A"), (1, 1, "B"))), ("types", "crossing")),
    ],
)
def test_the_kinds_that_a_corpus_holds(sentences: tuple, kinds: tuple[str, ...]) -> None:
    assert overlap_kinds(corpus(*sentences)) == kinds


def test_the_sample_corpus_has_nested_entities() -> None:
    assert overlap_kinds(sample_corpus("train")) == ("nested",)


@pytest.mark.parametrize(("split", "nested"), [("train", 61), ("dev", 7), ("test", 20)])
def test_scierc_has_nested_entities_only(split: str, nested: int, scierc_dir: Path) -> None:
    corpus = read_corpus(scierc_dir / f"{split}.json")
    assert overlap_kinds(corpus) == ("nested",)
    pairs = [overlap(*pair) for sentence in corpus.sentences() for pair in combinations(sentence.entities, 2)]
    assert Counter(filter(None, pairs)) == {"nested": nested}
