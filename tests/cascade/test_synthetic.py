"""The generated corpus: it has SciERC test's shape within stated tolerances, and is well-formed at any size."""

from __future__ import annotations

from collections import Counter
from statistics import mean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.data import Sentence, synthetic_corpus


@pytest.fixture(params=[0, 1, 2])
def sentences(request: pytest.FixtureRequest) -> list[Sentence]:
    return list(synthetic_corpus(seed=request.param).sentences())


def test_words(sentences: list[Sentence]) -> None:
    lengths = sorted(len(sentence.words) for sentence in sentences)
    assert len(lengths) == 551
    assert mean(lengths) == pytest.approx(24.3, abs=0.3)
    assert median(lengths) == 23
    assert lengths[int(0.95 * 551)] == pytest.approx(43, abs=1)
    assert lengths[-1] == pytest.approx(97, abs=2)


def test_entities_and_relations(sentences: list[Sentence]) -> None:
    assert sum(len(sentence.entities) for sentence in sentences) == 1685  # 3.06 a sentence
    assert sum(len(sentence.relations) for sentence in sentences) == 974  # 1.77
    assert sum(len({relation.subject for relation in sentence.relations}) for sentence in sentences) == 782  # 1.42
    assert sum(not sentence.relations for sentence in sentences) == 154
    spans = [entity.end - entity.start + 1 for sentence in sentences for entity in sentence.entities]
    assert mean(spans) == pytest.approx(2.36, abs=0.15)


def test_nesting_is_rare_but_there(sentences: list[Sentence]) -> None:
    nested = [
        sum(a != b and a.start <= b.start and b.end <= a.end for a in sentence.entities for b in sentence.entities)
        for sentence in sentences
    ]
    assert 5 <= sum(count > 0 for count in nested) <= 35  # 17 of SciERC's


def test_longer_sentences_hold_more(sentences: list[Sentence]) -> None:
    by_length = sorted(sentences, key=lambda sentence: len(sentence.words))
    short, long = by_length[:184], by_length[-184:]
    assert mean(len(sentence.entities) for sentence in short) + 1 < mean(len(sentence.entities) for sentence in long)
    assert mean(len(sentence.relations) for sentence in short) + 0.7 < mean(
        len(sentence.relations) for sentence in long
    )


def test_types(sentences: list[Sentence]) -> None:
    entities = Counter(entity.label for sentence in sentences for entity in sentence.entities)
    relations = Counter(relation.label for sentence in sentences for relation in sentence.relations)
    assert (len(entities), len(relations)) == (6, 7)
    scierc = {"OtherScientificTerm", "Method", "Generic", "Task", "Material", "Metric"}
    assert not scierc & entities.keys()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 300), st.integers(0, 2**32))
def test_any_number_of_sentences_is_well_formed(count: int, seed: int) -> None:
    corpus = synthetic_corpus(count, seed)
    sentences = list(corpus.sentences())
    assert len(sentences) == count
    assert len({document.key for document in corpus.documents}) == len(corpus.documents)
    for sentence in sentences:
        assert len({entity.span for entity in sentence.entities}) == len(sentence.entities)
        assert all(0 <= entity.start <= entity.end < len(sentence.words) - 1 for entity in sentence.entities)
        assert len({(relation.subject, relation.object) for relation in sentence.relations}) == len(sentence.relations)
        for relation in sentence.relations:
            assert relation.subject != relation.object
            assert {relation.subject, relation.object} <= set(sentence.entities)


def test_a_small_corpus_has_the_same_shape() -> None:
    sentences = list(synthetic_corpus(64).sentences())
    assert mean(len(sentence.words) for sentence in sentences) == pytest.approx(24.3, abs=0.7)
    assert mean(len(sentence.entities) for sentence in sentences) == pytest.approx(3.06, abs=0.1)
    assert mean(len(sentence.relations) for sentence in sentences) == pytest.approx(1.77, abs=0.1)


def test_the_seed_decides() -> None:
    assert synthetic_corpus(30, seed=4) == synthetic_corpus(30, seed=4)
    assert synthetic_corpus(30, seed=4).documents != synthetic_corpus(30, seed=5).documents


def test_a_negative_number() -> None:
    with pytest.raises(ValueError, match="expected 0 sentences or more, found -1"):
        synthetic_corpus(-1)
