"""Window features: entries with ``window:`` compiled to windows and the columns they store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from base.suggest import unknown
from base.yaml_document import Location, YamlDocument
from features.definition.event_fields import Bindings, SchemaFields
from features.definition.feature import canonical_number
from features.definition.spec import FeatureSpec
from features.expression import ExpressionError, ExpressionProgram, Sort, Term, compile_expression
from features.expression.expression_program import Input
from features.history.layout import MISSING, StoredColumn, StoredKind
from features.values.frame import Frame
from features.values.hash64 import hash_ids
from features.windows.window import Across, Aggregate, HistoryRules, Window
from schemas.batch import Kind

_WITHOUT_VALUE = (Aggregate.COUNT, Aggregate.TIME_SINCE_LAST, Aggregate.FRAUD_SHARE)
_ZERO_WHEN_EMPTY = (Aggregate.COUNT, Aggregate.SUM, Aggregate.DISTINCT, Aggregate.FRAUD_SHARE)
_EARLIER_ONLY = (Aggregate.LAST, Aggregate.TIME_SINCE_LAST)


class WindowCompiler:
    """Compiler of window features; values and filters read the event alone.

    ``leaves`` has the terms of the schema's fields, by path.

    Attributes:
        bounded: Fields whose values windows store, with the decimal digits of a field that has no
            scale of its own.
    """

    def __init__(
        self,
        document: YamlDocument,
        fields: SchemaFields,
        bindings: Bindings,
        rules: HistoryRules,
        leaves: Mapping[str, Term],
    ) -> None:
        self._document = document
        self._fields = fields
        self._bindings = bindings
        self._rules = rules
        self._leaves = leaves
        self.bounded: dict[str, int | None] = {}

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
        self._uses: set[str] = {spec.of} if spec.of is not None else set()
        window = Window(
            name=spec.name,
            aggregate=aggregate,
            entity=spec.by,
            over=spec.over,
            delay=spec.delay or 0,
            value=self._value(spec, aggregate, location, scope, made),
            where=self._where(spec, location, scope, made),
            include_current=self._include_current(spec, aggregate, location),
            across=self._across(spec, location),
            default=_default(spec, aggregate),
            uses=frozenset(self._uses),
        )
        return window, self._definition(window)

    def _definition(self, window: Window) -> Any:
        bindings, rules = self._bindings, self._rules
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
        }

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
        own = key is not None and self._bindings.entities[str(spec.by)].path == key.path
        if spec.across is None:
            return Across.OWN if own else Across.ALIGNED
        where = (*location, "across")
        if own:
            raise self._document.refuse(
                where,
                f"{spec.by} is the entity of the partition key, all its events are in one "
                "partition: remove across",
            )
        if spec.across == "aligned" and not spec.delay:
            raise self._document.refuse(
                where, "an aligned window needs a delay: add one, or say across: best_effort"
            )
        return Across(spec.across)

    def _where(
        self, spec: FeatureSpec, location: Location, scope: Mapping[str, Term], made: frozenset[str]
    ) -> StoredColumn | None:
        if spec.where is None:
            return None
        where = (*location, "where")
        everything = {**dict.fromkeys(made, _OUTSIDE), **scope, **self._leaves}
        try:
            condition = compile_expression(spec.where, everything)
        except ExpressionError as error:
            raise self._document.refuse_within(where, error.offset, str(error)) from error
        outside = condition.names & made - self._leaves.keys()
        if outside:
            raise self._document.refuse(where, self._not_alone(min(outside)))
        if condition.term.sort is not Sort.BOOLEAN:
            raise self._document.refuse(
                where, f"a condition is needed here, not {condition.term.sort.value}: write x != 0"
            )
        self._uses |= condition.names
        program = ExpressionProgram({"where": condition.term.node})
        return StoredColumn(
            StoredKind.CONDITION,
            condition.term.canonical,
            0,
            lambda frame: program.run(frame)["where"] == 1.0,
        )

    def _value(
        self,
        spec: FeatureSpec,
        aggregate: Aggregate,
        location: Location,
        scope: Mapping[str, Term],
        made: frozenset[str],
    ) -> StoredColumn | None:
        if aggregate in _WITHOUT_VALUE:
            for key in ("of", "scale"):
                if getattr(spec, key) is not None:
                    raise self._document.refuse(
                        (*location, key),
                        f"{aggregate} aggregates events, not a value: remove {key}",
                    )
            return None
        if spec.of is None:
            raise self._document.refuse(
                location, f"{spec.name}: {aggregate} needs a value: add of (such as of: amount)"
            )
        where = (*location, "of")
        if spec.of in self._leaves:
            return self._field(spec, aggregate, location)
        if spec.of in made:
            raise self._document.refuse(where, self._not_alone(spec.of))
        if spec.of not in scope:
            held = self._fields.describe_unusable(spec.of)
            hint = unknown("field or feature", spec.of, {*self._leaves, *scope})
            raise self._document.refuse(where, held or hint)
        term, name = scope[spec.of], spec.of
        scale = self._needed_scale(spec, location, "a feature is a number")
        largest = self._rules.largest_value
        return StoredColumn(
            StoredKind.VALUE,
            term.canonical,
            scale,
            lambda frame: _scaled(frame.features[name], scale, largest),
        )

    def _field(self, spec: FeatureSpec, aggregate: Aggregate, location: Location) -> StoredColumn:
        path = str(spec.of)
        kind, scale, _ = self._fields.known[path]
        leaf, amount, where = self._leaves[path], self._bindings.amount, (*location, "of")
        if kind is Kind.TIME or leaf.sort is Sort.TIME:
            raise self._document.refuse(where, f"{path} is a time: use an expr of it as a feature")
        if kind is Kind.STRING:
            if aggregate is not Aggregate.DISTINCT:
                raise self._document.refuse(
                    where,
                    f"{path} is text, and {aggregate} needs numbers; only distinct takes text",
                )
            self._refuse_scale(spec, location, "text")
            return StoredColumn(
                StoredKind.HASH, leaf.canonical, 0, lambda frame: _text_hashes(frame, path)
            )
        largest = self._rules.largest_value
        if amount is not None and path == amount.source.path:
            self._refuse_scale(spec, location, f"the amount has its own, {amount.scale}, and")
            self.bounded[path] = None
            return StoredColumn(
                StoredKind.VALUE, leaf.canonical, amount.scale, lambda frame: frame.minor_units()
            )
        if kind is Kind.DOUBLE:
            digits = self._needed_scale(spec, location, f"{path} is a floating-point number")
            self.bounded[path] = max(digits, self.bounded.get(path) or 0)
            return StoredColumn(
                StoredKind.VALUE,
                leaf.canonical,
                digits,
                lambda frame: _scaled(frame.number(path), digits, largest),
            )
        self._refuse_scale(spec, location, f"{path} is a {kind.value} with its own, {scale}, and")
        if kind is not Kind.BOOL:
            self.bounded[path] = None
        return StoredColumn(
            StoredKind.VALUE, leaf.canonical, scale, lambda frame: frame.whole(path, MISSING)
        )

    def _needed_scale(self, spec: FeatureSpec, location: Location, why: str) -> int:
        if spec.scale is None:
            raise self._document.refuse(
                location,
                f"{spec.name}: {why}; windows store whole numbers: add scale, the number of decimal digits",
            )
        return spec.scale

    def _refuse_scale(self, spec: FeatureSpec, location: Location, what: str) -> None:
        if spec.scale is not None:
            raise self._document.refuse((*location, "scale"), f"{what} takes no scale: remove it")

    @staticmethod
    def _not_alone(name: str) -> str:
        return (
            f"{name} needs a window or a lookup, and members store values of their own event only: "
            "use fields, or features computed from fields"
        )


def _default(spec: FeatureSpec, aggregate: Aggregate) -> float:
    if "default" in spec.model_fields_set:
        return math.nan if spec.default is None else spec.default
    return 0.0 if aggregate in _ZERO_WHEN_EMPTY else math.nan


def _never(_: Any) -> Any:
    raise AssertionError("refused before it is evaluated")


_OUTSIDE = Term(Sort.NUMBER, None, Input("", _never))


def _scaled(values: npt.NDArray[np.float64], scale: int, largest: int) -> npt.NDArray[np.int64]:
    """Whole multiples of 10**-scale, rounded half to even; MISSING where that is not possible."""
    with np.errstate(all="ignore"):
        scaled = np.rint(values * 10.0**scale)
        good = np.abs(scaled) <= largest
    return np.where(good, np.where(good, scaled, 0.0).astype(np.int64), MISSING)


def _text_hashes(frame: Frame, path: str) -> npt.NDArray[np.int64]:
    text = frame.text(path)
    hashes = hash_ids(text.values, frame.key).view(np.int64)
    # A hash with the bits of MISSING is changed.
    hashes = np.where(hashes == MISSING, MISSING + 1, hashes)
    return np.where(text.valid, hashes, MISSING)
