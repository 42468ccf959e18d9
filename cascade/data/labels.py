"""Labels of a corpus against those that a model knows: an error in training, counted as missed in scoring."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .types import Corpus, DataError, Entity, LabelSet, Sentence

logger = logging.getLogger(__name__)


def training_labels(corpus: Corpus) -> LabelSet:
    """The labels that a model learns from ``corpus``.

    Raises:
        DataError: the corpus has no entities. Without relations it has something to learn.
    """
    labels = corpus.labels()
    if not labels.entity_types:
        raise DataError(f"{corpus.source or 'corpus'}: expected entities to learn from, found none")
    return labels


def check_labels(corpus: Corpus, labels: LabelSet) -> None:
    """Raises DataError at the first label of ``corpus`` that is not in ``labels``: it could not be learned."""
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


def report_gold(corpus: Corpus, labels: LabelSet) -> None:
    """Warns of what makes scores on ``corpus`` low whatever a model with ``labels`` finds: gold labels that it does not
    know, each with its count, and kinds of gold of which there is none."""
    source = corpus.source or "corpus"
    entities = Counter(entity.label for sentence in corpus.sentences() for entity in sentence.entities)
    relations = Counter(relation.label for sentence in corpus.sentences() for relation in sentence.relations)
    if not entities:
        logger.warning("%s: no entities and no relations to score by: every score is 0, whatever is found", source)
    elif not relations and labels.relation_types:
        logger.warning("%s: no relations to score by: the scores of relations are 0, whatever is found", source)
    for kind, items, found, known in (
        ("entity", "entities", entities, labels.entity_types),
        ("relation", "relations", relations, labels.relation_types),
    ):
        for label in sorted(set(found) - set(known)):
            logger.warning(
                "%s: %s type %r is not known to the model: %d %s count as missed%s",
                source,
                kind,
                label,
                found[label],
                items,
                _hint(label, known),
            )


def with_known_labels(sentences: Iterable[Sentence], labels: LabelSet) -> list[Sentence]:
    """The sentences with only those entities and relations for which a model with ``labels`` has a loss: a relation
    goes with its ends."""
    entity_types, relation_types = set(labels.entity_types), set(labels.relation_types)
    return [
        replace(
            sentence,
            entities=tuple(entity for entity in sentence.entities if entity.label in entity_types),
            relations=tuple(
                relation
                for relation in sentence.relations
                if relation.label in relation_types and {relation.subject.label, relation.object.label} <= entity_types
            ),
        )
        for sentence in sentences
    ]


def _hint(label: str, known: Sequence[str]) -> str:
    """The known labels that differ from ``label`` only in case or in the space around it."""
    alike = [repr(other) for other in known if other.strip().casefold() == label.strip().casefold()]
    return f"; it knows {' and '.join(alike)}, but for case or space the same" if alike else ""


def _quoted(sentence: Sentence, entity: Entity) -> str:
    return f'"{" ".join(sentence.words[entity.start : entity.end + 1])}" (words {entity.start} to {entity.end})'
