"""A small seeded search: which parameters, and how many rounds, on earlier prequential folds."""

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

# What is chance in them is alike (of two models, over four of the Handbook's weeks before August:
# standard deviations .0016 and .0012), but among good parameters average precision differs ten times
# as much, and rises with rounds in which fewer cards are found: as a plain sum it decides alone.
_CARDS_WEIGH: Final = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A fold, and those of its training rows that models are fitted on."""

    fold: Fold
    sample: Sample


@dataclass(frozen=True, slots=True)
class Trial:
    """Parameters and rounds, and what they are worth on each fold."""

    params: Params
    rounds: int
    folds: tuple[Metrics, ...]

    @property
    def worth(self) -> Metrics:
        return Metrics.mean(self.folds)

    @property
    def merit(self) -> float:
        """The more the better."""
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
    """All `tries` with the `fixed` parameters, each at several numbers of rounds; best first.

    Args:
        events: Those that the parts are rows of.
        parts: Folds, each with the rows that its models are fitted on.
        tries: Parameters, which win over `fixed`.
        fixed: What all have.
        looks: Numbers of rounds, times the learning rate.
        seed: Of the models.
        workers: Fits at a time, each on one thread; those of one fold share their data by turns.
        advance: Called after each fit, by any thread.
    """
    # XGBoost's own threads are slow on cores that do something else, so each fit has one; with
    # fewer folds than cores a fold's tries are dealt out, and binned once for each of them.
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
    """For each fold the margins of its assessed events, by a model of the fold's own."""
    threads = max(1, workers // len(parts))

    def margins(part: Part) -> Margins:
        data = _data(events, part, params)
        booster = boost(data, rounds, seed=seed, threads=threads, params=params)
        return margins_of(booster, events.matrix[part.fold.assess])

    with ThreadPoolExecutor(min(workers, len(parts))) as pool:
        return list(pool.map(margins, parts))


def margins_of(booster: xgb.Booster, matrix: npt.NDArray[np.float32], rounds: int = 0) -> Margins:
    """float32[N] of a matrix float32[N, F], by the first `rounds`; 0 is all."""
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
    """Numbers of rounds of some parameters at which they are looked at."""
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
