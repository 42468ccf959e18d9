"""The models as a whole: losses, extraction in all its modes, and saving and loading."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import LABELS, SAMPLE, batch_of, eager, nested_sentence, stages, tiny_model, tiny_trunk
from torch import profiler
from transformers import AutoModel, BertConfig

from cascade import (
    CascadeConfig,
    CascadeModel,
    ConfigError,
    Extraction,
    ExtractionModel,
    Given,
    create_model,
    load_model,
)
from cascade.data import LabelSet, Sentence
from cascade.model import cascade as cascade_module
from cascade.model.config import ENCODERS, FUSIONS
from cascade.tensors import Spans

SENTENCES = [sentence for sentence in SAMPLE.sentences() if sentence.words][:6]
EMPTY = Sentence(("Nothing", "here", "."))
SHORT = [nested_sentence(), EMPTY]
ALL_SUBJECTS = [0.2, 0.0, 0.1]  # every entity a subject, and about every third pair related
FREE = {"restrict_to_entities": False}
MODELS = [{"fusion": "early"}, {"fusion": "late"}, {"fusion": "packed"}, {"architecture": "table"}]


def found(model: ExtractionModel, extraction: Extraction, sentences: int) -> list[tuple[set, set]]:
    return [(set(e), set(r)) for e, r in extraction.found(sentences, model.labels)]


@pytest.mark.parametrize("options", MODELS)
def test_loss_is_the_weighted_sum_of_its_terms(options: dict[str, Any]) -> None:
    model, tokenizer = tiny_model(**options)
    batch = batch_of(model, tokenizer, SENTENCES)
    output = model(**batch)
    assert output.terms.shape == ((2,) if "architecture" in options else (9,))
    assert (output.terms > 0).all()
    torch.testing.assert_close(output.loss, output.terms.sum())
    if "fusion" in options:
        weights = [0.0, 1.0, 0.5] * 3
        model.config.loss_weights = weights
        torch.testing.assert_close(model(**batch).loss, output.terms @ torch.tensor(weights))
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**batch)
    assert output.loss.dtype == output.terms.dtype == torch.float32


@pytest.mark.parametrize("options", [*MODELS, {"fusion": "late", "object_turn": "printed", "match": "additive"}])
def test_every_parameter_gets_a_gradient(options: dict[str, Any]) -> None:
    model, tokenizer = tiny_model(**options)
    model(**batch_of(model, tokenizer, SENTENCES)).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("options", [*MODELS, {"fusion": "late", **FREE}])
def test_without_relation_types_there_are_entities_alone(options: dict[str, Any], encoder: str, tmp_path: Path) -> None:
    """Nothing is built, read or saved for the turns that would follow."""
    model, tokenizer = tiny_model(LabelSet(LABELS.entity_types, ()), **options, encoder=encoder)
    sentences = [replace(sentence, relations=()) for sentence in SENTENCES]
    batch = batch_of(model, tokenizer, sentences)
    output = model(**batch)
    first = 1 if "architecture" in options else 3
    assert (output.terms[:first] > 0).all()
    assert not output.terms[first:].any()
    torch.testing.assert_close(output.loss, output.terms[:first].sum())
    output.loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    if "fusion" in options:
        model.config.loss_weights = [1.0] * 3 + [0.0] * 6
        assert torch.equal(model(**batch).loss, output.loss)

    extraction = eager(model).extract(batch)
    assert extraction.passes == len(sentences)
    assert len(extraction.entities)
    assert (len(extraction.subjects), len(extraction.objects), len(extraction.relation_labels)) == (0, 0, 0)
    model.save_pretrained(tmp_path)
    assert all(tensor.numel() for tensor in load_file(tmp_path / "model.safetensors").values())
    again = AutoModel.from_pretrained(tmp_path).eval()
    expected = found(model, extraction, len(sentences))
    assert found(again, again.extract(batch, given=Given.gold(batch)), len(sentences)) == expected


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_batch_may_divide_the_losses_of_all_turns(fusion: str) -> None:
    """So that the object turn's, which reads a sentence once for each candidate, counts as often as it reads."""
    model, tokenizer = tiny_model(fusion=fusion)
    sentences = [nested_sentence(), Sentence(("Nothing", "here", "."))]
    batch = batch_of(model, tokenizer, sentences)
    by_batch = model(**batch).terms
    model.config.loss_divisor = "turn"
    by_turn = model(**batch).terms
    read = [11, 8, 3 * 8]  # words: both sentences, that with entities, that for each of its entities
    torch.testing.assert_close(by_batch, by_turn * torch.tensor(read).repeat_interleave(3) / 11)


@pytest.mark.parametrize("options", MODELS)
def test_sentences_without_entities_train_and_extract(options: dict[str, Any]) -> None:
    model, tokenizer = tiny_model(**options)
    batch = batch_of(model, tokenizer, [EMPTY, EMPTY])
    output = model(**batch)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    if "fusion" in options:
        assert output.terms[3:].tolist() == [0] * 6
    extraction = model.extract(batch)
    assert found(model, extraction, 2) == [(set(), set())] * 2
    assert extraction.passes == 2


@pytest.mark.parametrize("options", MODELS)
def test_a_sentence_without_words_in_a_batch(options: dict[str, Any]) -> None:
    model, tokenizer = tiny_model(**options)
    batch = batch_of(model, tokenizer, [nested_sentence()])
    around = [batch["piece_ids"][0], batch["piece_ids"][-1]]
    batch["word_counts"] = torch.tensor([int(batch["word_counts"][0]), 0])
    batch["piece_counts"] = torch.tensor([int(batch["piece_counts"][0]), 2])
    batch["piece_ids"] = torch.cat([batch["piece_ids"], torch.stack(around)])
    batch["piece_words"] = torch.cat([batch["piece_words"], torch.tensor([-1, 0])])
    assert torch.isfinite(model(**batch).loss)
    assert len(found(eager(model), model.extract(batch), 2)) == 2


def test_gold_candidate_subjects_leave_out_entities_that_are_none() -> None:
    model, tokenizer = tiny_model(fusion="early")
    calls, encode = [], model.encode
    model.encode = lambda sequences, tasks: calls.append((tasks[0], len(sequences.lengths))) or encode(sequences, tasks)
    batch = batch_of(model, tokenizer, [nested_sentence()])
    model(**batch)
    assert calls == [("entity", 1), ("subject", 1), ("object", 3)]
    calls.clear()
    model.config.candidate_subjects = "gold"
    model(**batch)
    assert calls == [("entity", 1), ("subject", 1), ("object", 2)]


def test_object_targets_belong_to_their_subjects() -> None:
    """Swapping the subjects of two relations changes the object terms and nothing else."""
    model, tokenizer = tiny_model(fusion="late")
    batch = batch_of(model, tokenizer, [nested_sentence()])
    terms = model(**batch).terms
    batch["relations"] = batch["relations"].clone()
    batch["relations"][:, 0] = batch["relations"][:, 0].flip(0)
    swapped = model(**batch).terms
    torch.testing.assert_close(swapped[:6], terms[:6])
    assert not torch.equal(swapped[6:], terms[6:])


@pytest.mark.parametrize("options", MODELS)
def test_training_needs_labels_and_says_so(options: dict[str, Any]) -> None:
    model, tokenizer = tiny_model(**options)
    batch = batch_of(model, tokenizer, SENTENCES)
    del batch["entities"], batch["relations"]
    with pytest.raises(ValueError, match="expected a batch with `entities` and `relations`"):
        model(**batch)
    assert model.extract(batch).passes >= len(SENTENCES)


@pytest.mark.parametrize("restricted", [True, False])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_extraction_is_the_same_however_objects_are_batched(fusion: str, restricted: bool) -> None:
    model, tokenizer = tiny_model(
        fusion=fusion, encoder="none", thresholds=ALL_SUBJECTS, **({} if restricted else FREE)
    )
    batch = batch_of(eager(model), tokenizer, SHORT)
    whole = model.extract(batch)
    assert len(whole.entities) > 3
    assert len(whole.subjects) > 3
    for size in (1, 3):
        parts = model.extract(batch, object_batch_size=size)
        assert found(model, parts, 2) == found(model, whole, 2)
        assert parts.passes == whole.passes


@pytest.mark.parametrize("architecture", ["cascade", "table"])
def test_a_batch_of_no_objects_is_refused(architecture: str) -> None:
    model, tokenizer = tiny_model(architecture=architecture)
    with pytest.raises(ValueError, match="object_batch_size: expected a number above 0, found 0"):
        model.extract(batch_of(model, tokenizer, SHORT), object_batch_size=0)


def test_late_fusion_makes_of_each_word_once_what_all_subjects_share() -> None:
    model, tokenizer = tiny_model(encoder="none", thresholds=ALL_SUBJECTS)
    batch, words = batch_of(eager(model), tokenizer, SHORT), []
    model.fusion.word.register_forward_hook(lambda layer, given, made: words.append(len(made)))
    assert len(model.extract(batch, object_batch_size=1).subjects) > 3
    assert words == [int(batch["word_counts"].sum())]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_restricted_relations_are_the_free_ones_between_entities(fusion: str) -> None:
    printed = {"match_spans": "words", "decision": "each"}
    model, tokenizer = tiny_model(fusion=fusion, encoder="none", thresholds=ALL_SUBJECTS, **printed)
    batch = batch_of(eager(model), tokenizer, SHORT)
    restricted = found(model, model.extract(batch), 2)
    model.config.restrict_to_entities = False
    free = found(model, model.extract(batch), 2)
    assert any(r.subject.label == "" or r.object.label == "" for _, relations in free for r in relations)
    for (entities, relations), (free_entities, free_relations) in zip(restricted, free, strict=True):
        assert entities == free_entities
        assert relations == {r for r in free_relations if r.subject in entities and r.object in entities}


@pytest.mark.parametrize("options", MODELS)
def test_random_weights_do_not_explode(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of all starts and ends fire: hundreds of subjects, which are taken in bounded parts and stay correct."""
    monkeypatch.setattr(cascade_module, "SUBJECTS_AT_ONCE", 16)
    thresholds = {} if "architecture" in options else {"thresholds": ALL_SUBJECTS}
    model, tokenizer = tiny_model(**options, **thresholds, encoder="none")
    extraction = eager(model).extract(batch_of(model, tokenizer, SENTENCES[:2]))
    assert len(extraction.entities) > 20
    assert len(extraction.relation_labels) > 20
    for (entities, relations), sentence in zip(found(model, extraction, 2), SENTENCES, strict=False):
        assert all(0 <= e.start <= e.end < len(sentence.words) for e in entities)
        assert all(r.subject in entities and r.object in entities for r in relations)


@pytest.mark.parametrize("options", MODELS)
def test_overlapping_entities_are_chosen_before_the_later_turns(options: dict[str, Any]) -> None:
    """Of entities that may not overlap the best are found, and relations are those found between them."""
    thresholds = [0.99, 0.9] if "architecture" in options else ALL_SUBJECTS
    model, tokenizer = tiny_model(**options, encoder="none", thresholds=thresholds)
    batch = batch_of(eager(model), tokenizer, SENTENCES[:3])
    free = model.extract(batch).entities
    for allowed in (["types", "nested"], ["nested"], ["none"]):
        model.config.overlaps = allowed
        extraction = model.extract(batch)
        entities, expected = extraction.entities, free.without_overlaps(99, allowed)
        assert 3 < len(entities) < len(free)
        assert torch.equal(entities.keys(99), expected.keys(99))
        assert torch.equal(entities.label, expected.label)
        given = Given(entities, extraction.subjects, extraction.objects)
        relations = [set(its) for _, its in extraction.found(3, model.labels)]
        assert any(relations)
        assert [its for _, its in found(model, model.extract(batch, given=given), 3)] == relations


@pytest.mark.parametrize("fusion", FUSIONS)
def test_given_spans_drive_the_later_turns(fusion: str) -> None:
    """Nested ones included, even where the model finds none such."""
    model, tokenizer = tiny_model(fusion=fusion, thresholds=[0.5, 0.5, 0.0], overlaps=["none"])
    batch = batch_of(model, tokenizer, [nested_sentence(), EMPTY])
    with profiler.profile(activities=[profiler.ProfilerActivity.CPU]) as profile:
        extraction = model.extract(batch, given=Given.gold(batch))
    gold = nested_sentence()
    [(entities, relations), nothing] = found(model, extraction, 2)
    assert entities == set()  # an untrained model finds none; decoding was real
    assert nothing == (set(), set())
    subjects = {relation.subject for relation in gold.relations}
    assert {(r.subject, r.object, r.label) for r in relations} == {
        (s, o, label) for s, o, label in itertools.product(subjects, gold.entities, LABELS.relation_types)
    }
    assert extraction.passes == (2 + 1 + 2 if fusion == "early" else 2)
    assert set(stages(profile)) == {"encode", "decode"}


def test_a_span_of_two_types_is_a_subject_once_with_its_better_type() -> None:
    model, tokenizer = tiny_model(fusion="late", thresholds=[0.5, 0.5, 0.0])
    batch = batch_of(model, tokenizer, [nested_sentence()])
    rows = torch.tensor([[0, 1, 3, 0], [0, 1, 3, 1], [0, 5, 6, 1]])
    entities = Spans(*rows.unbind(1), torch.tensor([0.6, 0.9, 0.8]))
    given = Given(entities, entities[:2], entities[:0])
    extraction = model.extract(batch, given=given)
    assert set(extraction.subjects.label.tolist()) == {1}
    assert len(extraction.relation_labels) == 2 * len(LABELS.relation_types)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("options", MODELS)
def test_a_saved_model_comes_back_exactly(options: dict[str, Any], encoder: str, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(**options, encoder=encoder)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, its_tokenizer = load_model(tmp_path)
    assert type(loaded) is type(model) is type(AutoModel.from_pretrained(tmp_path))
    assert not loaded.training
    expected, state = model.state_dict(), loaded.state_dict()
    assert expected.keys() == state.keys()
    assert all(torch.equal(expected[name], state[name]) for name in expected)
    assert its_tokenizer.get_vocab() == tokenizer.get_vocab()
    batch, again = (batch_of(m, t, SENTENCES) for m, t in ((model, tokenizer), (loaded, its_tokenizer)))
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    torch.testing.assert_close(loaded(**batch).terms, model(**batch).terms, rtol=0, atol=0)


@pytest.mark.parametrize("encoder", ["srn", "bisrn", "pfn", "bilstm"])
def test_what_a_checkpoint_lacks_is_initialised(encoder: str, tmp_path: Path) -> None:
    """transformers 5 builds on the meta device: what it does not know to initialise is left as uninitialised memory."""
    model, _ = tiny_model(encoder=encoder)
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    lacking = [name for name in state if name.startswith("encoder.") or ".edges." in name]
    kept = {name: tensor for name, tensor in state.items() if name not in lacking[::2] and ".edges." not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = dict(CascadeModel.from_pretrained(tmp_path).named_parameters())
    for name, tensor in state.items():
        if name in kept:
            assert torch.equal(loaded[name], tensor), name
        else:
            assert loaded[name].abs().max() < 5, name
            assert name.endswith("bias") or "bias" in name or loaded[name].std() > 1e-3, name
    assert (loaded["heads.entity.edges.bias"] < -4).all()


def test_the_trunk_keeps_its_pretrained_weights() -> None:
    trunk = AutoModel.from_pretrained(tiny_trunk()).state_dict()
    model, _ = tiny_model(fusion="early")
    for name, tensor in model.trunk.state_dict().items():
        assert torch.equal(tensor, trunk[name]), name
    assert not any("pooler" in name for name, _ in model.named_parameters())


def test_the_trunk_keeps_its_fast_attention(tmp_path: Path) -> None:
    model, _ = tiny_model()
    model.save_pretrained(tmp_path)
    config = CascadeConfig(
        trunk=BertConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=8, vocab_size=9),
        entity_types=["A"],
        relation_types=["r"],
        hidden_size=4,
    )
    for made in (model, CascadeModel.from_pretrained(tmp_path), CascadeModel(config)):
        assert made.trunk.config._attn_implementation == "sdpa"


def test_markers_are_added_where_the_vocabulary_keeps_no_slots(tmp_path: Path) -> None:
    model, tokenizer = tiny_model(fusion="early", reserved=4)
    plain, _ = tiny_model(fusion="late", reserved=4)
    size = plain.trunk.get_input_embeddings().num_embeddings
    needed = 2 * (len(LABELS.entity_types) + 1)
    assert sorted(n for pair in model.config.marker_ids for n in pair) == list(range(size, size + needed))
    assert tokenizer.convert_ids_to_tokens(model.config.marker_ids[-1]) == ["[subject]", "[/subject]"]
    assert model.trunk.get_input_embeddings().num_embeddings == size + needed
    batch = batch_of(model, tokenizer, SENTENCES)
    terms = model(**batch).terms
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, its_tokenizer = load_model(tmp_path)
    assert len(its_tokenizer) == size + needed
    torch.testing.assert_close(loaded(**batch).terms, terms, rtol=0, atol=0)


def test_markers_take_free_slots_of_the_vocabulary() -> None:
    model, tokenizer = tiny_model(fusion="early")
    tokens = tokenizer.convert_ids_to_tokens([n for pair in model.config.marker_ids for n in pair])
    assert tokens == [f"[unused{n}]" for n in range(2 * (len(LABELS.entity_types) + 1))]


@pytest.mark.parametrize("options", MODELS)
def test_two_runs_give_the_same_bits(options: dict[str, Any]) -> None:
    model, tokenizer = tiny_model(**options)
    batch = batch_of(model, tokenizer, SENTENCES)

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(**batch).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    first, second = gradients(), gradients()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("options", MODELS)
def test_bfloat16_under_autocast(options: dict[str, Any]) -> None:
    model, tokenizer = tiny_model(**options)
    batch = batch_of(model, tokenizer, SENTENCES)
    expected = model(**batch).terms
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**batch)
        model.extract(batch, given=Given.gold(batch))
    output.loss.backward()
    assert output.terms.dtype == torch.float32
    torch.testing.assert_close(output.terms, expected, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("options", MODELS)
def test_a_model_in_bfloat16_extracts(options: dict[str, Any]) -> None:
    model, tokenizer = tiny_model(**options, encoder="none")
    batch = batch_of(model, tokenizer, SENTENCES)
    extraction = eager(model).to(torch.bfloat16).extract(batch, given=Given.gold(batch))
    assert len(extraction.entities) > 0


def test_table_relations_hang_on_first_words() -> None:
    """Two entities that start at one word share their relations."""
    model, tokenizer = tiny_model(architecture="table", encoder="none", overlaps=["none"])
    sentence = nested_sentence()
    shared = replace(sentence.entities[0], end=2, label="Product")
    batch = batch_of(eager(model), tokenizer, [replace(sentence, entities=(*sentence.entities, shared))])
    given = Given.gold(batch)
    order = torch.argsort(given.entities.keys(99))
    given = replace(given, entities=given.entities[order])
    [(_, relations)] = found(model, model.extract(batch, given=given), 1)
    outer = sentence.entities[0]
    assert {(r.object, r.label) for r in relations if r.subject == outer} == {
        (r.object, r.label) for r in relations if r.subject == shared
    }
    assert any(r.subject == outer for r in relations)


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a model of type cascade or cascade-table, found 'bert'"):
        load_model(tiny_trunk())
    with pytest.raises(FileNotFoundError, match=r"found no config.json in it or in its model/"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected the folder of a trunk, found nothing by that name"):
        create_model(tmp_path / "trunk", LABELS)


def test_input_embeddings_are_the_trunks() -> None:
    model, _ = tiny_model()
    assert model.get_input_embeddings() is model.trunk.get_input_embeddings()
    others = torch.nn.Embedding(5, model.trunk.config.hidden_size)
    model.set_input_embeddings(others)
    assert model.trunk.get_input_embeddings() is others
