"""The scorer against cases counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade.data import Corpus, DataError, Document, Entity, Relation, Sentence, read_corpus, sample_corpus
from cascade.scoring import LINES, Score, score

WORDS = tuple("abcdefgh")
A, B, C, D = (Entity(i, i, "X") for i in range(4))
LONG = Entity(4, 6, "Y")


def sentence(*items: Entity | Relation) -> Sentence:
    return Sentence(
        WORDS,
        tuple(item for item in items if isinstance(item, Entity)),
        tuple(item for item in items if isinstance(item, Relation)),
    )


def one(gold: Sentence, predicted: Sentence) -> dict[str, tuple[int, int, int]]:
    scores = score([gold], [predicted])
    return {name: counts(getattr(scores, name)) for name in LINES}


def counts(item: Score) -> tuple[int, int, int]:
    return item.correct, item.predicted, item.gold


def test_ratios() -> None:
    item = Score(correct=2, predicted=8, gold=4)
    assert (item.precision, item.recall, item.f1) == (0.25, 0.5, pytest.approx(1 / 3))


@pytest.mark.parametrize("item", [Score(0, 0, 0), Score(0, 3, 0), Score(0, 0, 3), Score(0, 3, 3)])
def test_ratios_of_nothing_are_zero(item: Score) -> None:
    assert (item.precision, item.recall, item.f1) == (0.0, 0.0, 0.0)


def test_an_entity_needs_its_span_and_its_type() -> None:
    gold = sentence(A, B, LONG)
    predicted = sentence(A, Entity(1, 1, "Y"), Entity(4, 5, "Y"), D)
    assert one(gold, predicted)["ner"] == (1, 4, 3)


def test_two_types_on_one_span_are_two_entities() -> None:
    gold = sentence(A, Entity(0, 0, "Y"))
    assert one(gold, sentence(A))["ner"] == (1, 1, 2)
    assert one(gold, gold)["ner"] == (2, 2, 2)


def test_duplicates_count_once() -> None:
    relation = Relation(A, B, "R")
    predicted = Sentence(WORDS, (A, A, B), (relation, relation))
    assert one(sentence(A, B, relation), predicted)["ner"] == (2, 2, 2)
    assert one(sentence(A, B, relation), predicted)["re"] == (1, 1, 1)


def test_a_relation_needs_its_direction_its_type_and_both_entities() -> None:
    gold = sentence(A, B, C, Relation(A, B, "R"), Relation(B, C, "R"))
    wrong_type = Entity(2, 2, "Y")
    predicted = sentence(
        A, B, wrong_type,
        Relation(A, B, "R"),  # right
        Relation(B, A, "R"),  # direction
        Relation(A, B, "Q"),  # type
        Relation(B, wrong_type, "R"),  # type of an end: right in its boundaries
    )  # fmt: skip
    found = one(gold, predicted)
    assert found["re"] == (1, 4, 2)
    assert found["re_boundaries"] == (2, 4, 2)


def test_an_end_that_was_not_predicted_as_an_entity_makes_a_relation_wrong() -> None:
    gold = sentence(A, B, Relation(A, B, "R"))
    predicted = sentence(A, Relation(A, B, "R"))
    assert one(gold, predicted)["re"] == (0, 1, 1)
    assert one(gold, predicted)["re_symmetric"] == (0, 1, 1)
    assert one(gold, predicted)["re_boundaries"] == (1, 1, 1)


def test_symmetric_types_match_either_way_round_and_in_either_case() -> None:
    gold = sentence(A, B, C, Relation(A, B, "Conjunction"), Relation(C, B, "COMPARE"), Relation(A, C, "R"))
    predicted = sentence(A, B, C, Relation(B, A, "Conjunction"), Relation(C, B, "COMPARE"), Relation(C, A, "R"))
    found = one(gold, predicted)
    assert found["re"] == (1, 3, 3)
    assert found["re_symmetric"] == (2, 3, 3)


def test_a_symmetric_relation_predicted_both_ways_is_one() -> None:
    gold = sentence(A, B, Relation(A, B, "COMPARE"))
    predicted = sentence(A, B, Relation(A, B, "COMPARE"), Relation(B, A, "COMPARE"))
    found = one(gold, predicted)
    assert found["re"] == (1, 2, 1)
    assert found["re_symmetric"] == (1, 1, 1)


def test_which_types_are_symmetric_is_the_callers_choice() -> None:
    gold, predicted = sentence(A, B, Relation(A, B, "R")), sentence(A, B, Relation(B, A, "R"))
    assert counts(score([gold], [predicted], symmetric=["r"]).re_symmetric) == (1, 1, 1)
    assert counts(score([gold], [predicted], symmetric=[]).re_symmetric) == (0, 1, 1)


def test_in_and_out_of_triple() -> None:
    gold = sentence(A, B, C, D, Relation(A, B, "R"))  # A, B in; C, D out
    wrong_in, wrong_out = Entity(6, 6, "X"), Entity(7, 7, "X")
    predicted = sentence(
        A, C, wrong_in, wrong_out,
        Relation(C, wrong_in, "R"),  # C is right, so it stays on the side of its gold entity
    )  # fmt: skip
    found = one(gold, predicted)
    assert found["ner_in_triple"] == (1, 2, 2)  # A of A, wrong_in
    assert found["ner_out_of_triple"] == (1, 2, 2)  # C of C, wrong_out
    assert found["ner"] == (2, 4, 4)


def test_in_and_out_of_triple_add_up() -> None:
    gold = list(sample_corpus().sentences())
    # Each sentence without its last entity, with its first one twice as long, and with every other relation.
    predicted = [
        Sentence(
            s.words,
            (*s.entities[:-1], *(Entity(e.start, e.end + 1, e.label) for e in s.entities[:1])),
            s.relations[::2],
        )
        for s in gold
    ]
    scores = score(gold, predicted)
    inside, outside = counts(scores.ner_in_triple), counts(scores.ner_out_of_triple)
    assert tuple(a + b for a, b in zip(inside, outside, strict=True)) == counts(scores.ner)
    assert outside[2] == 5  # northern Chile; Vienna; Kari Moen, Ines Okoye and Bergen
    assert 0 < scores.ner.correct < scores.ner.gold


def test_by_type() -> None:
    gold = [sentence(A, LONG, Relation(A, LONG, "R")), sentence(A)]
    predicted = [sentence(A, LONG, Relation(A, LONG, "Q")), sentence(Entity(0, 0, "Z"))]
    scores = score(gold, predicted)
    assert {label: counts(item) for label, item in scores.ner_by_type.items()} == {
        "X": (1, 1, 2),
        "Y": (1, 1, 1),
        "Z": (0, 1, 0),
    }
    assert {label: counts(item) for label, item in scores.re_by_type.items()} == {"Q": (0, 1, 0), "R": (0, 0, 1)}


def test_micro_average_over_sentences() -> None:
    gold = [sentence(A, B, C), sentence(D)]
    predicted = [sentence(A), sentence(A, B, C)]
    assert counts(score(gold, predicted).ner) == (1, 4, 4)


def test_corpora_and_plain_sentences_give_the_same() -> None:
    corpus = sample_corpus()
    assert score(corpus, corpus) == score(corpus.sentences(), list(corpus.sentences()))


def test_as_dict_is_flat() -> None:
    gold = sentence(A, B, Relation(A, B, "R"))
    values = score([gold], [sentence(A, C, Relation(A, C, "R"))]).as_dict()
    assert len(values) == 6 * len(LINES)
    assert all(isinstance(value, int | float) for value in values.values())
    assert {name: values[name] for name in ("ner_precision", "ner_recall", "ner_f1", "re_f1", "re_gold")} == {
        "ner_precision": 0.5,
        "ner_recall": 0.5,
        "ner_f1": 0.5,
        "re_f1": 0.0,
        "re_gold": 1,
    }


def test_the_table_shows_ratios_counts_and_the_gold_line() -> None:
    gold = sentence(A, B, C, Relation(A, B, "1"))
    table = str(score([gold], [sentence(A, C, D)]))
    first, _, _, ner, *rest = table.splitlines()
    assert first == "gold: 1 sentences, 3 entities (33.3 % out of triple), 1 relations"
    assert ner.split() == ["NER", "66.7", "66.7", "66.7", "2", "3", "3"]
    assert [line.split()[:2] for line in rest[-2:]] == [["NER:", "X"], ["RE:", "1"]]
    assert "NER: X" not in score([gold], [gold]).table(by_type=False)


def test_nothing_at_all() -> None:
    scores = score([], [])
    assert (scores.sentences, counts(scores.ner), scores.ner.f1) == (0, (0, 0, 0), 0.0)
    assert str(scores).startswith("gold: 0 sentences, 0 entities (0.0 % out of triple), 0 relations")


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (
            [sentence()],
            "document 'e', sentence 0: expected as many predictions as gold sentences, found no more predict",
        ),
        ([sentence()] * 3, "sentence 2: .*, found no more gold sentences"),
        (Corpus((Document("f", (sentence(),) * 3),)), "document 'f', sentence 2: .*, found no more gold sentences"),
        ([sentence(), Sentence(("x",))], 'document \'e\', sentence 0: expected the words "a b c d e f g h", found "x"'),
    ],
)
def test_other_sentences_are_an_error(predicted: list[Sentence] | Corpus, message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}"):
        score(Corpus((Document("d", (sentence(),)), Document("e", (sentence(),)))), predicted)


def test_scierc_against_itself(scierc_dir: Path) -> None:
    corpus = read_corpus(scierc_dir / "test.json")
    scores = score(corpus, corpus)
    assert all(getattr(scores, name).f1 == 1.0 for name in LINES)
    assert (scores.ner.gold, scores.ner_out_of_triple.gold, scores.re.gold, scores.re_symmetric.gold) == (
        1685,
        380,
        974,
        974,
    )
    assert str(scores).startswith("gold: 551 sentences, 1685 entities (22.6 % out of triple), 974 relations")
