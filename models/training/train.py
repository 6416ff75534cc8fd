"""Train a model: choose days and parameters on earlier folds, calibrate, and fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from base.errors import ConfigurationError
from base.times import utc
from models.backend.cuda import require_cuda
from models.bundle import TrainingRecord
from models.bundle.golden import nan_for
from models.training.fit import DEFAULT_PARAMS, fit
from models.training.folds import Fold, Span
from models.training.metrics import Metrics
from models.training.out_of_fold import calibrated
from models.training.recipes import SHALLOW, Params
from models.training.result import Training
from models.training.sample import Sample, sample
from models.training.search import (
    Advance,
    Trial,
    out_of_fold_margins,
    search_parameters,
    step_counter,
)
from models.training.spans import SpanRecipe, choose_span, folds_by_span, sampled_folds
from models.training.table import UNKNOWN, LabelledEvents, TrainingTable
from models.training.training_days import TrainingDays
from models.training.training_options import TrainingOptions


def train(
    table: TrainingTable,
    days: TrainingDays,
    options: TrainingOptions,
    *,
    unlabelled_legit: bool = False,
    advance: Advance = lambda _name, _done, _total: None,
) -> Training:
    """Train a model.

    Its parameters and number of rounds come from `options.params_and_rounds` if these are given.
    Otherwise `choose_span` compares the training windows, and `search_parameters` compares
    parameter sets on the folds of the best window; the best trial has the parameters, except those
    of `_fixed_params`, which all trials share.

    Args:
        table: The training table.
        days: Training days and folds.
        options: Options of the training.
        unlabelled_legit: True: events without a label count as legitimate. False: they are left
            out.
        advance: Progress callback.

    Raises:
        ConfigurationError: if the days hold too little to learn from, or if there is no GPU to
            train on: XGBoost would use the CPU, with only a warning.
    """
    if options.device == "cuda":
        require_cuda()
    fixed = _fixed_params(table, options)
    advance("reading", 0, 1)
    events = table.read(days.reads_from, days.reads_until, unlabelled_legit=unlabelled_legit)
    events = replace(
        events,
        matrix=nan_for(options.missing, events.matrix),
        types=_types(table, options) if options.by_category else None,
    )
    folds_of = folds_by_span(events, days)
    span_recipe, span_results = choose_span(events, folds_of, fixed, options, advance)
    span, folds = span_recipe.span, folds_of[span_recipe.span]
    trials = _trials(events, folds, span_recipe, fixed, options, advance)
    best_trial = trials[0]
    params, rounds = {**fixed, **best_trial.params}, best_trial.rounds
    advance("calibrating", 0, 1)
    margins = _assessed_margins(events, folds, span, params, rounds, options)
    if not best_trial.folds:
        trials = [replace(best_trial, folds=_metrics_of(events, folds, margins))]
    calibration, scored = calibrated(events, folds, margins)
    advance("fitting", 0, 1)
    rows, labels = _training_rows(events, days, span)
    fitted = sample(events, rows, labels, span, options.fit_rows, options.seed)
    booster = _fit(events, fitted, params, rounds, options)
    return Training(
        days=days,
        span=span,
        span_results=span_results,
        booster=booster,
        gains=_gains(booster, table),
        begins=[fold.begin for fold in folds],
        calibration=calibration,
        trials=trials,
        out_of_fold=scored,
        sample=fitted,
        available=len(rows),
        trained=_record(table, events, span, fitted, {**params, "rounds": rounds}, options.seed),
        missing=options.missing,
    )


def _fixed_params(table: TrainingTable, options: TrainingOptions) -> dict[str, Any]:
    """Parameters that the search does not change."""
    names = [feature.name for feature in table.features]
    unknown = sorted(options.monotone.keys() - set(names))
    if unknown:
        raise ConfigurationError(
            f"--monotone: {table.path} has no feature {', '.join(unknown)}; it has "
            f"{', '.join(names)}"
        )
    fixed: dict[str, Any] = {**DEFAULT_PARAMS, **SHALLOW.fixed, "device": options.device}
    if options.monotone:
        signs = ",".join(str(options.monotone.get(name, 0)) for name in names)
        fixed["monotone_constraints"] = f"({signs})"
    return {**fixed, **options.params}


def _types(table: TrainingTable, options: TrainingOptions) -> tuple[str, ...]:
    """XGBoost's type of each feature, with `c` for those that are split by categories."""
    categorical = [feature.name for feature in table.features if feature.categories is not None]
    if not categorical:
        raise ConfigurationError(
            f"--by-category (or --like): {table.path} has no category feature; add one to features.yaml "
            "(category: {field: …, values: [...]}), and build the table again"
        )
    constrained = sorted(options.monotone.keys() & set(categorical))
    if constrained:
        raise ConfigurationError(
            f"--monotone: {', '.join(constrained)} is split by categories, which have no order; "
            "omit the constraint, or train by thresholds, without --by-category and --like"
        )
    return tuple("float" if each.categories is None else "c" for each in table.features)


def _trials(
    events: LabelledEvents,
    folds: Sequence[Fold],
    span_recipe: SpanRecipe,
    fixed: Params,
    options: TrainingOptions,
    advance: Advance,
) -> list[Trial]:
    """Trials of the search, best first; if parameters are given, one trial without metrics."""
    if options.params_and_rounds is not None:
        return [Trial(*options.params_and_rounds, folds=())]
    parameter_sets = span_recipe.parameter_sets(options, options.tries)
    return search_parameters(
        events,
        sampled_folds(events, folds, span_recipe.span, options.search_rows, options.seed),
        parameter_sets,
        fixed,
        assess_at=span_recipe.recipe.assess_at,
        seed=options.seed,
        workers=options.workers,
        advance=step_counter(advance, "searching", len(folds) * len(parameter_sets)),
    )


def _assessed_margins(
    events: LabelledEvents,
    folds: Sequence[Fold],
    span: Span,
    params: Params,
    rounds: int,
    options: TrainingOptions,
) -> list[npt.NDArray[np.float32]]:
    """Margins of each fold's assessed events, by models that are fitted like the final model."""
    sampled = sampled_folds(events, folds, span, options.fit_rows, options.seed)
    return out_of_fold_margins(
        events, sampled, rounds, params, seed=options.seed, workers=options.workers
    )


def _metrics_of(
    events: LabelledEvents, folds: Sequence[Fold], margins: Sequence[npt.NDArray[np.float32]]
) -> tuple[Metrics, ...]:
    return tuple(
        Metrics.of(fold.labels, of_fold, events.cards[fold.assess], fold.days)
        for fold, of_fold in zip(folds, margins, strict=True)
    )


def _training_rows(
    events: LabelledEvents, days: TrainingDays, span: Span
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int8]]:
    """Rows of the training days whose labels are known when the model goes live, and the labels."""
    known = events.labels_known(days.begin)
    rows = events.between(days.train_from(span), days.train_until)
    rows = rows[known[rows] != UNKNOWN]
    labels = known[rows]
    if not 0 < labels.sum() < len(labels):
        raise ConfigurationError(
            f"--features: {int(labels.sum())} of {len(labels):,} labelled events of {span} "
            "are frauds; a model needs both kinds: train on more days. Where only frauds are "
            "labelled, give --unlabelled legit"
        )
    return rows, labels


def _fit(
    events: LabelledEvents, fitted: Sample, params: Params, rounds: int, options: TrainingOptions
) -> xgb.Booster:
    return fit(
        events.matrix[fitted.rows],
        fitted.labels,
        threads=options.threads,
        rounds=rounds,
        seed=options.seed,
        params=params,
        weights=fitted.weights,
        types=events.types,
    )


def _gains(booster: xgb.Booster, table: TrainingTable) -> dict[str, float]:
    by_column: dict[str, Any] = booster.get_score(importance_type="total_gain")
    return {
        feature.name: float(by_column.get(f"f{place}", 0.0))
        for place, feature in enumerate(table.features)
    }


def _record(
    table: TrainingTable,
    events: LabelledEvents,
    span: Span,
    fitted: Sample,
    params: dict[str, Any],
    seed: int,
) -> TrainingRecord:
    """Make the record for the manifest; `--like` reads the parameters and the span from it."""
    times = events.times[fitted.rows]
    data_params = {
        "days": span.days,
        "half_life": span.half_life,
        "legitimate_share": round(fitted.shares[0], 6),
        "fraud_share": round(fitted.shares[1], 6),
    }
    return TrainingRecord(
        rows=len(fitted.labels),
        frauds=int(fitted.labels.sum()),
        since=utc(int(times[0])),
        until=utc(int(times[-1])),
        data=table.fingerprint(),
        xgboost=xgb.__version__,
        params={**params, **data_params},
        seed=seed,
    )
