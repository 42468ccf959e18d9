"""Entity-relation extraction with a cascade of three turns over a Selection Recurrent Network."""

import importlib.util

# Names missing packages in one sentence, before an import fails for them.
_missing = [
    name
    for name in ("transformers", "tokenizers", "accelerate", "tabulate", "sentencex", "regex")
    if importlib.util.find_spec(name) is None
]
if _missing:
    raise ModuleNotFoundError(
        f"cascade needs {', '.join(_missing)}, which `pip install srn-kernels` alone does not bring: "
        'install "srn-kernels[cascade]", or from a checkout `pip install ".[cascade]"`',
        name=_missing[0],
    )

from .creation import create_model, load_model
from .data import (
    Corpus,
    DataError,
    Document,
    Entity,
    LabelSet,
    Relation,
    Sentence,
    read_corpus,
)
from .model import (
    CascadeConfig,
    CascadeModel,
    ConfigError,
    Extraction,
    ExtractionModel,
    ExtractionOutput,
    ExtractorConfig,
    Given,
    TableConfig,
    TableModel,
)
from .pipeline import Cascade
from .scoring import Scores, score
from .transformers_task import EntityRelationPipeline

__all__ = [
    "Cascade",
    "CascadeConfig",
    "CascadeModel",
    "ConfigError",
    "Corpus",
    "DataError",
    "Document",
    "Entity",
    "EntityRelationPipeline",
    "Extraction",
    "ExtractionModel",
    "ExtractionOutput",
    "ExtractorConfig",
    "Given",
    "LabelSet",
    "Relation",
    "Scores",
    "Sentence",
    "TableConfig",
    "TableModel",
    "create_model",
    "load_model",
    "read_corpus",
    "score",
]
