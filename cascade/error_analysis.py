"""Error analysis: which kind of error each wrong prediction is, and each gold entity or relation that was missed.

Errors are what strict NER and RE count as wrong (``cascade.scoring``). A wrong prediction and a missed gold item whose
spans overlap are one error, with a kind for its only fault:

- ``boundary``: the words. ``type``: the type. ``end type``: of a relation, the type of the subject or the object, or that
  such an entity is not predicted. ``direction``: of a relation, subject and object exchanged.
- ``several faults``: more than one of these.

What is left is ``spurious`` (predicted) or ``missing`` (gold); a relation with an end that is no predicted entity is
``missing, as is an end``. Each item belongs to one error at most, pairs of the fewest faults first, so that right ones,
pairs and ``spurious`` add up to the predictions, and right ones, pairs and ``missing`` to the gold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from tabulate import tabulate

from .data.alignment import Sentences, aligned
from .data.overlaps import share_words
from .data.types import Corpus, Entity, Relation, Sentence, on_one_line

BOUNDARY, TYPE, END_TYPE, DIRECTION = "boundary", "type", "end type", "direction"
SEVERAL, SPURIOUS, MISSING, MISSING_END = "several faults", "spurious", "missing", "missing, as is an end"
ENTITY_KINDS = (BOUNDARY, TYPE, SEVERAL, SPURIOUS, MISSING)
RELATION_KINDS = (BOUNDARY, TYPE, END_TYPE, DIRECTION, SEVERAL, SPURIOUS, MISSING, MISSING_END)

Item = TypeVar("Item", Entity, Relation)


@dataclass(frozen=True)
class Error:
    """A gold item and the prediction in its place, of which one may be None, in a sentence of a document."""

    kind: str
    gold: Entity | Relation | None
    predicted: Entity | Relation | None
    words: tuple[str, ...]
    document: str = ""
    sentence: int = 0

    @property
    def of_relation(self) -> bool:
        return isinstance(self.gold or self.predicted, Relation)

    def __str__(self) -> str:
        sides = ((name, item) for name, item in (("gold", self.gold), ("predicted", self.predicted)) if item)
        shown = "; ".join(f"{name} {_shown(item, self.words)}" for name, item in sides)
        what = "relation" if self.of_relation else "entity"
        return on_one_line(f"{self.document}, sentence {self.sentence}: {what}: {self.kind}: {shown}")


def errors(gold: Corpus, predicted: Sentences) -> Iterator[Error]:
    """The errors of each sentence, entities first. Raises DataError when ``predicted`` holds other sentences."""
    places = ((document.key, index) for document in gold.documents for index, _ in enumerate(document.sentences))
    for (ours, theirs), (document, index) in zip(aligned(gold, predicted), places, strict=True):
        for kind, missed, wrong in (*_entity_errors(ours, theirs), *_relation_errors(ours, theirs)):
            yield Error(kind, missed, wrong, ours.words, document, index)


def error_table(found: Iterable[Error]) -> str:
    """For people: how many errors there are of each kind."""
    counts = Counter((error.of_relation, error.kind) for error in found)
    rows = [
        (kind, *(counts[side, kind] if kind in kinds else None for side, kinds in enumerate(_KINDS)))
        for kind in RELATION_KINDS
    ]
    return tabulate(rows, ("errors", "entities", "relations"))


_KINDS = (ENTITY_KINDS, RELATION_KINDS)


def _entity_errors(gold: Sentence, predicted: Sentence) -> list[tuple[str, Entity | None, Entity | None]]:
    def faults(ours: Entity, theirs: Entity) -> list[str] | None:
        if not share_words(ours, theirs):
            return None
        return [BOUNDARY] * (ours.span != theirs.span) + [TYPE] * (ours.label != theirs.label)

    right = set(gold.entities) & set(predicted.entities)
    return _paired(set(gold.entities) - right, set(predicted.entities) - right, faults, lambda entity: MISSING)


def _relation_errors(gold: Sentence, predicted: Sentence) -> list[tuple[str, Relation | None, Relation | None]]:
    entities = set(predicted.entities)

    def faults(ours: Relation, theirs: Relation) -> list[str] | None:
        readings = []  # of ends that are nested both may be
        for reversed_, ends in ((False, (theirs.subject, theirs.object)), (True, (theirs.object, theirs.subject))):
            pairs = tuple(zip((ours.subject, ours.object), ends, strict=True))
            if all(share_words(mine, end) for mine, end in pairs):
                readings.append(
                    [DIRECTION] * reversed_
                    + [BOUNDARY] * any(mine.span != end.span for mine, end in pairs)
                    + [END_TYPE] * any(mine.label != end.label or end not in entities for mine, end in pairs)
                    + [TYPE] * (ours.label != theirs.label)
                )
        return min(readings, key=len, default=None)

    def missing(relation: Relation) -> str:
        return MISSING if {relation.subject, relation.object} <= entities else MISSING_END

    right = set(gold.relations) & predicted.complete_relations()
    return _paired(set(gold.relations) - right, set(predicted.relations) - right, faults, missing)


def _paired(
    missed: set[Item],
    wrong: set[Item],
    faults: Callable[[Item, Item], list[str] | None],
    missing: Callable[[Item], str],
) -> list[tuple[str, Item | None, Item | None]]:
    """The errors of a sentence, in the order of its words. ``faults`` of a pair is None where its spans do not overlap."""
    candidates = ((ours, theirs, faults(ours, theirs)) for ours in missed for theirs in wrong)
    pairs = [(ours, theirs, found) for ours, theirs, found in candidates if found is not None]
    left, over = set(missed), set(wrong)
    result: list[tuple[str, Item | None, Item | None]] = []
    for ours, theirs, found in sorted(pairs, key=lambda pair: (len(pair[2]), pair[0], pair[1])):
        if ours in left and theirs in over:
            left.remove(ours)
            over.remove(theirs)
            result.append((found[0] if len(found) == 1 else SEVERAL, ours, theirs))
    result += [(missing(item), item, None) for item in left]
    result += [(SPURIOUS, None, item) for item in over]
    return sorted(result, key=lambda error: (error[1] or error[2], error[0]))


def _shown(item: Entity | Relation, words: tuple[str, ...]) -> str:
    if isinstance(item, Relation):
        return f"{_shown(item.subject, words)} {item.label} {_shown(item.object, words)}"
    return f'"{" ".join(words[item.start : item.end + 1])}" ({item.label or "no entity"})'
