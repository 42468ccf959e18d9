"""The data model that reading, training, scoring and prediction share: entities, relations, sentences, documents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

# Ends of lines, what else controls a terminal, and halves of surrogate pairs, which no stream takes.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def on_one_line(text: str) -> str:
    """``text`` with escapes in place of what would end the line or control the terminal that shows it."""
    return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class DataError(ValueError):
    """Data that cannot be used. The message, one line, names the file, the line and the field, and says what was
    expected."""

    def __init__(self, message: str) -> None:
        super().__init__(on_one_line(message))


@dataclass(frozen=True, order=True)
class Entity:
    """A typed span of words of one sentence: ``start`` and ``end`` count words from 0, both inclusive.

    ``score`` is the probability of a predicted one, where it is known; entities that differ in it alone are equal.
    """

    start: int
    end: int
    label: str
    score: float | None = field(default=None, compare=False)

    @property
    def span(self) -> tuple[int, int]:
        """``start`` and ``end``."""
        return self.start, self.end


@dataclass(frozen=True, order=True)
class Relation:
    """A directed, typed relation between two entities of the same sentence. ``score``: as of an entity, given the two."""

    subject: Entity
    object: Entity
    label: str
    score: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Sentence:
    """One sentence of words with its (gold or predicted) entities and relations.

    ``offsets`` gives each word's (start, end) characters, end exclusive, in the text it came from, when there was one.
    ``before`` and ``after`` are words around it, for models that read some (``context``); see ``Document.in_context``.
    """

    words: tuple[str, ...]
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    offsets: tuple[tuple[int, int], ...] | None = None
    before: tuple[str, ...] = field(default=(), repr=False, compare=False)
    after: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def complete_relations(self) -> set[Relation]:
        """Those whose ends are both among the entities: of predictions, the only ones that can be right."""
        entities = set(self.entities)
        return {relation for relation in self.relations if {relation.subject, relation.object} <= entities}


@dataclass(frozen=True)
class Document:
    """Sentences under one key, which other documents may have too.

    ``extra`` holds the fields of the source record that we do not interpret (clusters).

    ``record`` is the whole source record in DyGIE++'s form, to which predictions are added when they are written; empty
    for a document not read from a file.
    """

    key: str
    sentences: tuple[Sentence, ...]
    extra: Mapping[str, object] = field(default_factory=dict)
    record: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    def in_context(self, words: int) -> Iterator[Sentence]:
        """The sentences, each with up to so many words of the others before and after it."""
        if not words:
            yield from self.sentences
            return
        text = [word for sentence in self.sentences for word in sentence.words]
        first = 0
        for sentence in self.sentences:
            last = first + len(sentence.words)
            before, after = text[max(0, first - words) : first], text[last : last + words]
            yield replace(sentence, before=tuple(before), after=tuple(after))
            first = last


@dataclass(frozen=True)
class LabelSet:
    """Entity and relation types, in the order of the label indices. They come from the data, never from the code."""

    entity_types: tuple[str, ...]
    relation_types: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """Documents from one source, and what was dropped or merged while reading them (reason to count)."""

    documents: tuple[Document, ...]
    source: str = ""
    dropped: Counter[str] = field(default_factory=Counter)

    def sentences(self, context: int = 0) -> Iterator[Sentence]:
        """Those of all documents, in order; each with up to ``context`` words of its document before and after it."""
        for document in self.documents:
            yield from document.in_context(context)

    def labels(self) -> LabelSet:
        """Every type that occurs, sorted by name, so that the order does not depend on the order of the documents."""
        entity_types = {entity.label for sentence in self.sentences() for entity in sentence.entities}
        relation_types = {relation.label for sentence in self.sentences() for relation in sentence.relations}
        return LabelSet(tuple(sorted(entity_types)), tuple(sorted(relation_types)))

    def summary(self) -> str:
        """One line for a log: the counts, and whatever was dropped or merged while reading."""
        sentences = list(self.sentences())
        counts = (
            f"{self.source or 'corpus'}: {len(self.documents)} documents, {len(sentences)} sentences, "
            f"{sum(len(sentence.entities) for sentence in sentences)} entities, "
            f"{sum(len(sentence.relations) for sentence in sentences)} relations"
        )
        return "; ".join([counts, *(f"{count} {reason}" for reason, count in sorted(self.dropped.items()))])
