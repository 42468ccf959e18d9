"""Encoders by name: what each task sees, with packed input; and the partition filter against its equations."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence, unpack_sequence
from transformers import BertConfig

from cascade.model.config import ENCODERS, TURNS, CascadeConfig
from cascade.model.encoders import TaskEncoder, build_encoder
from cascade.model.pfn import PartitionFilter
from srn_kernels import SRN

D, H = 5, 4
SIZES = {"srn": 4 * H, "bisrn": 8 * H, "bilstm": 2 * H, "pfn": 2 * H, "none": D}


def encoder(name: str) -> TaskEncoder:
    config = CascadeConfig(
        trunk=BertConfig(), entity_types=["X"], relation_types=["r"], encoder=name, hidden_size=H, dropout=0.0
    )
    return build_encoder(config, D, TURNS).eval()


@pytest.mark.parametrize("name", ENCODERS)
def test_a_sequence_does_not_depend_on_those_beside_it(name: str) -> None:
    rnn, rows = encoder(name), [torch.randn(length, D) for length in (3, 6, 1)]
    packed = pack_sequence(rows, enforce_sorted=False)
    together = rnn(packed, TURNS)
    assert rnn.feature_size == SIZES[name]
    for task in TURNS:
        assert together[task].shape == (10, rnn.feature_size)
        split = unpack_sequence(packed._replace(data=together[task]))
        for row, features in zip(rows, split, strict=True):
            torch.testing.assert_close(features, rnn(pack_sequence([row]), (task,))[task])


def test_srn_shows_each_task_its_four_memories() -> None:
    rnn, packed = encoder("srn"), pack_sequence([torch.randn(3, D)])
    memories = rnn.rnn(packed, return_memories=True).memories.data  # (3, 7, H): e, s, o, es, eo, so, eso
    seen = {"entity": [0, 3, 4, 6], "subject": [1, 3, 5, 6], "object": [2, 4, 5, 6]}
    for task, features in rnn(packed, TURNS).items():
        torch.testing.assert_close(features, memories[:, seen[task]].flatten(1))


def test_partition_filter_is_its_equations() -> None:
    cell = PartitionFilter(D, H).double()
    x = torch.randn(4, D, dtype=torch.float64)
    h = c = torch.zeros(H, dtype=torch.float64)
    rows = []
    for step in x:
        blocks = (cell.weight_ih @ step + cell.weight_hh @ h + cell.bias).split(H)
        entity_new, relation_new, entity_old, relation_old = (
            torch.stack([block.softmax(0)[: n + 1].sum() for n in range(H)]) for block in blocks[1:]
        )
        memories = {"entity": 0, "relation": 0, "shared": 0}
        parts = (((1 - entity_new), relation_new, blocks[0].tanh()), ((1 - entity_old), relation_old, c))
        for entity, relation, content in parts:
            shared = entity * relation
            memories["entity"] += (entity - shared) * content + shared * content
            memories["relation"] += (relation - shared) * content + shared * content
            memories["shared"] += shared * content
        rows.append(torch.stack([memory.tanh() for memory in memories.values()]))
        c = cell.weight_mc @ torch.cat(list(memories.values())) + cell.bias_mc
        h = c.tanh()
    torch.testing.assert_close(cell(pack_sequence([x])), torch.stack(rows))


def test_partition_filter_shows_entities_and_the_rest_different_partitions() -> None:
    pfn, packed = encoder("pfn"), pack_sequence([torch.randn(3, D)])
    memories = pfn.rnn(packed)  # (3, 3, H): entity, relation, shared
    features = pfn(packed, TURNS)
    torch.testing.assert_close(features["entity"], memories[:, [0, 2]].flatten(1))
    torch.testing.assert_close(features["subject"], memories[:, [1, 2]].flatten(1))
    torch.testing.assert_close(features["object"], memories[:, [1, 2]].flatten(1))


@pytest.mark.parametrize("name", ["srn", "bisrn", "pfn"])
def test_recurrent_dropout_drops_in_training_only(name: str) -> None:
    config = CascadeConfig(
        trunk=BertConfig(), entity_types=["X"], relation_types=["r"], encoder=name, hidden_size=H, recurrent_dropout=0.5
    )
    rnn, packed = build_encoder(config, D, TURNS), pack_sequence([torch.randn(6, D)])
    rnn.eval()
    torch.testing.assert_close(rnn(packed, TURNS)["object"], rnn(packed, TURNS)["object"])
    rnn.train()
    assert not torch.equal(rnn(packed, TURNS)["object"], rnn(packed, TURNS)["object"])


@pytest.mark.parametrize("name", ["srn", "bisrn"])
def test_the_srn_begins_and_is_clipped_as_asked(name: str) -> None:
    config = CascadeConfig(
        trunk=BertConfig(), entity_types=["X"], relation_types=["r"], encoder=name, hidden_size=H, srn_init="carry"
    )
    packed = pack_sequence([10 * torch.randn(6, D)])
    torch.manual_seed(0)
    rnn = build_encoder(config, D, TURNS)
    torch.manual_seed(0)
    expected = SRN(D, H, batch_first=True, bidirectional=name == "bisrn", tasks=TURNS, init="carry")
    torch.testing.assert_close(rnn.rnn.state_dict(), expected.state_dict())
    config.cell_clip = 0.01
    torch.manual_seed(0)
    clipped = build_encoder(config, D, TURNS)
    assert clipped.rnn.cell_clip == 0.01
    assert not torch.equal(clipped(packed, TURNS)["object"], rnn(packed, TURNS)["object"])
