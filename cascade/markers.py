"""Vocabulary ids for the markers of early fusion: reserved slots where the vocabulary has them, else added tokens."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase


def reserve_markers(tokenizer: PreTrainedTokenizerBase, entity_types: Sequence[str]) -> list[list[int]]:
    """(opening, closing) ids for each entity type and, last, for the subject: 2·(types + 1) ids that differ.

    BERT's vocabularies keep slots ``[unused0]``, ``[unused1]``, ... free; the lowest are taken, and no size changes.
    A vocabulary with too few gets special tokens added to ``tokenizer``: resize the trunk's embeddings afterwards.
    """
    needed = 2 * (len(entity_types) + 1)
    vocabulary = tokenizer.get_vocab()
    slots = sorted(
        (int(token[len("[unused") : -1]), index)
        for token, index in vocabulary.items()
        if token.startswith("[unused") and token[len("[unused") : -1].isdigit() and token.endswith("]")
    )
    if len(slots) >= needed:
        ids = [index for _, index in slots[:needed]]
    else:
        names = [*(f"entity:{label}" for label in entity_types), "subject"]
        tokens = [token for name in names for token in (f"[{name}]", f"[/{name}]")]
        tokenizer.add_tokens(tokens, special_tokens=True)
        ids = tokenizer.convert_tokens_to_ids(tokens)
    return [ids[n : n + 2] for n in range(0, needed, 2)]
