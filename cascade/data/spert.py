"""SpERT's form: a JSON array of sentences, word offsets within each, ends exclusive, relations by entity index."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .checks import (
    Place,
    Steps,
    key_of,
    probability,
    shown,
    want_field,
    want_index,
    want_label,
    want_list,
    want_object,
    want_text,
    want_words,
)
from .dygie import (
    DUPLICATE_ENTITY,
    DUPLICATE_RELATION,
    HOW_TO_DROP,
    UNKNOWN_END,
    UnknownEnds,
    encode_entities,
    encode_relations,
)
from .text import ENGLISH, document_from_words, split_text
from .types import Document, Entity, Relation, Sentence

ENDS = ("head", "tail")
READ = {"entities": {"type", "start", "end", "score"}, "relations": {"type", *ENDS, "score"}}


def parse_item(
    item: object,
    index: int,
    place: Place,
    dropped: Counter[str],
    *,
    labelled: bool = True,
    unknown_ends: UnknownEnds = "refuse",
    language: str = ENGLISH,
) -> Document:
    """One item of the array as a document: a sentence (an object), or without labels its words (a list) or text in
    ``language``.

    The key is the sentence's ``orig_id``, or the item's index where there is none. Counts what it drops or merges in
    ``dropped``; raises DataError naming ``place`` and the field.
    """
    if isinstance(item, list | str):
        return _unlabelled(item, index, place, labelled, language)
    forms = "a sentence (a JSON object with `tokens`" + ("" if labelled else ", a list of words, or text") + ")"
    item = want_object(item, place, (), forms)
    if "sentences" in item and "tokens" not in item:
        found = "a document in DyGIE++'s form: write such documents one a line, as `jq -c '.[]'` does"
        raise place.error((), forms, found)
    words = want_words(want_field(item, "tokens", place), place, ("tokens",))
    entities = _entities(item, len(words), place)
    relations = _relations(item, entities, place, dropped, unknown_ends)
    merged = tuple(dict.fromkeys(entities))
    if len(merged) < len(entities):
        dropped[DUPLICATE_ENTITY] += len(entities) - len(merged)
    sentence = Sentence(words, merged, relations)

    read = {"tokens"}
    # entities and relations that say more than we read, such as a score, are kept beside what we make of them
    read |= {name for name, fields in READ.items() if not any(value.keys() - fields for value in item.get(name, ()))}
    extra = {name: value for name, value in item.items() if name not in read}
    key = key_of(item.get("orig_id"), str(index))
    record: dict[str, Any] = {"doc_key": key, "sentences": [list(words)]}
    if "entities" in item:
        record["ner"] = encode_entities([sentence])
    if "relations" in item:
        record["relations"] = encode_relations([sentence])
    # DyGIE++ takes unknown fields that start with an underscore, PURE those with one value per sentence.
    record.update({f"_{name}": [value] for name, value in extra.items()})
    return Document(key, (sentence,), extra, record)


def _unlabelled(item: list[Any] | str, index: int, place: Place, labelled: bool, language: str) -> Document:
    if labelled:
        found = f"{shown(item)}, which has no labels and can only be predicted on"
        raise place.error((), "a sentence (a JSON object with `tokens`)", found)
    if isinstance(item, list):
        return document_from_words([want_words(item, place, ())], str(index))
    text = want_text(item, place, (), "text", empty=True)
    return Document(str(index), split_text(text, language), record={"id": index, "text": text})


def _objects(item: dict[str, Any], name: str, place: Place) -> list[tuple[dict[str, Any], Steps]]:
    values = want_list(item.get(name, []), place, (name,), "a list of objects")
    return [(want_object(value, place, (name, i), "an object"), (name, i)) for i, value in enumerate(values)]


def _entities(item: dict[str, Any], length: int, place: Place) -> list[Entity]:
    """In the order of the file, duplicates included: relations rely on it."""
    entities = []
    for value, path in _objects(item, "entities", place):
        label = want_label(want_field(value, "type", place, path), place, (*path, "type"))
        start = want_index(want_field(value, "start", place, path), place, (*path, "start"))
        end = want_index(want_field(value, "end", place, path), place, (*path, "end"))
        if end > length:
            raise place.error(
                (*path, "end"), f"at most {length}, the number of `tokens` (ends are exclusive)", shown(end)
            )
        if start >= end:
            raise place.error((*path, "start"), f"a start before its end ({end}, exclusive)", shown(start))
        entities.append(Entity(start, end - 1, label, probability(value.get("score"))))
    return entities


def _relations(
    item: dict[str, Any], entities: list[Entity], place: Place, dropped: Counter[str], unknown_ends: UnknownEnds
) -> tuple[Relation, ...]:
    found: dict[Relation, None] = {}
    for value, path in _objects(item, "relations", place):
        label = want_label(want_field(value, "type", place, path), place, (*path, "type"))
        indices = {name: want_index(want_field(value, name, place, path), place, (*path, name)) for name in ENDS}
        unknown = [name for name, index in indices.items() if index >= len(entities)]
        if unknown and unknown_ends == "drop":
            dropped[UNKNOWN_END] += 1
            continue
        if unknown:
            expected = f"the index of one of the {len(entities)} `entities`"
            # an end without a span cannot be kept: it is refused in predictions too, where nothing is dropped
            hint = f" ({HOW_TO_DROP})" if unknown_ends == "refuse" else ""
            raise place.error((*path, unknown[0]), expected, shown(indices[unknown[0]]) + hint)
        subject, object_ = (entities[index] for index in indices.values())
        relation = Relation(subject, object_, label, probability(value.get("score")))
        if relation in found:
            dropped[DUPLICATE_RELATION] += 1
        found[relation] = None
    return tuple(found)
