"""The models: their configurations, what they compute and what they find. ``transformers`` knows them once imported."""

from transformers import AutoConfig, AutoModel

from .base import ExtractionModel, ExtractionOutput, Given
from .cascade import CascadeModel
from .config import CascadeConfig, ConfigError, ExtractorConfig, TableConfig
from .findings import Extraction
from .table import TableModel

for _config, _model in ((CascadeConfig, CascadeModel), (TableConfig, TableModel)):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)

__all__ = [
    "CascadeConfig",
    "CascadeModel",
    "ConfigError",
    "Extraction",
    "ExtractionModel",
    "ExtractionOutput",
    "ExtractorConfig",
    "Given",
    "TableConfig",
    "TableModel",
]
