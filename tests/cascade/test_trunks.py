"""Every kind of trunk that works, from its folder to predictions of the saved model; and what is refused, and how."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import LABELS, SAMPLE, eager, nested_sentence, tiny_model, tiny_trunk
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    ByT5Tokenizer,
    CLIPConfig,
    GPT2Config,
    PreTrainedTokenizerFast,
)
from trunk_kinds import KINDS, POSITIONS, SIZES, generic_tokenizer, make_model, make_trunk

from cascade import CascadeModel, ConfigError, DataError, create_model, load_model
from cascade.data import Corpus, Document, Entity, Sentence, normalize_word
from cascade.markers import reserve_markers
from cascade.prediction import Predictor
from cascade.spacing import space_before
from cascade.tensors import collate
from cascade.tokenization import UNKNOWN, WordTokenizer
from cascade.training import CascadeTrainingArguments, make_trainer, save_model

SMALL = {"hidden_size": 8, "tag_size": 4, "encoder": "none", "dropout": 0.0}
PACKED = {"bert", "electra", "roberta", "xlm-roberta", "camembert"}
SENTENCES = [nested_sentence(), Sentence(("Nobody", "-LRB-", "1,000", ")", "co-operates", "."))]
CASES = [(name, own) for name, kind in KINDS.items() for own in (True, False) if kind.tokenizer or not own]


@pytest.mark.parametrize(("name", "own"), CASES, ids=[f"{name}-{'own' if own else 'generic'}" for name, own in CASES])
def test_a_kind_of_trunk(name: str, own: bool, tmp_path: Path) -> None:
    """The tokenizer in the model's own class, and in the class that takes any ``tokenizer.json``."""
    torch.manual_seed(0)
    make_trunk(name, tmp_path / "trunk", own=own)
    options = {**SMALL, "fusion": "early" if own else "late", "thresholds": [0.2, 0.5, 0.2]}
    model, tokenizer = create_model(tmp_path / "trunk", LABELS, **options)
    assert model.config.max_pieces == (POSITIONS if KINDS[name].limited else None)
    words = WordTokenizer(tokenizer, model.config)
    read = words(SENTENCES, labelled=True)
    as_in_running_text(words, AutoTokenizer.from_pretrained(tmp_path / "trunk"))

    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(**collate(read.windows)).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert model.trunk.get_input_embeddings().weight.grad.abs().sum() > 0

    eager(model.eval())
    full = torch.full((1, POSITIONS), read.windows[0]["input_ids"][0])
    assert torch.isfinite(model.trunk(input_ids=full, attention_mask=torch.ones_like(full)).last_hidden_state).all()
    save_model(model, tokenizer, tmp_path / "saved")
    loaded, its_tokenizer = load_model(tmp_path / "saved")
    assert WordTokenizer(its_tokenizer, loaded.config)(SENTENCES, labelled=True) == read
    batch = collate(read.windows)
    torch.testing.assert_close(loaded(**batch).terms, model(**batch).terms)
    found = Predictor(model, tokenizer)(SENTENCES)
    assert Predictor(loaded, its_tokenizer)(SENTENCES) == found
    assert any(sentence.entities for sentence in found)


@pytest.mark.parametrize("name", KINDS)
def test_packed_fusion_is_for_trunks_that_read_pieces_beside_a_text(name: str, tmp_path: Path) -> None:
    tokenizer = make_trunk(name, tmp_path, own=False)
    if name in PACKED:
        model, tokenizer = create_model(tmp_path, LABELS, **{**SMALL, "encoder": "srn"}, fusion="packed")
        model(**collate(WordTokenizer(tokenizer, model.config)(SENTENCES, labelled=True).windows)).loss.backward()
        markers = model.trunk.get_input_embeddings().weight.grad[torch.tensor(model.config.marker_ids)]
        assert (markers.abs().sum(-1) > 0).any(1).sum() >= 3, "of two types and the subject"
    else:
        with pytest.raises(ConfigError, match="fusion: `packed` .* keys and values.*" + name):
            create_model(tmp_path, LABELS, **SMALL, fusion="packed")


def as_in_running_text(words: WordTokenizer, tokenizer: PreTrainedTokenizerFast) -> None:
    """The pieces of each sentence of the sample corpus are those that the tokenizer, as saved, makes of its text."""
    sentences = [sentence for sentence in SAMPLE.sentences() if sentence.words]
    pieces: list[dict[int, list[int]]] = [{} for _ in sentences]  # of each word
    for window in words(sentences).windows:
        of_words: dict[int, list[int]] = {}
        for piece, word in zip(window["input_ids"], window["piece_words"], strict=True):
            of_words.setdefault(word, []).append(piece)
        for word in range(window["word_count"]):  # those of a word are the same in every window
            assert pieces[window["sentence"]].setdefault(window["first_word"] + word, of_words[word]) == of_words[word]
    first = tokenizer("a", add_special_tokens=False)["input_ids"]
    for sentence, found in zip(sentences, pieces, strict=True):
        text = " ".join(["a", *map(normalize_word, sentence.words)])
        assert (
            first + [piece for word in sorted(found) for piece in found[word]]
            == tokenizer(text, add_special_tokens=False)["input_ids"]
        )


# ----------------------------------------------------------------- words and the space before them


def byte_level(pre_tokenizer: pre_tokenizers.PreTokenizer) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer.from_str(generic_tokenizer(KINDS["gpt2"]).backend_tokenizer.to_str())
    tokenizer.pre_tokenizer = pre_tokenizer
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<|endoftext|>")


def characters(
    normalizer: normalizers.Normalizer | None, pre_tokenizer: pre_tokenizers.PreTokenizer | None
) -> PreTrainedTokenizerFast:
    """BPE over the signs of the sample corpus and ``▁``."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=0, special_tokens=["<unk>"], initial_alphabet=["▁"], show_progress=False)
    tokenizer.train_from_iterator((" ".join(sentence.words) for sentence in SAMPLE.sentences()), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


SPLIT = pre_tokenizers.Split(Regex(r" ?\w+| ?[^\s\w]+|\s+"), "isolated")
UNDERSCORES = normalizers.Replace(" ", "▁")
SPACED: dict[str, tuple[Callable[[], PreTrainedTokenizerFast], str]] = {
    "bytes": (lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)), " "),
    "bytes that begin with a space": (lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)), ""),
    # add_prefix_space would put a space before each part of a word
    "bytes after a pattern": (
        lambda: byte_level(pre_tokenizers.Sequence([SPLIT, pre_tokenizers.ByteLevel(False, use_regex=False)])),
        " ",
    ),
    "an underscore before every word": (
        lambda: characters(None, pre_tokenizers.Metaspace(prepend_scheme="always")),
        "",
    ),
    "an underscore before a text": (lambda: characters(None, pre_tokenizers.Metaspace(prepend_scheme="first")), ""),
    "an underscore for a space": (lambda: characters(None, pre_tokenizers.Metaspace(prepend_scheme="never")), " "),
    "a normalizer's underscore for a space": (lambda: characters(UNDERSCORES, None), " "),
    "a normalizer's underscore before every word": (
        lambda: characters(normalizers.Sequence([normalizers.Prepend("▁"), UNDERSCORES]), None),
        "",
    ),
}


@pytest.mark.parametrize("case", SPACED)
def test_words_get_the_space_that_their_tokenizer_marks(case: str, tmp_path: Path) -> None:
    make, space = SPACED[case]
    tokenizer = make()
    tokenizer.save_pretrained(tmp_path)
    for made in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert space_before(made) == space
        model, _ = tiny_model()
        model.config.trunk.vocab_size = len(made)
        as_in_running_text(WordTokenizer(made, model.config), made)


def test_a_tokenizer_that_splits_lone_words_otherwise_is_refused() -> None:
    stripped = characters(normalizers.Sequence([normalizers.Strip(), UNDERSCORES]), None)
    with pytest.raises(DataError, match="given one by one, to have the pieces of the text 'a The'") as error:
        space_before(stripped)
    one_sentence(error)


# ----------------------------------------------------------------- what cannot work


def one_sentence(error: pytest.ExceptionInfo) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert "expected" in message
    assert len(message) < 500


def folder_of(model_type: str, folder: Path, **options: Any) -> Path:
    tokenizer = generic_tokenizer(KINDS["bert"])
    tokenizer.save_pretrained(folder)
    make_model(model_type, folder, tokenizer, **options)
    return folder


SEQ2SEQ = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
NOT_TRUNKS = {
    "t5": ({"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1}, "found 't5', an encoder with a decoder"),
    "bart": (SEQ2SEQ, "found 'bart', an encoder with a decoder"),
    "vit": ({"image_size": 8, "patch_size": 4}, "found 'vit', which takes no input_ids"),
    "fnet": ({}, "found 'fnet', which takes no attention_mask"),
    "canine": ({}, "expected an encoder with an embedding for each piece, found 'canine', which has none"),
    "convbert": ({"embedding_size": 16}, "that padding makes no difference to, found 'convbert'"),
    "reformer": ({"attn_layers": ["local"], "axial_pos_embds": False}, "of shape .*, found states of shape"),
    "nystromformer": ({"num_landmarks": 8, "segment_means_seq_len": 64}, "expected an encoder that reads pieces: "),
}


@pytest.mark.parametrize("model_type", NOT_TRUNKS)
def test_models_that_are_no_encoders_of_text_are_refused(model_type: str, tmp_path: Path) -> None:
    options, message = NOT_TRUNKS[model_type]
    folder_of(model_type, tmp_path, **options)
    with pytest.raises(ConfigError, match=message) as error:
        create_model(tmp_path, LABELS, **SMALL)
    one_sentence(error)


def test_a_trunk_of_several_models_is_refused(tmp_path: Path) -> None:
    generic_tokenizer(KINDS["bert"]).save_pretrained(tmp_path)
    text = {**SIZES, "vocab_size": 300}
    image = {**SIZES, "image_size": 8, "patch_size": 4}
    AutoModel.from_config(CLIPConfig(text_config=text, vision_config=image)).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="expected an encoder with a hidden_size, found 'clip'") as error:
        create_model(tmp_path, LABELS, **SMALL)
    one_sentence(error)


def test_a_saved_model_is_no_trunk(tmp_path: Path) -> None:
    save_model(*tiny_model(**SMALL), tmp_path / "saved")
    with pytest.raises(ConfigError, match="found 'cascade', which takes no input_ids") as error:
        create_model(tmp_path / "saved", LABELS, **SMALL)
    one_sentence(error)


@pytest.mark.parametrize(
    "name", ["bert", "roberta", "albert", "deberta-v2", "camembert", "gpt2", "mpnet", "modernbert"]
)
def test_a_folder_without_a_tokenizer_is_refused(name: str, tmp_path: Path) -> None:
    """transformers makes an empty tokenizer of the configuration alone, for which every word is unknown."""
    make_trunk(name, tmp_path, own=False)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).unlink()
    with pytest.raises(
        (DataError, OSError), match=r"expected a (tokenizer|vocabulary, found \d special tokens only)"
    ) as error:
        create_model(tmp_path, LABELS, **SMALL)
    one_sentence(error)


def test_a_tokenizer_of_another_trunk_is_refused(tmp_path: Path) -> None:
    generic_tokenizer(KINDS["bert"]).save_pretrained(tmp_path)
    make_model("bert", tmp_path, BertTokenizer(), vocab_size=40)
    for fusion in ("early", "late"):  # markers, which grow the vocabulary, do not hide it
        with pytest.raises(
            DataError, match="expected the vocabulary of the trunk, 40 pieces, found 260 beyond"
        ) as error:
            create_model(tmp_path, LABELS, fusion=fusion, **SMALL)
        one_sentence(error)


def test_special_tokens_that_no_text_has_may_lie_beyond_the_trunk(tmp_path: Path) -> None:
    tokenizer = make_trunk("bert", tmp_path, own=True)
    tokenizer.add_tokens(["<mask>"], special_tokens=True)
    tokenizer.save_pretrained(tmp_path)
    model, _ = create_model(tmp_path, LABELS, **SMALL)
    assert model.trunk.get_input_embeddings().num_embeddings == len(tokenizer) - 1
    tokenizer.add_tokens(["Tartu"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(DataError, match="found 1 beyond them, the first 'Tartu'"):
        create_model(tmp_path, LABELS, **SMALL)


def test_a_slow_tokenizer_is_refused(tmp_path: Path) -> None:
    make_model("bert", tmp_path, BertTokenizer(), vocab_size=40)
    ByT5Tokenizer().save_pretrained(tmp_path)
    with pytest.raises(DataError, match="expected a fast one, which knows words, found ByT5Tokenizer") as error:
        create_model(tmp_path, LABELS, **SMALL)
    one_sentence(error)


def test_a_tokenizer_without_pieces_for_latin_letters_is_refused() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"東": 0, "京": 1}, [])))
    model, _ = tiny_model()
    with pytest.raises(DataError, match="expected a piece for the text 'a', found none"):
        WordTokenizer(tokenizer, model.config)


# ----------------------------------------------------------------- weights


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def change(folder: Path, made: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    file = folder / "model.safetensors"
    save_file(made(load_file(file)), file, metadata={"format": "pt"})


def without(part: str) -> Callable[[Path], None]:
    return lambda folder: change(folder, lambda state: {name: t for name, t in state.items() if part not in name})


def narrower(folder: Path) -> None:
    change(
        folder,
        lambda state: {name: t[:-1].clone() if "attention.self.query" in name else t for name, t in state.items()},
    )


CODE = '{"model_type": "bort", "auto_map": {"AutoConfig": "bort.BortConfig", "AutoModel": "bort.BortModel"}}'
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "SafetensorError"),
    "no file": (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
    "missing": (without("attention.self.query"), "found 4 missing, such as .*encoder.layer.0.attention.self.query"),
    "another shape": (narrower, r"expected .*query.* of shape \(32.*, found \(31"),
    "no configuration": (lambda folder: (folder / "config.json").write_text("{"), "expected"),
    "code of its own": (lambda folder: (folder / "config.json").write_text(CODE), "expected .*custom code"),
    "wrong kind": (lambda folder: (folder / "config.json").write_text('{"model_type": "bort"}'), "expected"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("kind", ["trunk", "model"])
def test_what_was_not_saved_whole_is_refused(kind: str, case: str, tmp_path: Path) -> None:
    damage, message = BROKEN[case]
    folder = tmp_path / "folder"
    if kind == "trunk":
        shutil.copytree(tiny_trunk(), folder)
    else:
        save_model(*tiny_model(**SMALL), folder)
    damage(folder)
    with pytest.raises((ConfigError, OSError), match=message) as error:
        create_model(folder, LABELS, **SMALL) if kind == "trunk" else load_model(folder)
    one_sentence(error)


def test_weights_that_a_saved_model_does_not_know_are_refused(tmp_path: Path) -> None:
    save_model(*tiny_model(**SMALL), tmp_path / "saved")
    change(tmp_path / "saved", lambda state: {**state, "heads.third.bias": torch.zeros(3)})
    with pytest.raises(OSError, match=r"found 1 unknown to the model, such as heads\.third\.bias") as error:
        load_model(tmp_path / "saved")
    one_sentence(error)


def test_a_saved_model_needs_its_tokenizer(tmp_path: Path) -> None:
    save_model(*tiny_model(**SMALL), tmp_path / "saved")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "saved" / file).unlink()
    with pytest.raises(OSError, match="expected a tokenizer") as error:
        load_model(tmp_path / "saved")
    one_sentence(error)
    larger = BertTokenizer(vocab={"[UNK]": 0, "a": 1, **{f"b{n}": n for n in range(2, 2000)}})
    larger.save_pretrained(tmp_path / "saved")
    with pytest.raises(DataError, match="expected the vocabulary of the trunk"):
        load_model(tmp_path / "saved")


def test_a_trunk_that_was_trained_to_predict_pieces_has_no_pooler(tmp_path: Path) -> None:
    tokenizer = generic_tokenizer(KINDS["bert"])
    tokenizer.save_pretrained(tmp_path)
    BertForMaskedLM(BertConfig(**SIZES, vocab_size=len(tokenizer))).save_pretrained(tmp_path)
    model, _ = create_model(tmp_path, LABELS, **SMALL)
    saved = load_file(tmp_path / "model.safetensors")
    for name, weights in model.trunk.state_dict().items():
        assert torch.equal(saved[f"bert.{name}"], weights), name


@pytest.mark.parametrize(("model_type", "options"), [("layoutlm", {}), ("squeezebert", {"embedding_size": 16})])
def test_trunks_that_call_their_pooler_do_without_it(model_type: str, options: dict[str, Any], tmp_path: Path) -> None:
    model, _ = create_model(folder_of(model_type, tmp_path, **options), LABELS, **SMALL)
    assert not any("pooler" in name for name, _ in model.named_parameters())


def test_a_decoder_keeps_no_keys_and_values() -> None:
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=30)
    model = CascadeModel(
        tiny_model(**SMALL)[0].config.__class__(trunk=config, entity_types=["A"], relation_types=["r"])
    )
    ids = torch.zeros(1, 3, dtype=torch.int64)
    assert model.trunk(input_ids=ids, attention_mask=torch.ones_like(ids)).past_key_values is None


def test_a_trunk_saved_in_bfloat16_trains_in_float32(tmp_path: Path) -> None:
    shutil.copytree(tiny_trunk(), tmp_path / "trunk")
    AutoModel.from_pretrained(tiny_trunk()).to(torch.bfloat16).save_pretrained(tmp_path / "trunk")
    model, tokenizer = create_model(tmp_path / "trunk", LABELS, **SMALL)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    save_model(model.to(torch.bfloat16), tokenizer, tmp_path / "saved")
    half, _ = load_model(tmp_path / "saved")
    whole, _ = load_model(tmp_path / "saved", dtype=torch.float32)
    for made, dtype in ((half, torch.bfloat16), (whole, torch.float32), (CascadeModel(half.config), torch.float32)):
        assert {parameter.dtype for parameter in made.parameters()} == {dtype}


# ----------------------------------------------------------------- markers and unknown words


def test_a_slot_that_was_added_as_a_token_is_text_where_a_text_spells_it() -> None:
    tokenizer = generic_tokenizer(KINDS["modernbert"])
    slots = [f"[unused{n}]" for n in range(8)]
    tokenizer.add_tokens([AddedToken(slot, special=False) for slot in slots])
    ids = {n for pair in reserve_markers(tokenizer, ["A", "B"]) for n in pair}
    assert ids == set(tokenizer.convert_tokens_to_ids(slots[:6]))
    assert not ids & set(tokenizer(slots, is_split_into_words=True, split_special_tokens=True)["input_ids"])


def test_markers_do_not_share_ids_with_pieces() -> None:
    """An added token's id is the number of pieces: in a vocabulary with gaps another piece may have it."""
    special = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    gapped = BertTokenizer(vocab={**special, "a": 9, "b": 7})
    with pytest.raises(
        DataError, match=r"an index of its own for the marker '\[entity:A\]', found that of 'b'"
    ) as error:
        reserve_markers(gapped, ["A"])
    one_sentence(error)


def test_unknown_words_are_counted_and_a_corpus_of_them_is_refused(tmp_path: Path) -> None:
    model, tokenizer = tiny_model(**SMALL)
    words = WordTokenizer(tokenizer, model.config)
    assert words([Sentence(("Tartu", "東京", "\u200b", "x東"))]).lost == {UNKNOWN: 3}
    cities = Sentence(("東京", "大阪"), (Entity(0, 0, LABELS.entity_types[0]),))
    corpus = Corpus((Document("d", (cities,)),), "cities.jsonl")
    arguments = CascadeTrainingArguments(
        output_dir=str(tmp_path), eval_strategy="no", save_strategy="no", load_best_model_at_end=False, use_cpu=True
    )
    with pytest.raises(
        DataError, match=r"cities\.jsonl: expected words that the tokenizer knows, found none among 2"
    ) as error:
        make_trainer(model, tokenizer, arguments, corpus)
    one_sentence(error)
