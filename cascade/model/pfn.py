"""The partition filter network's cell, for comparison with the SRN: plain PyTorch, a reference not meant to be fast.

After Yan, Zhang, Fu, Zhang and Wei, "A Partition Filter Network for Joint Entity and Relation Extraction", EMNLP 2021.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


class PartitionFilter(nn.Module):
    """A left-to-right recurrence with three memories: of the entity task, of the relation task, and shared.

    Input D, hidden H, five gate blocks ``candidate, entity, relation (of the candidate), entity, relation (of the
    history)``. Each task's gate is a cumulative softmax over the units, one rising and one falling, so that two cut
    points part the units into an entity, a shared and a relation segment.
    """

    def __init__(self, input_size: int, hidden_size: int, recurrent_dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.recurrent_dropout = recurrent_dropout
        self.weight_ih = nn.Parameter(torch.empty(5 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(5 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(5 * hidden_size))
        self.weight_mc = nn.Parameter(torch.empty(hidden_size, 3 * hidden_size))
        self.bias_mc = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: PackedSequence) -> Tensor:
        """Memories (N, 3, H) of the packed rows (N, D) of ``x``: entity, relation, shared."""
        weight_hh = F.dropout(self.weight_hh, self.recurrent_dropout, self.training)  # one mask per forward pass
        inputs = F.linear(x.data, self.weight_ih, self.bias)  # (N, 5H)
        sizes = x.batch_sizes.tolist()
        h = c = inputs.new_zeros(sizes[0] if sizes else 0, self.hidden_size)
        outputs = []
        for step, rows in zip(inputs.split(sizes), sizes, strict=True):  # rows fall as the shorter sequences end
            h, c = h[:rows], c[:rows]
            candidate, *gates = (step + F.linear(h, weight_hh)).chunk(5, dim=-1)
            candidate = candidate.tanh()
            entity_new, relation_new, shared_new = _partitions(*gates[:2])
            entity_old, relation_old, shared_old = _partitions(*gates[2:])
            shared = shared_old * c + shared_new * candidate
            entity = entity_old * c + entity_new * candidate + shared
            relation = relation_old * c + relation_new * candidate + shared
            c = F.linear(torch.cat([entity, relation, shared], dim=-1), self.weight_mc, self.bias_mc)
            h = c.tanh()
            outputs.append(torch.stack([entity, relation, shared], dim=1).tanh())
        return torch.cat(outputs) if outputs else inputs.new_zeros(0, 3, self.hidden_size)


def _partitions(entity: Tensor, relation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The entity-only, relation-only and shared share of each unit."""
    entity = 1 - entity.softmax(-1).cumsum(-1)
    relation = relation.softmax(-1).cumsum(-1)
    shared = entity * relation
    return entity - shared, relation - shared, shared
