"""Corpora: their data model, readers, writers, raw text, and the two corpora that come with the package."""

from .forms import PredictionLines, prediction_record
from .labels import check_labels, report_gold, training_labels, with_known_labels
from .overlaps import overlap_kinds
from .reading import read_corpus, read_documents, read_predictions
from .records import text_record, words_record
from .samples import sample_corpus
from .synthetic import synthetic_corpus
from .text import document_from_text, document_from_words, normalize_word, split_text
from .types import Corpus, DataError, Document, Entity, LabelSet, Relation, Sentence
from .writing import write_corpus, write_predictions

__all__ = [
    "Corpus",
    "DataError",
    "Document",
    "Entity",
    "LabelSet",
    "PredictionLines",
    "Relation",
    "Sentence",
    "check_labels",
    "document_from_text",
    "document_from_words",
    "normalize_word",
    "overlap_kinds",
    "prediction_record",
    "read_corpus",
    "read_documents",
    "read_predictions",
    "report_gold",
    "sample_corpus",
    "split_text",
    "synthetic_corpus",
    "text_record",
    "training_labels",
    "with_known_labels",
    "words_record",
    "write_corpus",
    "write_predictions",
]
