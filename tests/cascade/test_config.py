"""Configurations: what they refuse, and that they survive being saved."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tiny_models import LABELS, tiny_trunk
from transformers import AutoConfig, BertConfig

from cascade import CascadeConfig, ConfigError, TableConfig, create_model

GOOD: dict[str, Any] = {"trunk": BertConfig(), "entity_types": ["A", "B"], "relation_types": ["r"]}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"encoder": "gru"}, "encoder: expected one of srn, bisrn, bilstm, pfn, none, found 'gru'"),
        ({"fusion": "middle"}, "fusion: expected one of early, late, packed, found 'middle'"),
        ({"match": "bilinear"}, "match: expected one of additive, hidden, found 'bilinear'"),
        ({"object_turn": "x"}, "object_turn: expected one of printed, subject, found 'x'"),
        ({"candidate_subjects": "some"}, "candidate_subjects: expected one of all, gold, found 'some'"),
        ({"entity_types": ["A", "A"]}, "entity_types: expected names that differ"),
        ({"entity_types": []}, "entity_types: expected at least one name, found none"),
        ({"relation_types": ["r", ""]}, "relation_types: expected names (strings, not empty), found ['r', '']"),
        ({"trunk": None}, "trunk: expected the configuration of a Hugging Face encoder, found none"),
        ({"trunk": {"hidden_size": 3}}, "trunk: expected a configuration with a `model_type`, found none"),
        ({"hidden_size": 0}, "hidden_size: expected a whole number from 1 to 65536, found 0"),
        ({"dropout": 1.0}, "dropout: expected a number from 0 up to, but not including, 1, found 1.0"),
        ({"recurrent_dropout": 0.1, "encoder": "bilstm"}, "the encoder 'bilstm' has none; expected 0, found 0.1"),
        ({"srn_init": "zero"}, "srn_init: expected one of uniform, carry, found 'zero'"),
        ({"srn_init": "carry", "encoder": "pfn"}, "expected one of srn, bisrn, found encoder 'pfn'"),
        ({"cell_clip": 3.0, "encoder": "none"}, "expected one of srn, bisrn, found encoder 'none'"),
        ({"cell_clip": 0.0}, "cell_clip: expected a number above 0, or none, found 0.0"),
        ({"cell_clip": math.nan}, "cell_clip: expected a number above 0, or none, found nan"),
        ({"match_spans": "some"}, "match_spans: expected one of words, entities, found 'some'"),
        (
            {"restrict_to_entities": False, "match_spans": "entities"},
            "restrict_to_entities: expected true, as the match is trained on entities alone (match_spans), found false",
        ),
        ({"distances": True, "object_turn": "printed"}, "distances: expected false"),
        ({"markers": "some"}, "markers: expected one of all, subject, found 'some'"),
        ({"markers": "subject"}, "markers: expected `all`, as late fusion has none, found 'subject'"),
        ({"widths": True, "match": "additive"}, "widths: expected false, as the match 'additive' has no hidden layer"),
        ({"thresholds": [0.5]}, "thresholds: expected 3 numbers, found 1"),
        ({"thresholds": [0.5, 0.5, 1.5]}, "thresholds: expected numbers from 0 to 1, found 1.5"),
        ({"thresholds": 0.5}, "thresholds: expected a list, found 0.5"),
        ({"entity_types": "Person"}, "entity_types: expected a list, found 'Person'"),
        ({"overlaps": "none"}, "overlaps: expected a list, found 'none'"),
        ({"overlaps": [["none"]]}, "or none alone, found [['none']]"),
        ({"marker_ids": [1, 2, 3]}, "marker_ids: expected a list, found 1"),
        ({"loss_weights": [1.0] * 8}, "loss_weights: expected 9 numbers, found 8"),
        (
            {"overlaps": ["nested", "some"]},
            "overlaps: expected some of types, nested, crossing, or none alone, found ['nested', 'some']",
        ),
        ({"overlaps": ["none", "types"]}, "or none alone, found ['none', 'types']"),
        ({"overlaps": []}, "or none alone, found []"),
        ({"tag_size": 0}, "tag_size: expected a whole number from 1 to 65536, found 0"),
        (
            {"fusion": "early"},
            "marker_ids: early fusion needs a pair of ids for each of 2 entity types and the subject",
        ),
        (
            {"fusion": "packed"},
            "marker_ids: packed fusion needs a pair of ids for each of 2 entity types and the subject",
        ),
    ],
)
def test_bad_values_are_named(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        CascadeConfig(**{**GOOD, **bad})
    assert message in str(error.value)


def test_bad_values_of_the_table_are_named() -> None:
    with pytest.raises(ConfigError, match="thresholds: expected 2 numbers, found 3"):
        TableConfig(**GOOD, thresholds=[0.5] * 3)


@pytest.mark.parametrize("config_class", [CascadeConfig, TableConfig])
def test_a_saved_configuration_comes_back(config_class: type, tmp_path: Path) -> None:
    config = config_class(
        **GOOD,
        encoder="bisrn",
        hidden_size=17,
        max_pieces=99,
        overlaps=["nested"],
        thresholds=[0.25, 0.5, 0.75][:2] + ([0.75] if config_class is CascadeConfig else []),
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is config_class
    assert isinstance(loaded.trunk, BertConfig)
    expected, found = config.to_dict(), loaded.to_dict()
    for volatile in ("transformers_version", "_name_or_path"):
        expected.pop(volatile, None), found.pop(volatile, None)
    assert found == expected


def test_a_configuration_without_overlaps_allows_all(tmp_path: Path) -> None:
    """It was saved before there was a choice, and its model finds what it found."""
    CascadeConfig(**GOOD, overlaps=["nested"]).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    saved = json.loads(file.read_text())
    assert saved.pop("overlaps") == ["nested"]
    file.write_text(json.dumps(saved))
    assert AutoConfig.from_pretrained(tmp_path).overlaps == ["types", "nested", "crossing"]


def test_options_that_do_not_exist_are_named() -> None:
    with pytest.raises(ConfigError, match="the table architecture has no fusion"):
        create_model(tiny_trunk(), LABELS, architecture="table", fusion="early")
    with pytest.raises(ConfigError, match="architecture: expected one of cascade, table, found 'tables'"):
        create_model(tiny_trunk(), LABELS, architecture="tables")
