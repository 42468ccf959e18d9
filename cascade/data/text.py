"""Raw text to sentences of words with character offsets; and bracket tokens to brackets.

A word is a run of letters, digits and other signs, with hyphens, apostrophes, full stops, slashes, ``&``, ``_`` and
``@`` inside it and commas or colons inside numbers: ``state-of-the-art``, ``1,000``, ``v2.1``, ``and/or``.
Abbreviations such as ``e.g.``, ``U.S.``, ``Fig.`` and initials keep their full stop; ``'s`` and the like stand alone,
as do Chinese and Japanese characters, and every other sign of punctuation or of a currency.

Where a sentence may end, ``sentencex`` says, which knows the stops and the abbreviations of some thirty languages; and
one ends at every blank line. It goes on, to cut no entity in two, where the next word begins in lower case or is
punctuation that opens nothing, after a word that keeps its full stop, before an item of a list within a line, and
between two ASCII signs without a space. ``docs/data.md`` compares. For text that is already split there is
``document_from_words``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import regex
from sentencex import get_sentence_boundaries

from .checks import Place, key_of, want_key, want_text
from .types import DataError, Document, Sentence

ENGLISH = "en"
_BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}"}

_EAST_ASIAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PUNCTUATION = r"\p{P}\p{Sc}+<=>\^`|~\u3000-\u303f\uff00-\uffef"
_SPACE = r"\s\x1c-\x1f"  # as str.isspace, which calls four separators space that regex does not
_SIGN = rf"[^{_SPACE}{_PUNCTUATION}{_EAST_ASIAN}]"
_CLITIC = r"['\u2019](?i:s|re|ve|ll|d|m)(?!\w)"
_ABBREVIATION = "(?:Dr|Mr|Mrs|Ms|Prof|St|Jr|al|[Aa]pprox|[Cc]f|[Ee]qs?|[Ff]igs?|[Rr]efs?|resp|Secs?|[Vv]ol|vs)"
# Within a word besides - ' . & / _ @: the Armenian tones and the Hebrew signs of abbreviation, which are punctuation.
_INSIDE = r"['\u2019\u2010\u2011.&/_@\-\u055b\u055c\u055e\u05f3\u05f4]"
_WORD = regex.compile(
    rf"""
    [{_EAST_ASIAN}]
    | (?:[^\W\d_]\.){{2,}} (?!{_SIGN})                         # e.g.  U.S.
    | {_ABBREVIATION} \. (?!{_SIGN})                           # Fig.
    | [A-Z] \. (?=\ [A-Z])                                     # J. Smith
    | {_CLITIC}
    | {_SIGN}+ (?: (?!{_CLITIC}) (?: {_INSIDE}+ | (?<=\d)[,:](?=\d) ) {_SIGN}+ )*
    | \.{{2,}} | -{{2,}}
    | [^{_SPACE}]
    """,
    regex.VERBOSE,
)
_SURROGATE = regex.compile("[\ud800-\udfff]")
_SPACE_IN_LINE = regex.compile(rf"(?!\n)[{_SPACE}]")
_BLANK_LINE = regex.compile(rf"\n(?:(?!\n)[{_SPACE}])*\n")
_READ_AT_ONCE = 10_000  # characters: a long page. Over quotes that are not closed sentencex takes quadratic time.
_LANGUAGE = regex.compile(r"[a-z]{2,3}(-[a-z]+)*")
_ABBREVIATED = regex.compile(r".*\w\.", regex.DOTALL)  # a word that keeps its full stop
# Before an item of a list; Armenian also writes a colon for its stop.
_ITEM = regex.compile(r"[\w,;]|:(?=\s*[^\s\p{L}])")
_GOES_ON = regex.compile(r"[\p{Ll},;:!?\p{Pe}]")
_CLOSES = regex.compile(r"[\"'\p{Pf}]")


def normalize_word(word: str) -> str:
    """The bracket that a Penn Treebank bracket token stands for, in either case; any other word as it is.

    For the tokenizer only, which would make three to five pieces of ``-LRB-``: the words of the data stay verbatim.
    """
    return _BRACKETS.get(word.lower(), word)


def split_text(text: str, language: str = ENGLISH) -> tuple[Sentence, ...]:
    """The sentences of ``text``, their ``offsets`` in characters of it: ``text[start:end]`` is the word.

    ``language`` is an ISO 639 code, for abbreviations and stops. For one without rules of its own, ``sentencex`` takes
    a related language that has them, or else English. Text without words has no sentences. Raises DataError for half a
    surrogate pair, which no tokenizer takes, and for a language that is no code.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"character {error.start}: expected text, found half a surrogate pair") from None
    if not _LANGUAGE.fullmatch(language.lower()):
        raise DataError(f"language: expected a code such as 'en' or 'zh-hant', found {language!r}")
    spans = [match.span() for match in _WORD.finditer(text)]
    if not spans:
        return ()
    possible = _possible_ends(text, language.lower())
    cuts = [i for i, (last, span) in enumerate(pairwise(spans), 1) if _ends(text, last, span, possible)]
    return tuple(_sentence(text, spans[start:end]) for start, end in pairwise([0, *cuts, len(spans)]))


def document_from_text(text: str, key: str = "text", language: str = ENGLISH) -> Document:
    """``split_text`` as a document. Its record keeps the offsets, one list a sentence, in the field ``_offsets``."""
    sentences = split_text(text, language)
    return Document(key, sentences, record=split_record(key, sentences))


def split_record(key: str | int, sentences: Sequence[Sentence]) -> dict[str, Any]:
    """The record, in DyGIE++'s form, of a text that was split into ``sentences``."""
    return {
        "doc_key": key,
        "sentences": [list(sentence.words) for sentence in sentences],
        "_offsets": [[list(offset) for offset in sentence.offsets or ()] for sentence in sentences],
    }


def is_text(record: object) -> bool:
    """Whether a decoded line holds text, not sentences."""
    return isinstance(record, dict) and "text" in record and not {"sentences", "tokens"} & record.keys()


def parse_text(record: dict[str, Any], place: Place, language: str) -> Document:
    """A record with a ``text`` as a document; its key is the record's ``doc_key`` or ``id``, or its place."""
    text = want_text(record["text"], place, ("text",), "text (a string)", empty=True)
    if "doc_key" in record:
        key = want_key(record["doc_key"], place, ("doc_key",))
    else:
        key = key_of(record.get("id"), place.record)
    return Document(key, split_text(text, language), record=record)


def document_from_words(words: Sequence[Sequence[str]], key: str = "text") -> Document:
    """Sentences that are split into words already. Raises DataError for a word that is empty, not a string, or holds half a
    surrogate pair."""
    for i, sentence in enumerate(words):
        if isinstance(sentence, str):
            raise DataError(f"sentence {i}: expected a sequence of words, found the string {sentence!r}")
        for j, word in enumerate(sentence):
            if not isinstance(word, str) or not word:
                raise DataError(f"sentence {i}, word {j}: expected a string, not empty, found {word!r}")
            if _SURROGATE.search(word):
                raise DataError(f"sentence {i}, word {j}: expected text, found half a surrogate pair in {word!r}")
    sentences = tuple(Sentence(tuple(sentence)) for sentence in words)
    return Document(key, sentences, record={"doc_key": key, "sentences": [list(s.words) for s in sentences]})


def _possible_ends(text: str, language: str) -> set[int]:
    """Where ``sentencex`` ends sentences, before or after the space there; sometimes within a word."""
    # It panics at some spaces that are not ASCII, such as U+0085; plain ones keep every offset.
    plain = _SPACE_IN_LINE.sub(" ", text)
    plain = _BLANK_LINE.sub(lambda blank: "\n" * len(blank[0]), plain)  # the blank lines it knows are empty
    ends: set[int] = set()
    start = 0
    while start < len(plain):
        stop = start + _READ_AT_ONCE
        found = [start + boundary["end_index"] for boundary in get_sentence_boundaries(language, plain[start:stop])]
        if stop < len(plain):
            found = found[:-1]  # where reading stopped, no sentence ends: the last one is read again, from its start
            stop = max(found, default=stop)
        ends.update(found)
        start = stop
    return ends


def _ends(text: str, last: tuple[int, int], span: tuple[int, int], possible: set[int]) -> bool:
    """Whether a sentence ends between the words at ``last`` and at ``span``."""
    gap = text[last[1] : span[0]]
    if _BLANK_LINE.search(gap):
        return True
    if possible.isdisjoint(range(last[1], span[0] + 1)):
        return False
    if _GOES_ON.match(text, span[0]) or _ABBREVIATED.fullmatch(text, *last):
        return False
    if "\n" not in gap and _ITEM.match(text, last[1] - 1):
        return False
    return bool(gap) or not (_CLOSES.match(text, span[0]) or text[last[1] - 1 : span[0] + 1].isascii())


def _sentence(text: str, spans: list[tuple[int, int]]) -> Sentence:
    return Sentence(tuple(text[start:end] for start, end in spans), offsets=tuple(spans))
