"""Checks of features.yaml by itself, without brokers and store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from features.definition import FeatureSet
from features.inspect.describe import describe, duration
from features.windows.window import Across
from tools.checks.files import read_features
from tools.checks.finding import Finding, many, ok

PYTHON, WINDOWS, ACROSS, REPRODUCIBLE = "python", "windows", "across partitions", "carried"


def examine_features(path: Path) -> list[Finding]:
    """Describe the valid features.yaml at ``path``; return all its errors where it is invalid."""
    feature_set, findings = read_features(path)
    if feature_set is None:
        return findings
    kinds = Counter(feature.kind for feature in describe(feature_set))
    return [
        *findings,
        ok("kinds", ", ".join(f"{count} {kind}" for kind, count in kinds.items())),
        *_of_hooks(feature_set),
        *_of_windows(feature_set),
        *_of_carried(feature_set),
    ]


def _of_hooks(feature_set: FeatureSet) -> Iterator[Finding]:
    if feature_set.hooks:
        names = ", ".join(feature_set.hooks)
        same = "the same bits for a row alone, in company and in any order"
        yield ok(PYTHON, f"{names}: {same}")


def _of_windows(feature_set: FeatureSet) -> Iterator[Finding]:
    rules = feature_set.histories.rules
    for entity, horizon in feature_set.histories.horizons.items():
        count = sum(window.entity == entity for window in feature_set.histories.windows)
        yield ok(
            WINDOWS,
            f"{many(count, 'window')} by {entity}, which see up to {rules.cap:,} events of the "
            f"last {duration(horizon)}",
        )
    across = [window for window in feature_set.histories.windows if window.across is not Across.OWN]
    for kind, meaning in (
        (Across.ALIGNED, "exact; the input topic has to have one partition"),
        (Across.BEST_EFFORT, "see what the store holds of other partitions at that moment"),
    ):
        names = ", ".join(window.name for window in across if window.across is kind)
        if names:
            yield ok(ACROSS, f"{names}: {kind}: {meaning}")


def _of_carried(feature_set: FeatureSet) -> Iterator[Finding]:
    names = ", ".join(feature_set.names[place] for place in feature_set.irreproducible)
    if names:
        yield ok(REPRODUCIBLE, f"{names}: the log alone cannot give these back; scores carry them")
