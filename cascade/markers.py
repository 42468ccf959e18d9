"""Vocabulary ids for the markers of early and packed fusion: reserved slots where the vocabulary has them, else added tokens."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from .data import DataError


def reserve_markers(tokenizer: PreTrainedTokenizerBase, entity_types: Sequence[str]) -> list[list[int]]:
    """(opening, closing) ids for each entity type and, last, for the subject: 2·(types + 1) ids that differ.

    BERT's vocabularies keep slots ``[unused0]``, ``[unused1]``, ... free; the lowest are taken, and no size changes.
    A vocabulary with too few gets special tokens added to ``tokenizer``: resize the trunk's embeddings afterwards.

    Raises:
        DataError: the ids of added tokens are those of other pieces, as in a vocabulary with gaps.
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
        added = tokenizer.added_tokens_decoder
        # a slot that was added as a plain token would be read where a text spells it; a special one is text there
        tokenizer.add_tokens([added[index].content for index in ids if index in added], special_tokens=True)
    else:
        names = [*(f"entity:{label}" for label in entity_types), "subject"]
        tokens = [token for name in names for token in (f"[{name}]", f"[/{name}]")]
        tokenizer.add_tokens(tokens, special_tokens=True)
        ids = tokenizer.convert_tokens_to_ids(tokens)
        others = {index: token for token, index in vocabulary.items() if token not in tokens}
        taken = [(token, others[index]) for token, index in zip(tokens, ids, strict=True) if index in others]
        if taken:
            raise DataError(
                f"tokenizer: expected an index of its own for the marker {taken[0][0]!r}, found that of {taken[0][1]!r}: "
                f"the indices of its {len(vocabulary)} pieces have gaps"
            )
    return [ids[n : n + 2] for n in range(0, needed, 2)]
