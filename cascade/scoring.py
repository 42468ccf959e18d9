"""Scores of predicted entities and relations: sets per sentence, micro-averaged precision, recall and F1.

What counts as right, all within one sentence:

- NER: the span and the type.
- RE: the direction, both spans, both entity types and the relation type; both ends are among the predicted entities.
- RE, symmetric: the same, with the two ends of a symmetric type in either order; annotated both ways it counts once.
- RE, boundaries: the direction, both spans and the relation type.
- NER, in and out of triple: a gold entity is in-triple when it takes part in a gold relation. A right predicted
  entity is on the side of its gold entity; a wrong one is in-triple when it takes part in a predicted relation. So the
  two lines add up to the NER line, in predictions as in gold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass

from tabulate import tabulate

from .data.alignment import Sentences, aligned
from .data.types import Entity, Relation, Sentence, on_one_line

SYMMETRIC = ("CONJUNCTION", "COMPARE")


@dataclass(frozen=True)
class Score:
    """Counts of one kind of thing. A ratio whose denominator is 0 is 0.0; the counts tell why."""

    correct: int = 0
    predicted: int = 0
    gold: int = 0

    @property
    def precision(self) -> float:
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.correct / (self.predicted + self.gold) if self.predicted + self.gold else 0.0


LINES = {
    "ner": "NER",
    "ner_in_triple": "NER, in triple",
    "ner_out_of_triple": "NER, out of triple",
    "re": "RE",
    "re_symmetric": "RE, symmetric",
    "re_boundaries": "RE, boundaries",
}
"""Name of each ``Score`` in ``Scores`` and the heading of its line in the table."""


@dataclass(frozen=True)
class Scores:
    """Everything that one comparison gives, by the rules at the head of this module."""

    sentences: int
    ner: Score
    ner_in_triple: Score
    ner_out_of_triple: Score
    re: Score
    re_symmetric: Score
    re_boundaries: Score
    ner_by_type: Mapping[str, Score]
    re_by_type: Mapping[str, Score]

    def as_dict(self) -> dict[str, float]:
        """Flat: ``ner_f1``, ``re_precision``, ``re_symmetric_gold``, ...; ratios from 0 to 1, the others counts."""
        values: dict[str, float] = {}
        for name in LINES:
            score: Score = getattr(self, name)
            values.update(
                {f"{name}_precision": score.precision, f"{name}_recall": score.recall, f"{name}_f1": score.f1}
            )
            values.update(
                {f"{name}_correct": score.correct, f"{name}_predicted": score.predicted, f"{name}_gold": score.gold}
            )
        return values

    def table(self, by_type: bool = True) -> str:
        """For people: ratios in per cent, the counts beside them, and the gold counts, which reveal the protocol."""
        rows = [_row(heading, getattr(self, name)) for name, heading in LINES.items()]
        if by_type:
            rows += [_row(f"NER: {on_one_line(label)}", score) for label, score in self.ner_by_type.items()]
            rows += [_row(f"RE: {on_one_line(label)}", score) for label, score in self.re_by_type.items()]
        headers = ("", "P %", "R %", "F1 %", "correct", "predicted", "gold")
        outside = 100 * self.ner_out_of_triple.gold / self.ner.gold if self.ner.gold else 0.0
        gold = f"gold: {self.sentences} sentences, {self.ner.gold} entities ({outside:.1f} % out of triple)"
        table = tabulate(rows, headers, floatfmt=".1f", disable_numparse=[0])
        return f"{gold}, {self.re.gold} relations\n{table}"

    def __str__(self) -> str:
        return self.table()


def score(gold: Sentences, predicted: Sentences, *, symmetric: Collection[str] = SYMMETRIC) -> Scores:
    """Compares two corpora, or two runs of sentences, that hold the same sentences in the same order.

    ``symmetric`` names the relation types that are symmetric for ``re_symmetric``, in upper or lower case. Raises
    DataError when the sentences differ.
    """
    mirrored = {label.casefold() for label in symmetric}
    count = 0
    ner, in_triple, out_of_triple = _Tally(), _Tally(), _Tally()
    re, re_symmetric, re_boundaries = _Tally(), _Tally(), _Tally()
    for ours, theirs in aligned(gold, predicted):
        count += 1
        gold_entities, entities = set(ours.entities), set(theirs.entities)
        ner.add(gold_entities, entities, _label)

        gold_inside = gold_entities & _ends(ours)
        inside = (entities & gold_inside) | (entities - gold_entities) & _ends(theirs)
        in_triple.add(gold_inside, inside)
        out_of_triple.add(gold_entities - gold_inside, entities - inside)

        gold_relations, relations = set(ours.relations), set(theirs.relations)
        complete = theirs.complete_relations()
        re.add(gold_relations, relations, _label, eligible=complete)
        re_symmetric.add(
            {_sorted_ends(r, mirrored) for r in gold_relations},
            {_sorted_ends(r, mirrored) for r in relations},
            eligible={_sorted_ends(r, mirrored) for r in complete},
        )
        re_boundaries.add({_boundaries(r) for r in gold_relations}, {_boundaries(r) for r in relations})
    return Scores(
        sentences=count,
        ner=ner.total(),
        ner_in_triple=in_triple.total(),
        ner_out_of_triple=out_of_triple.total(),
        re=re.total(),
        re_symmetric=re_symmetric.total(),
        re_boundaries=re_boundaries.total(),
        ner_by_type=ner.by_type(),
        re_by_type=re.by_type(),
    )


class _Tally:
    """Counts of correct, predicted and gold items by their type."""

    def __init__(self) -> None:
        self.correct: Counter[str] = Counter()
        self.predicted: Counter[str] = Counter()
        self.gold: Counter[str] = Counter()

    def add(
        self,
        gold: set[Hashable],
        predicted: set[Hashable],
        label: Callable[[Hashable], str] = lambda item: "",
        *,
        eligible: set[Hashable] | None = None,
    ) -> None:
        """Counts one sentence. Only predictions that are ``eligible`` (by default all) can be correct."""
        correct = gold & (predicted if eligible is None else eligible)
        for counts, items in ((self.gold, gold), (self.predicted, predicted), (self.correct, correct)):
            counts.update(map(label, items))

    def total(self) -> Score:
        return Score(self.correct.total(), self.predicted.total(), self.gold.total())

    def by_type(self) -> dict[str, Score]:
        labels: Iterable[str] = sorted(self.gold | self.predicted)
        return {label: Score(self.correct[label], self.predicted[label], self.gold[label]) for label in labels}


def _label(item: Entity | Relation) -> str:
    return item.label


def _ends(sentence: Sentence) -> set[Entity]:
    return {end for relation in sentence.relations for end in (relation.subject, relation.object)}


def _sorted_ends(relation: Relation, symmetric: Collection[str]) -> Relation:
    if relation.label.casefold() not in symmetric or relation.subject <= relation.object:
        return relation
    return Relation(relation.object, relation.subject, relation.label)


def _boundaries(relation: Relation) -> tuple[tuple[int, int], tuple[int, int], str]:
    return relation.subject.span, relation.object.span, relation.label


def _row(heading: str, score: Score) -> tuple[str, float, float, float, int, int, int]:
    ratios = (100 * score.precision, 100 * score.recall, 100 * score.f1)
    return (heading, *ratios, score.correct, score.predicted, score.gold)
