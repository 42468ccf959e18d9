"""The cascade: entities, then subjects, then the objects of each subject, with early, late or packed fusion."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn, profiler
from transformers import PreTrainedModel

from ..tensors import Batch, Spans
from .base import ExtractionModel, ExtractionOutput, Given, inference
from .config import TURNS, CascadeConfig
from .early import EarlyReading
from .findings import Extraction
from .late import LateFusion, LateReading
from .packed import PackedReading
from .turn import SpanHead, Turn

Reading = EarlyReading | LateReading | PackedReading
SUBJECTS_AT_ONCE = 256  # subjects that one call of the object turn takes by default: bounds its memory


class CascadeModel(ExtractionModel):
    """Entities, then subjects, then the objects of each subject: a head each over one trunk and one encoder.

    Without relation types there is only the first turn.
    """

    config: CascadeConfig
    config_class = CascadeConfig
    tasks = TURNS

    def __init__(self, config: CascadeConfig, trunk: PreTrainedModel | None = None) -> None:
        super().__init__(config, trunk)
        size = self.encoder.feature_size
        self.fusion = LateFusion(config, size) if config.fusion != "early" and config.relation_types else None
        sizes = dict.fromkeys(TURNS, size) if self.fusion is None else self.fusion.sizes
        labels = {"entity": len(config.entity_types), "subject": 1, "object": len(config.relation_types)}
        self.heads = nn.ModuleDict(
            {
                turn: SpanHead(
                    sizes[turn], labels[turn], config.match, config.hidden_size, config.dropout, config.widths
                )
                for turn in config.turns
            }
        )
        self.post_init()

    @property
    def accepts_loss_kwargs(self) -> bool:
        return self.config.loss_divisor == "batch"  # what a turn reads is known when it has

    @property
    def keeps_readings(self) -> bool:
        return self.config.fusion != "packed"  # which holds keys and values of every layer

    def read(self, batch: Batch) -> Reading:
        """Prepares to read a batch turn by turn with the configured fusion."""
        if self.config.fusion == "early":
            return EarlyReading(self.encode, batch, self.config)
        if self.config.fusion == "packed":
            return PackedReading(self.trunk, self.encode_states, batch, self.config, self.fusion)
        return LateReading(self.encode, batch, self.config, self.fusion)

    def loss(self, reading: Reading, given: Given, words: Tensor | int | None = None) -> ExtractionOutput:
        """Eq. 14 and 15: gold entities are the later turns' prior. ``words`` divide it where ``loss_divisor`` is "batch"."""
        batch = reading.batch
        width = batch.width
        words = max(len(batch.words), 1) if words is None else words
        subjects, typed = given.subjects.unique(width), given.entities.unique(width)
        turn = reading.entity_turn()
        terms = [self._loss("entity", turn, given.entities, None, batch, words)]

        sentences = self._subject_sentences(given.entities, batch)
        if len(sentences):
            turn = reading.subject_turn(given.entities, sentences)
            row = torch.searchsorted(sentences, subjects.row)
            gold = replace(subjects, row=row, label=torch.zeros_like(subjects.label))
            terms.append(self._loss("subject", turn, gold, typed, batch, words))
        else:
            terms.append(torch.zeros_like(terms[0]))

        every = self.config.candidate_subjects == "all" and self.config.relation_types
        candidates = typed if every else subjects
        if len(candidates):
            turn = reading.object_turn(given.entities, candidates)
            row = torch.searchsorted(candidates.keys(width), given.subjects.keys(width))
            terms.append(self._loss("object", turn, replace(given.objects, row=row), typed, batch, words))
        else:
            terms.append(torch.zeros_like(terms[0]))

        terms = torch.cat(terms)  # (9,)
        # a product of matrices would be rounded under autocast
        return ExtractionOutput(loss=(terms * terms.new_tensor(self.config.loss_weights)).sum(), terms=terms)

    @inference
    def find(
        self,
        reading: Reading,
        given: Given | None = None,
        object_batch_size: int | None = None,
    ) -> Extraction:
        batch, passes, unmarked = reading.batch, reading.passes, reading.unmarked
        with profiler.record_function("cascade.encode"):
            turn = reading.entity_turn()
        with profiler.record_function("cascade.decode"):
            entities = self._decode("entity", turn, None).without_overlaps(batch.width, self.config.overlaps)
            if not self.config.relation_types:
                nothing = entities[:0]
                return Extraction(entities, nothing, nothing, nothing.label, nothing.score, reading.passes - passes)
            prior = entities if given is None else given.entities
            typed = prior.unique(batch.width)
            sentences = self._subject_sentences(prior, batch)
        subjects = Spans.empty(turn.features.device)
        if len(sentences):
            with profiler.record_function("cascade.encode"):
                turn = reading.subject_turn(prior, sentences)
            with profiler.record_function("cascade.decode"):
                subjects = self._decode("subject", turn, self._candidates(typed, turn, batch))
                subjects = replace(subjects, row=sentences[subjects.row])
        if given is not None:
            subjects = given.subjects.unique(batch.width)
        relations = [(subjects[:0], subjects[:0])]
        for chunk in subjects.chunks(object_batch_size or SUBJECTS_AT_ONCE):
            with profiler.record_function("cascade.encode"):
                turn = reading.object_turn(prior, chunk)
            with profiler.record_function("cascade.decode"):
                objects = self._decode("object", turn, self._candidates(typed, turn, batch))
                relations.append((chunk[objects.row], replace(objects, row=chunk.row[objects.row])))
        with profiler.record_function("cascade.decode"):
            subjects, objects = (Spans.concatenate(list(spans)) for spans in zip(*relations, strict=True))
            return Extraction(
                entities=entities,
                subjects=replace(subjects, label=typed.labels_of(subjects, batch.width)),
                objects=replace(objects, label=typed.labels_of(objects, batch.width)),
                relation_labels=objects.label,
                relation_scores=objects.score,
                passes=reading.passes - passes,
                unmarked=reading.unmarked - unmarked,
            )

    def _subject_sentences(self, entities: Spans, batch: Batch) -> Tensor:
        """The sentences that the subject turn reads: only those with an entity, if subjects must be entities; none, if
        there are no relations to find."""
        if not self.config.relation_types:
            return batch.all_rows[:0]
        return entities.row.unique() if self.config.restrict_to_entities else batch.all_rows

    def _loss(
        self, name: str, turn: Turn, gold: Spans, entities: Spans | None, batch: Batch, words: Tensor | int
    ) -> Tensor:
        """(3,): the terms of one turn's loss, divided by ``words``, or by those the turn read (``loss_divisor``)."""
        few = entities is not None and self.config.match_spans == "entities"
        terms = self.heads[name].loss(turn, gold, self._candidates(entities, turn, batch) if few else None)
        return terms / (max(len(turn.words), 1) if self.config.loss_divisor == "turn" else words)

    def _decode(self, name: str, turn: Turn, candidates: Spans | None) -> Spans:
        return self.heads[name].decode(turn, self.config.threshold(name), candidates, self.config.decision)

    def _candidates(self, entities: Spans, turn: Turn, batch: Batch) -> Spans | None:
        """The spans that may be found in the rows of a later turn; None: any."""
        return entities.of_rows(turn.sentence, batch.words.rows) if self.config.restrict_to_entities else None
