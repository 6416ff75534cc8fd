"""Descriptions of the features of a feature set, in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from features.definition import Feature, FeatureSet
from features.definition.scalars import UNITS
from features.definition.spec import KINDS, FeatureSpec
from features.lookups.lookup import Lookup
from features.windows.window import Across, Aggregate, Window


@dataclass(frozen=True, slots=True)
class Described:
    """One feature in words.

    Attributes:
        name: Name of the feature.
        kind: Key of features.yaml that defines it; for a window also its aggregate.
        definition: Its definition.
        reads: Fields of the event that its value depends on.
        across: Treatment of other partitions, for a window whose entity is not that of the
            partition key.
        default: Value that replaces a missing one; None if there is none.
        reproducible: True if its values can be computed again from the log alone.
        fingerprint: Fingerprint of its definition.
        vector: Name of the entry of features.yaml if that is a vector, of which this is a column.
    """

    name: str
    kind: str
    definition: str
    reads: tuple[str, ...]
    across: str | None
    default: float | None
    reproducible: bool
    fingerprint: str
    vector: str | None


def describe(feature_set: FeatureSet) -> list[Described]:
    """Describe the features of a feature set, in order."""
    return [_described(feature, feature_set.lookups) for feature in feature_set.features]


def _described(feature: Feature, lookups: Mapping[str, Lookup]) -> Described:
    spec, window = feature.spec, feature.window
    return Described(
        name=feature.name,
        kind=window.aggregate.value if window else _kind(spec),
        definition=_window(spec, window) if window else _definition(feature, lookups),
        reads=tuple(sorted(feature.paths)),
        across=None if window is None or window.across is Across.OWN else window.across.value,
        default=window.default if window else _lookup_default(spec, lookups),
        reproducible=not feature.irreproducible,
        fingerprint=feature.fingerprint,
        vector=None if feature.element is None else spec.name,
    )


def column_names(features: Iterable[Feature]) -> list[str]:
    """Names of features, in order; columns of a vector that follow each other are one name."""
    names = []
    for _, group in groupby(features, lambda f: f.name if f.element is None else f.spec.name):
        first, *others = group
        names.append(range_name(first.name, others[-1].name) if others else first.name)
    return names


def range_name(first: str, last: str) -> str:
    """Name of several columns of a vector, such as ``emb_0 … emb_63``."""
    return f"{first} … {last}"


def duration(microseconds: int) -> str:
    """A duration such as ``7d`` or ``90m``, in the largest unit that gives a whole number."""
    for unit, length in reversed(UNITS.items()):
        if microseconds % length == 0:
            return f"{microseconds // length}{unit}"
    return f"{microseconds}us"


def number(value: float | None) -> str:
    """A default as features.yaml writes it, "" for none."""
    if value is None:
        return ""
    return "nan" if math.isnan(value) else f"{value:.15g}"


def _kind(spec: FeatureSpec) -> str:
    return next(kind for kind in KINDS if getattr(spec, kind) is not None)


def _definition(feature: Feature, lookups: Mapping[str, Lookup]) -> str:
    spec = feature.spec
    if spec.category is not None:
        some = ", ".join(map(str, spec.category.values[:3]))
        more = len(spec.category.values) - 3
        listed = f"{some}, … ({more} more)" if more > 0 else some
        return f"{spec.category.field}: {listed}{', other' if spec.category.other else ''}"
    if spec.python is not None:
        return f"{spec.python}({', '.join(map(str, spec.args or ()))})"
    if spec.lookup is not None:
        element = "" if feature.element is None else f"[{feature.element}]"
        return f"{spec.lookup}{element} by {lookups[spec.lookup.partition('.')[0]].entity}"
    return " ".join((spec.expr or spec.field or "").split())


def _window(spec: FeatureSpec, window: Window) -> str:
    words = window.aggregate.value.replace("_", " ")
    if spec.percent is not None:
        words += f" {spec.percent:g}"
    if spec.of is not None:
        words += f"{' values' if window.aggregate is Aggregate.DISTINCT else ''} of {spec.of}"
    if spec.scale is not None:
        words += f" to {spec.scale} digits"
    words += f" by {window.entity} over {duration(window.over)}"
    if window.delay:
        words += f", delay {duration(window.delay)}"
    if window.half_life is not None:
        words += f", half-life {duration(window.half_life)}"
    if spec.where is not None:
        words += f", where {' '.join(spec.where.split())}"
    if spec.same is not None:
        words += f", same {spec.same}"
    if spec.include_current is not None and not window.delay:
        words += f", {'with' if window.include_current else 'without'} the event itself"
    return words


def _lookup_default(spec: FeatureSpec, lookups: Mapping[str, Lookup]) -> float | None:
    if spec.lookup is None:
        return None
    return lookups[spec.lookup.partition(".")[0]].default(spec.lookup)
