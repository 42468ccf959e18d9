"""Words given one by one to a tokenizer, so that their pieces are those of the running text."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from .data import DataError

FIRST = "a"
WORDS = ("The", "of", "cities", "U.S.", "co-author", "1,000", "7", "(", ")", ".", "'s", "naïve", "x1")


def encodings(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str] | Sequence[Sequence[str]]) -> list[Encoding]:
    """Of each text, or of each sequence of words. Special tokens written out in them are text, and none are added."""
    return tokenizer(
        texts,
        is_split_into_words=not isinstance(texts[0], str),
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # the tokenizer's length limit does not matter: windows keep within the trunk's
    ).encodings


def space_before(tokenizer: PreTrainedTokenizerBase) -> str:
    """What stands before each word that is given alone: nothing, or a space.

    Byte-level tokenizers, and some others, make the space before a word a part of its first piece. Their options for it
    (``add_prefix_space``, ``prepend_scheme``) are in different places, do nothing in the classes that take any
    ``tokenizer.json``, and put a space before every part of a word where a pattern splits words before them. So words
    get the space here, if with it, and not without, their pieces are those of the text.

    Raises:
        DataError: the pieces are others with a space and without one.
    """
    texts = [encoding.ids for encoding in encodings(tokenizer, [f"{FIRST} {word}" for word in WORDS])]
    [first] = encodings(tokenizer, [FIRST])  # without a space before it, as at the beginning of each text
    alone: dict[str, list[list[int]]] = {}
    for space in ("", " "):
        alone[space] = [encoding.ids for encoding in encodings(tokenizer, [[space + word] for word in WORDS])]
        if texts == [first.ids + pieces for pieces in alone[space]]:
            return space
    text, word, pieces = next(
        (text, word, pieces)
        for text, word, pieces in zip(texts, WORDS, alone[" "], strict=True)
        if text != first.ids + pieces
    )
    found, expected = (tokenizer.convert_ids_to_tokens(ids) for ids in (first.ids + pieces, text))
    raise DataError(
        f"tokenizer: expected the words {FIRST!r} and {word!r}, given one by one, to have the pieces of the text "
        f"'{FIRST} {word}', {expected}, found {found} ({type(tokenizer).__name__})"
    )
