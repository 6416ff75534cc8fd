"""Computation of all windows of a micro-batch: one read of the store, then column operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from base.arrays import Floats
from base.times import DAY
from features.history.compact import compactions
from features.history.labels import LABEL, appended
from features.history.layout import Layout, Members
from features.history.merge import Stored, before_batch, merge, read_members
from features.history.namespace import Namespace, grouped, order_of
from features.history.watermarks import UNKNOWN, LogState, advance
from features.store.protocol import Writes
from features.values.frame import Frame
from features.windows.aggregates import Aggregates
from features.windows.cap import apply_cap
from features.windows.duplicates import find_duplicates
from features.windows.frauds import find_labels
from features.windows.ragged import Longs, Mask
from features.windows.view import Events, VisibleMembers, make_view
from features.windows.window import Across, Aggregate, HistoryRules, Window
from schemas.batch import EventBatch

AHEAD = DAY
"""Distance above the watermark from which an event is ahead, in microseconds."""


class EntityWindows:
    """Windows of one entity over one history.

    Attributes:
        reach: Length of its longest window, delay included, in microseconds.
        horizon: Distance back from an event that its windows and the search for duplicates use, in
            microseconds.
        back: Distance before the watermark that a later event may see, in microseconds.
        own: True if all events of a key are in one partition.
        labelled: True if a window counts frauds.
    """

    def __init__(self, entity: str, windows: Sequence[Window], rules: HistoryRules) -> None:
        self.entity = entity
        self.windows = tuple(windows)
        self.rules = rules
        kept = [column for w in windows for column in (w.value, w.where) if column is not None]
        self.layout = Layout.of(kept)
        self.reach = max(window.reach for window in windows)
        self.horizon = max(rules.duplicates, self.reach)
        self.back = rules.allowed_lateness + self.horizon
        self.own = all(window.across is Across.OWN for window in windows)
        self.labelled = any(w.aggregate is Aggregate.FRAUD_SHARE for w in windows)

    def request(self, batch: EventBatch, namespace: Namespace) -> Request:
        """Build the request for the keys of a batch."""
        keys, codes = grouped(batch.entity_keys[self.entity])
        rows = order_of(codes, len(keys))
        of_histories = namespace.history_prefix(self.entity, self.layout.digest)
        of_labels = namespace.label_prefix(self.entity)
        return Request(
            [of_histories + key for key in keys],
            [of_labels + key for key in keys] if self.labelled else [],
            rows,
            codes[rows],
        )


class Request(NamedTuple):
    """Keys of U histories and of their labels, and their N events.

    The events are ordered by history, those of one history in the order of the log.

    Attributes:
        histories: Keys of the histories.
        labels: Keys of the labels; empty if no window needs them.
        rows: int64[N], the row of each event in the batch.
        codes: int64[N], non-decreasing, the history of each event.
    """

    histories: Sequence[bytes]
    labels: Sequence[bytes]
    rows: Longs
    codes: Longs


@dataclass(frozen=True, slots=True, eq=False)
class WindowPosition:
    """Positions of N events in the log, and their times for windows.

    Attributes:
        partitions: int32[N].
        first: Offset of the batch's first event in each of its partitions.
        events: The events as windows see them.
        ahead: bool[N], the events that are wild, or early for their records.
        reached: Watermark before the batch in each of its partitions that has one.
        least: Lowest watermark of all partitions of the topic, None if one is not known.
    """

    partitions: npt.NDArray[np.int32]
    first: Mapping[int, int]
    events: Events
    ahead: Mask
    reached: Mapping[int, int]
    least: int | None

    def take(self, rows: Longs) -> WindowPosition:
        """Positions of the events at ``rows``."""
        events = self.events
        return WindowPosition(
            self.partitions[rows],
            self.first,
            Events(events.time[rows], events.base[rows], events.late[rows]),
            self.ahead[rows],
            self.reached,
            self.least,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Results of one entity's windows for the N events of a batch.

    Attributes:
        values: float64[N] by window.
        duplicate: bool[N], events whose id is already in their history.
        capped: bool[N], events for which the cap hides a member within the horizon.
    """

    values: Mapping[str, Floats]
    duplicate: Mask
    capped: Mask

    @classmethod
    def empty(cls, plan: EntityWindows, events: int) -> Self:
        """Columns without values, to be filled."""
        values = {window.name: np.empty(events) for window in plan.windows}
        return cls(values, np.empty(events, np.bool_), np.empty(events, np.bool_))


def locate(
    batch: EventBatch, log: LogState, rules: HistoryRules, partitions: int
) -> tuple[WindowPosition, LogState]:
    """Find the late and the early events, by the watermark before each in its own partition.

    Args:
        batch: N events.
        log: State of the log before the batch.
        rules: Rules for all windows.
        partitions: Number of partitions of the topic.

    Returns:
        The positions of the events; the state of the log behind the batch, without the times that
        histories reach back to.
    """
    of, time, support = batch.records.partitions, batch.event_time, rules.watermark_support
    early = early_for_records(batch, rules)
    supporting = time if early is None else np.where(early, UNKNOWN, time)
    before = np.empty(len(batch), np.int64)
    highest, first = dict(log.highest), {}
    for partition in np.unique(of).tolist():
        rows = np.flatnonzero(of == partition)
        known = log.highest.get(partition, ())
        before[rows], _, kept = advance(supporting[rows], known, support)
        if kept:
            highest[partition] = kept
        first[partition] = int(batch.records.offsets[rows].min())
    known_before = before != UNKNOWN
    least = np.where(known_before, before - rules.allowed_lateness, UNKNOWN)
    ahead = known_before & (time > before + AHEAD)
    if early is not None:
        ahead |= early
    watermarks = log.watermarks(support)
    return (
        WindowPosition(
            of,
            first,
            Events(time, np.maximum(time, least), time < least),
            ahead,
            {p: watermarks[p] for p in first if p in watermarks},
            min(watermarks.values(), default=None) if len(watermarks) == partitions else None,
        ),
        replace(log, highest=highest),
    )


def early_for_records(batch: EventBatch, rules: HistoryRules) -> Mask | None:
    """Mark events later than their record's timestamp by more than ``max_ahead``.

    A record without a timestamp is not judged.

    Returns:
        bool[N], or None if ``max_ahead`` is not set.
    """
    if rules.max_ahead is None:
        return None
    recorded = batch.records.timestamps
    # In milliseconds, rounded up: a timestamp may be any number of 64 bits.
    earliest = -((rules.max_ahead - batch.event_time) // 1000)
    early: Mask = (recorded > 0) & (recorded < earliest)
    return early


def member_columns(
    layout: Layout, batch: EventBatch, ids: npt.NDArray[np.uint64], frame: Frame
) -> Mapping[str, npt.NDArray[Any]]:
    """Values that members keep of the batch's events, [N] by field of the layout."""
    return {
        "partition": batch.records.partitions,
        "offset": batch.records.offsets,
        "time": batch.event_time,
        "event_id": ids,
        **{column.key: column.read(frame) for column in layout.columns},
    }


def pack(layout: Layout, columns: Mapping[str, npt.NDArray[Any]], rows: Longs) -> Members:
    """Pack the events at ``rows`` into members.

    Args:
        layout: Layout of the members.
        columns: Columns from ``member_columns``.
        rows: Rows of the events.
    """
    members = np.empty(len(rows), layout.dtype)
    for name, column in columns.items():
        members[name] = column[rows]
    return members


@dataclass(frozen=True, slots=True, eq=False)
class ReadHistories:
    """Stored values of one entity, and the batch's view of them.

    Attributes:
        stored: Histories as they were read.
        before: bool[M], the stored members from before the batch; None for all.
        labels: Labels as they were read.
        view: Visible members of the batch's events.
        capped: bool[Q], queries for which the cap hides a member within the horizon.
        aggregates: Computation of the windows.
    """

    stored: Stored
    before: Mask | None
    labels: Stored
    view: VisibleMembers
    capped: Mask
    aggregates: Aggregates


def look(
    plan: EntityWindows,
    request: Request,
    found: Sequence[bytes | None],
    new: Members,
    at: WindowPosition,
) -> ReadHistories:
    """Build the view of the request's events.

    Args:
        plan: Windows of the entity.
        request: Keys and their events.
        found: Stored values of the request's keys, in order.
        new: The events as members.
        at: Positions of the events.

    Returns:
        The stored values and the view.

    Raises:
        ConfigurationError: The store holds a value that does not consist of members.
    """
    codes, size = request.codes, len(request.histories)
    stored = read_members(found[:size], plan.layout.dtype, "a history")
    labels = read_members(found[size:], LABEL, "labels")
    before = before_batch(stored, at.first)
    merged = merge(stored, before, codes, new)
    duplicate, alive = find_duplicates(merged, codes, at.events, plan.rules)
    view = make_view(merged, codes, at.events, duplicate, alive)
    view, capped = apply_cap(view, plan.rules.cap, plan.horizon)
    return ReadHistories(
        stored, before, labels, view, capped, Aggregates(view, find_labels(labels, merged))
    )


def compute_entity(
    plan: EntityWindows,
    request: Request,
    found: Sequence[bytes | None],
    new: Members,
    at: WindowPosition,
    columns: Columns,
) -> Writes:
    """Write the windows of the request's events to their rows of ``columns``.

    Args:
        plan: Windows of the entity.
        request: Keys and their events.
        found: Stored values of the request's keys, in order.
        new: The events as members.
        at: Positions of the events.
        columns: Columns for the results.

    Returns:
        Writes to the histories.

    Raises:
        ConfigurationError: The store holds a value that does not consist of members.
    """
    seen = look(plan, request, found, new, at)
    codes, view = request.codes, seen.view
    rows = request.rows[view.row]
    for window in plan.windows:
        columns.values[window.name][rows] = seen.aggregates.compute(window)
    columns.duplicate[rows] = view.duplicate
    columns.capped[rows] = seen.capped
    return Writes(
        _appends(request, new, view),
        [
            *compactions(
                request.histories,
                seen.stored,
                _members_needed(plan, seen.stored, at),
                seen.before,
                plan.rules.cap,
            ),
            *compactions(request.labels, seen.labels, _labels_needed(plan, seen.labels, at, codes)),
        ],
    )


def _appends(request: Request, new: Members, view: VisibleMembers) -> list[tuple[bytes, bytes]]:
    """Appends of events to their histories."""
    joins = view.alive[view.merged.place]
    if joins.all():
        return list(zip(request.histories, view.merged.added, strict=True))
    rows = np.flatnonzero(joins)
    return appended(request.histories, request.codes[rows], new.take(rows))


def _members_needed(plan: EntityWindows, stored: Stored, at: WindowPosition) -> Mask:
    """Mark the members that an event at or after the batch may reach, bool[M].

    All members of partitions that are not in the batch are marked: their watermarks are not known
    here.
    """
    partitions = stored.members["partition"]
    oldest = np.full(int(partitions.max(initial=0)) + 1, UNKNOWN)
    for partition, reached in at.reached.items():
        if partition < len(oldest):
            oldest[partition] = reached - plan.back
    of_member = oldest[0] if len(oldest) == 1 else oldest[partitions]
    needed: Mask = stored.members["time"] > of_member
    return needed


def _labels_needed(plan: EntityWindows, labels: Stored, at: WindowPosition, codes: Longs) -> Mask:
    """Mark the labels that an event at or after the batch may reach, bool[L].

    A label's entity may have events in any partition, unless each key's events are in one.
    """
    oldest = np.full(len(labels.values), UNKNOWN if at.least is None else at.least - plan.back)
    if plan.own and plan.labelled:
        for partition in np.unique(at.partitions).tolist():
            reached = at.reached.get(partition)
            own = codes[at.partitions == partition]
            oldest[own] = UNKNOWN if reached is None else reached - plan.back
    needed: Mask = labels.members["time"] > oldest[labels.owner]
    return needed
