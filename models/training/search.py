"""Random search for parameters and numbers of rounds, on earlier prequential folds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from models.backend.protocol import Margins
from models.training.fit import MAX_BIN, binned, boost
from models.training.folds import Fold
from models.training.metrics import Metrics
from models.training.recipes import Params
from models.training.sample import Sample
from models.training.table import LabelledEvents

Advance = Callable[[str, int, int], None]
"""Progress callback: name of the step, number of its parts that are done, their total."""
Step = Callable[[], None]

# The random variation of both metrics is similar (two models, over four of the Handbook's weeks
# before August: standard deviations .0016 and .0012). But among good parameters average precision
# varies ten times as much as card precision, and it rises with rounds while card precision falls.
# In a sum without weights, average precision would decide alone.
_CARD_PRECISION_WEIGHT: Final = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class SampledFold:
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
    def metrics(self) -> Metrics:
        """Mean of the folds."""
        return Metrics.mean(self.folds)

    @property
    def objective(self) -> float:
        """Objective of the search; higher is better."""
        metrics = self.metrics
        return metrics.average_precision + _CARD_PRECISION_WEIGHT * metrics.card_precision_100


def search_parameters(  # noqa: PLR0913  inputs of a search
    events: LabelledEvents,
    folds: Sequence[SampledFold],
    parameter_sets: Sequence[Params],
    fixed: Params,
    *,
    assess_at: Sequence[float],
    seed: int,
    workers: int,
    advance: Step = lambda: None,
) -> list[Trial]:
    """Assess each parameter set on each fold, at several numbers of rounds.

    Args:
        events: Events that the rows of the folds refer to.
        folds: Folds, each with the rows that its models are fitted on.
        parameter_sets: Parameters to try; they override `fixed`.
        fixed: Parameters that all trials share.
        assess_at: Numbers of rounds times the learning rate.
        seed: Random seed of the models.
        workers: Number of parallel fits, each on one thread.
        advance: Called after each fit, from any thread.

    Returns:
        The trials, best first.
    """
    # XGBoost's own threads are slow on cores that do other work, so each fit has one thread.
    # With fewer folds than cores, several workers share the parameter sets of a fold, and each
    # worker bins the fold's data once.
    workers_per_fold = min(len(parameter_sets), -(-workers // len(folds)))

    def assess(fold: SampledFold, worker: int) -> list[list[Metrics]]:
        data = _binned(events, fold, {**fixed, **parameter_sets[worker]})
        results = []
        for params in parameter_sets[worker::workers_per_fold]:
            rounds = rounds_of(params, assess_at)
            booster = boost(data, rounds[-1], seed=seed, threads=1, params={**fixed, **params})
            results.append([_metrics(events, fold.fold, booster, count) for count in rounds])
            advance()
        return results

    tasks = [(fold, worker) for fold in folds for worker in range(workers_per_fold)]
    with ThreadPoolExecutor(min(workers, len(tasks))) as pool:
        by_task = list(pool.map(assess, *zip(*tasks, strict=True)))

    def on_all_folds(place: int, at: int) -> tuple[Metrics, ...]:
        turn, worker = divmod(place, workers_per_fold)
        return tuple(results[turn][at] for results in by_task[worker::workers_per_fold])

    trials = [
        Trial(params, rounds, on_all_folds(place, at))
        for place, params in enumerate(parameter_sets)
        for at, rounds in enumerate(rounds_of(params, assess_at))
    ]
    return sorted(trials, key=lambda trial: -trial.objective)


def out_of_fold_margins(
    events: LabelledEvents,
    folds: Sequence[SampledFold],
    rounds: int,
    params: Params,
    *,
    seed: int,
    workers: int,
) -> list[Margins]:
    """Margins of each fold's assessed events, by a model that was trained on that fold."""
    threads = max(1, workers // len(folds))

    def margins(fold: SampledFold) -> Margins:
        data = _binned(events, fold, params)
        booster = boost(data, rounds, seed=seed, threads=threads, params=params)
        return margins_of(booster, events.matrix[fold.fold.assess])

    with ThreadPoolExecutor(min(workers, len(folds))) as pool:
        return list(pool.map(margins, folds))


def margins_of(booster: xgb.Booster, matrix: npt.NDArray[np.float32], rounds: int = 0) -> Margins:
    """Compute margins with the first rounds of a model.

    Args:
        booster: The model.
        matrix: float32[N, F].
        rounds: Number of rounds; 0 for all.

    Returns:
        float32[N].
    """
    margins: Margins = booster.inplace_predict(
        matrix, predict_type="margin", iteration_range=(0, rounds)
    )
    return margins


def rounds_of(params: Params, assess_at: Sequence[float]) -> list[int]:
    """Numbers of rounds at which a parameter set is assessed."""
    return [max(1, round(product / params["learning_rate"])) for product in assess_at]


def step_counter(advance: Advance, name: str, total: int) -> Step:
    """Make a function that reports one more finished part of a step; any thread may call it."""
    lock, done = threading.Lock(), 0

    def step() -> None:
        nonlocal done
        with lock:
            done += 1
            advance(name, done, total)

    return step


def _binned(events: LabelledEvents, fold: SampledFold, params: Params) -> xgb.QuantileDMatrix:
    return binned(
        events.matrix[fold.sample.rows],
        fold.sample.labels,
        threads=1,
        max_bin=params.get("max_bin", MAX_BIN),
        weights=fold.sample.weights,
        types=events.types,
    )


def _metrics(events: LabelledEvents, fold: Fold, booster: xgb.Booster, rounds: int) -> Metrics:
    margins = margins_of(booster, events.matrix[fold.assess], rounds)
    return Metrics.of(fold.labels, margins, events.cards[fold.assess], fold.days)
