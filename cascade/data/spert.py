"""SpERT's form: a JSON array of sentences, word offsets within each, ends exclusive, relations by entity index."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .checks import Place, Steps, want_field, want_index, want_label, want_list, want_object, want_words
from .dygie import DUPLICATE_ENTITY, DUPLICATE_RELATION, encode_entities, encode_relations
from .types import Document, Entity, Relation, Sentence


def parse_item(item: object, index: int, place: Place, dropped: Counter[str], *, labelled: bool = True) -> Document:
    """One item of the array as a document of one sentence. Its key is its ``orig_id``, or its index where it has none.

    Counts what it merges in ``dropped``; raises DataError naming ``place`` and the field.
    """
    item = want_object(item, place, (), "a sentence (a JSON object with `tokens`)")
    words = want_words(want_field(item, "tokens", place), place, ("tokens",))
    entities = _entities(item, len(words), place, required=labelled)
    relations = _relations(item, entities, place, dropped, required=labelled)
    merged = tuple(dict.fromkeys(entities))
    if len(merged) < len(entities):
        dropped[DUPLICATE_ENTITY] += len(entities) - len(merged)
    sentence = Sentence(words, merged, relations)

    extra = {name: value for name, value in item.items() if name not in ("tokens", "entities", "relations")}
    key = _key(item, index)
    record: dict[str, Any] = {"doc_key": key, "sentences": [list(words)]}
    if "entities" in item:
        record["ner"] = encode_entities([sentence])
    if "relations" in item:
        record["relations"] = encode_relations([sentence])
    # DyGIE++ takes unknown fields that start with an underscore, PURE those with one value per sentence.
    record.update({f"_{name}": [value] for name, value in extra.items()})
    return Document(key, (sentence,), extra, record)


def _key(item: dict[str, Any], index: int) -> str:
    name = item.get("orig_id")
    return str(name) if isinstance(name, str | int) and not isinstance(name, bool) and name != "" else str(index)


def _objects(item: dict[str, Any], name: str, place: Place, *, required: bool) -> list[tuple[dict[str, Any], Steps]]:
    if not required and name not in item:
        return []
    values = want_list(want_field(item, name, place), place, (name,), "a list of objects")
    return [(want_object(value, place, (name, i), "an object"), (name, i)) for i, value in enumerate(values)]


def _entities(item: dict[str, Any], length: int, place: Place, *, required: bool) -> list[Entity]:
    """In the order of the file, duplicates included: relations rely on it."""
    entities = []
    for value, path in _objects(item, "entities", place, required=required):
        label = want_label(want_field(value, "type", place, path), place, (*path, "type"))
        start = want_index(want_field(value, "start", place, path), place, (*path, "start"))
        end = want_index(want_field(value, "end", place, path), place, (*path, "end"))
        if end > length:
            raise place.error(
                (*path, "end"), f"at most {length}, the number of `tokens` (ends are exclusive)", str(end)
            )
        if start >= end:
            raise place.error((*path, "start"), f"a start before its end ({end}, exclusive)", str(start))
        entities.append(Entity(start, end - 1, label))
    return entities


def _relations(
    item: dict[str, Any], entities: list[Entity], place: Place, dropped: Counter[str], *, required: bool
) -> tuple[Relation, ...]:
    found: dict[Relation, None] = {}
    for value, path in _objects(item, "relations", place, required=required):
        label = want_label(want_field(value, "type", place, path), place, (*path, "type"))
        ends = []
        for name in ("head", "tail"):
            index = want_index(want_field(value, name, place, path), place, (*path, name))
            if index >= len(entities):
                expected = f"the index of one of the {len(entities)} `entities`"
                raise place.error((*path, name), expected, str(index))
            ends.append(entities[index])
        relation = Relation(*ends, label)
        if relation in found:
            dropped[DUPLICATE_RELATION] += 1
        found[relation] = None
    return tuple(found)
