"""The two corpora of a training, before it begins: what is refused, and what their scores will not show."""

from __future__ import annotations

import logging

from ..data import Corpus, LabelSet, check_labels, report_gold, training_labels

logger = logging.getLogger(__name__)


def check_corpora(train: Corpus, dev: Corpus | None, labels: LabelSet, context: int = 0) -> None:
    """Whether a model with ``labels`` can be trained on ``train``, and scored by ``dev``.

    Warns when it will find no relations, when there is no ``context`` to learn from, of gold in ``dev`` that it can only
    miss, and of sentences in both.

    Raises:
        DataError: a label of ``train`` is not among ``labels``, or it has no entities.
    """
    training_labels(train)
    check_labels(train, labels)
    if not labels.relation_types:
        logger.warning("%s: no relations: the model learns to find entities, and nothing else", train.source or "train")
    if context and all(len(document.sentences) < 2 for document in train.documents):
        logger.warning(
            "%s: context %d: no document has several sentences: the model learns without context",
            train.source or "train",
            context,
        )
    if dev is None:
        return
    report_gold(dev, labels)
    known = {sentence.words for sentence in train.sentences()}
    filled = [sentence.words for sentence in dev.sentences() if sentence.words]
    repeated = sum(words in known for words in filled)
    if repeated:
        logger.warning(
            "%s: %d of its %d sentences are in %s too: scores on them tell little of text that is new",
            dev.source or "dev",
            repeated,
            len(filled),
            train.source or "train",
        )
