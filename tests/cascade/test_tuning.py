"""Thresholds chosen on a dev corpus: against every combination of a grid, and what a model keeps."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from tiny_models import SAMPLE, tiny_model

from cascade.data import Corpus, Document, Entity, Relation, Sentence
from cascade.model import ConfigError
from cascade.prediction import Predictor
from cascade.scoring import Scores, score
from cascade.tuning import tune_thresholds

GRID = (0.2, 0.4, 0.6, 0.8)
START = [0.5, 0.5, 0.5]


class Confident:
    """Predicts gold and false items whose probabilities are drawn: high ones more often for gold."""

    def __init__(self, seed: int) -> None:
        self.model = SimpleNamespace(config=SimpleNamespace(thresholds=list(START), relation_types=["IN"]))
        draw = random.Random(seed)
        sentences = []
        self.probabilities: dict[int, list[tuple[object, float]]] = {}
        for n in range(40):
            gold, false = Entity(0, 0, "Place"), Entity(1, 1, "Place")
            sentence = Sentence((str(n), "word"), (gold,), (Relation(gold, gold, "IN"),))
            sentences.append(sentence)
            items = [(gold, 0.8), (false, 0.4), (Relation(gold, gold, "IN"), 0.5), (Relation(gold, false, "IN"), 0.3)]
            self.probabilities[n] = [(item, draw.betavariate(4 * mean, 4 - 4 * mean)) for item, mean in items]
        self.corpus = Corpus((Document("d", tuple(sentences)),))

    def repeatedly(self, corpus: Corpus) -> Callable[[], list[Sentence]]:
        return lambda: self(corpus)

    def __call__(self, corpus: Corpus) -> list[Sentence]:
        entity, subject, object_ = self.model.config.thresholds
        predicted = []
        for n, sentence in enumerate(corpus.sentences()):
            items = self.probabilities[n]
            entities = tuple(i for i, p in items if isinstance(i, Entity) and p >= entity)
            relations = tuple(i for i, p in items if isinstance(i, Relation) and p >= object_ and p >= subject / 2)
            predicted.append(Sentence(sentence.words, entities, relations))
        return predicted


@pytest.mark.parametrize("seed", range(5))
def test_no_single_change_of_what_is_chosen_scores_better(seed: int) -> None:
    predictor = Confident(seed)
    config = predictor.model.config
    chosen = tune_thresholds(predictor, predictor.corpus, grid=GRID)
    assert config.thresholds == START

    def reached(thresholds: list[float]) -> float:
        config.thresholds = thresholds
        scores = score(predictor.corpus, predictor(predictor.corpus))
        return scores.ner.f1 + scores.re.f1

    best = reached(chosen)
    assert best > reached(START)
    for place, threshold in itertools.product(range(len(chosen)), GRID):
        assert reached([*chosen[:place], threshold, *chosen[place + 1 :]]) <= best


def test_what_is_good_already_stays() -> None:
    model, tokenizer = tiny_model()
    assert tune_thresholds(Predictor(model, tokenizer), SAMPLE, grid=(0.9, 0.95)) == model.config.thresholds == START


def test_of_equally_good_thresholds_the_lowest_is_taken_whatever_their_order() -> None:
    chosen = [
        tune_thresholds(predictor, predictor.corpus, grid=grid, value=lambda scores: scores.ner.recall > 0.95)
        for predictor, grid in ((Confident(0), GRID), (Confident(0), GRID[::-1]))
    ]
    assert chosen == [[GRID[0], *START[1:]]] * 2


def test_without_relations_only_the_entities_threshold_is_chosen() -> None:
    predictor, asked = Confident(0), []
    predictor.model.config.relation_types = []

    def predict() -> list[Sentence]:
        asked.append(list(predictor.model.config.thresholds))
        return predictor(predictor.corpus)

    chosen = tune_thresholds(predictor, predictor.corpus, grid=GRID, predict=predict)
    assert chosen[1:] == START[1:] and all(thresholds[1:] == START[1:] for thresholds in asked)


def test_a_threshold_is_a_probability() -> None:
    confident = Confident(0)
    with pytest.raises(ConfigError, match=r"^grid: expected numbers from 0 to 1, found \[0.5, 1.5\]$"):
        tune_thresholds(confident, confident.corpus, grid=(0.5, 1.5))


def test_an_error_leaves_the_model_its_thresholds() -> None:
    predictor = Confident(0)

    def fail(scores: Scores) -> float:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        tune_thresholds(predictor, predictor.corpus, grid=GRID, value=fail)
    assert predictor.model.config.thresholds == START
