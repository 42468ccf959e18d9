"""The options of each verb, as dataclasses; those of the model and of prediction are read off their signatures."""

from __future__ import annotations

import inspect
from argparse import Action, ArgumentDefaultsHelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from .model import CascadeConfig, ExtractorConfig, TableConfig
from .prediction import Predictor
from .scoring import SYMMETRIC

DROP_UNKNOWN_ENDS = "Drop and count relations with an end that is no entity, which are otherwise refused."


def option(text: str, default: Any = None) -> Any:
    return field(default=default, metadata={"help": text})


class Argument(NamedTuple):
    name: str
    type: Any
    default: Any
    text: str


def explained(function: Callable[..., Any]) -> Iterator[Argument]:
    """The arguments of ``function`` that carry their meaning in their annotation: ``Annotated[type, "meaning"]``."""
    parameters = inspect.signature(function).parameters
    for name, hint in get_type_hints(function, include_extras=True).items():
        if get_origin(hint) is Annotated:
            kind, text = get_args(hint)
            # the parser knows lists, but a signature's default is a tuple
            kind = list[get_args(kind)] if get_origin(kind) is Sequence else kind
            yield Argument(name, kind, parameters[name].default, text)


def model_options(class_name: str, otherwise: Mapping[str, str], only: Sequence[str] = ()) -> type:
    """A dataclass of a model's options, all or ``only`` some, each None unless it is given.

    The help tells what holds then: what ``otherwise`` says of the option, or the configuration's default.
    """
    types: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for config in (ExtractorConfig, CascadeConfig, TableConfig):
        for name, kind, default, text in explained(config.__init__):
            if not only or name in only:
                default = " ".join(map(str, default)) if isinstance(default, tuple) else default
                types[name] = kind | None
                # both architectures have thresholds, of different meanings
                texts[name] = f"{texts.get(name, '')} {text} (default: {otherwise.get(name, default)})".lstrip()
    return make_dataclass(class_name, [(name, types[name], option(texts[name])) for name in types])


SAVED = ("backend", "overlaps", "thresholds", "restrict_to_entities")

ModelArguments = model_options(
    "ModelArguments", {"overlaps": "as in the training file", "match_spans": "entities", "cell_clip": "none"}
)
SavedModelArguments = model_options("SavedModelArguments", dict.fromkeys(SAVED, "as saved"), SAVED)
# of what decides what is found only what is saved afterwards
TunedModelArguments = model_options("TunedModelArguments", dict.fromkeys(SAVED, "as saved"), ("backend", "thresholds"))
BatchArguments = make_dataclass(
    "BatchArguments",
    [(name, kind, option(text, default)) for name, kind, default, text in explained(Predictor.__init__)],
)


@dataclass
class CorpusArguments:
    train_file: str = field(metadata={"help": "Corpus to train on: DyGIE++ JSON lines or SpERT JSON."})
    trunk: str = field(
        metadata={
            "help": "Hugging Face encoder with its tokenizer: a folder, or a name on the Hub. `tiny`: a small one with "
            "random weights and the corpus's own vocabulary, made under output_dir, to try things without a download."
        }
    )
    dev_file: str | None = option("Corpus to score after each epoch, and to choose the best checkpoint by.")
    architecture: Literal["cascade", "table"] = option("The cascade, or the table-filling model.", "cascade")
    drop_unknown_ends: bool = option(DROP_UNKNOWN_ENDS, False)


@dataclass
class RunArguments:
    model: str = field(metadata={"help": "Folder of a saved model, of a checkpoint, or of a finished training."})
    device: str | None = option("Device, such as cpu or cuda:1; default: a GPU when there is one.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "Precision of the products; auto: that of the saved weights, or bfloat16 on a CPU that has such products.",
        "auto",
    )


@dataclass
class EvaluateArguments(RunArguments):
    model: str | None = option("Folder of a saved model, of a checkpoint, or of a finished training; or `predictions`.")
    predictions: str | None = option("File of predictions to score in place of a model's: DyGIE++'s form or SpERT's.")
    file: str = option("Labelled corpus: DyGIE++ JSON lines or SpERT JSON; `-`: the standard input.", "")
    symmetric: list[str] = field(
        default_factory=lambda: list(SYMMETRIC),
        metadata={"help": "Relation types that the symmetric score takes as such."},
    )
    errors: bool = option("List the errors too, after a table of how many there are of each kind.", False)
    output: str | None = option("File that gets the scores too, as JSON.")
    drop_unknown_ends: bool = option(DROP_UNKNOWN_ENDS, False)


@dataclass
class TuneArguments(RunArguments):
    file: str = option("Labelled corpus to choose by, not one that was trained on; `-`: the standard input.", "")
    drop_unknown_ends: bool = option(DROP_UNKNOWN_ENDS, False)


@dataclass
class ShowArguments:
    file: str | None = option("Labelled corpus: DyGIE++ JSON lines or SpERT JSON; `-`: the standard input.")
    predictions: str | None = option("File of predictions, which are shown beside it or alone: either form.")
    output: str | None = option("HTML file to write; default, and `-`: the standard output.")
    drop_unknown_ends: bool = option(DROP_UNKNOWN_ENDS, False)


@dataclass
class PredictArguments(RunArguments):
    file: str | None = option(
        "Corpus, labelled or not: DyGIE++ JSON lines or SpERT JSON; or texts: JSON lines with `text`; `-`: the standard "
        "input."
    )
    text: str | None = option("Text. Without file and text it is read from the standard input.")
    output: str | None = option(
        "File to write; it appears when it is complete, until then lines are in `output.partial`. Default, and `-`: the "
        "standard output."
    )
    resume: bool = option("Go on where an interrupted run left off: behind the lines in `output.partial`.", False)
    format: Literal["dygie", "spert", "records"] | None = option(
        "What is written: DyGIE++'s form, SpERT's, or records with what was found; default: records of texts, DyGIE++'s "
        "form of sentences."
    )
    language: str | None = option("Language of the text, for splitting it: an ISO 639 code; default: en.")
    ray: str | None = option(
        "Predict in worker processes of Ray: `local`, on this machine; `auto`, or an address, on those of a cluster."
    )
    workers: int | None = option("How many; default: one for each GPU that Ray has, or else for each processor.")


ESSENTIAL = {
    "train": (
        *("train_file", "dev_file", "trunk", "output_dir", "fusion", "encoder", "num_train_epochs"),
        *("per_device_train_batch_size", "learning_rate", "trunk_learning_rate", "bf16", "seed"),
        "resume_from_checkpoint",
    ),
    "tune": ("model", "file", "device", "batch_size"),
    "evaluate": ("model", "predictions", "file", "errors", "output", "device", "batch_size"),
    "show": ("file", "predictions", "output", "drop_unknown_ends"),
    "predict": ("model", "file", "text", "output", "format", "resume", "language", "device", "batch_size"),
}
"""The options of each verb that ``--help`` tells; ``--help-all`` tells all."""


class Help(ArgumentDefaultsHelpFormatter):
    """Adds the default to the help of an option that has one and does not tell it. ``argparse`` has no public method for
    that: its own formatters override this one."""

    def _get_help_string(self, action: Action) -> str | None:
        told = action.default in (None, "") or "(default: " in (action.help or "")
        return action.help if told else super()._get_help_string(action)
