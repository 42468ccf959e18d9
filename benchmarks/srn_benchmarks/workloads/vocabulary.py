"""A WordPiece tokenizer of SciBERT's size and a realistic number of pieces per word, made from a corpus in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import BertTokenizerFast

from cascade.tiny import SPECIAL_TOKENS

SIZE = 31090
"""Pieces in SciBERT's vocabulary."""

PIECES_PER_WORD = 1.25
"""The aim: about what a vocabulary made for scientific text gives."""


def build_tokenizer(
    words: Iterable[str], size: int = SIZE, pieces_per_word: float = PIECES_PER_WORD
) -> BertTokenizerFast:
    """An uncased tokenizer of ``size`` slots, those to spare being ``[unused0]``, ``[unused1]``, ...

    Frequent words are whole pieces. The rarest are cut in two halves, as many as it takes for the corpus to come to
    ``pieces_per_word``. Single characters are pieces too, so that no word is unknown.

    Raises:
        ValueError: the corpus needs more than ``size`` pieces.
    """
    counts, words_read = _basic_tokens(words)
    extra = pieces_per_word * words_read - counts.total()  # punctuation inside words has already made some
    pieces = dict.fromkeys(SPECIAL_TOKENS)
    for character in sorted({character for token in counts for character in token}):
        pieces |= dict.fromkeys((character, f"##{character}"))
    for token, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        if extra > 0 and len(token) > 1:
            half = (len(token) + 1) // 2
            pieces |= dict.fromkeys((token[:half], f"##{token[half:]}"))
            extra -= count
        else:
            pieces[token] = None
    if len(pieces) > size:
        raise ValueError(f"size: expected room for the corpus' {len(pieces)} pieces, found {size} slots")
    names = [*pieces, *(f"[unused{n}]" for n in range(size - len(pieces)))]
    return BertTokenizerFast(vocab={name: index for index, name in enumerate(names)}, do_lower_case=True)


def _basic_tokens(words: Iterable[str]) -> tuple[Counter[str], int]:
    """What BERT's pre-tokenizer makes of the words, with counts, and how many words there were."""
    normalizer, pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    words_read = Counter(words)
    counts: Counter[str] = Counter()
    for word, count in words_read.items():
        for token, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(word)):
            counts[token] += count
    return counts, words_read.total()
