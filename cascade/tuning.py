"""Thresholds chosen on a dev corpus: those by which a trained model scores best there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .data import Corpus, Sentence
from .model import ConfigError
from .prediction import Predictor
from .scoring import Scores, score

GRID = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7)
ROUNDS = 3  # at most: the second finds little, the third hardly anything


def tune_thresholds(
    predictor: Predictor,
    corpus: Corpus,
    *,
    grid: Sequence[float] | None = None,
    value: Callable[[Scores], float] = lambda scores: scores.ner.f1 + scores.re.f1,
    predict: Callable[[], list[Sentence]] | None = None,
) -> list[float]:
    """The thresholds, each out of ``grid`` (None: ``GRID``), by which what ``predictor`` finds in a labelled ``corpus`` has
    the highest ``value``. One at a time is chosen, in the order of the turns, until a round changes none, or ``ROUNDS``
    are over.

    The model keeps its own thresholds; of equally good ones they stay, then the lowest is taken. A round predicts the
    corpus once for each threshold and each number in the grid, by ``predict``: the function that
    ``Predictor.repeatedly`` gives for the corpus, made here if there is none.

    Raises ConfigError for a grid that holds what is no probability.
    """
    grid = GRID if grid is None else grid
    if not all(0 <= threshold <= 1 for threshold in grid):
        raise ConfigError(f"grid: expected numbers from 0 to 1, found {list(grid)}")
    grid = sorted(grid)
    config = predictor.model.config
    saved = list(config.thresholds)
    predict = predict or predictor.repeatedly(corpus)
    turns = len(saved) if config.relation_types else 1  # there are no later ones for entities alone

    def value_of(thresholds: Sequence[float]) -> float:
        config.thresholds = list(thresholds)
        return value(score(corpus, predict()))

    try:
        best = list(saved)
        highest = value_of(best)
        for _ in range(ROUNDS):
            before = list(best)
            for place in range(turns):
                for threshold in grid:
                    if threshold != best[place]:
                        tried = [*best[:place], threshold, *best[place + 1 :]]
                        reached = value_of(tried)
                        if reached > highest:
                            best, highest = tried, reached
            if best == before:
                break
        return best
    finally:
        config.thresholds = saved
