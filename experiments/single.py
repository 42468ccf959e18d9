"""One run: trains a model, chooses thresholds on dev for each way to decide a span, scores it, and writes one file; or adds
to the file of a run what it lacks.

Scores are of dev, of test, and of the sentences of test that have ``nested`` entities; and of the relations of dev and test
when gold entities and subjects are ``given``, which tells what the object turn alone gets right.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from cascade import cli, load_model, read_corpus, score
from cascade.data import Corpus, write_corpus
from cascade.data.overlaps import NESTED, overlaps_of
from cascade.files import replacing
from cascade.model import Given
from cascade.model.config import DECISIONS, ExtractorConfig
from cascade.prediction import Predictor
from cascade.tensors import collate
from cascade.tokenization import WordTokenizer
from cascade.training import last_checkpoint
from cascade.tuning import tune_thresholds
from experiments.tables import Run
from srn_kernels import __version__

WITHOUT_RELATIONS = "without_relations"  # an option of a run: it is trained and scored on entities alone
GRID = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
BATCH = 32
OF_RELATIONS = ("re_gold", "re_predicted", "re_correct", "re_precision", "re_recall", "re_f1")
CURVE = ("epoch", "loss", "eval_loss", "eval_ner_f1", "eval_re_f1")


def perform(run: Run, corpus: Path, trunk: Path, folder: Path) -> dict[str, Any]:
    """Trains in ``folder``, or goes on there, and returns what the run's file holds."""
    corpus = corpus_of(run, corpus, folder)
    begun = time.monotonic()
    resumed = folder.exists() and last_checkpoint(folder) is not None
    cli.main(["train", *train_arguments(run, corpus, trunk, folder, resumed)])
    minutes = (time.monotonic() - begun) / 60
    log = json.loads((last_checkpoint(folder) / "trainer_state.json").read_text())["log_history"]
    return {
        "options": dict(run.options),
        "seed": run.seed,
        "trunk": trunk.name if trunk.name != "model" else trunk.parent.name,
        "commit": commit(),
        "versions": {"srn-kernels": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "training_minutes": None if resumed else round(minutes, 1),
        "curve": [{name: entry[name] for name in CURVE if name in entry} for entry in log],
        "decision": decision_of(load_model(folder)[0].config),
        "scores": scores(folder, corpus),
        "given": given_scores(folder, corpus),
    }


def commit() -> str | None:
    """That of the code, where it lies in a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def train_arguments(run: Run, corpus: Path, trunk: Path, folder: Path, resumed: bool) -> list[str]:
    options: dict[str, Any] = {
        "train_file": corpus / "train.json",
        "dev_file": corpus / "dev.json",
        "trunk": trunk,
        "output_dir": folder,
        "seed": run.seed,
        "disable_tqdm": True,
        "report_to": "none",
        **{name: value for name, value in run.options if name != WITHOUT_RELATIONS},
        **({"resume_from_checkpoint": "last"} if resumed else {}),
    }
    return [
        word
        for name, value in options.items()
        for word in (
            f"--{name}",
            *map(str, value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)),
        )
    ]


def scores(folder: Path, corpus: Path) -> dict[str, Any]:
    """For each way to decide a span: scores at the thresholds of training and at those chosen on dev.

    Those are chosen for the model's own way, and for all where the trunk need not read again for it.
    """
    model, tokenizer = load_model(folder)
    predictor = Predictor(model, tokenizer)
    splits = {split: read_corpus(corpus / f"{split}.json") for split in ("dev", "test")}
    gold = list(splits["test"].sentences())
    nested = [place for place, sentence in enumerate(gold) if NESTED in overlaps_of(sentence)]

    def at(thresholds: Sequence[float]) -> dict[str, Any]:
        model.config.thresholds = list(thresholds)
        predicted = {split: predictor(corpus) for split, corpus in splits.items()}
        found = {split: score(corpus, predicted[split]) for split, corpus in splits.items()}
        found["nested"] = score([gold[n] for n in nested], [predicted["test"][n] for n in nested])
        return {"thresholds": list(thresholds), **{name: scores.as_dict() for name, scores in found.items()}}

    printed, own = list(model.config.thresholds), decision_of(model.config)
    results = {}
    for decision in DECISIONS if hasattr(model.config, "decision") else (own,):
        model.config.decision = decision
        model.config.thresholds = printed
        results[decision] = {"printed": at(printed)}
        if decision == own or model.config.fusion == "late":
            model.config.thresholds = printed
            results[decision]["chosen"] = at(tune_thresholds(predictor, splits["dev"], grid=GRID))
    return results


def given_scores(folder: Path, corpus: Path) -> dict[str, dict[str, float]]:
    """Scores of the relations of dev and test, at the thresholds of training, when gold spans drive the later turns."""
    model, tokenizer = load_model(folder)
    words = WordTokenizer(tokenizer, model.config)
    found = {}
    for split in ("dev", "test"):
        gold = list(read_corpus(corpus / f"{split}.json").sentences(model.config.context))
        windows = sorted(words(gold, labelled=True).windows, key=lambda window: len(window["input_ids"]))
        predicted = [replace(sentence, relations=()) for sentence in gold]
        for first in range(0, len(windows), BATCH):
            part = windows[first : first + BATCH]
            batch = collate(part)
            results = model.extract(batch, Given.gold(batch)).found(len(part), model.labels)
            for window, (_, relations) in zip(part, results, strict=True):
                place = window["sentence"]
                if window["word_count"] < len(gold[place].words):
                    raise ValueError(f"{split}: expected sentences that fit into the trunk, found {gold[place].words}")
                predicted[place] = replace(predicted[place], relations=relations)
        found[split] = {name: value for name, value in score(gold, predicted).as_dict().items() if name in OF_RELATIONS}
    return found


def decision_of(config: ExtractorConfig) -> str:
    """How a model decides what it finds; a table by the probability of a cell alone."""
    return getattr(config, "decision", "match")


def corpus_of(run: Run, corpus: Path, folder: Path) -> Path:
    """What a run is trained and scored on."""
    return without_relations(corpus, folder / "corpus") if dict(run.options).get(WITHOUT_RELATIONS) else corpus


def without_relations(corpus: Path, target: Path) -> Path:
    """Writes the corpus with its entities alone."""
    target.mkdir(parents=True, exist_ok=True)
    for path in (corpus / f"{split}.json" for split in ("train", "dev", "test")):
        documents = (
            replace(document, sentences=tuple(replace(sentence, relations=()) for sentence in document.sentences))
            for document in read_corpus(path).documents
        )
        write_corpus(target / path.name, Corpus(tuple(documents)))
    return target


def main(text: str, corpus: str, trunk: str, folder: str, results: str) -> None:
    run = Run.from_json(text)
    path = run.result(Path(results))
    if path.is_file():
        scored = corpus_of(run, Path(corpus), Path(folder))
        record = json.loads(path.read_text()) | {"given": given_scores(Path(folder), scored)}
    else:
        record = perform(run, Path(corpus), Path(trunk), Path(folder))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as written:
        written.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
