"""Checks that a model knows every label of a corpus."""

from __future__ import annotations

from .types import Corpus, DataError, Entity, LabelSet, Sentence


def check_labels(corpus: Corpus, labels: LabelSet) -> None:
    """Raises DataError at the first label of ``corpus`` that is not in ``labels``: it could only ever be missed."""
    entity_types, relation_types = set(labels.entity_types), set(labels.relation_types)
    for document in corpus.documents:
        for index, sentence in enumerate(document.sentences):
            where = f"{corpus.source or 'corpus'}, document {document.key!r}, sentence {index}"
            for entity in sentence.entities:
                if entity.label not in entity_types:
                    expected = f"one of the entity types {', '.join(labels.entity_types) or '(none)'}"
                    raise DataError(
                        f"{where}: entity {_quoted(sentence, entity)}: expected {expected}, found {entity.label}"
                    )
            for relation in sentence.relations:
                if relation.label not in relation_types:
                    ends = f"{_quoted(sentence, relation.subject)} to {_quoted(sentence, relation.object)}"
                    expected = f"one of the relation types {', '.join(labels.relation_types) or '(none)'}"
                    raise DataError(f"{where}: relation {ends}: expected {expected}, found {relation.label}")


def _quoted(sentence: Sentence, entity: Entity) -> str:
    return f'"{" ".join(sentence.words[entity.start : entity.end + 1])}" (words {entity.start} to {entity.end})'
