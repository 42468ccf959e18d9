"""Configurations: all that ``from_pretrained`` needs to rebuild a model without a network, checked on creation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig

from srn_kernels.backends import AUTO, BACKENDS
from srn_kernels.initialization import CARRY, UNIFORM

from ..data.overlaps import NO_OVERLAPS, OVERLAPS

TURNS = ("entity", "subject", "object")
TERMS = ("start", "end", "match")
LARGEST = 1 << 16  # width of a layer
LISTS = ("entity_types", "relation_types", "overlaps", "thresholds", "loss_weights", "marker_ids")
FUSIONS = ("early", "late", "packed")
WITH_MARKERS = ("early", "packed")
DECISIONS = ("each", "product", "match")
ENCODERS = ("srn", "bisrn", "bilstm", "pfn", "none")
SRNS = ("srn", "bisrn")
WITH_RECURRENT_DROPOUT = (*SRNS, "pfn")


class ConfigError(ValueError):
    """An invalid configuration. The message names the field, what it holds and what was expected."""


class ExtractorConfig(PreTrainedConfig):
    """What every extraction model here shares: labels, trunk, encoder.

    Arguments that are options of the command line carry their meaning in their annotation, which it shows.

    Args:
        trunk: the configuration of the Hugging Face encoder underneath, as an object or as a dictionary.
        entity_types, relation_types: label names, in the order that label indices follow. Without relation types a
            model finds entities alone: it has no head, and reads nothing, for what follows them.
        max_pieces: pieces a sequence may have, whatever the tokenizer adds and markers included; None: any number.
        pad_token_id: the piece that pads (masked; some trunks number positions by it).
        initializer_range: deviation of the weights that ``transformers`` draws.

    Raises:
        ConfigError: for an invalid value.
    """

    sub_configs: ClassVar[dict[str, Any]] = {"trunk": AutoConfig}

    def __init__(
        self,
        trunk: PreTrainedConfig | Mapping[str, Any] | None = None,
        entity_types: Sequence[str] = (),
        relation_types: Sequence[str] = (),
        encoder: Annotated[str, "srn, bisrn, bilstm, pfn or none."] = "srn",
        hidden_size: Annotated[int, "Units of the encoder (each direction) and of hidden layers."] = 300,
        dropout: Annotated[float, "On the trunk's states, on the encoder's features and inside hidden layers."] = 0.1,
        recurrent_dropout: Annotated[float, "DropConnect on recurrent weights; for srn, bisrn and pfn."] = 0.0,
        srn_init: Annotated[
            str, "How the weights of srn and bisrn begin: uniform, or carry, with which they do not forget at once."
        ] = UNIFORM,
        cell_clip: Annotated[float | None, "Bound of the cell state of srn and bisrn; none as printed."] = None,
        backend: Annotated[str, "srn_kernels backend by name, or auto."] = "auto",
        overlaps: Annotated[
            Sequence[str],
            "How entities may overlap: types (one span, several types), nested, crossing, several of these; or none. Of "
            "two that may not, the one with the higher score is found.",
        ] = OVERLAPS,
        context: Annotated[
            int,
            "Pieces before and after a sentence, so many each, that the trunk reads with it: of its document's other "
            "sentences.",
        ] = 0,
        max_pieces: int | None = None,
        pad_token_id: int = 0,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ) -> None:
        if isinstance(trunk, Mapping):
            if "model_type" not in trunk:
                raise ConfigError("trunk: expected a configuration with a `model_type`, found none")
            trunk = AutoConfig.for_model(**trunk)
        self.trunk = trunk
        self.entity_types: list[str] = _listed("entity_types", entity_types)
        self.relation_types: list[str] = _listed("relation_types", relation_types)
        self.encoder = encoder
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.srn_init = srn_init
        self.cell_clip = cell_clip
        self.backend = backend
        self.overlaps: list[str] = _listed("overlaps", overlaps)
        self.context = context
        self.max_pieces = max_pieces
        self.pad_token_id = pad_token_id
        self.initializer_range = initializer_range
        super().__init__(**kwargs)
        # transformers itself builds a configuration without arguments, to save only what differs from the defaults
        if trunk is not None or entity_types:
            self.check()

    def check(self) -> None:
        for name in LISTS:
            if hasattr(self, name):
                setattr(self, name, _listed(name, getattr(self, name)))
        _among("encoder", self.encoder, ENCODERS)
        _among("backend", self.backend, (AUTO, *BACKENDS))
        for name in ("entity_types", "relation_types"):
            labels = getattr(self, name)
            if not all(isinstance(label, str) and label for label in labels):
                raise ConfigError(f"{name}: expected names (strings, not empty), found {labels}")
            if len(set(labels)) != len(labels):
                raise ConfigError(f"{name}: expected names that differ, found {labels}")
        if not self.entity_types:
            raise ConfigError("entity_types: expected at least one name, found none")
        if self.trunk is None:
            raise ConfigError("trunk: expected the configuration of a Hugging Face encoder, found none")
        _size("hidden_size", self.hidden_size)
        if not isinstance(self.context, int) or not 0 <= self.context <= LARGEST:
            raise ConfigError(f"context: expected a whole number from 0 to {LARGEST}, found {self.context!r}")
        for name in ("dropout", "recurrent_dropout"):
            _in_range(name, getattr(self, name), below_one=True)
        if self.overlaps != [NO_OVERLAPS] and not (self.overlaps and all(kind in OVERLAPS for kind in self.overlaps)):
            raise ConfigError(
                f"overlaps: expected some of {', '.join(OVERLAPS)}, or {NO_OVERLAPS} alone, found {self.overlaps!r}"
            )
        _among("srn_init", self.srn_init, (UNIFORM, CARRY))
        if self.cell_clip is not None and not (
            isinstance(self.cell_clip, int | float) and 0 < self.cell_clip < math.inf
        ):
            raise ConfigError(f"cell_clip: expected a number above 0, or none, found {self.cell_clip!r}")
        if self.encoder not in SRNS and (self.srn_init != UNIFORM or self.cell_clip is not None):
            raise ConfigError(f"srn_init, cell_clip: expected one of {', '.join(SRNS)}, found encoder {self.encoder!r}")
        if self.recurrent_dropout and self.encoder not in WITH_RECURRENT_DROPOUT:
            raise ConfigError(
                f"recurrent_dropout: the encoder {self.encoder!r} has none; expected 0, found {self.recurrent_dropout}"
            )


class CascadeConfig(ExtractorConfig):
    """The cascade: entities, then subjects, then each subject's objects.

    Its options, too, carry their meaning in their annotation.

    Args:
        marker_ids: (opening, closing) vocabulary ids for each entity type and, last, the subject (early, packed fusion).
    """

    model_type = "cascade"

    def __init__(
        self,
        fusion: Annotated[
            str,
            "late: one encoding serves all turns, and labels enter as embeddings; early: each turn reads the text again, "
            "with markers in it; packed: the trunk reads the text once, and markers beside it, as late otherwise.",
        ] = "late",
        markers: Annotated[
            str, "Early and packed fusion: all, entities and the subject are marked; subject, the subject alone."
        ] = "all",
        match: Annotated[
            str, "hidden: a hidden layer; additive: Eq. 13 as printed, which cannot tell nested spans apart."
        ] = "hidden",
        widths: Annotated[bool, "The hidden layer of the match knows how many words a span has."] = False,
        object_turn: Annotated[
            str,
            "Late and packed fusion. subject: the object turn gets the subject's own start and end states through a nonlinear "
            "layer; printed: Eq. 11, which cannot tell subjects apart, as a word outside the subject has the same object "
            "scores for every subject of its sentence.",
        ] = "subject",
        distances: Annotated[
            bool, "Late and packed fusion: the object turn knows how far a word is from the subject, and on which side."
        ] = False,
        thresholds: Annotated[Sequence[float], "Three probabilities: entity, subject, object turn."] = (0.5, 0.5, 0.5),
        decision: Annotated[
            str,
            "What reaches the threshold where a span is found. match: its match alone; each: each of its start, end and "
            "match, as printed; product: their product.",
        ] = "match",
        loss_divisor: Annotated[
            str,
            "The words by which a turn's loss is divided. batch: those of the batch, so that a relation weighs as much as "
            "an entity; turn: those the turn read, the same sentence once for each candidate in the object turn.",
        ] = "batch",
        loss_weights: Annotated[
            Sequence[float],
            "Nine weights of Eq. 14 and 15: start, end and match of the entity turn, then the subject and object turn.",
        ] = (1.0,) * 9,
        match_spans: Annotated[
            str | None,
            "What the match of the subject and object turns is trained on. entities: the gold entities; words: every span of "
            "words, as printed, which restrict_to_entities=false takes.",
        ] = None,
        candidate_subjects: Annotated[
            str,
            "all: the object turn is trained on every gold entity, with empty targets for those that are no subjects; "
            "gold: on the subjects of relations only.",
        ] = "all",
        restrict_to_entities: Annotated[
            bool,
            "Subjects and objects must be predicted entities; false is for models trained so, or with match_spans=words.",
        ] = True,
        tag_size: Annotated[
            int, "Width of the embeddings of entity types and of the subject (late, packed fusion)."
        ] = 32,
        marker_ids: Sequence[Sequence[int]] = (),
        **kwargs: Any,
    ) -> None:
        self.fusion = fusion
        self.markers = markers
        self.match = match
        self.widths = widths
        self.object_turn = object_turn
        self.distances = distances
        self.thresholds: list[float] = _listed("thresholds", thresholds)
        self.decision = decision
        self.loss_divisor = loss_divisor
        self.loss_weights: list[float] = _listed("loss_weights", loss_weights)
        self.match_spans: str = match_spans or ("entities" if restrict_to_entities else "words")
        self.candidate_subjects = candidate_subjects
        self.restrict_to_entities = restrict_to_entities
        self.tag_size = tag_size
        self.marker_ids: list[list[int]] = [_listed("marker_ids", pair) for pair in _listed("marker_ids", marker_ids)]
        super().__init__(**kwargs)

    def check(self) -> None:
        super().check()
        _among("fusion", self.fusion, FUSIONS)
        _among("markers", self.markers, ("all", "subject"))
        if self.markers != "all" and self.fusion not in WITH_MARKERS:
            raise ConfigError(f"markers: expected `all`, as {self.fusion} fusion has none, found {self.markers!r}")
        _among("match", self.match, ("additive", "hidden"))
        _among("object_turn", self.object_turn, ("printed", "subject"))
        if self.widths and self.match != "hidden":
            raise ConfigError(f"widths: expected false, as the match {self.match!r} has no hidden layer, found true")
        if self.distances and (self.fusion == "early" or self.object_turn == "printed"):
            raise ConfigError(
                "distances: expected false, as early fusion marks the subject and the printed object turn does not ask for it"
            )
        _among("decision", self.decision, DECISIONS)
        _among("loss_divisor", self.loss_divisor, ("turn", "batch"))
        _among("match_spans", self.match_spans, ("words", "entities"))
        if self.match_spans == "entities" and not self.restrict_to_entities:
            raise ConfigError(
                "restrict_to_entities: expected true, as the match is trained on entities alone (match_spans), found false"
            )
        _among("candidate_subjects", self.candidate_subjects, ("all", "gold"))
        _numbers("thresholds", self.thresholds, len(TURNS))
        _numbers("loss_weights", self.loss_weights, len(TURNS) * len(TERMS))
        if not any(self.loss_weights):
            raise ConfigError("loss_weights: expected one above 0, or nothing is learned, found none")
        _size("tag_size", self.tag_size)
        if self.fusion in WITH_MARKERS and len(self.marker_ids) != len(self.entity_types) + 1:
            raise ConfigError(
                f"marker_ids: {self.fusion} fusion needs a pair of ids for each of {len(self.entity_types)} entity types and "
                f"the subject, found {len(self.marker_ids)} pairs (cascade.markers.reserve_markers makes them)"
            )

    @property
    def turns(self) -> tuple[str, ...]:
        """The turns that a model takes, only the first when there are no relations to find."""
        return TURNS if self.relation_types else TURNS[:1]

    def threshold(self, turn: str) -> float:
        return self.thresholds[TURNS.index(turn)]


class TableConfig(ExtractorConfig):
    """The two-task table-filling model: a table of entities and a table of relations."""

    model_type = "cascade-table"

    def __init__(
        self,
        thresholds: Annotated[Sequence[float], "Two probabilities: entity, relation table."] = (0.5, 0.5),
        **kwargs: Any,
    ) -> None:
        self.thresholds: list[float] = _listed("thresholds", thresholds)
        super().__init__(**kwargs)

    def check(self) -> None:
        super().check()
        _numbers("thresholds", self.thresholds, 2)


def _size(name: str, value: object) -> None:
    if not isinstance(value, int) or not 1 <= value <= LARGEST:
        raise ConfigError(f"{name}: expected a whole number from 1 to {LARGEST}, found {value!r}")


def _among(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{name}: expected one of {', '.join(choices)}, found {value!r}")


def _listed(name: str, values: object) -> list[Any]:
    """A new list of ``values``. A string is none, though Python would take it for one of letters."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(f"{name}: expected a list, found {values!r}")
    return list(values)


def _numbers(name: str, values: Sequence[object], count: int) -> None:
    if len(values) != count:
        raise ConfigError(f"{name}: expected {count} numbers, found {len(values)}")
    for value in values:
        _in_range(name, value)


def _in_range(name: str, value: object, below_one: bool = False) -> None:
    if not isinstance(value, int | float) or not 0 <= value <= 1 or (below_one and value == 1):
        expected = "a number from 0 up to, but not including, 1" if below_one else "numbers from 0 to 1"
        raise ConfigError(f"{name}: expected {expected}, found {value!r}")
