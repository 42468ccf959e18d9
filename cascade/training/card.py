"""The model card of a training: a README beside the weights, with what was trained on what, and how well it did."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers
from huggingface_hub import EvalResult, ModelCardData
from tabulate import tabulate

from srn_kernels import __version__

from ..data import Corpus
from ..data.types import on_one_line
from ..files import replacing
from ..model import ExtractionModel, ExtractorConfig
from ..scoring import LINES, Scores
from .arguments import CascadeTrainingArguments

LIBRARY = "srn-kernels"
CARD = "README.md"
SETTINGS, THRESHOLDS = "## Settings", "## Thresholds"
METRICS = {"ner_f1": "NER F1", "re_f1": "RE F1"}
ARGUMENTS = (
    *("num_train_epochs", "max_steps", "learning_rate", "trunk_learning_rate", "warmup_steps", "weight_decay"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "world_size", "train_sampling_strategy"),
    *("bf16", "fp16", "seed"),
)
ELSEWHERE = (  # of a configuration's arguments: what the card tells otherwise, and what the trunk decides
    *("self", "kwargs", "trunk", "entity_types", "relation_types"),
    *("marker_ids", "max_pieces", "pad_token_id", "initializer_range"),
)


def model_card(
    model: ExtractionModel,
    args: CascadeTrainingArguments,
    trunk: str,
    train: Corpus,
    dev: Corpus | None = None,
    scores: Mapping[str, float] = MappingProxyType({}),
) -> str:
    """A card in the form of the Hugging Face Hub: metadata as YAML, then Markdown.

    Files are named without their folders.

    Args:
        trunk: name of the trunk on the Hub, or its folder.
        scores: of ``dev``, as ``Trainer.evaluate`` gives them.
    """
    local = Path(trunk).exists()
    trunk = on_one_line(Path(trunk).name if local else trunk)
    name = on_one_line(Path(args.output_dir).resolve().name)
    scored = dev is not None and "eval_ner_f1" in scores  # which `prediction_loss_only` leaves out
    data = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag="token-classification",
        tags=["entity-relation-extraction", "named-entity-recognition", "relation-extraction", model.config.model_type],
        base_model=None if local else trunk,
        model_name=name,
        eval_results=_results(dev, scores) if scored else None,
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {name}",
        f"Finds entities and relations in text: a model of `cascade`, which is part of {LIBRARY}.",
        '```python\nfrom cascade import Cascade\n\nCascade.from_pretrained("path/to/this/folder")("Some text.")\n```',
        f"Entities: {_named(model.labels.entity_types)}. Relations: {_named(model.labels.relation_types)}.",
        "## Data",
        _data(train, dev),
    ]
    if scored:
        chosen = ", by which the checkpoint was chosen: they are better than those of new text will be"
        told = f"Of {_file(dev)}{chosen if args.load_best_model_at_end else ''}."
        parts += ["## Scores", told, _scores(scores)]
    parts += [SETTINGS, _settings(model, args, trunk)]
    parts += ["## Versions", _versions()]
    return "\n\n".join(parts) + "\n"


def tell_thresholds(folder: Path, thresholds: Sequence[float], chosen_by: Corpus, scores: Scores) -> None:
    """Writes thresholds that were chosen after the training, and what they score, into the card in ``folder``, if it has one.

    The table of settings gets them, and a section tells of them, which takes the place of an earlier one.
    """
    path = folder / CARD
    if not path.is_file():
        return
    shown = _shown(list(thresholds))
    section = (
        f"{THRESHOLDS}\n\n{shown}: chosen by {_file(chosen_by)} after the training, with NER F1 {_percent(scores.ner.f1)} "
        f"and RE F1 {_percent(scores.re.f1)} there. The scores of the training are with those of then.\n\n"
    )
    card = path.read_text("utf-8", errors="surrogateescape")
    card = re.sub(rf"^{THRESHOLDS}\n.*?(?=^## |\Z)", "", card, flags=re.MULTILINE | re.DOTALL)
    before, heading, after = card.partition(f"{SETTINGS}\n")
    after = re.sub(r"^(\| `thresholds` *\|)[^|]*\|$", lambda row: f"{row[1]} {shown} |", after, flags=re.MULTILINE)
    card = f"{before}{section}{heading}{after}" if heading else f"{card.rstrip()}\n\n{section.rstrip()}\n"
    with replacing(path) as written:
        written.write_text(card, "utf-8", errors="surrogateescape")


def _results(dev: Corpus, scores: Mapping[str, float]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="token-classification",
            dataset_type="corpus",
            dataset_name=_file(dev).strip("`"),
            dataset_split="dev",
            metric_type="f1",
            metric_name=title,
            metric_value=scores[f"eval_{name}"],
        )
        for name, title in METRICS.items()
    ]


def _named(labels: tuple[str, ...]) -> str:
    return ", ".join(f"`{on_one_line(label)}`" for label in labels) or "none"


def _file(corpus: Corpus) -> str:
    return f"`{on_one_line(Path(corpus.source).name) or 'corpus'}`"


def _data(train: Corpus, dev: Corpus | None) -> str:
    rows = []
    for use, corpus in (("training", train), ("scores", dev)):
        if corpus is not None:
            sentences = list(corpus.sentences())
            entities, relations = (sum(len(getattr(s, kind)) for s in sentences) for kind in ("entities", "relations"))
            rows.append((use, _file(corpus), len(corpus.documents), len(sentences), entities, relations))
    return _table(rows, ("", "file", "documents", "sentences", "entities", "relations"))


def _scores(scores: Mapping[str, float]) -> str:
    rows = [
        (heading, *(_percent(scores.get(f"eval_{name}_{ratio}")) for ratio in ("precision", "recall", "f1")))
        for name, heading in LINES.items()
    ]
    return _table(rows, ("", "precision %", "recall %", "F1 %"))


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _settings(model: ExtractionModel, args: CascadeTrainingArguments, trunk: str) -> str:
    classes = (ExtractorConfig, type(model.config))
    names = {name: None for each in classes for name in signature(each.__init__).parameters if name not in ELSEWHERE}
    options = {name: getattr(model.config, name) for name in names}
    values = {"trunk": trunk, **options, **{name: getattr(args, name) for name in ARGUMENTS}}
    return _table([(f"`{name}`", _shown(value)) for name, value in values.items()], ("setting", ""))


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _versions() -> str:
    known = {
        LIBRARY: __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "Python": platform.python_version(),
    }
    return ", ".join(f"{name} {version}" for name, version in known.items())


def _table(rows: list[tuple[Any, ...]], headers: tuple[str, ...]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)
