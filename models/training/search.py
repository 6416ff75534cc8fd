"""Small seeded search for parameters and numbers of rounds, on earlier prequential folds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from models.training.fit import MAX_BIN, binned, boost
from models.training.folds import Fold
from models.training.metrics import Metrics
from models.training.recipes import Params
from models.training.sample import Sample
from models.training.table import LabelledEvents

Margins = npt.NDArray[np.float32]
Advance = Callable[[int, int], None]
Step = Callable[[], None]

# By chance, average precision and card precision vary alike (two models, over four of the
# Handbook's weeks before August: standard deviations .0016 and .0012). But among good parameters
# average precision varies ten times as much, and it rises with rounds while card precision falls:
# in a plain sum it would decide alone.
_CARDS_WEIGH: Final = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A fold, and the sample of its training rows that models are fitted on."""

    fold: Fold
    sample: Sample


@dataclass(frozen=True, slots=True)
class Trial:
    """Parameters and number of rounds, with their metrics on each fold."""

    params: Params
    rounds: int
    folds: tuple[Metrics, ...]

    @property
    def worth(self) -> Metrics:
        return Metrics.mean(self.folds)

    @property
    def merit(self) -> float:
        """Objective of the search; higher is better."""
        worth = self.worth
        return worth.average_precision + _CARDS_WEIGH * worth.card_precision_100


def search(  # noqa: PLR0913  the parts of a search
    events: LabelledEvents,
    parts: Sequence[Part],
    tries: Sequence[Params],
    fixed: Params,
    *,
    looks: Sequence[float],
    seed: int,
    workers: int,
    advance: Step = lambda: None,
) -> list[Trial]:
    """Try all `tries` with the `fixed` parameters, each at several numbers of rounds.

    Args:
        events: Events that the parts are rows of.
        parts: Folds, each with the rows that its models are fitted on.
        tries: Parameters, which win over `fixed`.
        fixed: Parameters that all trials share.
        looks: Numbers of rounds, times the learning rate.
        seed: Random seed of the models.
        workers: Number of parallel fits, each on one thread; fits of one fold take turns with its
            data.
        advance: Called after each fit, by any thread.

    Returns:
        The trials, best first.
    """
    # XGBoost's own threads are slow on cores that do something else, so each fit has one thread.
    # With fewer folds than cores, the tries of a fold are divided among several workers, and each
    # worker bins the fold's data once.
    hands = min(len(tries), -(-workers // len(parts)))

    def assess(part: Part, hand: int) -> list[list[Metrics]]:
        data = _data(events, part, {**fixed, **tries[hand]})
        found = []
        for params in tries[hand::hands]:
            rounds = rounds_of(params, looks)
            booster = boost(data, rounds[-1], seed=seed, threads=1, params={**fixed, **params})
            found.append([_worth(events, part.fold, booster, count) for count in rounds])
            advance()
        return found

    tasks = [(part, hand) for part in parts for hand in range(hands)]
    with ThreadPoolExecutor(min(workers, len(tasks))) as pool:
        found = list(pool.map(assess, *zip(*tasks, strict=True)))
    by_part = [found[place * hands : (place + 1) * hands] for place in range(len(parts))]
    tried = [
        Trial(params, rounds, tuple(hand[place % hands][place // hands][look] for hand in by_part))
        for place, params in enumerate(tries)
        for look, rounds in enumerate(rounds_of(params, looks))
    ]
    return sorted(tried, key=lambda one: -one.merit)


def out_of_fold(
    events: LabelledEvents,
    parts: Sequence[Part],
    rounds: int,
    params: Params,
    *,
    seed: int,
    workers: int,
) -> list[Margins]:
    """Margins of each fold's assessed events, by a model of the fold's own."""
    threads = max(1, workers // len(parts))

    def margins(part: Part) -> Margins:
        data = _data(events, part, params)
        booster = boost(data, rounds, seed=seed, threads=threads, params=params)
        return margins_of(booster, events.matrix[part.fold.assess])

    with ThreadPoolExecutor(min(workers, len(parts))) as pool:
        return list(pool.map(margins, parts))


def margins_of(booster: xgb.Booster, matrix: npt.NDArray[np.float32], rounds: int = 0) -> Margins:
    """Margins float32[N] of a matrix float32[N, F], by the first `rounds` rounds; 0 for all."""
    margins: Margins = booster.inplace_predict(
        matrix, predict_type="margin", iteration_range=(0, rounds)
    )
    return margins


def _data(events: LabelledEvents, part: Part, params: Params) -> xgb.QuantileDMatrix:
    return binned(
        events.matrix[part.sample.rows],
        part.sample.labels,
        threads=1,
        max_bin=params.get("max_bin", MAX_BIN),
        weights=part.sample.weights,
    )


def _worth(events: LabelledEvents, fold: Fold, booster: xgb.Booster, rounds: int) -> Metrics:
    margins = margins_of(booster, events.matrix[fold.assess], rounds)
    return Metrics.of(fold.labels, margins, events.cards[fold.assess], fold.days)


def rounds_of(params: Params, looks: Sequence[float]) -> list[int]:
    """Numbers of rounds at which a trial with some parameters is assessed."""
    return [max(1, round(look / params["learning_rate"])) for look in looks]


def steps(advance: Advance, total: int) -> Step:
    """A function to call after each step, by any thread."""
    lock, done = threading.Lock(), 0

    def step() -> None:
        nonlocal done
        with lock:
            done += 1
            advance(done, total)

    return step
