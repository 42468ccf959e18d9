"""Labels that a model learns, and gold that it can only miss."""

from __future__ import annotations

import logging

import pytest

from cascade.data import (
    Corpus,
    DataError,
    Document,
    Entity,
    LabelSet,
    Relation,
    Sentence,
    report_gold,
    training_labels,
    with_known_labels,
)

ORG, PLACE = Entity(0, 0, "Org"), Entity(2, 2, "Place")
RELATED = Sentence(("Orvane", "left", "Tessaly"), (ORG, PLACE), (Relation(ORG, PLACE, "LEFT"),))
UNRELATED = Sentence(RELATED.words, RELATED.entities)
WORDS = Sentence(RELATED.words)


def corpus(*sentences: Sentence) -> Corpus:
    return Corpus((Document("d", sentences),), source="gold.jsonl")


def reported(caplog: pytest.LogCaptureFixture, gold: Corpus, *labels: tuple[str, ...]) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        report_gold(gold, LabelSet(*labels))
    return caplog.messages


def test_known_gold_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert reported(caplog, corpus(RELATED, WORDS, Sentence(())), ("Org", "Place", "Person"), ("LEFT", "OWNS")) == []
    assert reported(caplog, corpus(UNRELATED), ("Org", "Place"), ()) == []


def test_each_unknown_label_is_reported_with_its_count(caplog: pytest.LogCaptureFixture) -> None:
    assert reported(caplog, corpus(RELATED, RELATED, UNRELATED), ("Place",), ("OWNS",)) == [
        "gold.jsonl: entity type 'Org' is not known to the model: 3 entities count as missed",
        "gold.jsonl: relation type 'LEFT' is not known to the model: 2 relations count as missed",
    ]


def test_a_label_that_is_nearly_known_gets_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    entity, relation = reported(caplog, corpus(RELATED), ("ORG", "org ", "Place"), ("left", "Leftward"))
    assert entity.endswith("1 entities count as missed; it knows 'ORG' and 'org ', but for case or space the same")
    assert relation.endswith("1 relations count as missed; it knows 'left', but for case or space the same")


@pytest.mark.parametrize("sentences", [(), (WORDS,), (Sentence(()), Sentence(()))])
def test_gold_without_labels_is_reported(sentences: tuple[Sentence, ...], caplog: pytest.LogCaptureFixture) -> None:
    assert reported(caplog, corpus(*sentences), ("Org",), ("LEFT",)) == [
        "gold.jsonl: no entities and no relations to score by: every score is 0, whatever is found"
    ]


def test_gold_without_relations_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert reported(caplog, corpus(UNRELATED), ("Org", "Place"), ("LEFT",)) == [
        "gold.jsonl: no relations to score by: the scores of relations are 0, whatever is found"
    ]


def test_a_relation_goes_with_its_unknown_end() -> None:
    kept = with_known_labels([RELATED, WORDS], LabelSet(("Org",), ("LEFT",)))
    assert kept == [Sentence(RELATED.words, (ORG,)), WORDS]
    assert with_known_labels([RELATED], LabelSet(("Org", "Place"), ())) == [UNRELATED]
    assert with_known_labels([RELATED], LabelSet(("Org", "Place"), ("LEFT",))) == [RELATED]


def test_nothing_is_learned_without_entities() -> None:
    assert training_labels(corpus(UNRELATED)) == LabelSet(("Org", "Place"), ())
    with pytest.raises(DataError) as caught:
        training_labels(corpus(WORDS))
    assert str(caught.value) == "gold.jsonl: expected entities to learn from, found none"
