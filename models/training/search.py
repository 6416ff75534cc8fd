"""A small seeded search: which parameters, and how many rounds, on earlier prequential folds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from models.training.fit import MAX_BIN, binned, boost
from models.training.folds import Fold
from models.training.metrics import Worth
from models.training.table import LabelledEvents

Params = Mapping[str, Any]
Margins = npt.NDArray[np.float32]
Advance = Callable[[int, int], None]

START: Final[Params] = {
    "max_depth": 3,
    "learning_rate": 0.2,
    "min_child_weight": 1.0,
    "subsample": 0.5,
    "colsample_bynode": 0.7,
    "reg_lambda": 1.0,
    "scale_pos_weight": 1.0,
}
"""What is tried first."""
# Deeper trees found fewer cards on the Handbook's weeks before August, at the same average precision:
# docs/decisions/0013-training.md.
SPACE: Final[Mapping[str, tuple[Any, ...]]] = {
    "max_depth": (3, 4),
    "learning_rate": (0.2, 0.3),
    "min_child_weight": (1.0, 3.0, 10.0),
    "subsample": (0.5, 0.7),
    "colsample_bynode": (0.5, 0.7, 0.85),
    "reg_lambda": (0.3, 1.0, 5.0),
    "scale_pos_weight": (1.0, 3.0),
}
# Rounds times learning rate: up to the last the trees grow, at each they are looked at.
_LOOKS: Final = (5.0, 7.5, 10.0, 12.5)
# What is chance in them is alike (of two models, over four of the Handbook's weeks before August:
# standard deviations .0016 and .0012), but among good parameters average precision differs ten times
# as much, and rises with rounds in which fewer cards are found: as a plain sum it decides alone.
_CARDS_WEIGH: Final = 2.0


@dataclass(frozen=True, slots=True)
class Tried:
    """Parameters and rounds, and what they are worth on each fold."""

    params: Params
    rounds: int
    folds: tuple[Worth, ...]

    @property
    def worth(self) -> Worth:
        return Worth.mean(self.folds)

    @property
    def merit(self) -> float:
        """The more the better."""
        worth = self.worth
        return worth.average_precision + _CARDS_WEIGH * worth.card_precision_100


def candidates(count: int, seed: int) -> list[Params]:
    """START, and others drawn from SPACE, no two alike; the same from the same seed."""
    random = np.random.default_rng(seed)
    found: list[Params] = [START]
    most = int(np.prod([len(values) for values in SPACE.values()]))
    while len(found) < min(count, most):
        drawn = {name: values[random.integers(len(values))] for name, values in SPACE.items()}
        if drawn not in found:
            found.append(drawn)
    return found


def search(
    events: LabelledEvents,
    folds: Sequence[Fold],
    tries: Sequence[Params],
    fixed: Params,
    *,
    seed: int,
    workers: int,
    advance: Advance = lambda _done, _of: None,
) -> list[Tried]:
    """All `tries` with the `fixed` parameters, each at several numbers of rounds; best first.

    workers: folds at a time, each on one thread.
    """
    step = _steps(advance, len(folds) * len(tries))

    def assess(fold: Fold) -> list[list[Worth]]:
        data = _data(events, fold, fixed)
        found = []
        for params in tries:
            booster = boost(
                data, _rounds(params)[-1], seed=seed, threads=1, params={**fixed, **params}
            )
            found.append([_worth(events, fold, booster, rounds) for rounds in _rounds(params)])
            step()
        return found

    with ThreadPoolExecutor(min(workers, len(folds))) as pool:
        by_fold = list(pool.map(assess, folds))
    tried = [
        Tried(params, rounds, tuple(worths[place][look] for worths in by_fold))
        for place, params in enumerate(tries)
        for look, rounds in enumerate(_rounds(params))
    ]
    return sorted(tried, key=lambda one: -one.merit)


def out_of_fold(
    events: LabelledEvents,
    folds: Sequence[Fold],
    rounds: int,
    params: Params,
    *,
    seed: int,
    workers: int,
) -> list[Margins]:
    """For each fold the margins of its assessed events, by a model of the fold's own."""

    def margins(fold: Fold) -> Margins:
        booster = boost(_data(events, fold, params), rounds, seed=seed, threads=1, params=params)
        return margins_of(booster, events.matrix[fold.assess])

    with ThreadPoolExecutor(min(workers, len(folds))) as pool:
        return list(pool.map(margins, folds))


def margins_of(booster: xgb.Booster, matrix: npt.NDArray[np.float32], rounds: int = 0) -> Margins:
    """float32[N] of a matrix float32[N, F], by the first `rounds`; 0 is all."""
    margins: Margins = booster.inplace_predict(
        matrix, predict_type="margin", iteration_range=(0, rounds)
    )
    return margins


def _data(events: LabelledEvents, fold: Fold, params: Params) -> xgb.QuantileDMatrix:
    max_bin = params.get("max_bin", MAX_BIN)
    return binned(events.matrix[fold.train], fold.train_labels, threads=1, max_bin=max_bin)


def _worth(events: LabelledEvents, fold: Fold, booster: xgb.Booster, rounds: int) -> Worth:
    margins = margins_of(booster, events.matrix[fold.assess], rounds)
    return Worth.of(fold.labels, margins, events.cards[fold.assess], fold.days)


def _rounds(params: Params) -> list[int]:
    return [max(1, round(look / params["learning_rate"])) for look in _LOOKS]


def _steps(advance: Advance, total: int) -> Callable[[], None]:
    """Called after each step, by any thread."""
    lock, done = threading.Lock(), 0

    def step() -> None:
        nonlocal done
        with lock:
            done += 1
            advance(done, total)

    return step
