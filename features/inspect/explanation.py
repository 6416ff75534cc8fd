"""Explain one value of a feature: the fields, features and events that it was computed from."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from base.errors import ConfigurationError
from base.suggest import unknown
from features.compute.trace import trace
from features.definition import FeatureSet
from features.definition.spec import FeatureSpec
from features.expression.syntax import Source
from features.inspect.describe import column_names, describe
from features.loading import KnownLabels
from features.tables import EventTable, HistoryRun
from features.windows.order import InputTimes
from features.windows.trace import Traced
from features.windows.window import Aggregate, Window
from schemas.avro.text import as_text
from schemas.batch import EventBatch

Ids = Mapping[tuple[int, int], str]
"""Event ids by partition and offset."""


@dataclass(frozen=True, slots=True)
class Member:
    """An event that a window counted.

    Attributes:
        event_id: Id of the event.
        time: Event time in microseconds.
        value: Value that the window aggregates, None if it has none.
        fraud: Label known at that time, None if the window does not use labels.
        current: True for the explained event itself.
        partition: Partition of the event.
        offset: Offset of the event.
    """

    event_id: str
    time: int
    value: float | None
    fraud: bool | None
    current: bool
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Counted:
    """The members of a window: those with after < time <= until, in microseconds."""

    after: int
    until: int
    members: list[Member]


@dataclass(frozen=True, slots=True)
class ExplainedValue:
    """A feature of one event.

    Attributes:
        name: Name of the feature.
        kind: Kind of the feature.
        definition: Its definition in words.
        value: Value as models see it, None where missing.
        fields: Fields of the event in its definition, as text.
        features: Features in its definition.
        counted: Members that it counts, None if it is not a window.
    """

    name: str
    kind: str
    definition: str
    value: float | None
    fields: dict[str, str | None]
    features: list[ExplainedValue]
    counted: Counted | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One feature of the event at (partition, offset).

    Attributes:
        event_id: Id of the event.
        event_time: Event time in microseconds.
        partition: Partition of the event.
        offset: Offset of the event.
        flags: Flags of the event.
        before: Number of earlier events with each flag.
        times: Event times of the earlier events.
        feature: The feature.
    """

    event_id: str
    event_time: int
    partition: int
    offset: int
    flags: list[str]
    before: dict[str, int]
    times: InputTimes
    feature: ExplainedValue


class Explainer:
    """Explanations of the features of a feature set."""

    def __init__(self, feature_set: FeatureSet) -> None:
        self._feature_set = feature_set
        self._described = {feature.name: feature for feature in describe(feature_set)}
        self._names = {feature.name: _names(feature.spec) for feature in feature_set.features}
        self._windows = {window.name: window for window in feature_set.histories.windows}

    def explain(
        self, feature: str, event_id: str, source: Iterable[EventTable], labels: KnownLabels | None
    ) -> Explanation:
        """Explain the value of ``feature`` for the first event of ``source`` with this id.

        ``source`` is read up to that event, and again for the ids of the events that were counted.

        Args:
            feature: Name of the feature.
            event_id: Id of the event.
            source: Events of the input; can be iterated more than once.
            labels: Labels of the events, or None for those that the events have.

        Raises:
            ConfigurationError: There is no such feature or event.
        """
        if feature in self._feature_set.vectors:
            own = (f for f in self._feature_set.features if f.spec.name == feature)
            columns = ", ".join(column_names(own))
            raise ConfigurationError(f"{feature} is a vector: name one of its columns, {columns}")
        if feature not in self._described:
            raise ConfigurationError(unknown("feature", feature, self._described))
        run = HistoryRun(self._feature_set, labels, 1)
        batch = _find(run, source, event_id)
        enriched = run.read(run.begin(batch, run.log)).finish()
        stored = (run.store, run.log, run.namespace)
        traced = {
            name: trace(self._feature_set, name, 0, batch, stored)
            for name in self._windows_of(feature)
        }
        members = {(m.partition, m.offset) for one in traced.values() for m in one.members}
        ids = _ids(source, members)
        values = dict(zip(self._feature_set.names, enriched.matrix[0].tolist(), strict=True))
        place = batch.records.position(0)
        return Explanation(
            event_id,
            int(batch.event_time[0]),
            place.partition,
            place.offset,
            self._feature_set.flags.decode(int(enriched.flags[0])),
            dict(run.flagged),
            run.times,
            self._explained(feature, batch, values, traced, ids),
        )

    def _features_in(self, feature: str) -> list[str]:
        fields = self._feature_set.paths
        return [n for n in self._names[feature] if n in self._described and n not in fields]

    def _windows_of(self, feature: str) -> set[str]:
        """The windows that a feature is computed from."""
        own = {feature} & self._windows.keys()
        return own.union(*(self._windows_of(name) for name in self._features_in(feature)))

    def _explained(
        self,
        name: str,
        batch: EventBatch,
        values: Mapping[str, float],
        traced: Mapping[str, Traced],
        ids: Ids,
    ) -> ExplainedValue:
        described = self._described[name]
        window = self._windows.get(name)
        fields = [path for path in self._names[name] if path in batch.columns]
        if window is not None:
            fields[:0] = self._feature_set.bindings.entities[window.entity].paths
        return ExplainedValue(
            name,
            described.kind,
            described.definition,
            None if math.isnan(values[name]) else values[name],
            {path: _text(path, batch) for path in fields},
            [
                self._explained(feature, batch, values, traced, ids)
                for feature in self._features_in(name)
            ],
            None if window is None else _counted(window, traced[name], ids),
        )


def _find(run: HistoryRun, source: Iterable[EventTable], event_id: str) -> EventBatch:
    """The event alone; all events before it are added to the histories."""
    events = 0
    for chunk in source:
        run.label(chunk)
        row = pc.index(chunk.batch.event_id, pa.scalar(event_id, pa.string())).as_py()
        before = chunk.batch if row < 0 else chunk.batch.take(np.arange(row))
        run.keep(before, run.read(run.begin(before, run.log)))
        if row >= 0:
            return chunk.batch.take(np.array([row]))
        events += len(chunk.batch)
    raise ConfigurationError(
        f"no event has the id {event_id!r}, of {events:,} that were read: give the value of the "
        "field that events.id binds"
    )


def _ids(source: Iterable[EventTable], places: set[tuple[int, int]]) -> Ids:
    """The ids of the events at ``places``."""
    offsets = pa.array([offset for _, offset in places], pa.int64())
    ids: dict[tuple[int, int], str] = {}
    for chunk in source:
        if len(ids) == len(places):
            break
        records = chunk.batch.records
        rows = np.flatnonzero(pc.is_in(pa.array(records.offsets), offsets))
        for row in rows.tolist():
            place = (int(records.partitions[row]), int(records.offsets[row]))
            if place in places:
                ids[place] = chunk.batch.event_id[row].as_py()
    return ids


def _counted(window: Window, traced: Traced, ids: Ids) -> Counted:
    asks = window.aggregate is Aggregate.FRAUD_SHARE
    return Counted(
        traced.after,
        traced.until,
        [
            Member(
                ids[m.partition, m.offset],
                m.event_time,
                m.value,
                bool(m.fraud) if asks else None,
                bool(m.current),
                m.partition,
                m.offset,
            )
            for m in traced.members
        ],
    )


def _text(path: str, batch: EventBatch) -> str | None:
    column = as_text(batch.columns[path])
    text: str = column.values[0].as_py()
    return text if column.valid[0] else None


def _names(spec: FeatureSpec) -> list[str]:
    """The dotted names that a definition uses, each once."""
    names = [name for name in (spec.field, spec.of, spec.same) if name is not None]
    if spec.category is not None:
        names.append(spec.category.field)
    for text in (spec.expr, spec.where, *map(str, spec.args or ())):
        if text is not None:
            names += names_in(text)
    return list(dict.fromkeys(names))


def names_in(expression: str) -> list[str]:
    """Dotted names that an expression uses."""
    return _names_in(Source(expression).parse())


def _names_in(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(name):
            return [name]
        case ast.Attribute():
            return [ast.unparse(node)]
        case ast.Call():
            return [name for argument in node.args for name in _names_in(argument)]
        case _:
            return [name for child in ast.iter_child_nodes(node) for name in _names_in(child)]
