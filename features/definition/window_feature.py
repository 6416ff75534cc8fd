"""Window features: entries with ``window:`` compiled to windows and the columns they store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from base.suggest import unknown
from base.yaml_document import Location, YamlDocument
from features.definition.bindings import Bindings
from features.definition.feature import canonical_number
from features.definition.spec import FeatureSpec
from features.definition.window_columns import ColumnCompiler
from features.expression import Term
from features.windows.window import Across, Aggregate, HistoryRules, Window

_ZERO_WHEN_EMPTY = (Aggregate.COUNT, Aggregate.SUM, Aggregate.DISTINCT, Aggregate.FRAUD_SHARE)
_EARLIER_ONLY = (
    *(Aggregate.FIRST, Aggregate.LAST),
    *(Aggregate.TIME_SINCE_FIRST, Aggregate.TIME_SINCE_LAST),
)
_DECAYING = (Aggregate.COUNT, Aggregate.SUM)


class WindowCompiler:
    """Compiler of window features; ``columns`` compiles the columns that they store."""

    def __init__(
        self,
        document: YamlDocument,
        bindings: Bindings,
        rules: HistoryRules,
        columns: ColumnCompiler,
    ) -> None:
        self._document = document
        self._bindings = bindings
        self._rules = rules
        self._columns = columns

    def compile(
        self, spec: FeatureSpec, location: Location, scope: Mapping[str, Term], made: frozenset[str]
    ) -> tuple[Window, Any]:
        """Compile a window feature to its window and its definition.

        Args:
            spec: Entry of features.yaml.
            location: Place of the entry in features.yaml.
            scope: Terms of the earlier features that read the event alone.
            made: Names of the other earlier features.

        Returns:
            The window, and the definition for the fingerprint.

        Raises:
            ConfigurationError: The entry is invalid; points at its place.
        """
        aggregate = Aggregate(str(spec.window))
        if spec.by is None or spec.over is None:
            absent = "by (an entity)" if spec.by is None else "over (a duration such as 7d)"
            raise self._document.refuse(location, f"{spec.name}: a window needs {absent}")
        if spec.by not in self._bindings.entities:
            raise self._document.refuse(
                (*location, "by"), unknown("entity", spec.by, self._bindings.entities)
            )
        self._refuse_parameters(spec, aggregate, location)
        columns = self._columns.compile(spec, location, scope, made)
        window = Window(
            name=spec.name,
            aggregate=aggregate,
            entity=spec.by,
            over=spec.over,
            delay=spec.delay or 0,
            value=columns.value,
            where=columns.where,
            include_current=self._include_current(spec, aggregate, location),
            across=self._across(spec, location),
            default=_default(spec, aggregate),
            uses=columns.uses,
            same=columns.same,
            half_life=spec.half_life,
            percent=spec.percent,
        )
        return window, self._definition(window)

    def _definition(self, window: Window) -> Any:
        bindings, rules = self._bindings, self._rules
        further = {
            "same": window.same and window.same.definition,
            "half_life": window.half_life,
            "percent": window.percent,
        }
        return {
            "window": window.aggregate,
            "by": bindings.entities[window.entity].canonical(),
            "over": window.over,
            "delay": window.delay,
            "of": window.value and [window.value.definition, window.value.scale],
            "where": window.where and window.where.definition,
            "include_current": window.include_current,
            "best_effort": window.across is Across.BEST_EFFORT,
            "default": canonical_number(window.default),
            "time": bindings.event_time.canonical(),
            "id": bindings.event_id.canonical(),
            "history": [
                rules.allowed_lateness,
                rules.duplicates,
                rules.cap,
                rules.watermark_support,
                rules.max_ahead,
                # Without the setting, fingerprints are those of before.
                *(["arrival"] if rules.arrival else []),
            ],
            # Likewise.
            **{key: value for key, value in further.items() if value is not None},
        }

    def _refuse_parameters(
        self, spec: FeatureSpec, aggregate: Aggregate, location: Location
    ) -> None:
        """Refuse a half-life or percent where it has no use, and a percentile without percent."""
        if spec.half_life is not None and aggregate not in _DECAYING:
            raise self._document.refuse(
                (*location, "half_life"),
                f"{aggregate} has no weights, only {' and '.join(_DECAYING)} have: remove half_life",
            )
        if spec.percent is not None and aggregate is not Aggregate.PERCENTILE:
            raise self._document.refuse(
                (*location, "percent"),
                f"percent belongs to percentile: remove it, or say window: {Aggregate.PERCENTILE}",
            )
        if spec.percent is None and aggregate is Aggregate.PERCENTILE:
            raise self._document.refuse(
                location,
                f"{spec.name}: a percentile needs percent, a number from 0 to 100 (such as "
                "percent: 95)",
            )

    def _include_current(self, spec: FeatureSpec, aggregate: Aggregate, location: Location) -> bool:
        where = (*location, "include_current")
        if spec.include_current and spec.delay:
            raise self._document.refuse(
                where, "a window with a delay ends before the current event: remove one of the two"
            )
        if spec.include_current and aggregate is Aggregate.TIME_SINCE_LAST:
            raise self._document.refuse(
                where, "time_since_last looks for the event before this one: remove include_current"
            )
        if spec.include_current is None:
            return not spec.delay and aggregate not in _EARLIER_ONLY
        return spec.include_current

    def _across(self, spec: FeatureSpec, location: Location) -> Across:
        key = self._bindings.partition_key
        own = key is not None and key.path in self._bindings.entities[str(spec.by)].paths
        if spec.across is None:
            return Across.OWN if own else Across.ALIGNED
        where = (*location, "across")
        if own:
            raise self._document.refuse(
                where,
                f"the key of {spec.by} has the partition key in it, so all its events are in one "
                "partition: remove across",
            )
        if spec.across == "aligned" and not spec.delay:
            raise self._document.refuse(
                where, "an aligned window needs a delay: add one, or say across: best_effort"
            )
        return Across(spec.across)


def _default(spec: FeatureSpec, aggregate: Aggregate) -> float:
    if "default" in spec.model_fields_set:
        return math.nan if spec.default is None else spec.default
    return 0.0 if aggregate in _ZERO_WHEN_EMPTY else math.nan
