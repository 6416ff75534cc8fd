"""Columns that the members of a window's histories store: values, conditions, equal fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from base.suggest import unknown
from base.yaml_document import Location, YamlDocument
from features.definition.bindings import Bindings
from features.definition.event_fields import SchemaFields
from features.definition.spec import FeatureSpec
from features.expression import ExpressionError, ExpressionProgram, Sort, Term, compile_expression
from features.expression.expression_program import Input
from features.history.layout import MISSING, StoredColumn, StoredKind
from features.values.frame import Frame
from features.values.hash64 import hash_ids
from features.windows.window import Aggregate, HistoryRules
from schemas.batch import Kind

_WITHOUT_VALUE = (
    *(Aggregate.COUNT, Aggregate.FRAUD_SHARE),
    *(Aggregate.TIME_SINCE_FIRST, Aggregate.TIME_SINCE_LAST),
)
_OF_TEXT = (Aggregate.DISTINCT, Aggregate.MODE_SHARE, Aggregate.ENTROPY)


@dataclass(frozen=True, slots=True, eq=False)
class WindowColumns:
    """Columns of one window, as in `Window`.

    Attributes:
        value: Column that is aggregated.
        where: Condition on the members that count.
        same: Column of which members that count have the event's own value.
        uses: Fields and features in them.
    """

    value: StoredColumn | None
    where: StoredColumn | None
    same: StoredColumn | None
    uses: frozenset[str]


class ColumnCompiler:
    """Compiler of the columns of windows; they read the event alone.

    ``leaves`` has the terms of the schema's fields, by path.

    Attributes:
        bounded: Fields whose values windows aggregate, with the decimal digits of a field that has
            no scale of its own.
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
        self._amount = bindings.amount
        self._rules = rules
        self._leaves = leaves
        self.bounded: dict[str, int | None] = {}

    def compile(
        self, spec: FeatureSpec, location: Location, scope: Mapping[str, Term], made: frozenset[str]
    ) -> WindowColumns:
        """Compile the columns of a window; arguments and errors as of `WindowCompiler.compile`."""
        value = self._value(spec, location, scope, made)
        where, names = self._where(spec, location, scope, made)
        same = self._same(spec, location, made | scope.keys())
        uses = names | {name for name in (spec.of, spec.same) if name is not None}
        return WindowColumns(value, where, same, uses)

    def _where(
        self, spec: FeatureSpec, location: Location, scope: Mapping[str, Term], made: frozenset[str]
    ) -> tuple[StoredColumn | None, frozenset[str]]:
        """Compile the condition; return its column and the names that it uses."""
        if spec.where is None:
            return None, frozenset()
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
        program = ExpressionProgram({"where": condition.term.node})
        column = StoredColumn(
            StoredKind.CONDITION,
            condition.term.canonical,
            0,
            lambda frame: program.run(frame)["where"] == 1.0,
        )
        return column, condition.names

    def _same(
        self, spec: FeatureSpec, location: Location, features: frozenset[str]
    ) -> StoredColumn | None:
        path = spec.same
        if path is None:
            return None
        where = (*location, "same")
        if path not in self._leaves:
            if path in features:
                raise self._document.refuse(
                    where, f"{path} is a feature, and same takes a field: name a field of the event"
                )
            held = self._fields.describe_unusable(path)
            raise self._document.refuse(where, held or unknown("field", path, self._leaves))
        self._refuse_time(path, where, "use text or a whole number")
        column = self._exact(path)
        if column is None:
            raise self._document.refuse(
                where,
                f"{path} is a floating-point number, and same compares exactly: use text, a whole "
                "number, a boolean, a decimal or the amount",
            )
        if column.kind is StoredKind.VALUE:
            # Not bounded, so not shared with `of`: a sum must not find members beyond its bound.
            return replace(column, kind=StoredKind.COMPARED)
        return column

    def _value(
        self, spec: FeatureSpec, location: Location, scope: Mapping[str, Term], made: frozenset[str]
    ) -> StoredColumn | None:
        aggregate = Aggregate(str(spec.window))
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
        where = (*location, "of")
        self._refuse_time(path, where, "use an expr of it as a feature")
        kind, scale, _ = self._fields.known[path]
        column = self._exact(path)
        if column is None:
            digits = self._needed_scale(spec, location, f"{path} is a floating-point number")
            self.bounded[path] = max(digits, self.bounded.get(path) or 0)
            largest = self._rules.largest_value
            return StoredColumn(
                StoredKind.VALUE,
                self._leaves[path].canonical,
                digits,
                lambda frame: _scaled(frame.number(path), digits, largest),
            )
        if kind is Kind.STRING:
            if aggregate not in _OF_TEXT:
                takes = f"{', '.join(_OF_TEXT[:-1])} and {_OF_TEXT[-1]}"
                raise self._document.refuse(
                    where,
                    f"{path} is text, and {aggregate} needs numbers; only {takes} take text",
                )
            self._refuse_scale(spec, location, "text")
            return column
        if self._is_amount(path):
            self._refuse_scale(spec, location, f"the amount has its own, {column.scale}, and")
        else:
            what = f"{path} is a {kind.value} with its own, {scale}, and"
            self._refuse_scale(spec, location, what)
        if kind is not Kind.BOOL:
            self.bounded[path] = None
        return column

    def _exact(self, path: str) -> StoredColumn | None:
        """Column of a field that is text or has a scale of its own; None for other numbers."""
        kind, scale, _ = self._fields.known[path]
        canonical = self._leaves[path].canonical
        if kind is Kind.STRING:
            return StoredColumn(
                StoredKind.HASH, canonical, 0, lambda frame: _text_hashes(frame, path)
            )
        if self._amount is not None and self._is_amount(path):
            return StoredColumn(
                StoredKind.VALUE, canonical, self._amount.scale, lambda frame: frame.minor_units()
            )
        if kind is Kind.DOUBLE:
            return None
        return StoredColumn(
            StoredKind.VALUE, canonical, scale, lambda frame: frame.whole(path, MISSING)
        )

    def _is_amount(self, path: str) -> bool:
        return self._amount is not None and path == self._amount.source.path

    def _refuse_time(self, path: str, where: Location, remedy: str) -> None:
        if self._fields.known[path][0] is Kind.TIME or self._leaves[path].sort is Sort.TIME:
            raise self._document.refuse(where, f"{path} is a time: {remedy}")

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
