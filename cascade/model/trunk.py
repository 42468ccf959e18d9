"""What a model needs of its trunk: a Hugging Face model that reads pieces, and a mask, and has a state for each."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from .config import ConfigError

INPUTS = ("input_ids", "attention_mask")
TOLERANCE = 1e-3  # of the largest state: far above what the order of sums changes in float32, and what padding may add


def check_trunk(trunk: PreTrainedModel) -> None:
    """Refuses, by what it says of itself, a trunk that cannot be one.

    Raises:
        ConfigError: it has an encoder and a decoder, or no hidden_size, or reads other things than pieces of a vocabulary.
    """
    config = trunk.config
    kind = repr(config.model_type)
    if getattr(config, "is_encoder_decoder", False):
        raise ConfigError(f"trunk: expected an encoder, found {kind}, an encoder with a decoder")
    if not isinstance(getattr(config, "hidden_size", None), int):
        raise ConfigError(f"trunk: expected an encoder with a hidden_size, found {kind}, whose configuration has none")
    lacking = [name for name in INPUTS if name not in inspect.signature(trunk.forward).parameters]
    if lacking:
        raise ConfigError(
            f"trunk: expected an encoder of text that takes {' and '.join(INPUTS)}, found {kind}, "
            f"which takes no {' and no '.join(lacking)}"
        )
    vocabulary(trunk)


def vocabulary(trunk: PreTrainedModel) -> int:
    """How many pieces ``trunk`` has an embedding for.

    Raises:
        ConfigError: it has no table of embeddings, as trunks that hash characters.
    """
    try:
        table = trunk.get_input_embeddings()
    except NotImplementedError:
        table = None
    if not isinstance(table, nn.Embedding):
        raise ConfigError(
            f"trunk: expected an encoder with an embedding for each piece, found {trunk.config.model_type!r}, which has "
            f"{'none' if table is None else type(table).__name__}"
        )
    return table.num_embeddings


def positions(trunk: PreTrainedModel) -> int | None:
    """How many pieces a sequence of ``trunk`` may have; None where its configuration sets no limit.

    It is the limit of training, also where positions are relative or rotary and the trunk would read on.
    """
    limit = getattr(trunk.config, "max_position_embeddings", None)
    return limit - first_position(trunk) if limit and limit >= 1 else None


def first_position(trunk: PreTrainedModel) -> int:
    """The position of a sequence's first piece: RoBERTa and models like it count from the padding index on."""
    for name, module in trunk.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


@torch.no_grad()
def check_states(trunk: PreTrainedModel, short: Sequence[int], long: Sequence[int], pad_token_id: int) -> None:
    """Runs ``trunk``, in eval mode, on two sequences of pieces: what it says of itself is not all.

    Raises:
        ConfigError: it has no state for each piece, or another where the sequence is padded: what it finds in a sentence
            would depend on the sentences next to it. Or whatever the trunk raises.
    """
    kind = repr(trunk.config.model_type)
    alone, padded = (_states(trunk, rows, pad_token_id) for rows in ([short], [short, long]))
    expected = (2, max(len(short), len(long)), trunk.config.hidden_size)
    if padded is None or padded.shape != expected:
        found = "no `last_hidden_state`" if padded is None else f"states of shape {tuple(padded.shape)}"
        raise ConfigError(f"trunk: expected a state for each piece, of shape {expected}, found {found} of {kind}")
    difference = (alone[0] - padded[0, : len(short)]).abs().max()
    if not difference <= TOLERANCE * alone.abs().max():
        raise ConfigError(
            f"trunk: expected an encoder that padding makes no difference to, found {kind}, whose states it changes by up "
            f"to {difference:.2g}"
        )


def _states(trunk: PreTrainedModel, rows: Sequence[Sequence[int]], pad_token_id: int) -> Tensor | None:
    """(rows, longest, D) states of sequences, padded at the right, as ``ExtractionModel.encode`` asks for them."""
    pieces = [torch.tensor(row) for row in rows]
    ids = pad_sequence(pieces, batch_first=True, padding_value=pad_token_id)
    mask = pad_sequence([torch.ones_like(row) for row in pieces], batch_first=True)
    return getattr(trunk(input_ids=ids, attention_mask=mask), "last_hidden_state", None)
