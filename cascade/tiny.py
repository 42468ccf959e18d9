"""A tiny trunk with random weights and a vocabulary of given words: for tests, and to try things without a download."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

import torch
from safetensors import SafetensorError
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import BertConfig, BertModel, BertTokenizerFast

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_tiny_trunk(
    words: Iterable[str],
    folder: str | os.PathLike[str],
    *,
    hidden_size: int = 64,
    layers: int = 2,
    positions: int = 512,
    pieces: int = 2000,
    reserved: int = 64,
    seed: int = 0,
) -> None:
    """Saves a BERT of ``layers`` layers and a WordPiece tokenizer in ``folder``.

    The vocabulary is the characters of ``words`` and the most frequent words whole, ``pieces`` in all if there are
    enough; ``reserved`` slots ``[unused0]``, ... stay free for markers, as in BERT's. The same words and ``seed`` give
    the same files, and the global random state is left alone.
    """
    split = BertPreTokenizer().pre_tokenize_str
    counts = Counter(form for word in words for form, _ in split(word))
    characters = sorted({character for form in counts for character in form})
    single = [*characters, *(f"##{character}" for character in characters)]
    whole = [form for form, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if len(form) > 1]
    slots = [f"[unused{n}]" for n in range(reserved)]
    tokens = [*SPECIAL_TOKENS, *slots, *single, *whole[: max(0, pieces - len(single))]]
    vocabulary = {token: n for n, token in enumerate(tokens)}
    tokenizer = BertTokenizerFast(vocab=vocabulary, do_lower_case=False, model_max_length=positions)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden_size // 32),
        intermediate_size=4 * hidden_size,
        max_position_embeddings=positions,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = BertModel(config)
    try:
        trunk.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except SafetensorError as error:  # what safetensors raises when a disk is full
        raise OSError(f"cannot write the trunk to {folder}: {error}") from error
