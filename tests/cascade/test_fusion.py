"""Early and late fusion: what each turn reads and can know."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tiny_models import LABELS, SAMPLE, batch_of, eager, long_document, nested_sentence, tiny_model
from torch import Tensor

from cascade import CascadeConfig, CascadeModel, ConfigError, Given
from cascade.data import Corpus
from cascade.model import beside as beside_module
from cascade.model import packed as packed_module
from cascade.model.config import FUSIONS, WITH_MARKERS
from cascade.model.late import FARTHEST, distances, entity_tags
from cascade.model.turn import Turn
from cascade.prediction import Predictor
from cascade.tensors import Batch, Ragged, Sequences, Spans
from cascade.tokenization import WordTokenizer

SENTENCES = [sentence for sentence in SAMPLE.sentences() if sentence.words][:6]


def spans(*rows: tuple[int, int, int, int]) -> Spans:
    return Spans.given(*torch.tensor(rows, dtype=torch.int64).reshape(-1, 4).unbind(1))


def turns(model: CascadeModel, batch: dict[str, Tensor]) -> tuple[dict[str, Turn], int]:
    """The three turns of a batch with its gold spans, every entity a subject; and the passes they took."""
    given, reading = Given.gold(batch), model.read(Batch.of(batch))
    entities = given.entities
    subjects = entities.unique(1000)
    made = {
        "entity": reading.entity_turn(),
        "subject": reading.subject_turn(entities, entities.row.unique()),
        "object": reading.object_turn(entities, subjects),
    }
    return made, reading.passes


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("encoder", ["srn", "bisrn", "bilstm", "pfn", "none"])
def test_shapes_and_passes(fusion: str, encoder: str) -> None:
    model, tokenizer = tiny_model(fusion=fusion, encoder=encoder)
    made, passes = turns(model, batch_of(model, tokenizer, SENTENCES))
    with_entities = [sentence for sentence in SENTENCES if sentence.entities]
    every_entity = [sentence for sentence in SENTENCES for _ in sentence.entities]
    rows = {"entity": SENTENCES, "subject": with_entities, "object": every_entity}
    size = model.encoder.feature_size
    extra = dict.fromkeys(rows, 0) if fusion == "early" else {"entity": 0, "subject": 4, "object": None}
    for name, turn in made.items():
        assert turn.words.lengths.tolist() == [len(sentence.words) for sentence in rows[name]]
        width = 8 if extra[name] is None else size + extra[name]
        assert turn.features.shape == (len(turn.words), width)
    assert passes == (sum(map(len, rows.values())) if fusion == "early" else len(SENTENCES))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("encoder", ["srn", "bisrn", "bilstm", "pfn", "none"])
def test_padding_changes_nothing(fusion: str, encoder: str) -> None:
    """A sentence has the same features alone as when longer sentences pad it."""
    model, tokenizer = tiny_model(fusion=fusion, encoder=encoder)
    together, _ = turns(model, batch_of(model, tokenizer, SENTENCES))
    alone = [turns(model, batch_of(model, tokenizer, [sentence]))[0] for sentence in SENTENCES if sentence.entities]
    for name in ("subject", "object"):
        expected = torch.cat([made[name].features for made in alone])
        torch.testing.assert_close(together[name].features, expected, rtol=1e-4, atol=1e-5)


def recorded(model: CascadeModel) -> list[tuple[Sequences, Sequence[str]]]:
    """Collects every later call of the model's ``encode``."""
    calls, encode = [], model.encode

    def record(sequences: Sequences, tasks: Sequence[str]) -> dict[str, Tensor]:
        calls.append((sequences, tasks))
        return encode(sequences, tasks)

    model.encode = record
    return calls


def test_early_fusion_writes_markers_into_the_text() -> None:
    model, tokenizer = tiny_model(fusion="early")
    calls = recorded(model)
    sentence = nested_sentence()
    batch = batch_of(model, tokenizer, [sentence])
    turns(model, batch)
    (entity, _), (subject, _), (objects, _) = calls
    names = {}
    for label, (opening, closing) in zip([*LABELS.entity_types, "SUBJECT"], model.config.marker_ids, strict=True):
        names[opening], names[closing] = f"<{label}>", f"</{label}>"

    def text(sequences: Sequences, row: int) -> str:
        """The sequence with its words whole and its markers named."""
        ids = sequences.input_ids[row, 1 : sequences.lengths[row] - 1].tolist()
        return " ".join(names.get(n) or tokenizer.convert_ids_to_tokens(n) for n in ids).replace(" ##", "")

    plain = " ".join(sentence.words)
    assert text(entity, 0) == plain
    organization, place, person = "Organization", "Place", "Person"
    marked = (
        f"The <{organization}> University of <{place}> Tartu </{place}> </{organization}> employs "
        f"<{person}> Lotte Brandt </{person}> ."
    )
    assert text(subject, 0) == marked
    assert objects.input_ids.shape[0] == 3
    assert text(objects, 0) == marked.replace(f"<{organization}>", f"<SUBJECT> <{organization}>").replace(
        f"</{organization}>", f"</{organization}> </SUBJECT>"
    )
    assert text(objects, 1) == marked.replace(f"<{place}>", f"<SUBJECT> <{place}>").replace(
        f"</{place}>", f"</{place}> </SUBJECT>"
    )


def test_early_fusion_uses_only_the_turns_own_task() -> None:
    model, tokenizer = tiny_model(fusion="early")
    calls = recorded(model)
    turns(model, batch_of(model, tokenizer, SENTENCES))
    assert [tasks for _, tasks in calls] == [("entity",), ("subject",), ("object",)]


def test_early_fusion_marks_the_best_entities_when_room_is_short() -> None:
    model, tokenizer = tiny_model(fusion="early")
    batch = batch_of(model, tokenizer, [nested_sentence()])
    pieces = int(batch["piece_counts"][0])
    model.config.max_pieces = pieces + 5  # an entity's markers, the subject's, and one piece that no marker fits
    calls = recorded(model)
    reading = model.read(Batch.of(batch))
    entities = spans((0, 1, 3, 0), (0, 3, 3, 1), (0, 5, 6, 2))
    entities.score[:] = torch.tensor([0.7, 0.9, 0.8])
    reading.subject_turn(entities, torch.tensor([0]))
    reading.object_turn(entities, entities[:1])
    assert reading.unmarked == 2
    (subject, _), (objects, _) = calls
    opening, closing = model.config.marker_ids[1]
    markers = {n for pair in model.config.marker_ids for n in pair}
    assert markers & set(subject.input_ids[0].tolist()) == {opening, closing}
    assert markers & set(objects.input_ids[0].tolist()) == {opening, closing, *model.config.marker_ids[-1]}
    assert int(objects.lengths.max()) <= model.config.max_pieces


@pytest.mark.parametrize("positions, context", [(16, 4), (16, 5), (12, 0), (8, 0)])
@pytest.mark.parametrize("markers", ["all", "subject"])
def test_a_subject_has_room_for_its_markers(markers: str, positions: int, context: int) -> None:
    model, tokenizer = tiny_model(
        fusion="early", encoder="none", markers=markers, positions=positions, context=context, thresholds=[0.3] * 3
    )
    calls = recorded(eager(model))
    assert any(s.relations for s in Predictor(model, tokenizer)(Corpus((long_document(),))))
    assert max(int(sequences.lengths.max()) for sequences, _ in calls) <= positions
    if markers == "subject":  # what the tokenizer puts around a text, and the two markers
        assert WordTokenizer(tokenizer, model.config).room == positions - 2 * context - 4


@torch.no_grad()
def test_packed_fusion_reads_markers_beside_the_text() -> None:
    """The states between which the encoder reads, against one reading of text and markers together, without kept keys."""
    model, tokenizer = tiny_model(fusion="packed", encoder="none")
    sentence, other = nested_sentence(), SENTENCES[0]
    batch = Batch.of(batch_of(model, tokenizer, [sentence, other]))
    opened, text = model.config.marker_ids, int(batch.pieces.lengths[0])
    reading, rows = model.read(batch), []
    encode_states = reading.encode

    def record(states: Tensor, sequences: Sequences, tasks: Sequence[str]) -> dict[str, Tensor]:
        rows.append((states, sequences.lengths))
        return encode_states(states, sequences, tasks)

    reading.encode = record
    entities, subject = spans((0, 1, 3, 0), (0, 3, 3, 1), (0, 5, 6, 2)), spans((0, 5, 6, 2))
    reading.entity_turn()
    reading.subject_turn(entities, torch.tensor([0]))
    reading.object_turn(entities, subject)

    # where each word's first and last piece is
    words = batch.piece_words[:text].tolist()
    first = [words.index(word) for word in range(len(sentence.words))]
    last = [text - 1 - words[::-1].index(word) for word in range(len(sentence.words))]
    marked = [(1, 3, opened[0]), (3, 3, opened[1]), (5, 6, opened[2]), (5, 6, opened[-1])]
    ids = torch.cat([batch.piece_ids[:text], torch.tensor([piece for *_, pair in marked for piece in pair])])
    positions = [*range(text), *(place for start, end, _ in marked for place in (first[start], last[end]))]
    sees = torch.zeros(len(ids), len(ids), dtype=torch.bool)
    sees[:, :text] = True
    for place in range(text, len(ids)):
        sees[place, text + (place - text) // 2 * 2 :][:2] = True
    mask = torch.where(sees, 0.0, torch.finfo(torch.float32).min)[None, None]
    together = model.trunk(input_ids=ids[None], position_ids=torch.tensor([positions]), attention_mask=mask)
    state = together.last_hidden_state[0]

    organization, place, person, chosen = ([text + 2 * n, text + 2 * n + 1] for n in range(4))
    order = list(range(text))
    for at, markers in (
        (last[6] + 1, [person[1]]),
        (first[5], [person[0]]),
        (last[3] + 1, [place[1], organization[1]]),
        (first[3], [place[0]]),
        (first[1], [organization[0]]),
    ):
        order[at:at] = markers
    (plain, _), (of_subjects, _), (of_objects, lengths) = rows
    torch.testing.assert_close(plain[0, :text], state[:text])
    torch.testing.assert_close(of_subjects[0, : len(order)], state[order])
    around = order.index(person[0]), order.index(person[1])
    order[around[1] + 1 : around[1] + 1] = [chosen[1]]
    order[around[0] : around[0]] = [chosen[0]]
    assert lengths.tolist() == [len(order)]
    torch.testing.assert_close(of_objects[0], state[order])
    assert reading.passes == 2 and reading.unmarked == 0


@pytest.mark.parametrize("fusion", WITH_MARKERS)
def test_the_subject_alone_may_be_marked(fusion: str) -> None:
    model, tokenizer = tiny_model(fusion=fusion, encoder="none", markers="subject")
    read: list[int] = []
    model.trunk.register_forward_pre_hook(
        lambda _, inputs, options: read.extend(options["input_ids"].flatten().tolist()), with_kwargs=True
    )
    turns(model, batch_of(model, tokenizer, SENTENCES))
    marked = {n for pair in model.config.marker_ids for n in pair}
    assert marked & set(read) == set(model.config.marker_ids[-1])
    reading = model.read(Batch.of(batch_of(model, tokenizer, SENTENCES)))
    model.config.max_pieces = 1  # no room for any marker
    reading.entity_turn()
    reading.subject_turn(spans((0, 0, 0, 0)), torch.tensor([0]))
    assert reading.unmarked == 0


@torch.no_grad()
def test_packed_fusion_reads_many_markers_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny_model(fusion="packed")
    batch = batch_of(model, tokenizer, SENTENCES)
    whole, _ = turns(model, batch)
    monkeypatch.setattr(packed_module, "MARKED_AT_ONCE", 2)
    parts, _ = turns(model, batch)
    for name, turn in whole.items():
        torch.testing.assert_close(parts[name].features, turn.features)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_batch_of_one_word_without_anything_around_it(fusion: str) -> None:
    model, _ = tiny_model(fusion=fusion)
    one, ids = torch.ones(1, dtype=torch.int64), torch.tensor([5, 6])
    tensors = {"word_counts": one, "piece_counts": 2 * one, "piece_ids": ids, "piece_words": torch.zeros_like(ids)}
    batch = Batch.of(tensors)
    assert (batch.first_pieces.tolist(), batch.last_pieces.tolist()) == ([0], [1])
    reading = model.read(batch)
    reading.entity_turn()
    assert len(reading.object_turn(spans((0, 0, 0, 0)), spans((0, 0, 0, 0))).words) == 1


def test_packed_fusion_keeps_the_markers_of_the_same_entities() -> None:
    model, tokenizer = tiny_model(fusion="packed", encoder="none")
    batch, calls = batch_of(model, tokenizer, SENTENCES), []
    model.trunk.register_forward_hook(lambda _, inputs, options, output: calls.append(1), with_kwargs=True)
    turns(model, batch)
    assert len(calls) == 3, "the text, the entities' markers, the subjects'"


def test_packed_fusion_without_an_encoder_is_late_fusion(caplog: pytest.LogCaptureFixture) -> None:
    model, tokenizer = tiny_model(fusion="packed", encoder="none")
    assert "`packed` is `late` with the encoder `none`" in caplog.text
    late = CascadeModel(CascadeConfig.from_dict({**model.config.to_dict(), "fusion": "late"})).eval()
    late.load_state_dict(model.state_dict())
    batch = batch_of(model, tokenizer, SENTENCES)
    torch.testing.assert_close(late(**batch).terms, model(**batch).terms)


def test_packed_fusion_and_gradient_checkpointing_exclude_each_other() -> None:
    model, tokenizer = tiny_model(fusion="packed", encoder="none")
    batch = batch_of(model, tokenizer, SENTENCES)
    model.gradient_checkpointing_enable()
    with pytest.raises(ConfigError, match="gradient checkpointing drops"):
        model.train()(**batch)


def test_innermost_entity_gives_the_tag() -> None:
    words = Ragged(torch.tensor([6, 3]))
    entities = spans((0, 0, 4, 3), (0, 1, 2, 1), (0, 2, 2, 0), (1, 0, 1, 2), (1, 0, 1, 1))
    assert entity_tags(entities, words, 4).tolist() == [4, 2, 1, 4, 4, 0, 2, 2, 0]
    assert entity_tags(spans(), words, 4).tolist() == [0] * 9


def test_distances_from_the_subject_are_in_groups_that_double() -> None:
    words = Ragged(torch.tensor([40, 5]))
    found = distances(words, spans((0, 0, 1, 0), (1, 3, 3, 0))).split([40, 5])
    assert found[0].tolist() == [0, 0, 1, 2, 2, *[3] * 4, *[4] * 8, *[5] * 16, *[FARTHEST] * 7]
    assert found[1].tolist() == [-2, -2, -1, 0, 1]


@torch.no_grad()
def test_the_object_turn_knows_distances() -> None:
    """A word that is on the other side of the subject, all else being equal, has other scores."""
    model, tokenizer = tiny_model(fusion="late", distances=True)
    batch = batch_of(model, tokenizer, [nested_sentence()])
    for parameter in model.fusion.parameters():
        torch.nn.init.normal_(parameter)
    subjects = spans((0, 1, 3, 0), (0, 5, 6, 1))
    logits = object_logits(model, batch, subjects)
    model.fusion.distance.weight[:FARTHEST] += 1
    moved = (object_logits(model, batch, subjects) - logits).abs().amax(-1) > 1e-6
    assert moved.tolist() == [[word < 1 for word in range(8)], [word < 5 for word in range(8)]]


def object_logits(model: CascadeModel, batch: dict[str, Tensor], subjects: Spans) -> Tensor:
    """(subjects, words, 2K): start and end logits of the object turn of a one-sentence batch, a subject each."""
    reading = model.read(Batch.of(batch))
    reading.entity_turn()
    turn = reading.object_turn(Given.gold(batch).entities, subjects)
    start, end = model.heads["object"].edge_logits(turn.features)
    return torch.cat([start, end], dim=-1).unflatten(0, (len(subjects), -1))


@torch.no_grad()
def test_late_fusion_as_printed_is_blind_to_the_subject() -> None:
    """Eq. 11 as printed: outside the subjects themselves, the object scores are the same for every subject."""
    model, tokenizer = tiny_model(fusion="late", object_turn="printed")
    batch = batch_of(model, tokenizer, [nested_sentence()])
    subjects = spans((0, 1, 3, 0), (0, 5, 6, 1))
    logits = object_logits(model, batch, subjects)
    outside = [0, 4, 7]
    torch.testing.assert_close(logits[0, outside], logits[1, outside], rtol=0, atol=0)
    assert not torch.equal(logits[0, 1], logits[1, 1])


@torch.no_grad()
def test_late_fusion_by_default_sees_the_subject_from_every_word() -> None:
    model, tokenizer = tiny_model(fusion="late")
    batch = batch_of(model, tokenizer, [nested_sentence()])
    for parameter in model.fusion.parameters():
        torch.nn.init.normal_(parameter)
    logits = object_logits(model, batch, spans((0, 1, 3, 0), (0, 5, 6, 1)))
    shift = logits[0] - logits[1]  # (words, 2K)
    assert (shift.abs().amax(1) > 1e-3).all()
    # and not all by the same amount: a linear head would shift all words alike, and still not tell objects apart
    assert (shift - shift[0]).abs().amax() > 1e-3


def test_a_trunk_that_fails_beside_a_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def beside(*_: object) -> Tensor:
        raise KeyError("positions")

    monkeypatch.setattr(beside_module.Text, "beside", beside)
    with pytest.raises(
        ConfigError, match=r"^fusion: `packed` expects a trunk .*, found 'bert': KeyError: 'positions'$"
    ):
        tiny_model(fusion="packed")
