"""DyGIE++'s form: one JSON object per document, word offsets counted through the document, both ends inclusive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .checks import Place, Steps, want_field, want_index, want_label, want_list, want_object, want_text, want_words
from .types import Document, Entity, Relation, Sentence

DUPLICATE_ENTITY = "duplicate entities merged"
DUPLICATE_RELATION = "duplicate relations merged"
AMBIGUOUS_END = "relation ends on a span of several types (its first type taken)"
UNTYPED_END = "relation ends that are no predicted entity (kept without a type)"


@dataclass(frozen=True)
class Fields:
    """Which fields hold the annotation. Predictions may carry two scores after the label, as DyGIE++ writes them."""

    entities: str = "ner"
    relations: str = "relations"
    predicted: bool = False


GOLD = Fields()
PREDICTED = Fields("predicted_ner", "predicted_relations", predicted=True)


def parse_document(
    record: object, place: Place, dropped: Counter[str], *, fields: Fields = GOLD, labelled: bool = True
) -> Document:
    """Reads a decoded line. Counts what it merges in ``dropped``; raises DataError naming ``place`` and the field."""
    record = want_object(record, place, (), "a document (a JSON object)")
    key = want_text(want_field(record, "doc_key", place), place, ("doc_key",), "a name (a string, not empty)")
    sentence_lists = want_list(
        want_field(record, "sentences", place), place, ("sentences",), "a list of sentences (lists of words)"
    )
    all_words = [want_words(words, place, ("sentences", i)) for i, words in enumerate(sentence_lists)]
    entity_lists = _per_sentence(record, fields.entities, len(all_words), place, required=labelled)
    relation_lists = _per_sentence(record, fields.relations, len(all_words), place, required=labelled)

    sentences = []
    offset = 0
    for i, words in enumerate(all_words):
        reader = _SentenceReader(offset, len(words), place, dropped, fields)
        entities = reader.entities(entity_lists[i], (fields.entities, i))
        relations = reader.relations(relation_lists[i], (fields.relations, i), entities)
        sentences.append(Sentence(words, entities, relations))
        offset += len(words)
    interpreted = {"doc_key", "sentences", fields.entities, fields.relations}
    extra = {name: value for name, value in record.items() if name not in interpreted}
    return Document(key, tuple(sentences), extra, record)


def encode_entities(sentences: Iterable[Sentence]) -> list[list[list[Any]]]:
    """The ``ner`` field: for each sentence a list of [start, end, label]."""
    encoded, offset = [], 0
    for sentence in sentences:
        encoded.append([[e.start + offset, e.end + offset, e.label] for e in sentence.entities])
        offset += len(sentence.words)
    return encoded


def encode_relations(sentences: Iterable[Sentence]) -> list[list[list[Any]]]:
    """The ``relations`` field: for each sentence a list of [subject start, end, object start, end, label]."""
    encoded, offset = [], 0
    for sentence in sentences:
        spans = [((*r.subject.span, *r.object.span), r.label) for r in sentence.relations]
        encoded.append([[*(word + offset for word in words), label] for words, label in spans])
        offset += len(sentence.words)
    return encoded


def encode_document(document: Document) -> dict[str, Any]:
    """The record of a document with its sentences' entities and relations; other fields as its source had them."""
    return {
        **document.record,
        "doc_key": document.key,
        "sentences": [list(sentence.words) for sentence in document.sentences],
        "ner": encode_entities(document.sentences),
        "relations": encode_relations(document.sentences),
    }


def _per_sentence(record: dict[str, Any], name: str, count: int, place: Place, *, required: bool) -> list[list[Any]]:
    if not required and name not in record:
        return [[] for _ in range(count)]
    lists = want_list(want_field(record, name, place), place, (name,), "a list with one list a sentence")
    if len(lists) != count:
        raise place.error((name,), f"one list a sentence, {count} as in `sentences`", f"{len(lists)} lists")
    return [want_list(items, place, (name, i), "a list") for i, items in enumerate(lists)]


class _SentenceReader:
    """Reads one sentence's annotation: ``length`` words that start at word ``offset`` of their document."""

    def __init__(self, offset: int, length: int, place: Place, dropped: Counter[str], fields: Fields) -> None:
        self.offset, self.length, self.place, self.dropped, self.fields = offset, length, place, dropped, fields

    def entities(self, items: list[Any], path: Steps) -> tuple[Entity, ...]:
        found: dict[Entity, None] = {}
        for i, item in enumerate(items):
            item = self._item(item, (*path, i), 3, "[start, end, label]")
            start, end = self._span(item, 0, (*path, i))
            entity = Entity(start, end, want_label(item[2], self.place, (*path, i, 2)))
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
            item = self._item(item, (*path, i), 5, "[subject start, subject end, object start, object end, label]")
            subject = self._end(item, 0, (*path, i), by_span)
            object_ = self._end(item, 2, (*path, i), by_span)
            relation = Relation(subject, object_, want_label(item[4], self.place, (*path, i, 4)))
            if relation in found:
                self.dropped[DUPLICATE_RELATION] += 1
            found[relation] = None
        return tuple(found)

    def _item(self, item: object, path: Steps, length: int, form: str) -> list[Any]:
        item = want_list(item, self.place, path, form)
        lengths = (length, length + 2) if self.fields.predicted else (length,)
        if len(item) not in lengths:
            raise self.place.error(path, form, f"{len(item)} values")
        return item

    def _span(self, item: list[Any], at: int, path: Steps) -> tuple[int, int]:
        """``item[at:at + 2]`` in words of the sentence."""
        first, last = self.offset, self.offset + self.length - 1
        limits = (
            f"its sentence holds words {first} to {last} of the document" if self.length else "its sentence is empty"
        )
        start = want_index(item[at], self.place, (*path, at))
        end = want_index(item[at + 1], self.place, (*path, at + 1))
        for index, step in ((start, at), (end, at + 1)):
            if not first <= index <= last:
                raise self.place.error((*path, step), f"a word of this sentence ({limits})", str(index))
        if start > end:
            raise self.place.error((*path, at), f"a start not after its end ({end}, inclusive)", str(start))
        return start - self.offset, end - self.offset

    def _end(self, item: list[Any], at: int, path: Steps, by_span: dict[tuple[int, int], list[Entity]]) -> Entity:
        span = self._span(item, at, path)
        candidates = by_span.get(span, [])
        if not candidates and self.fields.predicted:
            self.dropped[UNTYPED_END] += 1
            return Entity(*span, "")
        if not candidates:
            found = f"[{item[at]}, {item[at + 1]}], which is none"
            raise self.place.error(
                (*path, at), f"the span of an entity in `{self.fields.entities}` of this sentence", found
            )
        if len(candidates) > 1:
            self.dropped[AMBIGUOUS_END] += 1
        return candidates[0]
