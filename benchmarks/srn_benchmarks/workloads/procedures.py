"""The procedures of early, late and packed fusion, over models of SciBERT's shape with random weights; and their checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from cascade import CascadeConfig, CascadeModel, Extraction, Given
from cascade.data import Sentence
from cascade.markers import reserve_markers
from cascade.model.config import FUSIONS, WITH_MARKERS
from cascade.tensors import Batch, Spans, collate, plain
from cascade.tokenization import WordTokenizer
from srn_kernels import backends

from ..corpus import SpeedCorpus, expected_passes
from ..names import BATCHED, LATE, ONE_BY_ONE, PACKED_FUSION, TRUNK
from ..stage_timer import StageTimer
from .calls import EAGER
from .heads import calibrate, traced_matches
from .vocabulary import build_tokenizer

BATCH = 32

PROCEDURES = (TRUNK, ONE_BY_ONE, BATCHED, PACKED_FUSION, LATE)
FUSION_OF = {ONE_BY_ONE: "early", BATCHED: "early", PACKED_FUSION: "packed", LATE: "late", TRUNK: "late"}

SCIBERT: dict[str, int] = {}
"""BERT-base's sizes, which are ``BertConfig``'s defaults, are SciBERT's but for the vocabulary."""

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}

AGREEING_SENTENCES = 8
"""Sentences of the first batch that are also read one by one, by the eager loop, to check a procedure."""

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.2}
"""How far a batch's logits may be from theirs, as a root-mean-square over the logits' deviation from their mean."""


@dataclass(frozen=True)
class Setting:
    """``dtype`` other than float32 is autocast's. The SRNs run on ``backend``: on a GPU by name, proved or not."""

    device: str
    dtype: torch.dtype
    backend: str = backends.AUTO

    @property
    def precision(self) -> str:
        name = str(self.dtype).removeprefix("torch.")
        name = name if self.dtype == torch.float32 else f"{name} (autocast)"
        return name if self.backend == backends.AUTO else f"{name}, SRN {self.backend}"

    def __str__(self) -> str:
        suffix = "" if self.backend == backends.AUTO else f"-{self.backend}"
        return f"{self.device}-{str(self.dtype).removeprefix('torch.')}{suffix}"


class Workload:
    """Three models, one a fusion, over one trunk; and the sentences in batches, in file order, padded to their longest.

    Weights are random: they do not change the time. How much is found does, so the heads are set to find as many spans in
    the first batch as gold has there; gold spans drive the later turns.
    """

    def __init__(self, setting: Setting, corpus: SpeedCorpus, sizes: Mapping[str, int] = SCIBERT) -> None:
        self.setting = setting
        self.corpus = corpus
        self.device = torch.device(setting.device)
        tokenizer = build_tokenizer(word for sentence in corpus.every for word in sentence.words)
        self.batches = [corpus.sentences[n : n + BATCH] for n in range(0, len(corpus.sentences), BATCH)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            trunk_config = BertConfig(vocab_size=len(tokenizer), **sizes)
            trunk = BertModel(trunk_config, add_pooling_layer=False)
            self.models = {
                fusion: CascadeModel(
                    CascadeConfig(
                        trunk=trunk_config.to_dict(),
                        entity_types=corpus.labels.entity_types,
                        relation_types=corpus.labels.relation_types,
                        fusion=fusion,
                        max_pieces=trunk_config.max_position_embeddings,
                        pad_token_id=tokenizer.pad_token_id,
                        marker_ids=reserve_markers(tokenizer, corpus.labels.entity_types)
                        if fusion in WITH_MARKERS
                        else (),
                    ),
                    trunk,
                )
                .eval()
                .to(self.device)
                for fusion in FUSIONS
            }
        self.tokenizers = {fusion: WordTokenizer(tokenizer, model.config) for fusion, model in self.models.items()}
        for fusion, model in self.models.items():
            calibrate(model, self.tensors(fusion, self.batches[0]))
            model.encoder.rnn.backend = setting.backend
        self.stages: dict[str, float] = {}

    def pieces_per_word(self) -> float:
        """Measured over the sentences, without what the tokenizer puts around each."""
        tensors = self.tensors("late", self.corpus.sentences)
        around = len(self.tokenizers["late"].before) + len(self.tokenizers["late"].after)
        pieces = int(tensors["piece_counts"].sum()) - around * len(self.corpus.sentences)
        return pieces / int(tensors["word_counts"].sum())

    def expected_passes(self, procedure: str) -> int:
        return expected_passes(self.corpus.sentences)[FUSION_OF[procedure]]

    def tensors(self, fusion: str, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """Tokenized, collated, and moved to the device."""
        windows = self.tokenizers[fusion](sentences, labelled=True).windows
        assert len(windows) == len(sentences), "a sentence is longer than the trunk has positions for"
        return {name: tensor.to(self.device) for name, tensor in collate(windows).items()}

    def run(self, procedure: str, dtype: torch.dtype | None = None) -> list[Extraction]:
        """The extraction of each batch (none for the trunk alone), in the setting's precision unless ``dtype`` is given.
        The seconds of the procedure are in ``stages``."""
        timer = StageTimer()
        with self._autocast(dtype or self.setting.dtype):
            found = [self.run_batch(procedure, sentences, timer) for sentences in self.batches]
        self.stages = dict(timer.seconds)
        return [extraction for extraction in found if extraction is not None]

    @torch.no_grad()
    def run_batch(self, procedure: str, sentences: Sequence[Sentence], timer: StageTimer) -> Extraction | None:
        model = self.models[FUSION_OF[procedure]]
        with timer.stage("tokenize"):
            tensors = self.tensors(FUSION_OF[procedure], sentences)
        if procedure == TRUNK:
            with timer.stage("encode"):
                trunk_states(model, tensors)
            return None
        one_by_one = 1 if procedure == ONE_BY_ONE else None
        with timer.listening():
            extraction = model.extract(tensors, Given.gold(tensors), object_batch_size=one_by_one)
        with timer.stage("decode"):
            extraction.found(len(sentences), self.corpus.labels)
        return extraction

    def check(self, procedure: str, done: Sequence[Extraction]) -> None:
        """Raises AssertionError if what a run found cannot be right, by the number of passes and by every span."""
        if procedure == TRUNK:
            return
        passes = sum(extraction.passes for extraction in done)
        assert passes == self.expected_passes(procedure), f"{passes} passes, not {self.expected_passes(procedure)}"
        assert any(len(extraction.entities) for extraction in done), "no entity was found, though heads are set to"
        for sentences, extraction in zip(self.batches, done, strict=True):
            check_spans(extraction, sentences)

    def check_agreement(self, procedure: str) -> str:
        """Raises AssertionError unless sentences give in a batch what each gives by itself, on the eager loop.

        By itself means one object pass at a time too. The logits of all turns are compared, or the states of the trunk
        alone. Returns the name of the backend that the batch ran on; "" for the trunk alone.
        """
        sentences = self.batches[0][:AGREEING_SENTENCES]
        with backends.record() as ran:
            together = self._trace(procedure, [sentences])
        names = set(ran)
        assert len(names) == (procedure != TRUNK), f"expected one backend to run, found {names}"
        assert names <= {self.setting.backend} or self.setting.backend == backends.AUTO, f"{self.setting} ran {names}"
        by_itself = ONE_BY_ONE if FUSION_OF[procedure] == "early" else procedure
        with self.on(EAGER):
            apart = self._trace(by_itself, [[sentence] for sentence in sentences])
        for name, expected in apart.items():
            found, expected = together[name].double(), expected.double()
            error = float((found - expected).norm() / (expected - expected.mean()).norm())
            bound = TOLERANCE[self.setting.dtype]
            assert error <= bound, f"{procedure}, {name}: error {error:.2e} in a batch, at most {bound:.0e} expected"
        return "".join(names)

    @torch.no_grad()
    def _trace(self, procedure: str, batches: Sequence[Sequence[Sentence]]) -> dict[str, Tensor]:
        """What a procedure computes on its way, in the sentences' order: (P, K) logits of each turn's spans."""
        fusion = FUSION_OF[procedure]
        if procedure == TRUNK:
            with self._autocast(self.setting.dtype):
                parts = [trunk_states(self.models[fusion], self.tensors(fusion, sentences)) for sentences in batches]
            return {"states": torch.cat(parts)}
        with traced_matches(self.models[fusion]) as logits, self._autocast(self.setting.dtype):
            for sentences in batches:
                self.run_batch(procedure, sentences, StageTimer())
        return {turn: torch.cat(parts) for turn, parts in logits.items() if parts}

    @contextmanager
    def on(self, backend: str) -> Iterator[None]:
        """Has the SRNs of all models run on a backend, by its name."""
        layers = [model.encoder.rnn for model in self.models.values()]
        before = [layer.backend for layer in layers]
        for layer in layers:
            layer.backend = backend
        try:
            yield
        finally:
            for layer, name in zip(layers, before, strict=True):
                layer.backend = name

    def _autocast(self, dtype: torch.dtype) -> torch.autocast:
        half = dtype != torch.float32
        return torch.autocast(self.setting.device, dtype if half else None, enabled=half)


def trunk_states(model: CascadeModel, tensors: Mapping[str, Tensor]) -> Tensor:
    """(pieces, D): the trunk's last states of a batch's sentences, unmarked."""
    sequences = plain(Batch.of(tensors), model.config.pad_token_id)
    states = model.trunk(input_ids=sequences.input_ids, attention_mask=sequences.mask).last_hidden_state
    return states[sequences.mask.bool()]


def check_spans(extraction: Extraction, sentences: Sequence[Sentence]) -> None:
    """Raises AssertionError for spans outside their sentences, and for scores that are no probabilities."""
    lengths = torch.tensor([len(sentence.words) for sentence in sentences], device=extraction.entities.row.device)
    for name in ("entities", "subjects", "objects"):
        spans: Spans = getattr(extraction, name)
        inside = (spans.start >= 0) & (spans.start <= spans.end) & (spans.end < lengths[spans.row])
        assert bool(inside.all()), f"{name}: a span outside its sentence"
        assert bool((spans.score.isfinite() & (spans.score >= 0) & (spans.score <= 1)).all()), f"{name}: a score"
