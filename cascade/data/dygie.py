"""DyGIE++'s form: one JSON object per document, word offsets counted through the document, both ends inclusive."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from .checks import (
    Place,
    Steps,
    probability,
    shown,
    want_field,
    want_index,
    want_key,
    want_label,
    want_list,
    want_object,
    want_words,
)
from .types import Document, Entity, Relation, Sentence

DUPLICATE_ENTITY = "duplicate entities merged"
DUPLICATE_RELATION = "duplicate relations merged"
AMBIGUOUS_END = "relation ends on a span of several types (its first type taken)"
UNTYPED_END = "relation ends that are no predicted entity (kept without a type)"
ACROSS = "relations across sentences dropped"
UNKNOWN_END = "relations with an end that is no entity dropped"
OTHER_TYPE = "relations with an end that has another type than the first of its span, which this form cannot say"
HOW_TO_DROP = "drop_unknown_ends=True, on the command line --drop_unknown_ends, drops and counts such relations"

DIGITS = 6  # of scores
LEAST = 1e-6  # or a certain prediction's logit would be infinite, which JSON cannot say

UnknownEnds = Literal["refuse", "drop", "keep"]
"""What becomes of a relation one of whose ends is no entity. ``keep``: the end gets the label ``""``."""


@dataclass(frozen=True)
class Fields:
    """Which fields hold the annotation."""

    entities: str = "ner"
    relations: str = "relations"


GOLD = Fields()
PREDICTED = Fields("predicted_ner", "predicted_relations")


def parse_document(
    record: object,
    place: Place,
    dropped: Counter[str],
    *,
    fields: Fields = GOLD,
    unknown_ends: UnknownEnds = "refuse",
) -> Document:
    """Reads a decoded line; a field of the annotation that is missing is empty.

    Counts what it drops or merges in ``dropped``; raises DataError naming ``place`` and the field.
    """
    record = want_object(record, place, (), "a document (a JSON object)")
    if "tokens" in record and "sentences" not in record:
        found = "a sentence in SpERT's form: put such sentences into one array, as `jq -s .` does"
        raise place.error((), "a document (a JSON object with `doc_key` and `sentences`)", found)
    key = want_key(want_field(record, "doc_key", place), place, ("doc_key",))
    sentence_lists = want_list(
        want_field(record, "sentences", place), place, ("sentences",), "a list of sentences (lists of words)"
    )
    all_words = [want_words(words, place, ("sentences", i)) for i, words in enumerate(sentence_lists)]
    if fields == PREDICTED and fields.relations not in record:
        want_field(record, fields.entities, place)  # who has predicted nothing says so
    entity_lists = _per_sentence(record, fields.entities, len(all_words), place)
    relation_lists = _per_sentence(record, fields.relations, len(all_words), place)
    total = sum(map(len, all_words))

    sentences = []
    offset = 0
    for i, words in enumerate(all_words):
        reader = _SentenceReader(offset, len(words), total, place, dropped, fields, unknown_ends)
        entities = reader.entities(entity_lists[i], (fields.entities, i))
        relations = reader.relations(relation_lists[i], (fields.relations, i), entities)
        sentences.append(Sentence(words, entities, relations))
        offset += len(words)
    interpreted = {"doc_key", "sentences", fields.entities, fields.relations}
    extra = {name: value for name, value in record.items() if name not in interpreted}
    return Document(key, tuple(sentences), extra, record)


def encode_entities(sentences: Iterable[Sentence]) -> list[list[list[Any]]]:
    """The ``ner`` field: for each sentence a list of [start, end, label], and with a score of [..., logit, score].

    Of several types of a span, one that it has in a relation comes first: readers take that for the relation's.
    """
    encoded, offset = [], 0
    for sentence in sentences:
        entities = _ends_first(sentence)
        encoded.append([[e.start + offset, e.end + offset, e.label, *_scores(e)] for e in entities])
        offset += len(sentence.words)
    return encoded


def encode_relations(sentences: Iterable[Sentence], dropped: Counter[str] | None = None) -> list[list[list[Any]]]:
    """The ``relations`` field: for each sentence a list of [subject start, end, object start, end, label], and with a score
    of [..., logit, score]. Those that readers will take for others (``OTHER_TYPE``) are counted in ``dropped``."""
    encoded, offset = [], 0
    for sentence in sentences:
        first = {entity.span: entity for entity in reversed(_ends_first(sentence))}
        for relation in sentence.relations:
            ends = relation.subject, relation.object
            if dropped is not None and any(first.get(end.span, end) != end for end in ends):
                dropped[OTHER_TYPE] += 1
        spans = [((*r.subject.span, *r.object.span), r.label, *_scores(r)) for r in sentence.relations]
        encoded.append([[*(word + offset for word in words), *rest] for words, *rest in spans])
        offset += len(sentence.words)
    return encoded


def _ends_first(sentence: Sentence) -> Sequence[Entity]:
    """The entities; of those of one span, the ends of relations first."""
    if len({entity.span for entity in sentence.entities}) == len(sentence.entities):
        return sentence.entities
    ends = {end for relation in sentence.relations for end in (relation.subject, relation.object)}
    return sorted(sentence.entities, key=lambda entity: (entity.span, entity not in ends))


def _scores(item: Entity | Relation) -> tuple[float, ...]:
    """As DyGIE++ has them behind a prediction: a number without bounds, and the probability."""
    if item.score is None:
        return ()
    probability = min(max(item.score, LEAST), 1 - LEAST)
    return round(math.log(probability / (1 - probability)), DIGITS), round(item.score, DIGITS)


def encode_document(document: Document, dropped: Counter[str] | None = None) -> dict[str, Any]:
    """The record of a document with its sentences' entities and relations, without scores; other fields as its source had
    them. Relations with an end that is no entity are left out, and counted in ``dropped``."""
    sentences = []
    for sentence in document.sentences:
        entities = tuple(replace(entity, score=None) for entity in sentence.entities)
        known = [r for r in sentence.relations if {r.subject, r.object} <= set(entities)]
        if dropped is not None and len(known) < len(sentence.relations):
            dropped[UNKNOWN_END] += len(sentence.relations) - len(known)
        relations = tuple(replace(relation, score=None) for relation in known)
        sentences.append(replace(sentence, entities=entities, relations=relations))
    return {
        **document.record,
        "doc_key": key_as_read(document),
        "sentences": [list(sentence.words) for sentence in sentences],
        "ner": encode_entities(sentences),
        "relations": encode_relations(sentences, dropped),
    }


def key_as_read(document: Document) -> str | int:
    """The key of a document; a number if its record has one."""
    key = document.record.get("doc_key")
    return key if isinstance(key, int) and str(key) == document.key else document.key


def _per_sentence(record: dict[str, Any], name: str, count: int, place: Place) -> list[list[Any]]:
    if name not in record:
        return [[] for _ in range(count)]
    lists = want_list(record[name], place, (name,), "a list with one list a sentence")
    if len(lists) != count:
        raise place.error((name,), f"one list a sentence, {count} as in `sentences`", f"{len(lists)} lists")
    return [want_list(items, place, (name, i), "a list") for i, items in enumerate(lists)]


def _probability(scores: list[Any]) -> float | None:
    """Of a prediction, as ``_scores`` has it; None where other numbers stand, or none."""
    return probability(scores[1]) if len(scores) == 2 else None


class _SentenceReader:
    """Reads one sentence's annotation: ``length`` words that start at word ``offset`` of their document's ``total``."""

    def __init__(
        self,
        offset: int,
        length: int,
        total: int,
        place: Place,
        dropped: Counter[str],
        fields: Fields,
        unknown_ends: UnknownEnds,
    ) -> None:
        self.offset, self.length, self.total = offset, length, total
        self.place, self.dropped, self.fields, self.unknown_ends = place, dropped, fields, unknown_ends

    def entities(self, items: list[Any], path: Steps) -> tuple[Entity, ...]:
        found: dict[Entity, None] = {}
        for i, item in enumerate(items):
            item = self._item(item, (*path, i), 3, "[start, end, label]")
            start, end = self._span(item, 0, (*path, i), self.offset, self.length, "its sentence")
            label = want_label(item[2], self.place, (*path, i, 2))
            entity = Entity(start - self.offset, end - self.offset, label, _probability(item[3:]))
            if entity in found:
                self.dropped[DUPLICATE_ENTITY] += 1
            found[entity] = None
        return tuple(found)

    def relations(self, items: list[Any], path: Steps, entities: tuple[Entity, ...]) -> tuple[Relation, ...]:
        by_span: dict[tuple[int, int], list[Entity]] = {}
        for entity in entities:
            by_span.setdefault(entity.span, []).append(entity)
        found: dict[Relation, None] = {}
        for i, item in enumerate(items):
            relation = self._relation(item, (*path, i), by_span)
            if relation in found:
                self.dropped[DUPLICATE_RELATION] += 1
            if relation:
                found[relation] = None
        return tuple(found)

    def _relation(self, item: object, path: Steps, by_span: dict[tuple[int, int], list[Entity]]) -> Relation | None:
        """The relation, or None if it is dropped."""
        item = self._item(item, path, 5, "[subject start, subject end, object start, object end, label]")
        spans = [self._span(item, at, path, 0, self.total, "its document") for at in (0, 2)]
        label = want_label(item[4], self.place, (*path, 4))
        if not all(self.offset <= word < self.offset + self.length for span in spans for word in span):
            self.dropped[ACROSS] += 1
            return None
        subject, object_ = (self._end(item, at, path, by_span) for at in (0, 2))
        if subject is None or object_ is None:
            self.dropped[UNKNOWN_END] += 1
            return None
        return Relation(subject, object_, label, _probability(item[5:]))

    def _item(self, item: object, path: Steps, length: int, form: str) -> list[Any]:
        """A list of ``length`` values, and after them scores."""
        item = want_list(item, self.place, path, form)
        if len(item) < length:
            raise self.place.error(path, form, f"{len(item)} values")
        for step, score in enumerate(item[length:], length):
            if score is not None and type(score) not in (int, float):
                raise self.place.error((*path, step), f"nothing but scores (numbers) after {form}", shown(score))
        return item

    def _span(self, item: list[Any], at: int, path: Steps, first: int, length: int, holder: str) -> tuple[int, int]:
        """``item[at:at + 2]``, two of the ``length`` words of the document from ``first`` on, which ``holder`` has."""
        for step in (at, at + 1):
            index = want_index(item[step], self.place, (*path, step))
            if not first <= index < first + length:
                limits = f"holds words {first} to {first + length - 1}" if length else "is empty"
                raise self.place.error((*path, step), f"a word of {holder}, which {limits}", shown(index))
        start, end = item[at : at + 2]
        if start > end:
            raise self.place.error((*path, at), f"a start not after its end ({end}, inclusive)", str(start))
        return start, end

    def _end(
        self, item: list[Any], at: int, path: Steps, by_span: dict[tuple[int, int], list[Entity]]
    ) -> Entity | None:
        """The entity that ``item[at:at + 2]`` names, or None if it is none and its relation is to be dropped."""
        span = item[at] - self.offset, item[at + 1] - self.offset
        candidates = by_span.get(span, [])
        if candidates:
            if len(candidates) > 1:
                self.dropped[AMBIGUOUS_END] += 1
            return candidates[0]
        if self.unknown_ends == "keep":
            self.dropped[UNTYPED_END] += 1
            return Entity(*span, "")
        if self.unknown_ends == "refuse":
            expected = f"the span of an entity in `{self.fields.entities}` of this sentence"
            found = f"[{item[at]}, {item[at + 1]}], which is none ({HOW_TO_DROP})"
            raise self.place.error((*path, at), expected, found)
        return None
