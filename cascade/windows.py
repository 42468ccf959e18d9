"""Windows: cuts long sentences into parts that overlap, counts what that costs, and joins what each part found."""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from .data import Entity, Sentence
from .data.overlaps import OVERLAPS, overlap
from .model.findings import Found
from .tensors import Example

logger = logging.getLogger(__name__)

Window = tuple[int, int]
"""Its first word and the one after its last, in its sentence."""


@dataclass
class Examples:
    """The windows of ``sentences`` sentences, in their order, and what the windows cost (reason to count)."""

    sentences: int
    windows: list[Example] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)


def report(lost: Counter[str], what: str = "text") -> None:
    """Logs what was lost (reason to count), if anything."""
    if lost:
        logger.warning("%s: %s", what, ", ".join(f"{count} {reason}" for reason, count in lost.items()))


def cut(pieces: Sequence[int], room: int | None) -> list[Window]:
    """The windows of a sentence whose words have so many ``pieces``, 1 to ``room`` each; None: any number fits.

    A window overlaps the one before by up to half the room, so that any words of no more pieces than that are together
    in one. The last is filled from the front, for the context that its words get.
    """
    before = list(accumulate(pieces, initial=0))  # pieces before each word, and in all
    if not pieces or room is None:
        return [(0, len(pieces))] if pieces else []
    windows, first = [], 0
    while (last := bisect_right(before, before[first] + room) - 1) < len(pieces):
        windows.append((first, last))
        # the next one holds at least one word more than the overlap
        first = bisect_left(before, before[last] - min(room // 2, room - pieces[last]))
    return [*windows, (bisect_left(before, before[-1] - room), last)]


def merged(
    sentences: Sequence[Sentence], windows: Sequence[Example], found: Sequence[Found], overlaps: Collection[str]
) -> list[Sentence]:
    """The sentences with what was ``found`` in their windows, where entities may overlap as ``overlaps`` allow."""
    parts: list[list[tuple[Window, Found]]] = [[] for _ in sentences]
    for window, its in zip(windows, found, strict=True):
        first = window["first_word"]
        parts[window["sentence"]].append(((first, first + window["word_count"]), its))
    results = []
    for sentence, its in zip(sentences, parts, strict=True):
        entities, relations = its[0][1] if len(its) == 1 else _joined(len(sentence.words), its, overlaps)
        results.append(replace(sentence, entities=entities, relations=relations))
    return results


def _joined(words: int, parts: Sequence[tuple[Window, Found]], overlaps: Collection[str]) -> Found:
    """What the windows of a sentence of ``words`` words found.

    Each entity, and the stretch from end to end of each relation, is for one window to find: that which holds it
    farthest from a cut. So nothing is found twice, and where windows disagree the one with more context is right. Two
    of them may find entities that must not overlap: that with more context stays. Relations between entities that
    were not kept go, too.
    """
    windows = [window for window, _ in parts]

    def context(window: Window, start: int, end: int) -> int:
        """How far inside of the window the words from start to end are from its cuts; below 0 where they are not."""
        first, last = window
        return min(start - first if first else words, last - 1 - end if last < words else words)

    def owner(start: int, end: int) -> Window:
        return max(windows, key=lambda window: context(window, start, end))

    entities, relations = [], []
    for window, (its_entities, its_relations) in parts:
        first = window[0]
        entities += [e for e in (_moved(e, first) for e in its_entities) if owner(*e.span) == window]
        for relation in its_relations:
            subject, object_ = _moved(relation.subject, first), _moved(relation.object, first)
            if owner(min(subject.start, object_.start), max(subject.end, object_.end)) == window:
                relations.append(replace(relation, subject=subject, object=object_))

    def worse(entity: Entity) -> tuple:
        return -context(owner(*entity.span), *entity.span), entity.end - entity.start, entity

    kept: list[Entity] = []
    refused = set(OVERLAPS) - set(overlaps)
    for entity in sorted(entities, key=worse):
        if not any(overlap(entity, other) in refused for other in kept):
            kept.append(entity)
    present = {entity: entity for entity in kept}
    return (
        tuple(sorted(kept)),
        tuple(
            # its ends with the scores that they have as entities
            replace(r, subject=present.get(r.subject, r.subject), object=present.get(r.object, r.object))
            for r in relations
            if all(not end.label or end in present for end in (r.subject, r.object))
        ),
    )


def _moved(entity: Entity, words: int) -> Entity:
    return replace(entity, start=entity.start + words, end=entity.end + words)
