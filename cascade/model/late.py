"""Late fusion (Eq. 11): one encoding serves all turns; what is known so far joins it as embeddings of tags."""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..tensors import Batch, Ragged, Spans, plain
from .config import CascadeConfig
from .encoders import Encode
from .turn import Turn

FARTHEST = 6  # of the groups of distances: 1, 2 to 3, 4 to 7, ... words, and the rest


class LateFusion(nn.Module):
    """The embeddings of tags and, unless the object turn is the printed one, the layer where subject meets word."""

    def __init__(self, config: CascadeConfig, features: int) -> None:
        super().__init__()
        tag = config.tag_size
        self.entity_embedding = nn.Embedding(len(config.entity_types) + 1, tag)  # 0: no entity
        self.subject_embedding = nn.Embedding(2, tag)  # 1: inside the subject
        self.sizes = {"entity": features, "subject": features + tag, "object": features + 2 * tag}
        self.dropout = nn.Dropout(config.dropout)
        self.word = None
        if config.object_turn == "subject":
            self.word = nn.Linear(features + tag, config.hidden_size)
            self.subject = nn.Linear(2 * (features + tag), config.hidden_size, bias=False)
            self.inside = nn.Linear(tag, config.hidden_size, bias=False)
            self.distance = nn.Embedding(2 * FARTHEST + 1, config.hidden_size) if config.distances else None
            self.sizes["object"] = config.hidden_size

    def tagged(self, features: Tensor, tags: Tensor) -> Tensor:
        """(N, F + tag): each word with the embedding of its entity tag (N,)."""
        return torch.cat([features, self.entity_embedding(tags).to(features.dtype)], dim=-1)

    def object_words(self, tagged: Tensor) -> tuple[Tensor, Tensor | None]:
        """Words (N, F + tag), and what the object turn makes of each alone, (N, H), unless it is the printed one."""
        return tagged, None if self.word is None else self.word(self.dropout(tagged))

    def object_features(
        self, of_words: tuple[Tensor, Tensor | None], words: Ragged, chosen: Tensor, subjects: Spans
    ) -> Tensor:
        """Words (N', sizes["object"]) as each subject's row sees them.

        ``of_words`` are ``object_words`` of N words, ``chosen`` (N',) which of them fill the rows ``words``, and
        ``subjects`` one span per row.
        """
        tagged, alone = of_words
        inside = (words.position >= subjects.start[words.row]) & (words.position <= subjects.end[words.row])
        if alone is None:
            return torch.cat([tagged[chosen], self.subject_embedding(inside.long()).to(tagged.dtype)], dim=-1)
        first = words.offsets
        ends = torch.cat([tagged[chosen[first + subjects.start]], tagged[chosen[first + subjects.end]]], dim=-1)
        place = self.inside(self.subject_embedding.weight)  # (2, H)
        summed = alone[chosen] + self.subject(self.dropout(ends))[words.row] + place[inside.long()]
        if self.distance is not None:
            summed = summed + self.distance(distances(words, subjects) + FARTHEST)
        return F.gelu(summed)


class LateReading:
    """One batch read once. ``passes`` counts sequences through the trunk; nothing is marked, so nothing is unmarked.

    ``fusion`` is None for a model whose only turn is the first.
    """

    unmarked = 0

    def __init__(self, encode: Encode, batch: Batch, config: CascadeConfig, fusion: LateFusion | None) -> None:
        self.batch = batch
        self.config = config
        self.fusion = fusion
        self.encode = encode
        self.passes = 0
        self._known: tuple[Spans, tuple[Tensor, Tensor | None]] | None = None

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """Of each turn, (N, F)."""
        self.passes += self.batch.words.rows
        return self.encode(plain(self.batch, self.config.pad_token_id), self.config.turns)

    def entity_turn(self) -> Turn:
        return Turn(self.features["entity"], self.batch.words, self.batch.all_rows)

    def subject_turn(self, entities: Spans, sentences: Tensor) -> Turn:
        """The given sentences (R,), each word with the tag of the entity it is in (whose rows are sentences)."""
        words, chosen = self.batch.words.select(sentences)
        tags = entity_tags(entities, self.batch.words, len(self.config.entity_types))
        return Turn(self.fusion.tagged(self.features["subject"][chosen], tags[chosen]), words, sentences)

    def object_turn(self, entities: Spans, subjects: Spans) -> Turn:
        """One row per subject: its sentence with the tags of the entities and of the subject."""
        words, chosen = self.batch.words.select(subjects.row)
        return Turn(
            self.fusion.object_features(self._object_words(entities), words, chosen, subjects), words, subjects.row
        )

    def _object_words(self, entities: Spans) -> tuple[Tensor, Tensor | None]:
        """What the object turn knows of the batch's words before it knows the subject; of the same entities made once."""
        if self._known is None or self._known[0] is not entities:
            tags = entity_tags(entities, self.batch.words, len(self.config.entity_types))
            self._known = entities, self.fusion.object_words(self.fusion.tagged(self.features["object"], tags))
        return self._known[1]


def distances(words: Ragged, subjects: Spans) -> Tensor:
    """(N,) int64: how far each word is from the subject of its row, in groups: 0 inside it, 1 next to it, 2 for the two
    words beyond, 3 for the next four, and so on up to ``FARTHEST``; negative to the left of the subject."""
    before = (subjects.start[words.row] - words.position).clamp(min=0)
    after = (words.position - subjects.end[words.row]).clamp(min=0)
    firsts = 2 ** torch.arange(FARTHEST, device=before.device)  # of each group but 0
    group = torch.bucketize(before + after, firsts, right=True)
    return torch.where(before > 0, -group, group)


def entity_tags(entities: Spans, words: Ragged, types: int) -> Tensor:
    """(N,) int64: 0 for a word in no entity, else 1 + the type of the innermost one (then of the lowest label)."""
    covered = Ragged(entities.end - entities.start + 1)
    word = (words.offsets[entities.row] + entities.start)[covered.row] + covered.position
    rank = (covered.lengths * types + entities.label)[covered.row]  # the innermost is the shortest
    none = torch.iinfo(torch.int64).max
    best = torch.full((len(words),), none, device=word.device).scatter_reduce(0, word, rank, "amin")
    return torch.where(best == none, 0, best % types + 1)
