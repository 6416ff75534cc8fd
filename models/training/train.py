"""From a table to a model: chosen on earlier folds, calibrated on them, fitted on the plan's days."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from models.backend.cuda import require_cuda
from models.bundle import Trained
from models.bundle.golden import nan_for
from models.calibration import Calibration
from models.training.fit import DEFAULT_PARAMS, Device, fit
from models.training.folds import Fold, earlier_folds
from models.training.metrics import Worth
from models.training.plan import Plan
from models.training.scored import OutOfFold, calibrated
from models.training.search import Params, Tried, candidates, out_of_fold, search
from models.training.table import UNKNOWN, LabelledEvents, TrainingTable
from schemas.errors import ConfigurationError

# Frauds are few: bins of equal weight cut through the thresholds that tell them apart, and one tree
# follows chance (docs/decisions/0013-training.md).
_BINS: Final = 4096
FOREST: Final = 8
Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Wishes:
    """How to train.

    tries: parameter sets to search through. forest: trees that each round grows side by side, each
    of a sample of its own. params: that all have. chosen: no search, these parameters and rounds.
    missing: a feature of this value is missing, as one that is NaN. monotone: +1 or -1 by feature. threads: in the search as many folds at a time.
    """

    seed: int = 0
    tries: int = 16
    forest: int = FOREST
    params: Params = field(default_factory=dict)
    chosen: tuple[Params, int] | None = None
    missing: float = math.nan
    monotone: Mapping[str, int] = field(default_factory=dict)
    device: Device = "cpu"
    threads: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A model and how it came about. tried: best first; one that was given, alone.

    missing: as it was wished. gains: by feature, what its splits took from the loss. begins: when the assessed days of each
    fold of `chosen` begin.
    """

    plan: Plan
    booster: xgb.Booster
    gains: Mapping[str, float]
    begins: Sequence[int]
    calibration: Calibration
    chosen: Tried
    tried: Sequence[Tried]
    out_of_fold: OutOfFold
    trained: Trained
    missing: float


def train(
    table: TrainingTable,
    plan: Plan,
    wishes: Wishes,
    *,
    unlabelled_legit: bool = False,
    advance: Advance = lambda _what, _done, _of: None,
) -> Training:
    """advance: told what is done, how much of it, of how much.

    Raises ConfigurationError where the days hold too little to learn from, and where there is no
    GPU to train on: XGBoost would take the CPU, with a warning.
    """
    if wishes.device == "cuda":
        require_cuda()
    fixed = _fixed(table, wishes)
    advance("reading", 0, 1)
    events = table.read(plan.first, plan.train_until, unlabelled_legit=unlabelled_legit)
    events = replace(events, matrix=nan_for(wishes.missing, events.matrix))
    folds = _folds(events, plan)
    workers = 1 if wishes.device == "cuda" else wishes.threads
    tried = _tried(events, folds, fixed, wishes, functools.partial(advance, "searching"))
    chosen = tried[0]
    params = {**fixed, **chosen.params}
    advance("calibrating", 0, 1)
    margins = out_of_fold(events, folds, chosen.rounds, params, seed=wishes.seed, workers=workers)
    advance("fitting", 0, 1)
    rows, labels = _training_rows(events, plan)
    booster = _fitted(events.matrix[rows], labels, params, chosen.rounds, wishes)
    calibration, scored = calibrated(events, folds, margins)
    return Training(
        plan,
        booster,
        _gains(booster, table),
        [fold.begin for fold in folds],
        calibration,
        chosen if chosen.folds else _with_worth(chosen, events, folds, margins),
        tried,
        scored,
        _trained(table, events.times[rows], labels, {**params, "rounds": chosen.rounds}, wishes),
        wishes.missing,
    )


def _fitted(
    matrix: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int8],
    params: Params,
    rounds: int,
    wishes: Wishes,
) -> xgb.Booster:
    return fit(
        matrix, labels, threads=wishes.threads, rounds=rounds, seed=wishes.seed, params=params
    )


def _gains(booster: xgb.Booster, table: TrainingTable) -> dict[str, float]:
    found: dict[str, Any] = booster.get_score(importance_type="total_gain")
    return {
        feature.name: float(found.get(f"f{place}", 0.0))
        for place, feature in enumerate(table.features)
    }


def _fixed(table: TrainingTable, wishes: Wishes) -> dict[str, Any]:
    """The parameters that are not searched for."""
    names = [feature.name for feature in table.features]
    unknown = sorted(wishes.monotone.keys() - set(names))
    if unknown:
        raise ConfigurationError(
            f"--monotone: {table.path} has no feature {', '.join(unknown)}; it has "
            f"{', '.join(names)}"
        )
    fixed: dict[str, Any] = {
        **DEFAULT_PARAMS,
        "max_bin": _BINS,
        "num_parallel_tree": wishes.forest,
        "device": wishes.device,
    }
    if wishes.monotone:
        fixed["monotone_constraints"] = (
            "(" + ",".join(str(wishes.monotone.get(name, 0)) for name in names) + ")"
        )
    return {**fixed, **wishes.params}


def _folds(events: LabelledEvents, plan: Plan) -> list[Fold]:
    """Those of which both parts hold frauds and others."""
    found = [
        fold
        for fold in earlier_folds(events, plan.train_from, plan.lengths, plan.folds)
        if all(0 < labels.sum() < len(labels) for labels in (fold.train_labels, fold.labels))
    ]
    if not found:
        raise ConfigurationError(
            "--features: no earlier fold holds both frauds and others, in the days to train on and "
            "in those to assess; train on later or more days. Where only frauds are labelled, give "
            "--unlabelled legit"
        )
    return found


def _tried(
    events: LabelledEvents,
    folds: Sequence[Fold],
    fixed: Params,
    wishes: Wishes,
    advance: Callable[[int, int], None],
) -> list[Tried]:
    if wishes.chosen is not None:
        return [Tried(*wishes.chosen, folds=())]
    return search(
        events,
        folds,
        candidates(wishes.tries, wishes.seed),
        fixed,
        seed=wishes.seed,
        workers=1 if wishes.device == "cuda" else wishes.threads,
        advance=advance,
    )


def _training_rows(
    events: LabelledEvents, plan: Plan
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int8]]:
    """All rows of the training period whose labels are known when the model goes to work."""
    known = events.labels_known(plan.known_by)
    rows = events.between(plan.train_from, plan.train_until)
    rows = rows[known[rows] != UNKNOWN]
    labels = known[rows]
    if not 0 < labels.sum() < len(labels):
        raise ConfigurationError(
            f"--from and --until: {int(labels.sum())} of {len(labels):,} labelled events are "
            "frauds; a model needs both kinds: train on more days. Where only frauds are labelled, "
            "give --unlabelled legit"
        )
    return rows, labels


def _with_worth(
    chosen: Tried,
    events: LabelledEvents,
    folds: Sequence[Fold],
    margins: Sequence[npt.NDArray[np.float32]],
) -> Tried:
    worths = [
        Worth.of(fold.labels, of_fold, events.cards[fold.assess], fold.days)
        for fold, of_fold in zip(folds, margins, strict=True)
    ]
    return Tried(chosen.params, chosen.rounds, tuple(worths))


def _trained(
    table: TrainingTable,
    times: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int8],
    params: dict[str, Any],
    wishes: Wishes,
) -> Trained:
    return Trained(
        rows=len(labels),
        frauds=int(labels.sum()),
        since=_moment(times[0]),
        until=_moment(times[-1]),
        data=table.fingerprint(),
        xgboost=xgb.__version__,
        params=params,
        seed=wishes.seed,
    )


def _moment(time: np.int64) -> datetime:
    return datetime.fromtimestamp(int(time) / 1e6, UTC)
