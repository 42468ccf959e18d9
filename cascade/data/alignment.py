"""Pairs gold and predicted sentences, which must be the same sentences in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from .checks import shortened
from .types import Corpus, DataError, Sentence, on_one_line

Sentences = Corpus | Iterable[Sentence]


def sentences_of(source: Sentences) -> Iterator[Sentence]:
    return source.sentences() if isinstance(source, Corpus) else iter(source)


def aligned(gold: Sentences, predicted: Sentences) -> Iterator[tuple[Sentence, Sentence]]:
    """Pairs of sentences with the same words; raises DataError at the first that differ, or where one side ends."""
    for index, (ours, theirs) in enumerate(zip_longest(sentences_of(gold), sentences_of(predicted))):
        if ours is None or theirs is None:
            side, longer = ("predictions", gold) if theirs is None else ("gold sentences", predicted)
            place = _place(longer, index)
            raise DataError(f"{place}: expected as many predictions as gold sentences, found no more {side}")
        if ours.words != theirs.words:
            place = _place(gold if isinstance(gold, Corpus) else predicted, index)
            raise DataError(f"{place}: expected the words {_shown(ours)}, found {_shown(theirs)}")
        yield ours, theirs


def _place(source: Sentences, index: int) -> str:
    """What the sentence is called: in a corpus by its document, where the numbers begin anew."""
    if isinstance(source, Corpus):
        for document in source.documents:
            if index < len(document.sentences):
                return on_one_line(f"document {document.key!r}, sentence {index}")
            index -= len(document.sentences)
    return f"sentence {index}"


def _shown(sentence: Sentence) -> str:
    return f'"{shortened(" ".join(sentence.words))}"'
