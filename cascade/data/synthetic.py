"""A generated corpus of the shape of SciERC's test split, for benchmarks: any number of sentences, fixed by a seed.

Its distributions are drawn as quantiles at equal steps, so that even a small corpus has them: lengths are log-normal
with a stretched upper tail; entities, relations and subjects of a sentence follow the counts below. They are joined by
rank with some noise: longer sentences hold more entities, and those more relations. Names are invented. Words of an
entity come from the vocabulary of its type, so that there is something to learn.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, islice
from random import Random
from statistics import NormalDist
from typing import TypeVar

from .types import Corpus, Document, Entity, Relation, Sentence

_T = TypeVar("_T")

SENTENCES = 551
SENTENCES_A_DOCUMENT = 6
LONGEST, SHORTEST = 97, 5

# The mean and deviation of the logarithm of the length, and how far the tail beyond two deviations is stretched.
LOG_MEAN, LOG_DEVIATION, STRETCH = 3.1136, 0.397, 0.5

# How many of 551 sentences hold each number; for words, how many of 1685 spans.
ENTITIES = {0: 22, 1: 75, 2: 114, 3: 153, 4: 90, 5: 50, 6: 28, 7: 12, 8: 6, 13: 1}
RELATIONS = {0: 154, 1: 148, 2: 110, 3: 58, 4: 31, 5: 21, 6: 14, 7: 8, 8: 3, 9: 2, 10: 1, 11: 1}
SUBJECTS = {0: 154, 1: 170, 2: 125, 3: 63, 4: 27, 5: 8, 6: 3, 7: 1}
SPAN_WORDS = {1: 506, 2: 635, 3: 280, 4: 119, 5: 66, 6: 36, 7: 21, 8: 11, 9: 5, 10: 3, 11: 2, 13: 1}
NESTED_SHARE = 17 / 454  # of the sentences with several entities, those with one inside another

# Name and weight.
ENTITY_TYPES = {"Apparatus": 31, "Procedure": 26, "Purpose": 16, "Reference": 14, "Specimen": 9, "Quantity": 4}
RELATION_TYPES = {
    "APPLIED-TO": 55,
    "JOINED-WITH": 13,
    "GAUGED-BY": 9,
    "KIND-OF": 7,
    "COMPONENT-OF": 6,
    "TRAIT-OF": 6,
    "SET-AGAINST": 4,
}
COMMON_WORDS, TYPE_WORDS = 3000, 400


def synthetic_corpus(sentences: int = SENTENCES, seed: int = 0) -> Corpus:
    """``sentences`` sentences in documents of six, in an order that ``seed`` shuffles. Raises ValueError below 0."""
    if sentences < 0:
        raise ValueError(f"expected 0 sentences or more, found {sentences}")
    rng = Random(seed)
    vocabulary = _Vocabulary()
    made = [_sentence(*shape, rng, vocabulary) for shape in _shapes(sentences, rng)]
    documents = [
        Document(f"synthetic-{seed}-{first // SENTENCES_A_DOCUMENT}", tuple(made[first : first + SENTENCES_A_DOCUMENT]))
        for first in range(0, sentences, SENTENCES_A_DOCUMENT)
    ]
    return Corpus(tuple(documents), f"synthetic corpus (seed {seed})")


def _shapes(count: int, rng: Random) -> list[tuple[int, int, int, int]]:
    """(words, entities, relations, subjects) of each sentence, shuffled."""
    words = [_length((i + 0.5) / count) for i in range(count)]
    entities = _join(
        _quantiles(ENTITIES, count),
        [math.log(length) / LOG_DEVIATION + rng.gauss(0, 1.3) for length in words],
        lambda i, entities: words[i] > 3 * entities,  # room for spans of the usual length, and a full stop
    )
    # Relations and subjects go together: their ranks agree, so there are never more subjects than relations.
    pairs = list(zip(_quantiles(RELATIONS, count), _quantiles(SUBJECTS, count), strict=True))
    relations = _join(
        pairs, [held + rng.gauss(0, 1) for held in entities], lambda i, pair: _possible(entities[i], *pair)
    )
    shapes = [(w, e, *pair) for w, e, pair in zip(words, entities, relations, strict=True)]
    rng.shuffle(shapes)
    return shapes


def _possible(entities: int, relations: int, subjects: int) -> bool:
    return relations == 0 or (subjects <= entities and relations <= subjects * (entities - 1))


def _length(quantile: float) -> int:
    deviations = NormalDist().inv_cdf(quantile)
    deviations += STRETCH * max(deviations - 2, 0)
    return min(max(round(math.exp(LOG_MEAN + LOG_DEVIATION * deviations)), SHORTEST), LONGEST)


def _quantiles(histogram: Mapping[int, int], count: int) -> list[int]:
    """``count`` values, ascending, at equal steps of the distribution."""
    values, totals = list(histogram), list(accumulate(histogram.values()))
    return [values[bisect_right(totals, (i + 0.5) / count * totals[-1])] for i in range(count)]


def _join(values: Sequence[_T], ranks: Sequence[float], fits: Callable[[int, _T], bool]) -> list[_T]:
    """One of the ``values`` (ascending) for each place: the largest first, to the highest-ranked place that it fits."""
    places = sorted(range(len(ranks)), key=lambda place: -ranks[place])
    taken: dict[int, _T] = {}
    for value in reversed(values):
        position = next(position for position, place in enumerate(places) if fits(place, value))
        taken[places.pop(position)] = value
    return [taken[place] for place in range(len(ranks))]


def _sentence(
    words: int, entities: int, relations: int, subjects: int, rng: Random, vocabulary: _Vocabulary
) -> Sentence:
    spans = _spans(words - 1, entities, rng)
    types = rng.choices(list(ENTITY_TYPES), list(ENTITY_TYPES.values()), k=entities)
    made = tuple(Entity(*span, label) for span, label in zip(spans, types, strict=True))
    text = [vocabulary.common(rng) for _ in range(words - 1)] + ["."]
    for entity in made:  # an inner span comes after the one around it
        for i in range(entity.start, entity.end + 1):
            text[i] = vocabulary.of_type(entity.label, rng)
    return Sentence(tuple(text), tuple(sorted(made)), _relations(made, relations, subjects, rng))


def _spans(room: int, count: int, rng: Random) -> list[tuple[int, int]]:
    """Spans that share no word, except that the last may lie within another."""
    nested = count > 1 and rng.random() < NESTED_SHARE
    lengths = rng.choices(list(SPAN_WORDS), list(SPAN_WORDS.values()), k=count - nested)
    if nested:
        lengths[0] = max(lengths[0], 2)
    while sum(lengths) > room:
        lengths[lengths.index(max(lengths))] -= 1
    free = room - sum(lengths)
    starts = sorted(rng.randint(0, free) for _ in lengths)
    before = accumulate(lengths, initial=0)
    spans = [(s + b, s + b + length - 1) for s, b, length in zip(starts, before, lengths, strict=False)]
    if nested:
        start, end = spans[0]
        inner = rng.randint(1, end - start)
        first = rng.randint(start, end - inner + 1)
        spans.append((first, first + inner - 1))
    return spans


def _relations(entities: Sequence[Entity], count: int, subjects: int, rng: Random) -> tuple[Relation, ...]:
    chosen = dict.fromkeys(rng.sample(entities, subjects), 1)
    for _ in range(count - subjects):
        chosen[rng.choice([subject for subject, objects in chosen.items() if objects < len(entities) - 1])] += 1
    relations = []
    for subject, objects in chosen.items():
        others = [entity for entity in entities if entity != subject]
        labels = rng.choices(list(RELATION_TYPES), list(RELATION_TYPES.values()), k=objects)
        relations += [Relation(subject, *pair) for pair in zip(rng.sample(others, objects), labels, strict=True)]
    return tuple(sorted(relations))


class _Vocabulary:
    """Invented words, some common and some for each entity type; the k-th of each is drawn in proportion to 1 / k."""

    def __init__(self) -> None:
        names = (_word(i) for i in range(COMMON_WORDS + TYPE_WORDS * len(ENTITY_TYPES)))
        self._common = list(islice(names, COMMON_WORDS))
        self._of_type = {label: list(islice(names, TYPE_WORDS)) for label in ENTITY_TYPES}
        self._weights = list(accumulate(1 / (k + 1) for k in range(max(COMMON_WORDS, TYPE_WORDS))))

    def common(self, rng: Random) -> str:
        return self._draw(self._common, rng)

    def of_type(self, label: str, rng: Random) -> str:
        return self._draw(self._of_type[label], rng)

    def _draw(self, words: list[str], rng: Random) -> str:
        return words[bisect_right(self._weights, rng.random() * self._weights[len(words) - 1], hi=len(words) - 1)]


def _word(index: int) -> str:
    """Two to four syllables that spell ``index``: distinct numbers, distinct words."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    index += len(syllables)
    word = ""
    while index:
        index, syllable = divmod(index, len(syllables))
        word += syllables[syllable]
    return word
