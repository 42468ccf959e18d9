"""The workloads: corpus, vocabulary, models and cell, and that their checks can fail."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from srn_benchmarks import cell, corpus
from srn_benchmarks.cell import Run
from srn_benchmarks.fusion import BATCHED, PROCEDURES, TINY, TRUNK, Setting, Workload, check_spans
from srn_benchmarks.heads import middle_shift
from srn_benchmarks.shapes import Shape, left_out, lstm_flops, shapes
from srn_benchmarks.stage_timer import StageTimer
from srn_benchmarks.tables import LATE, LSTM, ONE_BY_ONE
from srn_benchmarks.vocabulary import build_tokenizer

from cascade.data import Entity, Relation, Sentence
from srn_kernels import backends
from srn_kernels.call import LayerCall
from srn_kernels.reference import Direction

# -- corpus and vocabulary ---------------------------------------------------------------------------------------------


def test_passes_are_counted_from_gold():
    a, b, c = Entity(0, 0, "x"), Entity(1, 2, "y"), Entity(3, 3, "x")
    words = ("p", "q", "r", "s")
    sentences = [
        Sentence(words, (a, b, c), (Relation(a, b, "of"), Relation(a, c, "of"), Relation(b, c, "of"))),  # two subjects
        Sentence(words, (a,)),
        Sentence(words),
    ]
    assert corpus.expected_passes(sentences) == {"early": 3 + 2 + 2, "late": 3}


def test_generated_corpus_needs_the_passes_of_scierc(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(corpus.VARIABLE, raising=False)
    whole = corpus.load(None)
    assert corpus.expected_passes(whole.sentences) == {"early": 1862, "late": 551}


@pytest.mark.skipif(corpus.VARIABLE not in os.environ, reason=f"needs SciERC, at {corpus.VARIABLE}")
def test_scierc_needs_the_passes_counted_by_hand():
    whole = corpus.load(None)
    assert whole.name == corpus.SCIERC
    assert corpus.expected_passes(whole.sentences) == {"early": 1862, "late": 551}


def test_a_part_is_seeded_in_file_order_and_stated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(corpus.VARIABLE, raising=False)
    part = corpus.load(10)
    places = [part.every.index(sentence) for sentence in part.sentences]
    assert len(places) == 10 and places == sorted(places)
    assert part == corpus.load(10)
    assert "10 of 551 sentences, drawn with seed 0" in part.describe()
    assert "SCIERC_DIR is not set" in part.describe()


def test_vocabulary_has_the_size_and_the_pieces_a_word_asked_for():
    words = [word for sentence in corpus.load(None).every for word in sentence.words]
    tokenizer = build_tokenizer(words)
    assert len(tokenizer) == 31090
    encoded = tokenizer([words], is_split_into_words=True, add_special_tokens=False)["input_ids"][0]
    assert tokenizer.unk_token_id not in encoded
    assert len(encoded) / len(words) == pytest.approx(1.25, abs=0.05)


def test_vocabulary_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected room for the corpus'"):
        build_tokenizer(["some", "words"], size=8)


# -- fusion ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workload() -> Workload:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(corpus.VARIABLE, raising=False)
        return Workload(Setting("cpu", torch.float32), corpus.load(40), TINY)


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_procedures_pass_their_own_checks(workload: Workload, procedure: str):
    timer = StageTimer()
    done = workload.run(procedure, timer)
    workload.check(procedure, done)
    assert len(done) == (0 if procedure == TRUNK else 2)
    assert timer.seconds.keys() == ({"tokenize", "encode"} if procedure == TRUNK else {"tokenize", "encode", "decode"})
    assert workload.check_agreement(procedure) == ("" if procedure == TRUNK else backends.select(_problem()).name)


def _problem():
    return Shape("cpu", torch.float32, 1, False, 32, 30).problem()


def test_batched_and_one_by_one_find_the_same(workload: Workload):
    for one, other in zip(workload.run(ONE_BY_ONE), workload.run(BATCHED), strict=True):
        assert one.found(32, workload.corpus.labels) == other.found(32, workload.corpus.labels)


def test_about_as_much_is_found_as_gold_has(workload: Workload):
    gold = len([entity for sentence in workload.batches[0] for entity in sentence.entities])
    found = len(workload.run(LATE)[0].entities)
    assert gold / 2 < found < 2 * gold


def test_a_wrong_number_of_passes_is_an_error(workload: Workload):
    done = workload.run(LATE)
    with pytest.raises(AssertionError, match="passes, not 40"):
        workload.check(LATE, [replace(one, passes=one.passes + 1) for one in done])


def test_a_batch_that_differs_from_single_reads_is_an_error(workload: Workload, monkeypatch: pytest.MonkeyPatch):
    whole = Workload.tensors

    def shifted(self: Workload, fusion: str, sentences: list[Sentence]) -> dict[str, torch.Tensor]:
        tensors = whole(self, fusion, sentences)
        if len(sentences) > 1:
            tensors["piece_ids"] = tensors["piece_ids"].roll(1)
        return tensors

    monkeypatch.setattr(Workload, "tensors", shifted)
    with pytest.raises(AssertionError, match="late, entity: error"):
        workload.check_agreement(LATE)


def test_spans_outside_their_sentence_are_an_error(workload: Workload):
    done = workload.run(LATE)[0]
    moved = replace(done, entities=replace(done.entities, end=done.entities.end + 100))
    with pytest.raises(AssertionError, match="entities: a span outside its sentence"):
        check_spans(moved, workload.batches[0])
    unsure = replace(done, entities=replace(done.entities, score=done.entities.score * torch.nan))
    with pytest.raises(AssertionError, match="entities: a score"):
        check_spans(unsure, workload.batches[0])


def test_middle_shift_lets_a_given_number_fire():
    logits = torch.tensor([[0.1, 9.0], [0.5, 7.0], [0.2, 8.0], [0.4, 6.0]])
    for count, fired in ((2, 2), (0, 1), (9, 3)):
        assert ((logits + middle_shift(logits, count)) > 0).sum(0).tolist() == [fired, fired]


# -- cell --------------------------------------------------------------------------------------------------------------

SHAPES = [Shape("cpu", torch.float32, 1, training, 3, 5, input_size=24, hidden_size=20) for training in (False, True)]


def test_flops_by_hand():
    assert lstm_flops(10, 768, 300) == 2 * 10 * 1200 * 1068
    shape = Shape("cpu", torch.float32, 1, True, 8, 32)
    assert shape.work(LSTM)["flops"] == 3 * 2 * 256 * 1200 * 1068
    assert shape.work("cpu")["flops"] == 3 * 2 * 256 * (2700 * 1068 + 7 * 300 * 300)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_implementation_passes_its_check(shape: Shape):
    names = cell.implementations(shape)
    assert names[:2] == [LSTM, "reference"]
    for name in names:
        cell.check(Run(shape, name))


@pytest.fixture
def wrong_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A backend whose results are off by a thousandth."""

    class Wrong(type(backends.BACKENDS["reference"])):
        name = "wrong"

        def forward(self, call: LayerCall, outs: Sequence[Direction], memories: bool, save: bool) -> None:
            super().forward(call, outs, memories, save)
            outs[0].output.mul_(1.001)

    monkeypatch.setitem(backends.BACKENDS, "wrong", Wrong())
    return "wrong"


def test_a_wrong_result_is_an_error(wrong_backend: str):
    with pytest.raises(AssertionError, match=r"wrong, tensor 0: off in norm by .* times what roundings move"):
        cell.check(Run(SHAPES[0], wrong_backend))


def test_another_backend_than_asked_for_is_an_error():
    run = Run(SHAPES[0], "reference")
    run.implementation = "cpu"
    with pytest.raises(AssertionError, match="asked for cpu, ran"):
        cell.check(run)


def test_nan_is_an_error():
    run = Run(SHAPES[0], "reference")
    with torch.no_grad():
        run.input[0, -1, 0] = torch.nan  # the check's own float64 run draws its input anew
    with pytest.raises(AssertionError, match="off in norm by nan"):
        cell.check(run)


def test_absent_backends_are_named_with_their_reason(monkeypatch: pytest.MonkeyPatch):
    class Absent(type(backends.BACKENDS["reference"])):
        def unavailable(self) -> str:
            return "no such processor"

    monkeypatch.setitem(backends.BACKENDS, "absent", Absent())
    assert "not in the table: absent on cpu float32: no such processor" in cell.refusals(SHAPES)
    assert "absent" not in cell.implementations(SHAPES[0])


def test_full_run_covers_what_is_promised():
    full = shapes(("cpu",), 2, full=True, smoke=False)
    assert {(s.threads, s.batch, s.steps) for s in full} == {
        (n, b, t) for n in (1, 2) for b in (1, 8, 32) for t in (32, 128)
    }
    assert {s.dtype for s in full} == {torch.float32, torch.bfloat16}
    assert all(s.hidden_size <= 32 for s in shapes(("cpu",), 2, full=False, smoke=True))


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_a_run_leaves_out_what_it_says_and_nothing_else(threads: int):
    full, default = (shapes(("cpu",), threads, full=full, smoke=False) for full in (True, False))
    assert set(default) < set(full)
    assert len(set(default)) == len(default)
    for shape in set(full) - set(default):
        long = shape.steps == 128 and shape.batch < 32
        half = shape.dtype == torch.bfloat16
        all_threads = shape.threads == threads > 2
        assert long or half or all_threads
        assert not all_threads or half or f"float32 on all {threads} threads" in left_out(threads)
    [half] = [shape for shape in default if shape.dtype == torch.bfloat16]
    assert (half.threads, half.training, half.batch, half.steps) == (threads, False, 32, 32)
