"""Overlapping entities: the three kinds of overlap, and which of them a corpus holds."""

from __future__ import annotations

from collections.abc import Iterator

from .types import Corpus, Entity, Sentence

# one span with several types; one span inside another; two spans of which neither is inside the other
TYPES, NESTED, CROSSING = OVERLAPS = ("types", "nested", "crossing")
NO_OVERLAPS = "none"


def share_words(a: Entity, b: Entity) -> bool:
    return a.start <= b.end and b.start <= a.end


def overlap(a: Entity, b: Entity) -> str | None:
    """The kind of overlap between two entities of one sentence; None where they share no word, or are the same."""
    if a == b or not share_words(a, b):
        return None
    if a.span == b.span:
        return TYPES
    return NESTED if (a.start - b.start) * (a.end - b.end) <= 0 else CROSSING


def overlap_kinds(corpus: Corpus) -> tuple[str, ...]:
    """The kinds of overlap that occur in ``corpus``; ``("none",)`` if none does. A model's ``overlaps``.

    Example:
        >>> from .samples import sample_corpus
        >>> overlap_kinds(sample_corpus())
        ('nested',)
    """
    seen = {kind for sentence in corpus.sentences() for kind in overlaps_of(sentence)}
    return tuple(kind for kind in OVERLAPS if kind in seen) or (NO_OVERLAPS,)


def overlaps_of(sentence: Sentence) -> Iterator[str]:
    """The kind of each overlap between two entities of a sentence."""
    entities = sorted(set(sentence.entities))
    for n, entity in enumerate(entities):
        for other in entities[n + 1 :]:
            kind = overlap(entity, other)
            if kind is None:  # the other begins behind the entity, and so do all that follow
                break
            yield kind
