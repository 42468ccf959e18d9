"""Raw text to sentences of words with character offsets, by a light rule; and bracket tokens to brackets.

A word is a run of letters, digits and other signs, with hyphens, apostrophes, full stops, slashes, ``&``, ``_`` and
``@`` inside it and commas or colons inside numbers: ``state-of-the-art``, ``1,000``, ``v2.1``, ``and/or``.
Abbreviations such as ``e.g.``, ``U.S.``, ``Fig.`` and initials keep their full stop; ``'s`` and the like stand alone,
as do Chinese and Japanese characters, and every other sign of punctuation.

A sentence ends at ``.``, ``!``, ``?`` and the like, with the quotes and brackets that close after it, unless the next
word begins in lower case or without a space; and at every blank line. For text that is already split there is
``document_from_words``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .types import DataError, Document, Sentence

_BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}"}

_EAST_ASIAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PUNCTUATION = (
    r"""!-/:-@\[-`{-~\u00a1\u00ab\u00b7\u00bb\u00bf\u2010-\u2027\u2030-\u205e\u3000-\u303f\uff01-\uff0f\uff1a-\uff20"""
)
_SIGN = rf"[^\s{_PUNCTUATION}{_EAST_ASIAN}]"
_CLITIC = r"['\u2019](?i:s|re|ve|ll|d|m)(?!\w)"
_ABBREVIATION = "(?:Dr|Mr|Mrs|Ms|Prof|St|Jr|al|[Aa]pprox|[Cc]f|[Ee]qs?|[Ff]igs?|[Rr]efs?|resp|Secs?|[Vv]ol|vs)"
_WORD = re.compile(
    rf"""
    [{_EAST_ASIAN}]
    | (?:[^\W\d_]\.){{2,}} (?!{_SIGN})                         # e.g.  U.S.
    | {_ABBREVIATION} \. (?!{_SIGN})                           # Fig.
    | [A-Z] \. (?=\ [A-Z])                                     # J. Smith
    | {_CLITIC}
    | {_SIGN}+ (?: (?!{_CLITIC}) (?: ['\u2019\u2010\u2011.&/_@-]+ | (?<=\d)[,:](?=\d) ) {_SIGN}+ )*
    | \.{{2,}} | -{{2,}}
    | \S
    """,
    re.VERBOSE,
)
_ENDS = frozenset(".!?\u2026\u3002\uff01\uff1f")
_CLOSERS = frozenset("\"')]}\u201d\u2019\u00bb\u300d\u300f\uff09") | {"''"}
_EAST_ASIAN_SIGN = re.compile(f"[{_EAST_ASIAN}]")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


def normalize_word(word: str) -> str:
    """The bracket that a Penn Treebank bracket token stands for, in either case; any other word as it is.

    For the tokenizer only, which would make three to five pieces of ``-LRB-``: the words of the data stay verbatim.
    """
    return _BRACKETS.get(word.lower(), word)


def split_text(text: str) -> tuple[Sentence, ...]:
    """The sentences of ``text``, their ``offsets`` in characters of it: ``text[start:end]`` is the word.

    Text without words has no sentences. Raises DataError for half a surrogate pair, which no tokenizer takes.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"character {error.start}: expected text, found half a surrogate pair") from None
    sentences = []
    spans: list[tuple[int, int]] = []
    ended = False
    for match in _WORD.finditer(text):
        span = match.span()
        if spans and _breaks(text, spans[-1], span, ended):
            sentences.append(_sentence(text, spans))
            spans, ended = [], False
        spans.append(span)
        word = match.group()
        ended = word in _ENDS or word.startswith("..") or (ended and word in _CLOSERS)
    if spans:
        sentences.append(_sentence(text, spans))
    return tuple(sentences)


def document_from_text(text: str, key: str = "text") -> Document:
    """``split_text`` as a document. Its record keeps the offsets, one list a sentence, in the field ``_offsets``."""
    sentences = split_text(text)
    record = {
        "doc_key": key,
        "sentences": [list(sentence.words) for sentence in sentences],
        "_offsets": [[list(offset) for offset in sentence.offsets or ()] for sentence in sentences],
    }
    return Document(key, sentences, record=record)


def document_from_words(words: Sequence[Sequence[str]], key: str = "text") -> Document:
    """Sentences that are split into words already. Raises DataError for a word that is empty or not a string."""
    for i, sentence in enumerate(words):
        if isinstance(sentence, str):
            raise DataError(f"sentence {i}: expected a sequence of words, found the string {sentence!r}")
        for j, word in enumerate(sentence):
            if not isinstance(word, str) or not word:
                raise DataError(f"sentence {i}, word {j}: expected a string, not empty, found {word!r}")
    sentences = tuple(Sentence(tuple(sentence)) for sentence in words)
    return Document(key, sentences, record={"doc_key": key, "sentences": [list(s.words) for s in sentences]})


def _breaks(text: str, last: tuple[int, int], span: tuple[int, int], ended: bool) -> bool:
    """Whether a sentence ends between the words at ``last`` and at ``span``; ``ended``: it has seen its full stop."""
    gap = text[last[1] : span[0]]
    if _BLANK_LINE.search(gap):
        return True
    if not ended or (not gap and text[span[0] : span[1]] in _CLOSERS):
        return False
    first = text[span[0]]
    return (bool(gap) or _EAST_ASIAN_SIGN.match(first) is not None) and not first.islower()


def _sentence(text: str, spans: list[tuple[int, int]]) -> Sentence:
    return Sentence(tuple(text[start:end] for start, end in spans), offsets=tuple(spans))
