"""Result of a training, and sentences that describe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import xgboost as xgb

from models.bundle import TrainingRecord
from models.calibration import Calibration
from models.training.folds import Span
from models.training.out_of_fold import OutOfFold
from models.training.sample import Sample
from models.training.search import Trial
from models.training.spans import SpanResult
from models.training.table import TrainingTable
from models.training.training_days import TrainingDays

_TOLERATED_ERROR: Final = 0.1
"""Largest difference between expected and actual frauds without a warning, as a share."""


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A trained model with its calibration and the results of the search.

    Attributes:
        days: Training days and folds.
        span: Training window of the model.
        span_results: Results of the spans that were tried, shortest first; empty if there was
            only one.
        booster: The model.
        gains: Reduction of the loss by the splits on each feature, by feature name.
        begins: Begin of the assessed days of each fold, in microseconds since 1970 UTC.
        calibration: Calibration of the model's margins.
        trials: Trials on this span, best first; a single one if there was no search.
        out_of_fold: Assessed events of the earlier folds, with their scores.
        sample: Rows that the model was fitted on.
        available: Number of labelled rows in the training days.
        trained: Record for the manifest.
        missing: Feature value that means missing, as in the options.
    """

    days: TrainingDays
    span: Span
    span_results: Sequence[SpanResult]
    booster: xgb.Booster
    gains: Mapping[str, float]
    begins: Sequence[int]
    calibration: Calibration
    trials: Sequence[Trial]
    out_of_fold: OutOfFold
    sample: Sample
    available: int
    trained: TrainingRecord
    missing: float

    @property
    def best_trial(self) -> Trial:
        """Parameters and number of rounds of the model."""
        return self.trials[0]


def describe_data(training: Training) -> list[str]:
    """Describe the days and rows that the model was fitted on, and the spans that were tried."""
    trained = training.trained
    rows = (
        f"Trained on {trained.since:%Y-%m-%d} to {trained.until:%Y-%m-%d} ({training.span}): "
        f"{trained.rows:,} of {training.available:,} labelled events, {trained.frauds:,} of them "
        "frauds"
    )
    lines = [rows]
    for kind, share in zip(("legitimate events", "frauds"), training.sample.shares, strict=True):
        if share < 1.0:
            lines.append(
                f"{share:.1%} of the {kind} were sampled, each with a weight of {1 / share:.3g}"
            )
    if training.span_results:
        tried = ", ".join(
            f"{one.span} {one.average_precision:.3f}" for one in training.span_results
        )
        lines.append(
            "Training days chosen by average precision and card precision on the earlier folds; "
            f"average precision: {tried}"
        )
    return lines


def describe_lookups(table: TrainingTable) -> list[str]:
    """Describe the past values of lookups in the table, and the lookups that have defaults."""
    joined = [
        f"{name} from {past['file']} ({past['rows']:,} rows)"
        for name, past in table.lookups.items()
        if past is not None
    ]
    lines = [f"Past lookup values: {', '.join(joined)}"] if joined else []
    if defaults := [name for name, past in table.lookups.items() if past is None]:
        lines.append(
            f"Warning: the table has the defaults of {', '.join(defaults)}, which scores have not; "
            "build it with --lookup NAME=FILE"
        )
    return lines


def describe_warnings(training: Training, bands: Mapping[str, float]) -> list[str]:
    """Warn about rows far from all others, a poor calibration, and a policy without bands."""
    scored = training.out_of_fold
    lines = [f"Warning: {rows}" for rows in training.days.stray_rows if rows.is_far]
    frauds = int(scored.labels.sum())
    if abs(scored.expected - frauds) > _TOLERATED_ERROR * frauds:
        lines.append(
            f"Warning: the calibration expects {scored.expected:,.1f} frauds, and there were "
            f"{frauds:,}; scores are not probabilities: train on more days"
        )
    if not bands:
        lines.append(
            "Warning: the policy has no band: on the earlier folds no threshold was better than "
            "approving everything"
        )
    return lines
