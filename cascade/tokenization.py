"""Sentences of words to examples of pieces: tokenized once, split into windows if the trunk has too few positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from .data import DataError, LabelSet, Sentence, normalize_word
from .model import ExtractorConfig
from .spacing import encodings, space_before
from .tensors import Example
from .vocabulary import check_vocabulary
from .windows import Examples, cut

MARKED_ENTITIES = 16  # early fusion keeps room for the markers of this many entities and a subject
UNKNOWN = "words with unknown pieces"


class WordTokenizer:
    """Words to pieces with any fast Hugging Face tokenizer.

    Its pieces are those that it has in running text, after a space. A word that the tokenizer drops (control characters)
    becomes the unknown piece, so that every word has a piece. Special tokens written out in the text (``[SEP]``) are text.
    A window holds as many words as the trunk has positions for; a single word longer than that keeps its first pieces.
    With ``config.context`` it has up to so many pieces before and after it: of its sentence, and of the words around that
    (``Sentence.before``, ``after``).

    Raises:
        DataError: the tokenizer cannot tell which word a piece belongs to, splits words given alone in another way than
            running text, has an empty vocabulary or another than the trunk, or has no unknown piece and needs one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: ExtractorConfig) -> None:
        check_vocabulary(tokenizer, getattr(config.trunk, "vocab_size", None))
        self.tokenizer = tokenizer
        self.space = space_before(tokenizer)
        self.labels = LabelSet(tuple(config.entity_types), tuple(config.relation_types))
        around = tokenizer("a", return_special_tokens_mask=True)
        ids, special = around["input_ids"], around["special_tokens_mask"]
        text = [n for n, is_special in enumerate(special) if not is_special]
        if not text:
            raise DataError(f"tokenizer: expected a piece for the text 'a', found none ({type(tokenizer).__name__})")
        self.before, self.after = ids[: text[0]], ids[text[-1] + 1 :]
        self.context = config.context
        self.room: int | None = None  # pieces of text in one window
        if config.max_pieces is not None:
            self.room = config.max_pieces - len(self.before) - len(self.after) - 2 * self.context
            if getattr(config, "fusion", None) == "early":
                entities = MARKED_ENTITIES if config.markers == "all" else 0
                self.room -= max(2, min(2 * (entities + 1), self.room // 4))  # the subject has its markers in any case
            if self.room < 1:
                context = f" with {self.context} pieces of context on each side" if self.context else ""
                raise DataError(f"max_pieces: expected room for a piece of text, found {config.max_pieces}{context}")

    def __call__(self, sentences: Sequence[Sentence], labelled: bool = False) -> Examples:
        """The windows of ``sentences``; a sentence without words has none.

        With ``labelled`` a window carries all entities and relations that it holds. Those that no window holds are
        counted as lost; the labels must be among the model's (``check_labels``, ``with_known_labels``).
        """
        examples = Examples(len(sentences))
        pieces_of = self._pieces([sentence.words for sentence in sentences], examples.lost)
        before_of, after_of = (self._context([getattr(s, side) for s in sentences]) for side in ("before", "after"))
        for index, (sentence, pieces) in enumerate(zip(sentences, pieces_of, strict=True)):
            before, after = next(before_of), next(after_of)
            examples.lost["words shortened to a window"] += self._shorten(pieces)
            windows = cut([len(word) for word in pieces], self.room)
            if len(windows) > 1:
                examples.lost["sentences split into windows"] += 1
            held = set()
            for first, last in windows:
                inside = [e for e in sentence.entities if first <= e.start and e.end < last] if labelled else []
                place = {entity: n for n, entity in enumerate(inside)}
                relations = (
                    [r for r in sentence.relations if r.subject in place and r.object in place] if labelled else []
                )
                held.update(inside, relations)
                # as many words as pieces are wanted hold enough of them; the whole rest of a long sentence would take long
                near = pieces[max(0, first - self.context) : first], pieces[last : last + self.context]
                left = [*self.before, *self._last([*before, *_flat(near[0])])]
                right = [*self._first([*_flat(near[1]), *after]), *self.after]
                examples.windows.append(
                    Example(
                        input_ids=[*left, *_flat(pieces[first:last]), *right],
                        piece_words=[
                            *([-1] * len(left)),
                            *(n for n, word in enumerate(pieces[first:last]) for _ in word),
                            *([last - first] * len(right)),
                        ],
                        word_count=last - first,
                        entities=[
                            (e.start - first, e.end - first, self.labels.entity_types.index(e.label)) for e in inside
                        ],
                        relations=[
                            (place[r.subject], place[r.object], self.labels.relation_types.index(r.label))
                            for r in relations
                        ],
                        example_id=len(examples.windows),
                        sentence=index,
                        first_word=first,
                    )
                )
            if labelled:
                for what, gold in (("entities", sentence.entities), ("relations", sentence.relations)):
                    examples.lost[f"{what} that no window holds"] += sum(item not in held for item in gold)
        examples.lost = +examples.lost
        return examples

    def _pieces(self, texts: Sequence[Sequence[str]], lost: Counter[str]) -> Iterator[list[list[int]]]:
        """For each text the pieces of each of its words. Words that the vocabulary lacks, or parts of them, are counted."""
        filled = [text for text in texts if text]
        encoded = iter(())
        if filled:
            words = [[self.space + normalize_word(word) for word in text] for text in filled]
            encoded = iter(encodings(self.tokenizer, words))
        for text in texts:
            pieces: list[list[int]] = [[] for _ in text]
            if text:
                encoding = next(encoded)
                for piece, word in zip(encoding.ids, encoding.word_ids, strict=True):
                    pieces[word].append(piece)
            pieces = [word or self._unknown() for word in pieces]
            lost[UNKNOWN] += sum(self.tokenizer.unk_token_id in word for word in pieces)
            yield pieces

    def _context(self, texts: Sequence[Sequence[str]]) -> Iterator[list[int]]:
        """The pieces of each text around a sentence, if the model reads any."""
        for pieces in self._pieces(texts if self.context else [()] * len(texts), Counter()):
            yield _flat(pieces)

    def _last(self, pieces: list[int]) -> list[int]:
        return pieces[-self.context :] if self.context else []

    def _first(self, pieces: list[int]) -> list[int]:
        return pieces[: self.context]

    def _unknown(self) -> list[int]:
        if self.tokenizer.unk_token_id is None:
            raise DataError("a word of which the tokenizer leaves nothing, and the tokenizer has no unknown piece")
        return [self.tokenizer.unk_token_id]

    def _shorten(self, pieces: list[list[int]]) -> int:
        """Shortens words in ``pieces`` longer than a window, and returns their number."""
        long = [word for word in pieces if self.room is not None and len(word) > self.room]
        for word in long:
            del word[self.room :]
        return len(long)


def _flat(words: Sequence[Sequence[int]]) -> list[int]:
    return [piece for word in words for piece in word]
