"""Train a model: earlier folds choose days and parameters, calibrate, and assess; then fit it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from base.errors import ConfigurationError
from base.times import utc
from models.backend.cuda import require_cuda
from models.bundle import TrainingRecord
from models.bundle.golden import nan_for
from models.calibration import Calibration
from models.training.fit import DEFAULT_PARAMS, Device, fit
from models.training.folds import Fold, Span
from models.training.metrics import Metrics
from models.training.plan import Plan
from models.training.recipes import FEW, Params, candidates
from models.training.sample import FIT_ROWS, SEARCH_ROWS, Sample, sample
from models.training.scored import OutOfFold, calibrated
from models.training.search import Trial, out_of_fold, search, steps
from models.training.spans import TriedSpan, Way, folds_by_span, parts_of, ways
from models.training.table import UNKNOWN, LabelledEvents, TrainingTable

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Options of a training.

    Attributes:
        seed: Random seed of the samples, the search and the models.
        tries: Number of parameter sets to search through.
        forest: Trees that each round grows side by side, each on a sample of its own; None for the
            recipe's number.
        params: Parameters that all trials share.
        chosen: Parameters and rounds to use without a search, on the plan's first span; None to
            search.
        missing: Value of a feature that stands for a missing one, besides NaN.
        monotone: +1 or -1 by feature.
        device: Device on which trees are grown.
        threads: Threads of the last fit; in the search the number of parallel fits.
        search_rows: Largest number of rows of each fold that the search uses.
        fit_rows: Largest number of rows that the model and those of the folds are fitted on.
    """

    seed: int = 0
    tries: int = 16
    forest: int | None = None
    params: Params = field(default_factory=dict)
    chosen: tuple[Params, int] | None = None
    missing: float = math.nan
    monotone: Mapping[str, int] = field(default_factory=dict)
    device: Device = "cpu"
    threads: int = 1
    search_rows: int = SEARCH_ROWS
    fit_rows: int = FIT_ROWS

    @property
    def workers(self) -> int:
        """Number of parallel fits."""
        return 1 if self.device == "cuda" else self.threads


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A model and its training.

    Attributes:
        plan: The plan that was followed.
        span: The days that were chosen.
        spans: Spans that were tried, in the order of the plan; empty where there was no choice.
        booster: The model.
        gains: Reduction of the loss by the splits on each feature, by name.
        begins: Begin of the assessed days of each fold of `chosen`, in microseconds since 1970 UTC.
        calibration: Calibration of the model's margins.
        chosen: Parameters and rounds of the model.
        tried: Trials, best first; only the given one where there was no search.
        out_of_fold: Assessed events of the earlier folds.
        sample: Rows that the model was fitted on.
        available: Number of labelled rows of its days.
        trained: Record for the manifest.
        missing: Value that stands for a missing one, as in the options.
    """

    plan: Plan
    span: Span
    spans: Sequence[TriedSpan]
    booster: xgb.Booster
    gains: Mapping[str, float]
    begins: Sequence[int]
    calibration: Calibration
    chosen: Trial
    tried: Sequence[Trial]
    out_of_fold: OutOfFold
    sample: Sample
    available: int
    trained: TrainingRecord
    missing: float


def train(
    table: TrainingTable,
    plan: Plan,
    wishes: TrainingOptions,
    *,
    unlabelled_legit: bool = False,
    advance: Advance = lambda _what, _done, _of: None,
) -> Training:
    """Train a model.

    Args:
        table: The training table.
        plan: The plan.
        wishes: The options.
        unlabelled_legit: Events without a label count as no fraud; otherwise they are left out.
        advance: Called with the name of a step, the parts of it that are done, and their total.

    Raises:
        ConfigurationError: where the days hold too little to learn from, and where there is no GPU
            to train on: XGBoost would take the CPU, with a warning.
    """
    if wishes.device == "cuda":
        require_cuda()
    fixed = _fixed(table, wishes)
    advance("reading", 0, 1)
    events = table.read(plan.reads_from, plan.reads_until, unlabelled_legit=unlabelled_legit)
    events = replace(events, matrix=nan_for(wishes.missing, events.matrix))
    folds = folds_by_span(events, plan)
    way, spans = _choose_way(events, folds, fixed, wishes, advance)
    tried = _tried(events, folds[way.span], way, fixed, wishes, advance)
    chosen = tried[0]
    params = {**fixed, **chosen.params}
    advance("calibrating", 0, 1)
    parts = parts_of(events, folds[way.span], way.span, wishes.fit_rows, wishes.seed)
    margins = out_of_fold(
        events, parts, chosen.rounds, params, seed=wishes.seed, workers=wishes.workers
    )
    advance("fitting", 0, 1)
    rows, labels = _training_rows(events, plan, way.span)
    fitted = sample(events, rows, labels, way.span, wishes.fit_rows, wishes.seed)
    booster = _fitted(events, fitted, params, chosen.rounds, wishes)
    calibration, scored = calibrated(events, folds[way.span], margins)
    noted = {**params, "rounds": chosen.rounds, **_learned_from(way.span, fitted)}
    return Training(
        plan,
        way.span,
        spans,
        booster,
        _gains(booster, table),
        [fold.begin for fold in folds[way.span]],
        calibration,
        chosen if chosen.folds else _with_worth(chosen, events, folds[way.span], margins),
        tried,
        scored,
        fitted,
        len(rows),
        _trained(table, events.times[fitted.rows], fitted.labels, noted, wishes),
        wishes.missing,
    )


def _choose_way(
    events: LabelledEvents,
    folds: Mapping[Span, Sequence[Fold]],
    fixed: Params,
    wishes: TrainingOptions,
    advance: Advance,
) -> tuple[Way, list[TriedSpan]]:
    """Choose the span whose recipe's first parameters do best on the earlier folds."""
    offered = ways(folds)
    if wishes.chosen is not None or len(offered) == 1:
        return offered[0], []
    parts = {
        span: parts_of(events, of_span, span, wishes.search_rows, wishes.seed)
        for span, of_span in folds.items()
    }
    fits = sum(len(parts[way.span]) for way in offered)
    step = steps(lambda done, of: advance("spans", done, of), fits)

    def first(way: Way) -> Trial:
        return search(
            events,
            parts[way.span],
            _tries(way, wishes, 1),
            fixed,
            looks=way.recipe.looks,
            seed=wishes.seed,
            workers=wishes.workers,
            advance=step,
        )[0]

    # one parameter set keeps as many cores busy as there are folds
    with ThreadPoolExecutor(max(1, wishes.workers // len(parts[offered[0].span]))) as pool:
        best = dict(zip(offered, pool.map(first, offered), strict=True))
    return max(best, key=lambda way: best[way].merit), [
        TriedSpan(way.span, one.worth.average_precision, one.merit) for way, one in best.items()
    ]


def _tries(way: Way, wishes: TrainingOptions, count: int) -> list[Params]:
    own = {} if wishes.forest is None else {"num_parallel_tree": wishes.forest}
    return [
        {**way.recipe.fixed, **own, **drawn, **wishes.params}
        for drawn in candidates(way.recipe, count, wishes.seed)
    ]


def _fitted(
    events: LabelledEvents, fitted: Sample, params: Params, rounds: int, wishes: TrainingOptions
) -> xgb.Booster:
    return fit(
        events.matrix[fitted.rows],
        fitted.labels,
        threads=wishes.threads,
        rounds=rounds,
        seed=wishes.seed,
        params=params,
        weights=fitted.weights,
    )


def _gains(booster: xgb.Booster, table: TrainingTable) -> dict[str, float]:
    found: dict[str, Any] = booster.get_score(importance_type="total_gain")
    return {
        feature.name: float(found.get(f"f{place}", 0.0))
        for place, feature in enumerate(table.features)
    }


def _fixed(table: TrainingTable, wishes: TrainingOptions) -> dict[str, Any]:
    """Parameters that are not searched for."""
    names = [feature.name for feature in table.features]
    unknown = sorted(wishes.monotone.keys() - set(names))
    if unknown:
        raise ConfigurationError(
            f"--monotone: {table.path} has no feature {', '.join(unknown)}; it has "
            f"{', '.join(names)}"
        )
    fixed: dict[str, Any] = {
        **DEFAULT_PARAMS,
        **FEW.fixed,
        "device": wishes.device,
    }
    if wishes.monotone:
        fixed["monotone_constraints"] = (
            "(" + ",".join(str(wishes.monotone.get(name, 0)) for name in names) + ")"
        )
    return {**fixed, **wishes.params}


def _tried(
    events: LabelledEvents,
    folds: Sequence[Fold],
    way: Way,
    fixed: Params,
    wishes: TrainingOptions,
    advance: Advance,
) -> list[Trial]:
    if wishes.chosen is not None:
        return [Trial(*wishes.chosen, folds=())]
    tries = _tries(way, wishes, wishes.tries)
    return search(
        events,
        parts_of(events, folds, way.span, wishes.search_rows, wishes.seed),
        tries,
        fixed,
        looks=way.recipe.looks,
        seed=wishes.seed,
        workers=wishes.workers,
        advance=steps(lambda done, of: advance("searching", done, of), len(folds) * len(tries)),
    )


def _training_rows(
    events: LabelledEvents, plan: Plan, span: Span
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int8]]:
    """All rows of the training days whose labels are known when the model goes to work.

    Their labels are returned with them.
    """
    known = events.labels_known(plan.begin)
    rows = events.between(plan.train_from(span), plan.train_until)
    rows = rows[known[rows] != UNKNOWN]
    labels = known[rows]
    if not 0 < labels.sum() < len(labels):
        raise ConfigurationError(
            f"--features: {int(labels.sum())} of {len(labels):,} labelled events of {span} "
            "are frauds; a model needs both kinds: train on more days. Where only frauds are "
            "labelled, give --unlabelled legit"
        )
    return rows, labels


def _with_worth(
    chosen: Trial,
    events: LabelledEvents,
    folds: Sequence[Fold],
    margins: Sequence[npt.NDArray[np.float32]],
) -> Trial:
    worths = [
        Metrics.of(fold.labels, of_fold, events.cards[fold.assess], fold.days)
        for fold, of_fold in zip(folds, margins, strict=True)
    ]
    return Trial(chosen.params, chosen.rounds, tuple(worths))


def _learned_from(span: Span, fitted: Sample) -> dict[str, Any]:
    """Entries of the manifest's parameters that are not XGBoost's; `like` reads the span."""
    return {
        "days": span.days,
        "half_life": span.half_life,
        "legitimate_share": round(fitted.shares[0], 6),
        "fraud_share": round(fitted.shares[1], 6),
    }


def _trained(
    table: TrainingTable,
    times: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int8],
    params: dict[str, Any],
    wishes: TrainingOptions,
) -> TrainingRecord:
    return TrainingRecord(
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
    return utc(int(time))
