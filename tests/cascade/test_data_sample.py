"""The corpus in the package: what it promises to contain, and that its labels can be learned."""

from __future__ import annotations

import pytest

from cascade.data import Sentence, sample_corpus


@pytest.fixture
def train() -> list[Sentence]:
    return list(sample_corpus("train").sentences())


def test_size_and_labels() -> None:
    counts = {split: sum(1 for _ in sample_corpus(split).sentences()) for split in ("train", "dev")}
    assert counts == {"train": 20, "dev": 7}
    for split in counts:
        labels = sample_corpus(split).labels()
        assert labels.entity_types == ("Organization", "Person", "Place", "Product")
        assert labels.relation_types == ("CONJUNCTION", "LOCATED-IN", "MADE-BY", "PART-OF", "WORKS-FOR")
        assert not sample_corpus(split).dropped


def test_every_edge_case_is_there(train: list[Sentence]) -> None:
    subjects = [{relation.subject for relation in sentence.relations} for sentence in train]
    assert any(len(sentence.words) == 1 for sentence in train)
    assert any(not sentence.entities for sentence in train)
    assert any(sentence.entities and not sentence.relations for sentence in train)
    assert any("-LRB-" in sentence.words for sentence in train)
    assert any(len(found) > 2 for found in subjects)
    assert any(len(sentence.relations) > len(found) for sentence, found in zip(train, subjects, strict=True))
    assert any(
        one.start == other.start and one.end < other.end
        for sentence in train
        for one in sentence.entities
        for other in sentence.entities
    )


def test_the_same_words_always_have_the_same_labels() -> None:
    labels: dict[tuple[str, ...], Sentence] = {}
    types: dict[tuple[str, ...], str] = {}
    for split in ("train", "dev"):
        for sentence in sample_corpus(split).sentences():
            assert labels.setdefault(sentence.words, sentence) == sentence
            for entity in sentence.entities:
                assert types.setdefault(sentence.words[entity.start : entity.end + 1], entity.label) == entity.label
    for sentence in labels.values():
        for words in types:
            for start in range(len(sentence.words) - len(words) + 1):
                if sentence.words[start : start + len(words)] == words:
                    assert (start, start + len(words) - 1) in {entity.span for entity in sentence.entities}


def test_another_split() -> None:
    with pytest.raises(ValueError, match="expected a split of the sample corpus, train or dev, found 'test'"):
        sample_corpus("test")
