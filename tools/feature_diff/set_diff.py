"""All differences of two feature sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from features.definition import FeatureSet
from models.location import Location
from tools.feature_diff.effects import (
    Change,
    HistoryChange,
    diff_bindings,
    diff_histories,
    diff_labels,
    diff_lookups,
)
from tools.feature_diff.features import FeatureDiff, diff_features
from tools.feature_diff.models import ModelFit, model_fits


@dataclass(frozen=True, slots=True)
class SetDiff:
    """All differences of two feature sets.

    Attributes:
        name: Name of the new set.
        old: Fingerprint of the old set.
        new: Fingerprint of the new set.
        features: Differences of the features.
        bindings: Differences of the bindings of events.
        histories: Changes of histories, by entity.
        labels: Entities by whose keys labels have to be loaded.
        lookups: Differences of lookups.
        models: Fit of the bundles of a location; None without one.
    """

    name: str
    old: str
    new: str
    features: FeatureDiff
    bindings: Sequence[Change]
    histories: Sequence[HistoryChange]
    labels: Sequence[str]
    lookups: Sequence[Change]
    models: Sequence[ModelFit] | None


def compare(old: FeatureSet, new: FeatureSet, location: Location | None) -> SetDiff:
    """Compare two feature sets; ``location`` has models that may fit them."""
    return SetDiff(
        name=new.name,
        old=old.fingerprint,
        new=new.fingerprint,
        features=diff_features(old, new),
        bindings=diff_bindings(old, new),
        histories=diff_histories(old, new),
        labels=diff_labels(old, new),
        lookups=diff_lookups(old, new),
        models=None if location is None else model_fits(location, old, new),
    )


def as_plain(diff: SetDiff) -> dict[str, Any]:
    """The differences for JSON, which has no NaN; times in microseconds."""
    plain = asdict(diff, dict_factory=_without_nan)
    for fit, entry in zip(diff.models or (), plain["models"] or (), strict=True):
        entry["fits"] = fit.fits
    return plain


def _without_nan(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        key: "nan" if isinstance(value, float) and math.isnan(value) else value
        for key, value in items
    }
