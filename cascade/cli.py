"""The command line: train, tune, evaluate, show, predict, benchmark."""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import signal
import subprocess
import sys
from argparse import SUPPRESS, Action
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, NoReturn, TypeVar

import torch
import transformers
from huggingface_hub.errors import HFValidationError
from tqdm import tqdm
from transformers import HfArgumentParser, set_seed
from transformers.utils.logging import disable_progress_bar

from srn_kernels import __version__
from srn_kernels.backends import BackendError

from .creation import FINAL_MODEL, check_writable, create_model, save_thresholds
from .data import (
    Corpus,
    DataError,
    Document,
    PredictionLines,
    Sentence,
    overlap_kinds,
    read_documents,
    read_predictions,
    report_gold,
    split_text,
    training_labels,
)
from .data.text import ENGLISH
from .data.types import on_one_line
from .display import html_page
from .error_analysis import error_table, errors
from .model import ConfigError
from .options import (
    ESSENTIAL,
    BatchArguments,
    CorpusArguments,
    EvaluateArguments,
    Help,
    ModelArguments,
    PredictArguments,
    RunArguments,
    SavedModelArguments,
    ShowArguments,
    TuneArguments,
    TunedModelArguments,
)
from .output import Output, opened
from .pipeline import load_predictor
from .prediction import BATCHES_AHEAD, Predictor
from .scoring import score
from .tiny import make_tiny_trunk
from .training import (
    CascadeTrainingArguments,
    check_resumed,
    claimed,
    is_complete,
    last_checkpoint,
    make_trainer,
    model_card,
    save_model,
    tell_thresholds,
)
from .tuning import tune_thresholds
from .workers import Workers, workers

USAGE = """usage: cascade <verb> [options]

verbs:
  train      train a model on a corpus
  tune       choose the thresholds of a model by a labelled corpus
  evaluate   score a model, or predictions, on a labelled corpus
  show       make a page of a labelled corpus, of predictions, or of both, with what is wrong
  predict    find entities and relations in a corpus or in text
  benchmark  run the benchmarks of a source checkout (arguments go to pytest)

`cascade <verb> --help` tells the options of a verb, `cascade --version` which version this is."""

VERSION = f"cascade of srn-kernels {__version__}, torch {torch.__version__}, transformers {transformers.__version__}"
TOLD = {"-h": USAGE, "--help": USAGE, "--version": VERSION}
logger = logging.getLogger(__name__)
T = TypeVar("T")
TINY = "tiny"
STANDARD_INPUT = "-"
HELP_ALL = "--help-all"
WITHOUT_DEV = ("--eval_strategy", "no", "--load_best_model_at_end", "false")  # defaults when there is nothing to score
# How many kernels oneDNN keeps, and torch for it. By default it is the last 1024, one for each shape they met. Batches
# differ in shape, and what the kernels hold are small blocks all over the heap, between which nothing large fits.
KERNEL_CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32", "LRU_CACHE_CAPACITY": "32"}
USER_ERRORS = (DataError, ConfigError, BackendError, OSError, HFValidationError)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Exits with 0; after an error of use with 2 and one line on the standard error."""
    if arguments is None:
        arguments = sys.argv[1:]
        if arguments[:1] != ["train"]:  # which may be told to end in the middle of what other processes wait for
            signal.signal(signal.SIGTERM, terminated)
    logging.basicConfig(level=logging.WARNING, format="cascade: %(message)s")
    logging.getLogger("huggingface_hub").propagate = False  # it has a handler of its own
    bound_kernel_caches()
    disable_progress_bar()  # of loading and saving weights; Trainer's stays
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # of labels that the terminal's encoding lacks
    if not arguments:
        print(USAGE, file=sys.stderr)
        sys.exit(2)
    verb, *rest = arguments
    if verb not in (*VERBS, *TOLD):
        fail(f"unknown verb {verb!r}: expected {', '.join(VERBS)}")
    try:
        if verb in TOLD:
            print(TOLD[verb])
        else:
            VERBS[verb](rest)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # what reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit would try to write the rest
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:
        print("cascade: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except USER_ERRORS as error:
        logger.debug("%s", error, exc_info=True)
        fail(str(error))


def terminated(number: int, frame: object) -> NoReturn:
    """Leaves as an error does, so that nothing unfinished stays."""
    sys.exit(128 + number)


def bound_kernel_caches() -> None:
    for name, capacity in KERNEL_CACHES.items():
        os.environ.setdefault(name, capacity)  # read when the first kernel is made


def train(arguments: Sequence[str]) -> None:
    if not any(argument.split("=")[0] in ("--dev_file", "--dev-file") for argument in arguments):
        arguments = [*WITHOUT_DEV, *arguments]  # what is given comes later, and wins
    corpus_args, model_args, args = parse(
        "train", (CorpusArguments, ModelArguments, CascadeTrainingArguments), arguments
    )
    if not args.output_dir or (Path(args.output_dir).exists() and not Path(args.output_dir).is_dir()):
        found = "a file by that name" if args.output_dir else "none"
        raise ConfigError(f"output_dir: expected a folder for checkpoints and the model, found {found}")
    logging.getLogger(__package__).setLevel(args.get_process_log_level())
    for name, path in (("train_file", corpus_args.train_file), ("dev_file", corpus_args.dev_file)):
        if path == "":
            raise ConfigError(f"{name}: expected the name of a corpus, found an empty one")
    with claimed(Path(args.output_dir)) if args.process_index == 0 else nullcontext():
        train_in_folder(corpus_args, given(model_args), args)


def train_in_folder(corpus_args: CorpusArguments, options: dict[str, Any], args: CascadeTrainingArguments) -> None:
    resume = checkpoint_to_resume(args)
    corpus = read(corpus_args.train_file, drop_unknown_ends=corpus_args.drop_unknown_ends)
    dev = read(corpus_args.dev_file, drop_unknown_ends=corpus_args.drop_unknown_ends) if corpus_args.dev_file else None
    labels = training_labels(corpus)  # a label that only the dev file has could not be learned
    set_seed(args.seed)
    options = {"overlaps": overlap_kinds(corpus), **options}
    trunk = str(Path(args.output_dir) / "trunk") if corpus_args.trunk == TINY else corpus_args.trunk
    with tiny_trunk(trunk, corpus, args, resume) if corpus_args.trunk == TINY else nullcontext(trunk) as source:
        model, tokenizer = create_model(source, labels, architecture=corpus_args.architecture, **options)
    model.config.trunk._name_or_path = trunk  # where it was made is gone
    if resume is not None:
        check_resumed(resume, model.config, tokenizer)
    trainer = make_trainer(model, tokenizer, args, corpus, dev)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    scores = trainer.evaluate() if dev is not None else {}
    if dev is not None:
        trainer.log_metrics("eval", scores)
    if trainer.is_world_process_zero():
        folder = Path(args.output_dir) / FINAL_MODEL
        save_model(model, tokenizer, folder, model_card(model, args, trunk, corpus, dev, scores))
        print(f"model: {folder}")
    # Trainer leaves the process group open. A gloo thread that still releases the last collective's tensors, for which
    # it needs the interpreter, would abort a process that exits and hang one that ends the group. So all processes
    # wait, with the interpreter free, until the model is written, and only then end the group.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


@contextmanager
def tiny_trunk(folder: str, corpus: Corpus, args: CascadeTrainingArguments, resume: Path | None) -> Iterator[str]:
    """Makes a trunk in ``folder``; or elsewhere, only for as long as this lasts, where a training goes on, which may still
    be refused. Gives its place."""
    with nullcontext(folder) if resume is None else TemporaryDirectory() as place:
        with args.main_process_first(local=False):
            if args.process_index == 0 or resume is not None:
                make_tiny_trunk((word for sentence in corpus.sentences() for word in sentence.words), place)
        yield place


def tune(arguments: Sequence[str]) -> None:
    args, batches, overrides = parse("tune", (TuneArguments, BatchArguments, TunedModelArguments), arguments)
    if not args.file:
        raise ConfigError("file: expected a labelled corpus, found none")
    predictor = predictor_of(args, batches, overrides)
    check_writable(args.model)
    corpus = read(args.file, drop_unknown_ends=args.drop_unknown_ends)
    report_gold(corpus, predictor.model.labels)
    predict, config = predictor.repeatedly(corpus), predictor.model.config
    before = config.thresholds, score(corpus, predict())
    config.thresholds = tune_thresholds(predictor, corpus, predict=predict)
    after = config.thresholds, score(corpus, predict())
    for thresholds, scores in (before, after):
        numbers = " ".join(f"{threshold:g}" for threshold in thresholds)
        print(f"thresholds {numbers}: NER {100 * scores.ner.f1:.2f}, RE {100 * scores.re.f1:.2f}")
    saved = save_thresholds(args.model, config.thresholds)
    tell_thresholds(saved.parent, config.thresholds, corpus, after[1])
    print(f"saved: {saved}")


def evaluate(arguments: Sequence[str]) -> None:
    args, batches, overrides = parse("evaluate", (EvaluateArguments, BatchArguments, SavedModelArguments), arguments)
    if not args.file:
        raise ConfigError("file: expected a labelled corpus, found none")
    if (args.model is None) == (args.predictions is None):
        raise ConfigError(f"model and predictions: expected one of them, found {'both' if args.model else 'none'}")
    check_not_read(args.output, args.file, args.predictions)
    if args.predictions is not None and (unused := [*given(overrides), *changed(args, batches)]):
        raise ConfigError(f"{', '.join(unused)}: expected a model to which that applies, found predictions")
    with nullcontext() if args.output is None else opened(args.output, resume=None) as output:
        predictor = None if args.model is None else predictor_of(args, batches, overrides)
        corpus = read(args.file, drop_unknown_ends=args.drop_unknown_ends)
        predicted = read_predicted(args.predictions) if predictor is None else predict_labelled(predictor, corpus)
        scores = score(corpus, predicted, symmetric=args.symmetric)
        values = json.dumps(scores.as_dict())
        print(scores.table())
        if args.errors:
            found = list(errors(corpus, predicted))
            print("", error_table(found), "", *found, "", sep="\n")
        print(values, flush=True)  # before what goes to the same stream by its descriptor
        if output is not None:
            output.write(values)


def show(arguments: Sequence[str]) -> None:
    (args,) = parse("show", (ShowArguments,), arguments)
    if not (args.file or args.predictions):
        raise ConfigError("file and predictions: expected one of them, or both, found none")
    check_not_read(args.output, args.file, args.predictions)
    with opened(args.output, resume=None) as output:
        gold = read(args.file, drop_unknown_ends=args.drop_unknown_ends) if args.file else None
        predicted = read_predicted(args.predictions) if args.predictions else None
        title = " beside ".join(on_one_line(Path(name).name) for name in (args.predictions, args.file) if name)
        for line in html_page(title, gold, predicted):
            output.write(line)


def check_not_read(output: str | None, *files: str | None) -> None:
    """Raises ConfigError if what a verb writes would take the place of what it reads."""
    for file in filter(None, files):
        with suppress(OSError):
            if output and Path(output).is_file() and os.path.samefile(output, file):
                raise ConfigError(f"output: expected another file than what is read, found {output}")


def predict_labelled(predictor: Predictor, corpus: Corpus) -> list[Sentence]:
    report_gold(corpus, predictor.model.labels)
    documents = progress(predictor.documents(corpus.documents), lambda pair: len(pair[1]))
    return [sentence for _, sentences in documents for sentence in sentences]


def read_predicted(path: str) -> Corpus:
    predicted = read_predictions(path)
    print_dropped(path, predicted.dropped)
    return predicted


def predict(arguments: Sequence[str]) -> None:
    args, batches, overrides = parse("predict", (PredictArguments, BatchArguments, SavedModelArguments), arguments)
    if args.file == "":
        raise ConfigError("file: expected the name of a corpus, found an empty one")
    if args.file is not None and args.text is not None:
        raise ConfigError("file and text: expected one of them")
    check_not_read(args.output, args.file)
    if args.file is None and args.resume:
        raise ConfigError("resume: expected a corpus in `file`, found none")
    if args.language is not None:
        split_text("", args.language)  # refuses what is no code
    if args.workers is not None and args.ray is None:
        raise ConfigError("workers: expected a Ray in `ray`, found none")
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"workers: expected a number from 1 on, found {args.workers}")
    if args.ray is not None and args.device is not None and ":" in args.device:
        raise ConfigError(f"device: expected none with a number, as Ray chooses the GPU, found {args.device!r}")
    lines = PredictionLines(args.format, ascii_only=args.file is not None)
    resume = None if args.file is None else args.resume
    with ExitStack() as stack:
        output = stack.enter_context(opened(args.output, resume=resume, end=lines.LAST))
        predictor: Predictor | Workers
        if args.ray is None:
            predictor = predictor_of(args, batches, overrides)
        else:
            stack.enter_context(redirect_stdout(sys.stderr))  # where Ray tells of deaths; the output is open already
            predictor = stack.enter_context(workers_of(args, batches, overrides))
            say_products(args.dtype, predictor.dtype == str(torch.bfloat16))
        dropped: Counter[str] = Counter()
        if args.file is None:
            text = read_text(args.text)
            documents = iter([Document("text", split_text(text, args.language or ENGLISH), record={"text": text})])
        else:
            documents = read_documents(source(args.file), labelled=False, dropped=dropped, language=args.language)
            skip_predicted(documents, args.file, lines, output)
        write_predicted(predictor, documents, lines, output)
        for name, counts in ((args.file, dropped), ("predictions", lines.dropped)):
            print_dropped(name, counts)


def workers_of(args: PredictArguments, batches: Any, overrides: object) -> AbstractContextManager[Workers]:
    return workers(
        partial(
            predictor_in_worker, os.path.abspath(args.model), args.device, args.dtype, given(overrides), **vars(batches)
        ),
        batches.batch_size * BATCHES_AHEAD,
        address=args.ray,
        count=args.workers,
        gpu=args.device is None or args.device.startswith("cuda"),
    )


def predictor_in_worker(*arguments: Any, **options: Any) -> Predictor:
    bound_kernel_caches()
    return load_predictor(*arguments, **options)


def write_predicted(
    predictor: Predictor | Workers, documents: Iterator[Document], lines: PredictionLines, output: Output
) -> None:
    """Writes a line for each document, which another process sees at once, and holds a bounded number of them."""
    for document, sentences in progress(predictor.documents(documents), lambda pair: len(pair[1])):
        output.write(lines.line(document, sentences))
        output.flush()
    if (end := lines.end()) is not None:
        output.write(end)


def skip_predicted(documents: Iterator[Document], path: str, lines: PredictionLines, output: Output) -> None:
    """Goes past the documents whose predictions an interrupted run has left in ``output``.

    Raises:
        DataError: a line is of another document, or in another form.
    """
    for number, line in enumerate(output.earlier(), 1):
        document = next(documents, None)
        if document is None or not lines.is_of(line, document):
            raise DataError(
                f"resume: expected the predictions of the first {output.resumed} documents of {path} in what an "
                f"interrupted run has left, found others in line {number}"
            )
        lines.passed(document)


def benchmark(arguments: Sequence[str]) -> None:
    folder = Path(__file__).parent.parent / "benchmarks"
    if not folder.is_dir():
        raise ConfigError(f"no benchmarks at {folder}: they come with a source checkout, not with an installed package")
    sys.exit(subprocess.run([sys.executable, "-m", "pytest", str(folder), *arguments], check=False).returncode)


VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train,
    "tune": tune,
    "evaluate": evaluate,
    "show": show,
    "predict": predict,
    "benchmark": benchmark,
}


def parse(verb: str, classes: tuple[type, ...], arguments: Sequence[str]) -> tuple[Any, ...]:
    """The arguments of a verb as objects of ``classes``; anything else is an error of use."""
    parser = Parser(verb, classes, arguments)
    try:
        *parsed, rest = parser.parse_args_into_dataclasses(
            list(arguments), return_remaining_strings=True, look_for_args_file=False
        )
    except (ValueError, TypeError, ImportError, OSError) as error:  # training arguments that contradict each other
        # the one of them that contradicts others although nobody gave it
        hint = " (or give --load_best_model_at_end false)" if "load_best_model_at_end" in str(error) else ""
        raise ConfigError(f"{error}{hint}") from error
    if rest:
        fail(f"{verb}: unknown arguments {' '.join(rest)}")
    return tuple(parsed)


class Parser(HfArgumentParser):
    """Of a verb's options. Where ``arguments`` ask for help, it knows what is told: the essential options, or all."""

    def __init__(self, verb: str, classes: tuple[type, ...], arguments: Sequence[str]) -> None:
        self.essential = None if HELP_ALL in arguments else {f"--{name}" for name in ESSENTIAL[verb]}
        self.one_name = bool({"-h", "--help"} & set(arguments))
        self.verb, self.count = verb, 0
        self.required: list[str] = []
        super().__init__(classes, prog=f"cascade {verb}", add_help=False, allow_abbrev=False, formatter_class=Help)
        for names in (("-h", "--help"), (HELP_ALL,)):
            super().add_argument(*names, action="help", help=SUPPRESS)

    def add_argument(self, *names: str, **options: Any) -> Action:
        self.count += "dest" not in options  # which says that it negates another
        self.required += [f"{names[0]} ..."] if options.get("required") else []
        if self.essential is not None and names[0] not in self.essential:
            options["help"] = SUPPRESS
        return super().add_argument(*(names[:1] if self.one_name else names), **options)

    def format_help(self) -> str:
        if self.essential is not None:
            self.usage = " ".join((self.prog, *self.required, "[options]"))
            self.epilog = f"`{self.prog} {HELP_ALL}` tells all {self.count} options."
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """argparse's own prints the usage before it, a screen or more."""
        fail(f"{self.verb}: {message}")


def given(args: object) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in vars(args).items() if value is not None}


def changed(args: RunArguments, batches: object) -> list[str]:
    """The options of how a model runs that are not as they are by default."""
    values = {**vars(args), **vars(batches)}
    usual = {field.name: field.default for each in (RunArguments, BatchArguments) for field in fields(each)}
    return [name for name, default in usual.items() if name != "model" and values[name] != default]


def predictor_of(args: RunArguments, batches: object, overrides: object) -> Predictor:
    predictor = load_predictor(args.model, args.device, args.dtype, given(overrides), **vars(batches))
    say_products(args.dtype, predictor.dtype is not None)
    return predictor


def say_products(dtype: str | None, in_bfloat16: bool) -> None:
    if dtype == "auto" and in_bfloat16:
        print("cascade: products in bfloat16, which this processor has (--dtype float32: in float32)", file=sys.stderr)


def read_text(text: str | None) -> str:
    """``text``, or None: what the standard input holds, without a byte order mark."""
    stream = standard_input() if text is None else None
    if stream is not None and stream.isatty():
        print("cascade: reading text from the keyboard, up to Ctrl-D", file=sys.stderr)
    try:
        # in an argument Python writes a byte that is not UTF-8 as half a surrogate pair
        content = stream.read() if text is None else text.encode("utf-8", "surrogateescape")
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeError as error:
        raise DataError(f"{'the standard input' if text is None else 'text'}: expected UTF-8: {error}") from error


def standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise DataError("the standard input: expected a stream to read, found it closed")
    return sys.stdin.buffer


def source(path: str) -> str | BinaryIO:
    """What ``--file`` means."""
    return standard_input() if path == STANDARD_INPUT else path


def progress(items: Iterable[T], sentences: Callable[[T], int]) -> Iterator[T]:
    """The items, while the standard error shows how many sentences have passed: on a terminal often, in a log rarely."""
    if sys.stderr is None:  # closed
        yield from items
        return
    interval = 0.2 if sys.stderr.isatty() else 60
    with tqdm(unit=" sentences", delay=5, mininterval=interval, maxinterval=interval) as bar:
        for item in items:
            yield item
            bar.update(sentences(item))


def read(path: str, drop_unknown_ends: bool = False) -> Corpus:
    """A labelled corpus; what reading dropped is printed."""
    dropped: Counter[str] = Counter()
    documents = tuple(read_documents(source(path), drop_unknown_ends=drop_unknown_ends, dropped=dropped))
    print_dropped(path, dropped)
    return Corpus(documents, path, dropped)


def print_dropped(path: str, dropped: Counter[str]) -> None:
    for reason, count in dropped.items():
        print(f"cascade: {path}: {count} {reason}", file=sys.stderr)


def checkpoint_to_resume(args: CascadeTrainingArguments) -> Path | None:
    """The checkpoint that ``--resume_from_checkpoint`` means: a folder, or ``last``.

    Raises:
        ConfigError: there is none; or none was asked for, and the output folder holds some of an earlier run.
    """
    last = last_checkpoint(args.output_dir)
    if args.resume_from_checkpoint is None:
        if last is not None:
            raise ConfigError(
                f"output_dir: {args.output_dir} holds checkpoints of an earlier run; continue it with "
                "`--resume_from_checkpoint last`, or choose another folder"
            )
        return None
    if args.resume_from_checkpoint.lower() not in ("last", "true"):
        checkpoint = Path(args.resume_from_checkpoint)
        if not is_complete(checkpoint):
            raise ConfigError(
                f"resume_from_checkpoint: expected a complete checkpoint or `last`, found {args.resume_from_checkpoint!r}"
            )
        return checkpoint
    if last is None:
        raise ConfigError(f"resume_from_checkpoint: expected a complete checkpoint in {args.output_dir}, found none")
    return last


def fail(message: str) -> NoReturn:
    print(f"cascade: error: {on_one_line(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(2)
