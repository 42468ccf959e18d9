"""Words to pieces and windows, and windows to batches."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny_models import LABELS, nested_sentence, tiny_model, tiny_trunk
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel, RobertaTokenizerFast

from cascade import create_model
from cascade.data import DataError, Entity, Relation, Sentence
from cascade.loading import load_tokenizer
from cascade.tensors import collate
from cascade.tokenization import WordTokenizer
from cascade.windows import Examples, cut


def tokenized(sentences: list[Sentence], *, labelled: bool = True, **options: object) -> Examples:
    model, tokenizer = tiny_model(**options)
    return WordTokenizer(tokenizer, model.config)(sentences, labelled=labelled)


def pieces(words: tuple[str, ...]) -> list[list[str]]:
    """The pieces of each word."""
    tokenizer = load_tokenizer(tiny_trunk())
    [window] = tokenized([Sentence(words)]).windows
    assert window["piece_words"][0] == -1
    assert window["piece_words"][-1] == window["word_count"] == len(words)
    found: list[list[str]] = [[] for _ in words]
    for piece, word in zip(window["input_ids"][1:-1], window["piece_words"][1:-1], strict=True):
        found[word].append(tokenizer.convert_ids_to_tokens(piece))
    return found


def test_words_keep_their_pieces() -> None:
    words = ("Tartu", "unseenword", ".")
    alone = [load_tokenizer(tiny_trunk()).tokenize(word) for word in words]
    assert pieces(words) == alone
    assert len(alone[1]) > 1


def test_a_word_of_which_nothing_is_left_becomes_unknown() -> None:
    assert pieces(("\u200b", "Tartu", "\x00", " ")) == [["[UNK]"], ["Tartu"], ["[UNK]"], ["[UNK]"]]


def test_special_tokens_in_the_text_are_text() -> None:
    for word in ("[SEP]", "[CLS]", "[MASK]", "[unused3]"):
        [found] = pieces((word,))
        assert word not in found
        assert len(found) > 1 or found == ["[UNK]"]


def test_brackets_of_the_penn_treebank_become_brackets() -> None:
    assert pieces(("-LRB-", "-rsb-")) == pieces(("(", "]"))


def test_sentences_without_words_have_no_window() -> None:
    examples = tokenized([Sentence(()), nested_sentence(), Sentence(())])
    assert examples.sentences == 3
    assert [window["sentence"] for window in examples.windows] == [1]
    assert tokenized([]).windows == []


def test_labels_become_indices() -> None:
    [window] = tokenized([nested_sentence()]).windows
    names = [(start, end, LABELS.entity_types[label]) for start, end, label in window["entities"]]
    assert names == [(1, 3, "Organization"), (3, 3, "Place"), (5, 6, "Person")]
    assert [(s, o, LABELS.relation_types[label]) for s, o, label in window["relations"]] == [
        (0, 1, "LOCATED-IN"),
        (2, 0, "WORKS-FOR"),
    ]
    [unlabelled] = tokenized([nested_sentence()], labelled=False).windows
    assert (unlabelled["entities"], unlabelled["relations"]) == ([], [])


def long_sentence(words: int) -> Sentence:
    """Entities of two words at every fourth word; each is related to the next. The last is related to the first."""
    entities = tuple(Entity(n, n + 1, "Place") for n in range(0, words - 1, 4))
    relations = tuple(Relation(a, b, "PART-OF") for a, b in pairwise([*entities, entities[0]]))
    return Sentence(("Tartu",) * words, entities, relations)


@pytest.mark.parametrize("fusion", ["early", "late"])
def test_long_sentences_are_split_and_what_it_costs_is_counted(fusion: str) -> None:
    sentence = long_sentence(40)
    examples = tokenized([sentence], positions=16, fusion=fusion)
    places = [(window["first_word"], window["first_word"] + window["word_count"]) for window in examples.windows]
    assert places == cut([1] * 40, 14 if fusion == "late" else 14 - 3)
    assert examples.lost == {"sentences split into windows": 1, "relations that no window holds": 1}
    for window, (first, last) in zip(examples.windows, places, strict=True):
        assert len(window["input_ids"]) <= 16
        inside = [e for e in sentence.entities if first <= e.start and e.end < last]
        assert [(start + first, end + first) for start, end, _ in window["entities"]] == [e.span for e in inside]
        between = [(r.subject, r.object) for r in sentence.relations if {r.subject, r.object} <= set(inside)]
        assert [(inside[subject], inside[object_]) for subject, object_, _ in window["relations"]] == between


def test_entities_that_no_window_holds_are_counted() -> None:
    long, short = Entity(2, 19, "Place"), Entity(2, 8, "Place")
    sentence = Sentence(("Tartu",) * 30, (long, short), (Relation(long, short, "PART-OF"),))
    examples = tokenized([sentence], positions=16, fusion="late")
    assert examples.lost == {
        "sentences split into windows": 1,
        "entities that no window holds": 1,
        "relations that no window holds": 1,
    }


def test_nothing_is_lost_when_everything_fits() -> None:
    assert tokenized([long_sentence(40)]).lost == {}


def test_a_word_longer_than_a_window_keeps_its_first_pieces_and_is_counted() -> None:
    examples = tokenized([Sentence(("Tartu", "to" * 40, "Tartu"))], positions=16, fusion="late")
    assert [window["word_count"] for window in examples.windows] == [1, 1, 1]
    assert examples.lost == {"sentences split into windows": 1, "words shortened to a window": 1}


def test_a_window_must_hold_a_piece() -> None:
    model, tokenizer = tiny_model()
    model.config.max_pieces = 2
    with pytest.raises(DataError, match="max_pieces: expected room for a piece of text, found 2"):
        WordTokenizer(tokenizer, model.config)


def test_tokenizers_without_an_unknown_piece_say_so_when_they_need_one() -> None:
    model, _ = tiny_model()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2}, [])))
    words = WordTokenizer(tokenizer, model.config)
    [window] = words([Sentence(("ab", "c"))]).windows
    assert window["piece_words"] == [0, 0, 1]
    with pytest.raises(DataError, match="no unknown piece"):
        words([Sentence(("d",))])


def test_a_trunk_of_roberta_s_kind(tmp_path: Path) -> None:
    """Its tokenizer marks the space before a word, and its positions count from the padding index on."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġa"]
    tokenizer = RobertaTokenizerFast(vocab={token: n for n, token in enumerate(tokens)}, merges=[("Ġ", "a")])
    tokenizer.save_pretrained(tmp_path)
    config = RobertaConfig(
        vocab_size=len(tokens),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=22,
    )
    RobertaModel(config).save_pretrained(tmp_path)
    model, tokenizer = create_model(tmp_path, LABELS, hidden_size=4)
    assert (model.config.max_pieces, model.config.pad_token_id) == (20, 1)
    words = WordTokenizer(tokenizer, model.config)
    [window] = words([Sentence(("a", "ab"))]).windows
    assert tokenizer.convert_ids_to_tokens(window["input_ids"]) == ["<s>", "Ġa", "Ġa", "b", "</s>"]
    full = words([Sentence(("a",) * 18)]).windows
    assert len(full) == 1
    assert model.extract(collate(full)).passes == 1


def test_a_batch_lies_end_to_end() -> None:
    first, second = nested_sentence(), Sentence(("Tartu", "."), (Entity(0, 0, "Place"),))
    examples = tokenized([first, Sentence(("Nothing",)), second])
    batch = collate(examples.windows)
    assert next(iter(batch)) == "word_counts"
    assert batch["word_counts"].tolist() == [8, 1, 2]
    assert batch["piece_ids"].tolist() == [piece for window in examples.windows for piece in window["input_ids"]]
    assert batch["piece_words"].tolist() == [word for window in examples.windows for word in window["piece_words"]]
    assert batch["piece_counts"].sum() == len(batch["piece_ids"])
    assert batch["entities"][:, 0].tolist() == [0, 0, 0, 2]
    assert batch["relations"][:, :2].tolist() == [[0, 1], [2, 0]]
    assert batch["example_ids"].tolist() == [0, 1, 2]
    twice = collate([examples.windows[2], examples.windows[0]])
    assert twice["relations"][:, :2].tolist() == [[1, 2], [3, 1]]
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def test_a_batch_without_labels_keeps_its_shapes() -> None:
    batch = collate(tokenized([Sentence(("Nothing",))]).windows)
    assert batch["entities"].shape == (0, 4)
    assert batch["relations"].shape == (0, 3)
