"""``transformers.pipeline("entity-relation-extraction", model="run/model")``, once ``cascade`` is imported."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import Dataset
from transformers import AutoModel, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .model import ConfigError, ExtractionModel
from .pipeline import Cascade, Input
from .prediction import Predictor

TASK = "entity-relation-extraction"
BATCH_SIZE = 32  # of transformers it is 1


class EntityRelationPipeline(Pipeline):
    """``Cascade`` with the interface of ``transformers``: what it takes and gives is the same.

    Sentences are grouped by length, ``batch_size`` (32) of them a batch, however they are spread over the inputs.
    ``language``, an ISO 639 code, says how texts are split, in a call or for all of them. Products have the precision of
    the weights (``dtype``). Raises ConfigError for a model of another kind, DataError for a language that is no code,
    TypeError for an input that is neither text nor a list of words.
    """

    _load_tokenizer = True
    _load_processor = _load_image_processor = _load_video_processor = _load_feature_extractor = False

    def __init__(self, *args: Any, batch_size: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, batch_size=BATCH_SIZE if batch_size is None else batch_size, **kwargs)
        if not isinstance(self.model, ExtractionModel):
            raise ConfigError(f"model: expected one of cascade, found {type(self.model).__name__}")

    def __call__(self, inputs: str | Iterable[Input], **options: Any) -> Any:
        """The record of a text; a list of those of a list or tuple; an iterator over those of an iterator or dataset."""
        if isinstance(inputs, tuple | list):
            return super().__call__(list(inputs), **options) if inputs else []  # it looks at the first
        if isinstance(inputs, Iterator):
            return super().__call__((one for one in inputs), **options)
        if isinstance(inputs, Dataset):
            return super().__call__(inputs, **options)
        [record] = super().__call__([inputs], **options)
        return record

    def get_iterator(
        self,
        inputs: Iterable[Input],
        num_workers: int,
        batch_size: int,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> Iterator[dict[str, Any]]:
        """All that is done to inputs, in place of a ``DataLoader``, whose batches would hold what happens to come together."""
        cascade = Cascade(Predictor(self.model, self.tokenizer, batch_size=batch_size))
        return cascade.stream(inputs, **preprocess_params)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """The model and its tokenizer, as ``cascade.load_model`` and a pipeline read them."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.tokenizer.save_pretrained(save_directory, **kwargs)

    def _sanitize_parameters(self, language: str | None = None) -> tuple[dict[str, Any], dict, dict]:
        return ({} if language is None else {"language": language}), {}, {}

    # The steps of one input, which ``get_iterator`` takes all at once.

    def preprocess(self, inputs: Any) -> Any:
        raise NotImplementedError

    def _forward(self, inputs: Any) -> Any:
        raise NotImplementedError

    def postprocess(self, outputs: Any) -> Any:
        raise NotImplementedError


PIPELINE_REGISTRY.register_pipeline(TASK, pipeline_class=EntityRelationPipeline, pt_model=AutoModel, type="text")
