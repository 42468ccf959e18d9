"""Folders of tiny trunks of many kinds, with random weights and tokenizers trained on the sample corpus."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cascade.data import sample_corpus

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
POSITIONS = 64  # of text and what the tokenizer puts around it, in every trunk that has a limit
BERT = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
ROBERTA = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
    "cls_token": "<s>",
    "sep_token": "</s>",
}
ALBERT = {**BERT, "pad_token": "<pad>", "unk_token": "<unk>"}
XLNET = {**ROBERTA, "cls_token": "<cls>", "sep_token": "<sep>"}
END_OF_TEXT = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}


@dataclass(frozen=True)
class Kind:
    """A model type of ``transformers``, its tokenizer's algorithm and class, and what its configuration needs."""

    model_type: str
    algorithm: str
    tokenizer: str
    special: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    offset: int = 0  # positions that the trunk's table keeps below the first
    limited: bool = True

    @property
    def positions(self) -> dict[str, int]:
        return {"max_position_embeddings": POSITIONS + self.offset} if self.limited else {}


KINDS = {
    kind.model_type: kind
    for kind in (
        Kind("bert", "wordpiece", "BertTokenizer", BERT),
        Kind("electra", "wordpiece", "BertTokenizer", BERT, {"embedding_size": 8}),
        Kind(
            "distilbert", "wordpiece", "BertTokenizer", BERT, {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
        ),
        Kind("mpnet", "wordpiece", "MPNetTokenizer", {**ROBERTA, "unk_token": "[UNK]"}, offset=2),
        Kind(
            "mobilebert",
            "wordpiece",
            "BertTokenizer",
            BERT,
            {"embedding_size": 8, "intra_bottleneck_size": 8, "num_feedforward_networks": 1},
        ),
        Kind("roberta", "bytes", "RobertaTokenizer", ROBERTA, offset=2),
        Kind("longformer", "bytes", "RobertaTokenizer", ROBERTA, {"attention_window": [8]}, offset=2),
        Kind(
            "deberta",
            "bytes",
            "DebertaTokenizer",
            BERT,
            {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False},
        ),
        Kind("modernbert", "bytes", "", BERT, {"global_attn_every_n_layers": 1, "local_attention": 8}),
        Kind("gpt2", "bytes", "GPT2Tokenizer", END_OF_TEXT),
        Kind("xlm-roberta", "unigram", "XLMRobertaTokenizer", ROBERTA, offset=2),
        Kind("camembert", "unigram", "CamembertTokenizer", ROBERTA, offset=2),
        Kind("albert", "unigram", "AlbertTokenizer", ALBERT, {"embedding_size": 8}),
        Kind(
            "deberta-v2",
            "unigram",
            "DebertaV2Tokenizer",
            BERT,
            {
                "relative_attention": True,
                "position_buckets": 8,
                "pos_att_type": ["c2p", "p2c"],
                "position_biased_input": False,
                "conv_kernel_size": 3,
            },
        ),
        Kind(
            "xlnet",
            "unigram",
            "XLNetTokenizer",
            XLNET,
            {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16},
            limited=False,
        ),
    )
}


@cache
def trained(algorithm: str, special: tuple[str, ...]) -> Tokenizer:
    """A tokenizer of a few hundred pieces of the sample corpus; byte-level BPE does not put a space before a text."""
    if algorithm == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=list(special), show_progress=False)
    elif algorithm == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        unknown = next(token for token in special if token in ("<unk>", "[UNK]"))
        trainer = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=list(special), unk_token=unknown, show_progress=False
        )
    texts = [" ".join(sentence.words) for sentence in sample_corpus("train").sentences()]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def special_tokens(kind: Kind) -> tuple[str, ...]:
    """Each once, in the order in which XLM-R's and CamemBERT's classes want them."""
    return tuple(dict.fromkeys(kind.special.values()))


def generic_tokenizer(kind: Kind) -> PreTrainedTokenizerFast:
    """The trained tokenizer in the class that knows no model."""
    tokens = special_tokens(kind)
    tokenizer = Tokenizer.from_str(trained(kind.algorithm, tokens).to_str())
    if "cls_token" in kind.special:
        around = [kind.special["cls_token"], kind.special["sep_token"]]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{around[0]} $A {around[1]}",
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in around],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **kind.special)


def own_tokenizer(kind: Kind) -> PreTrainedTokenizerBase:
    """The trained pieces in the model's own class."""
    model = json.loads(trained(kind.algorithm, special_tokens(kind)).to_str())["model"]
    pieces = {"vocab": model["vocab"]}
    if kind.algorithm == "bytes":
        pieces["merges"] = [tuple(pair) for pair in model["merges"]]
    if kind.algorithm == "unigram":
        pieces["vocab"] = [tuple(piece) for piece in model["vocab"]]
    return getattr(transformers, kind.tokenizer)(**pieces, **kind.special)


def make_trunk(name: str, folder: Path, *, own: bool, **options: Any) -> PreTrainedTokenizerBase:
    """Saves a trunk of the kind and its tokenizer, which is returned."""
    kind = KINDS[name]
    tokenizer = own_tokenizer(kind) if own else generic_tokenizer(kind)
    tokenizer.save_pretrained(folder)
    make_model(kind.model_type, folder, tokenizer, **{**kind.positions, **kind.options, **options})
    return tokenizer


def make_model(model_type: str, folder: Path, tokenizer: PreTrainedTokenizerBase, **options: Any) -> None:
    """Saves a model whose vocabulary is the tokenizer's."""
    token_ids = {
        name: getattr(tokenizer, name)
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
        if getattr(tokenizer, name) is not None
    }
    config = AutoConfig.for_model(model_type, **{**SIZES, "vocab_size": len(tokenizer), **token_ids, **options})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
