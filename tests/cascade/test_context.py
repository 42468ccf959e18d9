"""Context: the trunk reads what stands around a sentence in its document; the encoder reads the sentence alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import LABELS, SAMPLE, eager, long_document, nested_sentence, tiny_model, tiny_trunk

from cascade import create_model, load_model
from cascade.data import Corpus, DataError, Document, Sentence
from cascade.model import ConfigError
from cascade.prediction import Predictor
from cascade.tensors import Batch, collate, plain
from cascade.tokenization import WordTokenizer

FUSIONS = ("late", "early", "packed")
THREE = Document(
    "d", (Sentence(("Tartu", "is", "old")), Sentence(()), Sentence(("Lotte", "Brandt")), Sentence(("So", ".")))
)


def documents(count: int) -> Corpus:
    """Documents of some sentences each, of the sample's."""
    sentences = [sentence for sentence in SAMPLE.sentences() if sentence.words]
    return Corpus(tuple(Document(f"{n}", tuple(sentences[3 * n : 3 * n + 3])) for n in range(count)))


def test_sentences_in_context() -> None:
    around = [(sentence.before, sentence.words, sentence.after) for sentence in THREE.in_context(2)]
    assert around == [
        ((), ("Tartu", "is", "old"), ("Lotte", "Brandt")),
        (("is", "old"), (), ("Lotte", "Brandt")),
        (("is", "old"), ("Lotte", "Brandt"), ("So", ".")),
        (("Lotte", "Brandt"), ("So", "."), ()),
    ]
    assert list(THREE.in_context(0)) == list(THREE.sentences)
    assert [sentence.before for sentence in Corpus((THREE, THREE)).sentences(5)][4] == ()  # another document


def test_pieces_around_a_sentence() -> None:
    """So many pieces of the words around it, of which the model's own limit keeps those next to it."""
    model, tokenizer = tiny_model(context=3)
    sentence = Sentence(("Lotte", "Brandt"), before=("unseenword", "Tartu"), after=("is", "old", "So", "."))
    [window] = WordTokenizer(tokenizer, model.config)([sentence]).windows
    before, inside, after = (
        [piece for word in words for piece in tokenizer.tokenize(word)]
        for words in (sentence.before, sentence.words, sentence.after)
    )
    tokens = ["[CLS]", *before[-3:], *inside, *after[:3], "[SEP]"]
    assert tokenizer.convert_ids_to_tokens(window["input_ids"]) == tokens
    places = [-1] * 4 + [n for n, word in enumerate(sentence.words) for _ in tokenizer.tokenize(word)] + [2] * 4
    assert window["piece_words"] == places
    [alone] = WordTokenizer(tokenizer, tiny_model()[0].config)([sentence]).windows
    assert tokenizer.convert_ids_to_tokens(alone["input_ids"]) == ["[CLS]", *inside, "[SEP]"]


def test_a_window_is_read_with_the_rest_of_its_sentence() -> None:
    model, tokenizer = tiny_model(positions=20, context=4)
    [document] = (long_document(),)
    windows = WordTokenizer(tokenizer, model.config)(list(document.in_context(4)), labelled=True).windows
    assert len(windows) > 1
    for window in windows:
        first, last = window["first_word"], window["first_word"] + window["word_count"]
        assert len(window["input_ids"]) == 2 + last - first + min(4, first) + min(4, 30 - last)
        assert max(window["piece_words"]) == window["word_count"]


@pytest.mark.parametrize("context", [-1, 1.5, "8"])
def test_a_context_that_is_none(context: object) -> None:
    with pytest.raises(ConfigError, match="context: expected a whole number from 0"):
        create_model(tiny_trunk(), LABELS, context=context)


def test_a_context_that_leaves_no_room() -> None:
    with pytest.raises(DataError, match="room for a piece of text, found 20 with 9 pieces of context on each side"):
        tiny_model(positions=20, context=9)


def test_the_encoder_reads_the_sentence_alone_of_what_the_trunk_reads() -> None:
    """Each word's features are those of its state, which the trunk computed with the context, at its place."""
    model, tokenizer = tiny_model(context=5, encoder="bisrn")
    sentences = list(THREE.in_context(5))
    sentences = [sentences[0], *sentences[2:]]
    batch = Batch.of(collate(WordTokenizer(tokenizer, model.config)(sentences).windows))
    sequences = plain(batch, model.config.pad_token_id)
    features = model.encode(sequences, ("entity",))["entity"]
    done = 0
    for sentence in sentences:
        text = [*sentence.before, *sentence.words, *sentence.after]
        ids = [tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word)) for word in text]
        before, words = ids[: len(sentence.before)], ids[len(sentence.before) :][: len(sentence.words)]
        left = [piece for word in before for piece in word][-5:]
        right = [piece for word in ids[len(before) + len(words) :] for piece in word][:5]
        pieces = [piece for word in words for piece in word]
        states = model.trunk(
            input_ids=torch.tensor([[tokenizer.cls_token_id, *left, *pieces, *right, tokenizer.sep_token_id]])
        ).last_hidden_state[0, 1 + len(left) :][: len(pieces)]
        alone = model.encoder.rnn(states[None], return_memories=True).task("entity")[0]
        firsts = torch.tensor([0, *(len(word) for word in words)]).cumsum(0)[:-1]
        torch.testing.assert_close(features[done : done + len(words)], alone[firsts], rtol=1e-4, atol=1e-6)
        done += len(words)
    assert done == len(features)


@pytest.mark.parametrize("options", [*({"fusion": fusion} for fusion in FUSIONS), {"architecture": "table"}], ids=str)
def test_what_is_found_does_not_depend_on_batches(options: dict) -> None:
    """The context of a sentence is that of its document, wherever a chunk or a batch ends."""
    model, tokenizer = tiny_model(context=6, encoder="none", **options)
    eager(model)
    corpus = documents(4)
    together = Predictor(model, tokenizer)(corpus)
    assert any(sentence.entities for sentence in together)
    one_by_one = Predictor(model, tokenizer, batch_size=1)
    assert one_by_one(corpus) == together
    streamed = [sentence for _, its in one_by_one.documents(corpus.documents) for sentence in its]
    assert streamed == together == one_by_one.repeatedly(corpus)()
    alone = Predictor(model, tokenizer)(corpus.sentences())
    assert [sentence.words for sentence in alone] == [sentence.words for sentence in together]
    assert alone != together


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_reach_the_context(fusion: str) -> None:
    model, tokenizer = tiny_model(context=4, fusion=fusion)
    sentence = replace(nested_sentence(), before=("Berlin",))
    [window] = WordTokenizer(tokenizer, model.config)([sentence], labelled=True).windows
    model(**collate([window])).loss.backward()
    [piece] = tokenizer.convert_tokens_to_ids(tokenizer.tokenize("Berlin")[-1:])
    assert piece not in tokenizer.convert_tokens_to_ids(list(sentence.words))
    assert model.get_input_embeddings().weight.grad[piece].abs().sum() > 0


def test_a_saved_model_keeps_its_context(tmp_path: Path) -> None:
    model, tokenizer = tiny_model(context=7)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_model(tmp_path)[0].config.context == 7
