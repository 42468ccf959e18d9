"""What was found in a text, or in a sentence of words, as JSON has it: ends exclusive, with scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .dygie import DIGITS, PREDICTED, key_as_read
from .text import is_text
from .types import Document, Entity, Sentence


def text_record(text: str, sentences: Sequence[Sentence]) -> dict[str, Any]:
    """What was found in sentences of ``text`` (with their ``offsets``), by characters: JSON's types, ends exclusive.

    ``{"text", "entities": [{"start", "end", "text", "type", "score"}], "relations": [{"subject", "object", "type",
    "score"}]}``, where subject and object look like entities; their type and score are None if the span is not an entity.
    A score is a probability: of a relation, given its two entities.
    """

    def place(sentence: Sentence, entity: Entity) -> dict[str, Any]:
        start, end = sentence.offsets[entity.start][0], sentence.offsets[entity.end][1]
        return {"start": start, "end": end, "text": text[start:end]}

    return {"text": text, **_found_in(sentences, place)}


def words_record(sentence: Sentence) -> dict[str, Any]:
    """As ``text_record``, of a sentence's ``words``, which ``start`` and ``end`` count: ends exclusive. An entity's text is
    its words, with spaces between."""

    def place(sentence: Sentence, entity: Entity) -> dict[str, Any]:
        start, end = entity.start, entity.end + 1
        return {"start": start, "end": end, "text": " ".join(sentence.words[start:end])}

    return {"words": list(sentence.words), **_found_in([sentence], place)}


def document_record(document: Document, sentences: Sequence[Sentence]) -> dict[str, Any]:
    """What was found in a document. That of a text is its record with what ``text_record`` has; that of another has a
    ``words_record`` for each of its ``sentences``, after its key and its fields that are not interpreted."""
    if is_text(document.record):
        return {**document.record, **text_record(document.record["text"], sentences)}
    # earlier predictions are replaced; entities and relations in SpERT's form are the source's
    old = {PREDICTED.entities, PREDICTED.relations}
    rest = {name: value for name, value in document.extra.items() if name not in old}
    rest = {f"_{name}" if name in ("entities", "relations") else name: value for name, value in rest.items()}
    return {**rest, "doc_key": key_as_read(document), "sentences": [words_record(sentence) for sentence in sentences]}


def rounded(score: float | None) -> float | None:
    return None if score is None else round(score, DIGITS)


def _found_in(
    sentences: Sequence[Sentence], place: Callable[[Sentence, Entity], dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    def span(sentence: Sentence, entity: Entity) -> dict[str, Any]:
        return {**place(sentence, entity), "type": entity.label or None, "score": rounded(entity.score)}

    return {
        "entities": [span(sentence, entity) for sentence in sentences for entity in sentence.entities],
        "relations": [
            {
                "subject": span(sentence, relation.subject),
                "object": span(sentence, relation.object),
                "type": relation.label,
                "score": rounded(relation.score),
            }
            for sentence in sentences
            for relation in sentence.relations
        ],
    }
