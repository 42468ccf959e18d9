"""What the models share: a Hugging Face trunk, an encoder, and words out of pieces."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..data import LabelSet
from ..tensors import Batch, Ragged, Sequences, Spans
from .config import ExtractorConfig
from .encoders import RECURRENT_LAYERS, build_encoder
from .findings import Extraction
from .pairs import LogitLinear
from .trunk import check_trunk


@dataclass
class ExtractionOutput(ModelOutput):
    """``loss`` (scalar) is the weighted sum of ``terms``: (9,) for the cascade, (2,) for the table model."""

    loss: Tensor | None = None
    terms: Tensor | None = None


@dataclass(frozen=True)
class Given:
    """Entities, and relations as pairs of their spans: gold in training; or spans that drive the later turns of
    ``extract`` in place of predicted ones. Rows are sentences of the batch; relation r goes from ``subjects[r]`` to
    ``objects[r]``, whose labels are relation types."""

    entities: Spans
    subjects: Spans
    objects: Spans

    @classmethod
    def gold(cls, tensors: Mapping[str, Tensor | None]) -> Given:
        """From ``entities`` (E, 4): sentence, start, end, type, and ``relations`` (R, 3): subject, object, label."""
        given, relations = tensors.get("entities"), tensors.get("relations")
        if given is None or relations is None:
            raise ValueError("expected a batch with `entities` and `relations`, as collated from labelled sentences")
        entities, (subject, object, label) = Spans.given(*given.unbind(1)), relations.unbind(1)
        return cls(entities, entities[subject], replace(entities[object], label=label))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without gradients and in eval mode, whatever the mode of each module was; afterwards that is restored."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def inference(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a model as it finds things: a model that was just trained would draw its dropout at random."""

    @wraps(method)
    def found(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with evaluating(model):
            return method(model, *args, **kwargs)

    return found


class ExtractionModel(PreTrainedModel):
    """A trunk, an encoder with features for each of ``tasks``, and heads that a subclass adds.

    Args:
        config: of the subclass's ``config_class``.
        trunk: a Hugging Face encoder with its weights; without one, ``config.trunk`` is built with random weights.

    A batch is a dictionary of tensors as ``cascade.tensors.collate`` makes it.
    """

    config: ExtractorConfig
    config_class = ExtractorConfig
    trunk: PreTrainedModel
    main_input_name = "word_counts"
    supports_gradient_checkpointing = True
    # the trunk itself checks what it supports; without these the wrapper would pin it to eager attention
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    tasks: ClassVar[Sequence[str]] = ()
    # whether what ``read`` gives is small enough to be kept for a corpus: some numbers for each word
    keeps_readings = True

    def __init__(self, config: ExtractorConfig, trunk: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if trunk is None:  # in the dtype of the rest, not the one that the trunk was once saved in
            trunk = AutoModel.from_config(config.trunk, dtype=torch.get_default_dtype())
        self.trunk = trunk
        check_trunk(self.trunk)
        # nothing here reads a pooler's output: its weights would never get a gradient
        if getattr(self.trunk, "pooler", None) is not None:
            self.trunk.pooler = nn.Identity()  # some trunks call it without asking whether it is there
        if getattr(self.trunk.config, "use_cache", False):
            self.trunk.config.use_cache = False  # a decoder would keep keys and values for pieces that never come
        self.encoder = build_encoder(config, self.trunk.config.hidden_size, self.tasks)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def accepts_loss_kwargs(self) -> bool:
        """Whether ``forward`` takes ``num_items_in_batch``, the words by which the loss is divided. ``Trainer`` asks, and gives
        those of all processes and accumulated batches of a step."""
        return True

    @property
    def labels(self) -> LabelSet:
        return LabelSet(tuple(self.config.entity_types), tuple(self.config.relation_types))

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        super().save_pretrained(save_directory, **kwargs)
        # safetensors lets only the owner read what it writes
        for weights in Path(save_directory).glob("*.safetensors"):
            shutil.copymode(Path(save_directory, "config.json"), weights)

    def get_input_embeddings(self) -> nn.Module:
        return self.trunk.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.trunk.set_input_embeddings(value)

    def _init_weights(self, module: nn.Module) -> None:
        # transformers 5 builds on the meta device and fills in here what a checkpoint lacks; layers it does not know
        # would stay uninitialised. The guard spares what was loaded.
        if isinstance(module, (LogitLinear, *RECURRENT_LAYERS)):
            with init.guard_torch_init_functions():
                module.reset_parameters()
        else:
            super()._init_weights(module)

    def forward(
        self,
        word_counts: Tensor,
        piece_counts: Tensor,
        piece_ids: Tensor,
        piece_words: Tensor,
        entities: Tensor | None = None,
        relations: Tensor | None = None,
        example_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> ExtractionOutput:
        """The training loss. Arguments: see ``collate``; and ``num_items_in_batch``, by which it is divided, if it is not by
        the words of this batch.

        Raises:
            ValueError: the batch has no labels. ``extract`` needs none.
        """
        given = Given.gold({"entities": entities, "relations": relations})
        batch = Batch(Ragged(word_counts), Ragged(piece_counts), piece_ids, piece_words)
        return self.loss(self.read(batch), given, num_items_in_batch)

    def read(self, batch: Batch) -> Any:
        """Prepares to read a batch, as ``loss`` and ``find`` want it. Computes nothing yet."""
        raise NotImplementedError

    def loss(self, reading: Any, given: Given, words: Tensor | int | None = None) -> ExtractionOutput:
        """The training loss of a batch that ``read`` prepared, with ``given`` as gold, divided by ``words``: those of the
        batch if it is None."""
        raise NotImplementedError

    def find(self, reading: Any, given: Given | None = None, object_batch_size: int | None = None) -> Extraction:
        """As ``extract``, of a batch that ``read`` prepared. What was read without regard to thresholds is not read again
        when the same ``reading`` is given again, nor counted in ``passes``."""
        raise NotImplementedError

    def extract(
        self,
        batch: Mapping[str, Tensor],
        given: Given | None = None,
        object_batch_size: int | None = None,
    ) -> Extraction:
        """Entities and relations of a batch (a dictionary of tensors, as ``collate`` makes it; labels are not needed).

        ``torch.profiler`` shows the stages ``cascade.encode`` (trunk, encoder, fusion) and ``cascade.decode``.

        Args:
            given: these spans drive the later turns in place of the predicted ones (the relations' subjects are the
                subjects). Every turn is run as otherwise, and takes its time; the result has the entities that were found
                and the objects of the given subjects.
            object_batch_size: subjects that one pass of the object turn takes; a model without turns ignores it. None:
                all of the batch, up to ``SUBJECTS_AT_ONCE``. 1 is the procedure of the paper.

        Raises:
            ValueError: ``object_batch_size`` below 1.
        """
        if object_batch_size is not None and object_batch_size < 1:
            raise ValueError(f"object_batch_size: expected a number above 0, found {object_batch_size}")
        return self.find(self.read(Batch.of(batch)), given, object_batch_size)

    def encode(self, sequences: Sequences, tasks: Sequence[str]) -> dict[str, Tensor]:
        """(N, F) features for each of ``tasks``, of the N words of ``sequences``: each word's first piece, encoded.

        Only real pieces go through the encoder, so that padding costs it nothing and no direction reads it.
        """
        states = self.trunk(input_ids=sequences.input_ids, attention_mask=sequences.mask).last_hidden_state
        return self.encode_states(states, sequences, tasks)

    def encode_states(self, states: Tensor, sequences: Sequences, tasks: Sequence[str]) -> dict[str, Tensor]:
        """As ``encode``, where the trunk's ``states`` (S, longest, D) of the sequences are known.

        Of a model that reads context the trunk reads it, and the encoder the sentence alone.
        """
        lengths, positions = sequences.lengths, sequences.word_positions
        if self.config.context:
            lengths = lengths - sequences.before - sequences.after
            positions = positions - sequences.before[sequences.words.row]
            states = _cut(states, sequences.before, lengths)
        packed = pack_padded_sequence(self.dropout(states), lengths.cpu(), batch_first=True, enforce_sorted=False)
        step = packed.batch_sizes.cumsum(0) - packed.batch_sizes  # where each step begins among the packed rows
        rank = packed.unsorted_indices[sequences.words.row]
        index = step.to(rank.device)[positions] + rank  # (N,)
        return {task: features[index] for task, features in self.encoder(packed, tasks).items()}


def _cut(states: Tensor, first: Tensor, lengths: Tensor) -> Tensor:
    """(S, longest, D): of each row of ``states`` (S, ·, D) those from ``first`` (S,) on, ``lengths`` (S,) of them; behind
    these stands anything."""
    longest = int(lengths.max()) if len(lengths) else 0
    place = first[:, None] + torch.arange(longest, device=states.device)
    row = torch.arange(len(first), device=states.device)[:, None]
    return states[row, place.clamp(max=states.shape[1] - 1)]
