"""Sentences about a training: days and rows that were used, and warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from models.training.train import Training

_MISS: Final = 0.1


def learned_from(training: Training) -> list[str]:
    """Sentences on the days and rows that the model was fitted on, and on the spans tried."""
    trained = training.trained
    used = (
        f"Trained on {trained.since:%Y-%m-%d} to {trained.until:%Y-%m-%d} ({training.span}): "
        f"{trained.rows:,} of {training.available:,} labelled events, {trained.frauds:,} of them "
        "frauds"
    )
    lines = [used]
    for kind, share in zip(("legitimate events", "frauds"), training.sample.shares, strict=True):
        if share < 1.0:
            lines.append(
                f"Of the {kind} {share:.1%} were sampled, each with a weight of {1 / share:.3g}"
            )
    if training.spans:
        tried = ", ".join(f"{one.span} {one.average_precision:.3f}" for one in training.spans)
        lines.append(f"Days chosen by average precision and card precision on them: {tried}")
    return lines


def warnings_of(training: Training, bands: Mapping[str, float]) -> list[str]:
    """Warnings about rows of the table, about the calibration, and about a policy without bands."""
    scored = training.out_of_fold
    lines = [f"Warning: {one}" for one in training.plan.apart if one.is_far]
    frauds = int(scored.labels.sum())
    if abs(scored.expected - frauds) > _MISS * frauds:
        lines.append(
            f"Warning: the calibration expects {scored.expected:,.1f} frauds where there were "
            f"{frauds:,}; scores are no probabilities: train on more days"
        )
    if not bands:
        lines.append(
            "Warning: the policy has no band: on the earlier folds no threshold was better than "
            "approving everything"
        )
    return lines
