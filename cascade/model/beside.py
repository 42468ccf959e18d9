"""Text that a trunk has read, and pieces that it reads beside it: they see the text, which does not see them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

from ..tensors import Ragged, Sequences
from .config import ConfigError
from .trunk import TOLERANCE, first_position


class Text:
    """Sequences that a trunk has read: their ``states`` (S, longest, D), and each layer's keys and values.

    Raises:
        ConfigError: the trunk does not keep keys and values. Also in training with gradient checkpointing, where
            ``transformers`` drops them.
    """

    def __init__(self, trunk: PreTrainedModel, sequences: Sequences) -> None:
        self.trunk = trunk
        self.mask = sequences.mask
        self.cache = DynamicCache()
        self.states = trunk(
            input_ids=sequences.input_ids, attention_mask=self.mask, past_key_values=self.cache
        ).last_hidden_state
        if self.cache.get_seq_length() != self.mask.shape[1]:
            reason = ", as gradient checkpointing drops them" if trunk.training else ""
            raise ConfigError(
                "fusion: `packed` needs the keys and values of a text, which the trunk "
                f"{trunk.config.model_type!r} does not keep{reason}; expected `late` or `early`"
            )

    def beside(self, ids: Tensor, positions: Tensor, together: Tensor) -> Tensor:
        """(S, n, D): the states of n pieces beside each sequence.

        ``ids`` and ``positions`` (S, n): what they are, and at which piece of the sequence they stand. They see the text,
        and of each other what ``together`` (n, n) says.
        """
        count, n = ids.shape
        seen = torch.cat([self.mask[:, None].expand(-1, n, -1).bool(), together.expand(count, -1, -1)], dim=2)
        # additive, as the eager attention adds it to its scores
        hidden = torch.zeros(seen.shape, dtype=self.trunk.dtype, device=ids.device)
        hidden.masked_fill_(~seen, torch.finfo(self.trunk.dtype).min)
        states = self.trunk(
            input_ids=ids,
            position_ids=positions + first_position(self.trunk),
            attention_mask=hidden[:, None],
            past_key_values=self.cache,
        ).last_hidden_state
        self.cache.crop(-n)  # what was read beside the text is not seen later
        return states


@torch.no_grad()
def check_beside(trunk: PreTrainedModel, rows: Sequence[Sequence[int]], pad_token_id: int) -> None:
    """Raises ConfigError for a trunk that reads no pieces beside a text.

    A piece of a text that is read again beside it, where it stands, and that sees the text alone, has the state that it
    has in the text. Two sequences ``rows`` of different lengths are read so, in eval mode.
    """
    lengths = torch.tensor([len(row) for row in rows])
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=pad_token_id)
    none = torch.zeros_like(lengths)
    sequences = Sequences(ids, lengths, Ragged(none), lengths[:0], none, none)
    places = torch.stack([torch.arange(int(lengths.min())).flip(0)] * len(rows))
    kind = repr(trunk.config.model_type)
    expected = (
        "fusion: `packed` expects a trunk that keeps keys and values and takes a position and a mask for each piece"
    )
    try:
        text = Text(trunk, sequences)
        states = text.beside(ids.gather(1, places), places, torch.zeros(2 * places.shape[1:], dtype=torch.bool))
    except ConfigError:
        raise
    except Exception as error:  # whatever a trunk raises that was never meant for this
        raise ConfigError(f"{expected}, found {kind}: {type(error).__name__}: {error}") from error
    wanted = text.states.gather(1, places[..., None].expand(-1, -1, text.states.shape[-1]))
    difference = (states - wanted).abs().max()
    if not difference <= TOLERANCE * wanted.abs().max():
        raise ConfigError(
            f"{expected}, found {kind}: a piece read beside its text differs by up to {difference:.2g} from itself in it"
        )
