"""What is measured: registry, corpus, vocabulary, fusion and the cell's workloads; and that their checks can fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rehearsal import STAND_INS
from srn_benchmarks import corpus, registry
from srn_benchmarks.names import (
    BATCHED,
    CELL,
    GPU_CELL,
    GPU_PACKED,
    GPU_SMOKE,
    GPU_STEP,
    GPU_SWEEP,
    LATE,
    LSTM,
    MEMORY,
    ONE_BY_ONE,
    PACKED,
    STREAMING,
    SWEEP,
    TRUNK,
)
from srn_benchmarks.options import Options
from srn_benchmarks.shapes import TINY as TINY_SIZES
from srn_benchmarks.shapes import Shape, lstm_flops
from srn_benchmarks.workloads import ceiling, fusion, reading, step
from srn_benchmarks.workloads.calls import Call, Rotating, check, implementations, labels, refusals
from srn_benchmarks.workloads.heads import middle_shift
from srn_benchmarks.workloads.memory import formula, peak_bytes
from srn_benchmarks.workloads.packed import Packed, batches, padded_tokens
from srn_benchmarks.workloads.procedures import PROCEDURES, TINY, Setting, Workload, check_spans
from srn_benchmarks.workloads.streaming import Stream
from srn_benchmarks.workloads.vocabulary import build_tokenizer

from cascade.data import Entity, Relation, Sentence
from srn_kernels import backends, native
from srn_kernels.backends.cpu import workspaces

# -- corpus and vocabulary ---------------------------------------------------------------------------------------------


def test_passes_are_counted_from_gold():
    a, b, c = Entity(0, 0, "x"), Entity(1, 2, "y"), Entity(3, 3, "x")
    words = ("p", "q", "r", "s")
    sentences = [
        Sentence(words, (a, b, c), (Relation(a, b, "of"), Relation(a, c, "of"), Relation(b, c, "of"))),  # two subjects
        Sentence(words, (a,)),
        Sentence(words),
    ]
    assert corpus.expected_passes(sentences) == {"early": 3 + 2 + 2, "late": 3, "packed": 3}


def test_generated_corpus_needs_the_passes_of_scierc(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(corpus.VARIABLE, raising=False)
    whole = corpus.load(None)
    assert corpus.expected_passes(whole.sentences) == {"early": 1862, "late": 551, "packed": 551}


@pytest.mark.skipif(corpus.VARIABLE not in os.environ, reason=f"needs SciERC, at {corpus.VARIABLE}")
def test_scierc_needs_the_passes_counted_by_hand():
    whole = corpus.load(None)
    assert whole.name == corpus.SCIERC
    assert corpus.expected_passes(whole.sentences) == {"early": 1862, "late": 551, "packed": 551}


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
    done = workload.run(procedure)
    workload.check(procedure, done)
    assert len(done) == (0 if procedure == TRUNK else 2)
    assert workload.stages.keys() == {"tokenize", "encode", *["decode"] * (procedure != TRUNK)}
    assert workload.check_agreement(procedure) == ("" if procedure == TRUNK else backends.select(_problem()).name)


@pytest.mark.parametrize("there", [True, False])
def test_bfloat16_on_a_cpu_that_has_its_products(workload: Workload, there: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native, "multiplies_bfloat16", lambda: there)
    options = Options(False, True, False, None, Path(), 2, ("cpu",), None)
    dtypes = [torch.float32, torch.bfloat16] if there else [torch.float32]
    assert fusion.settings(options) == [Setting("cpu", dtype) for dtype in dtypes]
    assert any("bfloat16" in note for note in fusion.notes(workload, options)) == (not there)


def test_procedures_pass_their_own_checks_in_bfloat16(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(corpus.VARIABLE, raising=False)
    work = Workload(Setting("cpu", torch.bfloat16), corpus.load(40), TINY)
    for procedure in PROCEDURES:
        work.check(procedure, work.run(procedure))
        work.check_agreement(procedure)


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


def test_another_backend_in_a_model_than_asked_for_is_an_error(workload: Workload, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workload, "setting", replace(workload.setting, backend="cpu"))
    with workload.on("reference"), pytest.raises(AssertionError, match=r"float32-cpu ran {'reference'}"):
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


# -- the registry ------------------------------------------------------------------------------------------------------


def test_full_run_covers_what_is_promised():
    full = registry.full_shapes(2)
    assert {(s.threads, s.batch, s.steps) for s in full} == {
        (n, b, t) for n in (1, 2) for b in (1, 8, 32) for t in (32, 128)
    }
    assert {s.dtype for s in full} == {torch.float32, torch.bfloat16}


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_a_run_leaves_out_what_it_says_and_nothing_else(threads: int):
    full, default = registry.full_shapes(threads), registry.default_shapes(threads)
    assert set(default) < set(full)
    assert len(set(default)) == len(default)
    for shape in set(full) - set(default):
        long = shape.steps == 128 and shape.batch < 32
        half = shape.dtype == torch.bfloat16
        all_threads = shape.threads == threads > 2
        assert long or half or all_threads
        assert not all_threads or half or f"float32 on all {threads} threads" in registry.left_out(threads)
    [half] = [shape for shape in default if shape.dtype == torch.bfloat16]
    assert (half.threads, half.training, half.batch, half.steps) == (threads, False, 32, 32)


def test_the_sweep_is_part_of_a_full_run_only():
    def swept(full: bool) -> list[Shape]:
        return [item.shape for item in registry.on_cpu(8, full=full) if item.table == SWEEP]

    assert len(set(swept(full=True))) == 6 * 4 * 3 * 2 and not swept(full=False)
    assert {(shape.precision, shape.threads) for shape in swept(full=True)} == {("float32", 2)}


def test_a_run_that_checks_and_does_not_time_is_of_tiny_sizes_only():
    options = Options(False, True, False, None, Path(), 2, ("cpu", "cuda"), None)
    found = registry.items(options)
    assert {item.table for item in found} == {
        CELL,
        STREAMING,
        PACKED,
        MEMORY,
        SWEEP,
        GPU_SMOKE,
        GPU_CELL,
        GPU_STEP,
        GPU_PACKED,
    }
    assert all(item.shape.hidden_size <= 32 and item.shape.steps <= 5 for item in found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sentences": 0}, "--sentences: expected a number above 0, found 0"),
        ({"backend": ["cpu", "none"]}, "--backend: expected one of .*, found none"),
        ({"device": "cuda"}, "--device cuda: torch finds no CUDA device"),
    ],
)
def test_wrong_options_are_refused(given: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = SimpleNamespace(getoption=given.get, rootpath=Path())
    with pytest.raises(pytest.UsageError, match=message):
        Options.of(config)


def test_what_tells_most_comes_first_on_a_gpu():
    found = list(registry.on_gpu("cuda", 2, full=True))
    assert len({str(item) for item in found}) == len(set(found))
    assert {item.shape.precision for item in found if item.table == GPU_SMOKE} == {"bfloat16", "float16", "tf32"}
    first = [(item.table, item.shape.precision, item.shape.training) for item in found if item.table != GPU_SMOKE][:4]
    assert first == [(table, "bfloat16", training) for table in (GPU_CELL, GPU_STEP) for training in (False, True)]
    swept = {(item.shape.batch, item.shape.hidden_size) for item in found if item.table == GPU_SWEEP}
    assert {(32, hidden) for hidden in (64, 300, 1024)} | {(batch, 300) for batch in (1, 32, 256)} <= swept
    assert GPU_SWEEP not in {item.table for item in registry.on_gpu("cuda", 2, full=False)}


# -- the cell ----------------------------------------------------------------------------------------------------------

SHAPES = [Shape("cpu", torch.float32, 1, training, 3, 5, **TINY_SIZES) for training in (False, True)]
SHAPE = SHAPES[0]
LENGTHS = (2, 5, 3, 7, 1)

BUILD = {
    "forward": lambda name: Call(SHAPES[0], name),
    "training": lambda name: Call(SHAPES[1], name),
    "stream": lambda name: Stream(SHAPE, name),
    "packed": lambda name: Packed(SHAPE, name, LENGTHS),
}

each_kind = pytest.mark.parametrize("kind", BUILD)


def test_flops_by_hand():
    assert lstm_flops(10, 768, 300) == 2 * 10 * 1200 * 1068
    shape = Shape("cpu", torch.float32, 1, True, 8, 32)
    assert shape.work(LSTM)["flops"] == 3 * 2 * 256 * 1200 * 1068
    assert shape.work("cpu")["flops"] == 3 * 2 * 256 * (2700 * 1068 + 7 * 300 * 300)


@each_kind
def test_every_implementation_passes_its_check(kind: str):
    names = implementations(SHAPE)
    assert names[:2] == [LSTM, "reference"]
    for name in names:
        check(BUILD[kind](name))


@each_kind
@pytest.mark.parametrize("name", [LSTM, "reference"])
def test_a_wrong_result_is_an_error(kind: str, name: str):
    call = BUILD[kind](name)
    with torch.no_grad():
        next(call.module.parameters()).mul_(1.01)
    with pytest.raises(AssertionError, match="times what roundings move"):
        check(call)


@each_kind
def test_another_backend_than_asked_for_is_an_error(kind: str):
    call = BUILD[kind]("reference")
    call.implementation = "cpu"
    with pytest.raises(AssertionError, match="asked for cpu, ran"):
        check(call)


@pytest.fixture
def wrong_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A backend whose results are off by a tenth."""
    monkeypatch.setitem(backends.BACKENDS, "wrong", STAND_INS["wrong"])
    return "wrong"


def test_a_wrong_backend_is_an_error_and_unproved(wrong_backend: str):
    with pytest.raises(AssertionError, match=r"wrong, tensor 0: off in norm by .* times what roundings move"):
        check(Call(SHAPE, wrong_backend))
    assert labels(SHAPE, wrong_backend)["unproved"] == 1
    assert not any("unproved" in labels(SHAPE, name) for name in (LSTM, "reference", "cpu"))


def test_nan_is_an_error():
    call = Call(SHAPE, "reference")
    call.inputs[0][0, -1, 0] = torch.nan  # the check's float64 call draws new input
    with pytest.raises(AssertionError, match="off in norm by nan"):
        check(call)


def test_absent_backends_are_named_with_their_reason(monkeypatch: pytest.MonkeyPatch):
    class Absent(type(backends.BACKENDS["reference"])):
        def unavailable(self) -> str:
            return "no such processor"

    monkeypatch.setitem(backends.BACKENDS, "absent", Absent())
    assert "not in the table: absent on cpu float32: no such processor" in refusals(SHAPES)
    assert "absent" not in implementations(SHAPE)
    assert refusals(SHAPES, ["cpu"]) == [] and implementations(SHAPE, ["reference"]) == [LSTM, "reference"]


def test_a_stream_is_what_the_layer_computes():
    """Weights and input are drawn alike, so single steps must give what a whole sequence gives."""
    stream = Stream(SHAPE, LSTM)
    layer = torch.nn.LSTM(SHAPE.input_size, SHAPE.hidden_size)
    layer.load_state_dict({f"{name}_l0": value for name, value in stream.module.state_dict().items()})
    expected, (_, c_n) = layer(torch.stack(stream.inputs))
    *outputs, last = stream()
    torch.testing.assert_close(torch.stack(outputs), expected.detach())
    torch.testing.assert_close(last, c_n[0].detach())


def test_batches_are_in_order_and_padding_is_counted_to_the_longest_of_each():
    assert batches(LENGTHS, 3) == [(2, 5, 3), (7, 1)]
    assert padded_tokens(LENGTHS, 3) == 3 * 5 + 2 * 7
    packed = Packed(SHAPE, LSTM, LENGTHS)
    assert sum(len(batch.data) for batch in packed.inputs) == sum(LENGTHS)
    assert packed.inputs[0].batch_sizes.tolist() == [3, 3, 2, 1, 1]


@pytest.mark.parametrize("kind", ["training", "packed"])
def test_inputs_rotate(kind: str):
    rotating = Rotating(BUILD[kind]("reference"))
    first, second, third = (rotating() for _ in range(3))
    assert not torch.equal(first[0], second[0])
    assert all(torch.equal(one, other) for one, other in zip(first, third, strict=True))


def test_backward_alone_gives_the_gradients():
    call = BUILD["training"]("reference")
    expected = call()
    alone = step.BackwardAlone(call)
    for got in (alone(), alone(), alone())[::2]:
        assert all(torch.allclose(one, other) for one, other in zip(got, expected, strict=True))


# -- the ceiling -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(native.missing() is not None, reason="needs the native library")
@pytest.mark.parametrize("threads", [1, 2])
def test_ceiling_counts_what_it_runs(threads: int):
    companion = ceiling.companion(threads)
    assert companion is not None and not companion.settles
    assert companion.run() == companion.work["flops"] == threads * ceiling.companion(1).work["flops"]


def test_no_ceiling_without_the_native_library(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native, "missing", lambda: "not built")
    assert ceiling.companion(1) is None


# -- reading the weights -----------------------------------------------------------------------------------------------


def test_weights_read_by_hand(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "seconds_a_number", lambda numbers, threads: 1.0)
    forward, training = (Shape("cpu", torch.float32, 1, training, 8, 32) for training in (False, True))
    assert reading.least_seconds(forward) == 32 * 16 * 300**2 + 9 * 300 * 768
    assert reading.least_seconds(training) == 2 * reading.least_seconds(forward)


def test_reading_takes_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "SECONDS", 0.0)
    assert 0 < reading.seconds_a_number(reading.BLOCK + 1, torch.get_num_threads()) < 1e-6


# -- memory ------------------------------------------------------------------------------------------------------------


def test_peak_is_exact_and_counts_what_was_freed_again():
    before = torch.zeros(1_000_000)

    def call() -> torch.Tensor:
        first = torch.empty(1000, dtype=torch.uint8)
        second = torch.empty(5000, dtype=torch.uint8)
        del second
        third = torch.empty(3000, dtype=torch.uint8)
        assert before.numel() > first.numel()
        return third

    assert peak_bytes(call, 1) == 6000


def test_an_error_inside_is_not_lost_and_the_threads_stay_as_they_were():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        peak_bytes(lambda: 1 // 0, before + 1)
    assert torch.get_num_threads() == before


def test_formula_by_hand():
    parts = formula(Shape("cpu", torch.float32, 1, True, 32, 128))
    rows = 32 * 128
    assert parts["outputs S·H"] == parts["saved cells S·H"] == rows * 300 * 4
    assert parts["saved gates S·G·H"] == parts["gradients of gates S·G·H"] == rows * 2700 * 4
    assert parts["gradients of the parameters"] == 4 * (2700 * (768 + 300 + 2) + 300 * (2100 + 1))
    assert sum(parts.values()) == 4 * (rows * (768 + 300 * (1 + 9 + 1 + 9 + 1)) + 2700 * 1070 + 300 * 2101)


@pytest.mark.parametrize("name", implementations(SHAPE))
def test_a_training_step_holds_at_least_its_results_and_what_was_saved(name: str):
    run = Call(SHAPES[1], name)
    expected = sum(gradient.nbytes for gradient in run())
    if name != LSTM:
        expected += sum(size for part, size in formula(SHAPES[1]).items() if part.startswith(("outputs", "saved")))
    assert peak_bytes(run, 1) == peak_bytes(run, 1) >= expected


@pytest.mark.skipif(native.missing() is not None, reason="needs the native library")
def test_the_peak_has_the_workspace_that_an_earlier_call_left():
    run = Call(SHAPES[1], "cpu")
    workspaces.forget()
    before = peak_bytes(run, 1)
    assert workspaces.kept() > 0
    assert peak_bytes(run, 1) == before
