"""Computation of all windows of a micro-batch: one read of the store, then column operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from base.arrays import Longs, Mask
from base.errors import ConfigurationError
from base.times import DAY
from features.history.labels import LABEL
from features.history.layout import Layout, StoredKind
from features.history.namespace import Namespace, grouped, order_of
from features.history.watermarks import UNKNOWN, LogState, advance
from features.store.protocol import Compaction, Writes
from features.values.frame import Frame
from features.windows import kernel
from features.windows.window import Across, Aggregate, HistoryRules, Window
from schemas.batch import EventBatch

AHEAD = DAY
"""Distance above the watermark from which an event is ahead, in microseconds."""


WORTH = 16
"""Minimum number of members that a compaction removes; it must also be the number that stays."""

MEMBERS_AT_A_TIME = 2**14
"""Number of members in a range of histories, unless one history alone has more.

It gives a thread pool work to share.
"""


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
        self.compiled = self._compiled()

    def _compiled(self) -> kernel.Plan:
        """The windows in the form that the compiled loop reads."""
        windows, layout = self.windows, self.layout
        place = {column.key: kernel.KEPT + i for i, column in enumerate(layout.columns)}
        pairs: dict[tuple[int, int], int] = {}
        of = []
        for w in windows:
            pair = tuple(place[c.key] if c else kernel.NOWHERE for c in (w.value, w.where))
            of.append(pairs.setdefault((pair[0], pair[1]), len(pairs)))
        fields = layout.dtype.fields or {}
        return kernel.Plan(
            np.array([list(Aggregate).index(w.aggregate) for w in windows]),
            np.array([w.reach for w in windows]),
            np.array([w.delay for w in windows]),
            np.array([w.include_current for w in windows]),
            np.array([w.default for w in windows], np.float64),
            np.array([_unit(w) for w in windows]),
            np.array(of),
            np.array([value for value, _ in pairs]),
            np.array([where for _, where in pairs]),
            np.array([fields[c.key][1] for c in layout.columns], np.int64),
            np.array([c.kind is StoredKind.CONDITION for c in layout.columns], np.bool_),
            layout.dtype.itemsize,
            self.horizon,
            self.rules.duplicates,
            self.rules.cap,
            WORTH,
        )

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
class Events:
    """A batch's events as windows see them.

    Attributes:
        time: int64[N], event times.
        base: int64[N], the event time, or for a late event the earliest time that would not have
            been late.
        late: bool[N].
    """

    time: Longs
    base: Longs
    late: Mask


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


def events_of(
    plan: EntityWindows,
    request: Request,
    batch: EventBatch,
    ids: npt.NDArray[np.uint64],
    frame: Frame,
    at: WindowPosition,
) -> kernel.Events:
    """Events of a batch in the form that the compiled loop reads."""
    rows = np.empty((kernel.KEPT + len(plan.layout.columns), len(batch)), np.int64)
    rows[kernel.TIME] = batch.event_time
    rows[kernel.PARTITION] = batch.records.partitions
    rows[kernel.OFFSET] = batch.records.offsets
    rows[kernel.EVENT_ID] = ids.view(np.int64)
    for row, column in enumerate(plan.layout.columns, kernel.KEPT):
        rows[row] = column.read(frame)
    first = np.full(max(at.first, default=0) + 1, np.iinfo(np.int64).max)
    first[list(at.first)] = list(at.first.values())
    ends = np.zeros(len(request.histories) + 1, np.int64)
    np.cumsum(np.bincount(request.codes, minlength=len(request.histories)), out=ends[1:])
    return kernel.Events(request.rows, ends, rows, at.events.base, at.events.late, first)


def stored_values(values: Sequence[bytes], size: int, what: str, oldest: Longs) -> kernel.Stored:
    """Concatenate stored values.

    Args:
        values: Stored bytes of each history.
        size: Bytes of a member.
        what: Name of the values in messages.
        oldest: As in `kernel.Stored`.

    Raises:
        ConfigurationError: A value does not consist of members.
    """
    ends = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, values), np.int64, len(values)), out=ends[1:])
    rest = np.diff(ends) % size
    if rest.any():
        raise ConfigurationError(
            f"the online store holds {what} of {np.diff(ends)[np.argmax(rest > 0)]} bytes, which "
            f"are no members of {size} bytes: something else wrote there; use another store.state"
        )
    return kernel.Stored(np.frombuffer(b"".join(values), np.uint8), ends, oldest)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Results of one entity's windows for the N events of a batch.

    Attributes:
        values: float64[W, N].
        duplicate: bool[N], events whose id is already in their history.
        capped: bool[N], events for which the cap hides a member within the horizon.
    """

    values: npt.NDArray[np.float64]
    duplicate: Mask
    capped: Mask


NO_TRACE = kernel.Trace(kernel.NOWHERE, 0, np.empty((6, 0), np.int64), np.zeros(1, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """Some histories of one entity, with all of the batch's events of their keys.

    Attributes:
        plan: Windows of the entity.
        histories: Keys of the U histories.
        labels: Keys of their labels; empty if no window needs them.
        stored: Stored values of the histories and of the labels.
        events: The events.
        oldest: int64[P], time that no event at or after the batch reaches back to, by partition.
        oldest_labels: int64[U], likewise for the labels, by history.
        columns: Columns for the results of the whole batch; each portion writes rows of its own.
        trace: Request for the members of one window.
    """

    plan: EntityWindows
    histories: Sequence[bytes]
    labels: Sequence[bytes]
    stored: tuple[Sequence[bytes], Sequence[bytes]]
    events: kernel.Events
    oldest: Longs
    oldest_labels: Longs
    columns: Columns
    trace: kernel.Trace = NO_TRACE

    def run(self) -> Writes:
        """Compute the windows into the columns, and return the writes to the histories.

        Raises:
            ConfigurationError: The store holds a value that does not consist of members.
        """
        size, count = self.plan.compiled.size, len(self.histories)
        begin, end = int(self.events.ends[0]), int(self.events.ends[-1])
        stored = stored_values(self.stored[0], size, "a history", self.oldest)
        labels = stored_values(self.stored[1], LABEL.itemsize, "labels", self.oldest_labels)
        results = kernel.Results(
            self.columns.values,
            self.columns.duplicate,
            self.columns.capped,
            np.empty((end - begin) * size, np.uint8),
            np.empty(count, np.int64),
            np.empty(len(stored.data), np.uint8),
            np.empty(count, np.int64),
            np.empty(len(labels.data), np.uint8),
            np.empty(count, np.int64),
        )
        kernel.compute(self.plan.compiled, stored, labels, self.events, results, self.trace)
        begins = ((self.events.ends[:-1] - begin) * size).tolist()
        added = results.added.tobytes()
        return Writes(
            [
                (key, added[at : at + length])
                for key, at, length in zip(
                    self.histories, begins, results.added_bytes.tolist(), strict=True
                )
                if length
            ],
            [
                *_compactions(
                    self.histories,
                    self.stored[0],
                    stored,
                    results.compacted,
                    results.compacted_bytes,
                ),
                *_compactions(
                    self.labels, self.stored[1], labels, results.labels, results.labels_bytes
                ),
            ],
        )


def portions(
    plan: EntityWindows,
    request: Request,
    found: Sequence[bytes | None],
    events: kernel.Events,
    at: WindowPosition,
    trace: kernel.Trace = NO_TRACE,
) -> tuple[Columns, list[Portion]]:
    """Split the histories of a request where they have too many members.

    Args:
        plan: Windows of the entity.
        request: Keys and their events.
        found: Stored values of the request's keys, in order.
        events: The events.
        at: Positions of the events.
        trace: Request for the members of one window.

    Returns:
        Columns for the results, and the portions, which are independent.
    """
    size, count = len(at.partitions), len(request.histories)
    columns = Columns(
        np.empty((len(plan.windows), size)), np.empty(size, np.bool_), np.empty(size, np.bool_)
    )
    present = [value or b"" for value in found]
    through = np.zeros(count + 1, np.int64)
    np.cumsum(np.fromiter(map(len, present[:count]), np.int64, count), out=through[1:])
    through = through // plan.compiled.size + events.ends
    oldest, oldest_labels = _oldest(plan, at), _oldest_labels(plan, request, at)
    made, begin = [], 0
    while begin < count:
        end = int(np.searchsorted(through, through[begin] + MEMBERS_AT_A_TIME, "right")) - 1
        end = min(max(end, begin + 1), count)
        labels = present[count + begin : count + end] or [b""] * (end - begin)
        made.append(
            Portion(
                plan,
                request.histories[begin:end],
                request.labels[begin:end],
                (present[begin:end], labels),
                events._replace(ends=events.ends[begin : end + 1]),
                oldest,
                oldest_labels[begin:end],
                columns,
                trace,
            )
        )
        begin = end
    return columns, made


def _compactions(
    keys: Sequence[bytes],
    found: Sequence[bytes],
    stored: kernel.Stored,
    compacted: npt.NDArray[np.uint8],
    sizes: Longs,
) -> list[Compaction]:
    """Compactions of the histories that have been rewritten."""
    if not keys:
        return []
    made = []
    for of in np.flatnonzero(sizes != kernel.NOWHERE).tolist():
        begin = int(stored.ends[of])
        value = compacted[begin : begin + int(sizes[of])].tobytes()
        made.append(Compaction(keys[of], found[of], value))
    return made


def _unit(window: Window) -> float:
    """Divisor that converts the kept whole numbers to the value's unit."""
    if window.value is None or window.value.kind is not StoredKind.VALUE:
        return 1.0
    return float(10**window.value.scale) if window.aggregate is not Aggregate.DISTINCT else 1.0


def _oldest(plan: EntityWindows, at: WindowPosition) -> Longs:
    """Time that no event at or after the batch reaches back to, by partition.

    UNKNOWN for a partition that is not in the batch, as its watermark is not known here.
    """
    oldest = np.full(max(at.reached, default=0) + 1, UNKNOWN)
    for partition, reached in at.reached.items():
        oldest[partition] = reached - plan.back
    return oldest


def _oldest_labels(plan: EntityWindows, request: Request, at: WindowPosition) -> Longs:
    """Time that no event at or after the batch reaches back to, by history.

    A label's entity may have events in any partition, unless each key's events are in one.
    """
    least = UNKNOWN if at.least is None else at.least - plan.back
    oldest = np.full(len(request.histories), least)
    if plan.own and plan.labelled:
        partitions = at.partitions[request.rows]
        for partition in np.unique(partitions).tolist():
            reached = at.reached.get(partition)
            own = request.codes[partitions == partition]
            oldest[own] = UNKNOWN if reached is None else reached - plan.back
    return oldest
