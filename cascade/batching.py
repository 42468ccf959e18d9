"""Examples to the tensors of a batch, end to end and unpadded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .ragged import Ragged
from .tokenization import Example


def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
    """A batch of B examples, int64, on the CPU. Use it as ``Trainer``'s data collator.

    ``word_counts`` (B,), ``piece_counts`` (B,), ``piece_ids`` and ``piece_words`` (pieces,), ``entities`` (E, 4): example
    of the batch, start, end, type; ``relations`` (R, 3): subject and object as indices into ``entities``, label;
    ``example_ids`` (B,). A tensor whose first size is B comes first: by it ``Trainer`` tells the batch size.
    """
    entities = Ragged(torch.tensor([len(example["entities"]) for example in examples]))
    relations = Ragged(torch.tensor([len(example["relations"]) for example in examples]))
    entity = _table([row for example in examples for row in example["entities"]])
    relation = _table([row for example in examples for row in example["relations"]])
    relation[:, :2] += entities.offsets[relations.row][:, None]
    return {
        "word_counts": torch.tensor([example["word_count"] for example in examples]),
        "piece_counts": torch.tensor([len(example["input_ids"]) for example in examples]),
        "piece_ids": torch.tensor([piece for example in examples for piece in example["input_ids"]]),
        "piece_words": torch.tensor([word for example in examples for word in example["piece_words"]]),
        "entities": torch.cat([entities.row[:, None], entity], dim=1),
        "relations": relation,
        "example_ids": torch.tensor([example["example_id"] for example in examples]),
    }


def _table(rows: list[tuple[int, int, int]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
