"""Whether a tokenizer's vocabulary is one, and fits a trunk."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from .data import DataError


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, size: int | None) -> None:
    """Refuses what would feed a trunk of ``size`` pieces (None: unknown) nothing but unknown pieces, or none of its own.

    Special tokens that no text contains may lie beyond ``size``: ``transformers`` adds those that its class for a
    tokenizer has and the trunk was trained without.

    Raises:
        DataError: the tokenizer does not know which word a piece belongs to, is empty, or has pieces beyond ``size``.
    """
    name = tokenizer.name_or_path or type(tokenizer).__name__
    if not tokenizer.is_fast:
        raise DataError(f"tokenizer: expected a fast one, which knows words, found {type(tokenizer).__name__} ({name})")
    added = tokenizer.added_tokens_decoder
    vocabulary = tokenizer.get_vocab()
    pieces = vocabulary.keys() - {token.content for token in added.values()}
    if not pieces:
        # transformers makes an empty tokenizer where the files of one are missing
        raise DataError(f"tokenizer: expected a vocabulary, found {len(vocabulary)} special tokens only ({name})")
    if size is None:
        return
    special = {token.content for token in added.values() if token.special}
    around = set(tokenizer("a")["input_ids"])
    beyond = {token: n for token, n in vocabulary.items() if n >= size and (token not in special or n in around)}
    if beyond:
        first = min(beyond, key=beyond.__getitem__)
        raise DataError(
            f"tokenizer: expected the vocabulary of the trunk, {size} pieces, found {len(beyond)} beyond them, the first "
            f"{first!r} with the index {beyond[first]} ({name})"
        )
