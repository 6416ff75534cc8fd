"""Computation of one entity's windows for a micro-batch, in independent portions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from base.arrays import Bytes, Longs
from features.history.labels import LABEL
from features.history.layout import check_size
from features.history.watermarks import UNKNOWN
from features.store.stored_values import StoredValues
from features.store.writes import AppendColumns, CompactionColumns
from features.values.frame import Frame
from features.values.keys import Keys
from features.windows.entity_windows import EntityWindows, HistoryRequest
from features.windows.kernel import rows
from features.windows.kernel.loop import compute
from features.windows.kernel.structs import NOWHERE, Events, Results, Stored, Trace
from features.windows.position import WindowPosition
from schemas.batch import EventBatch

MEMBERS_AT_A_TIME = 2**15
"""Number of members in a portion, unless one history alone has more.

Its bytes stay in the processor's cache, and a thread pool has work to share.
"""

Portion = Callable[[], None]
"""Computation of some histories, with all of the batch's events of their keys; independent."""

NO_TRACE = Trace(NOWHERE, 0, np.empty((6, 0), np.int64), np.zeros(1, np.int64))


class EntityComputation:
    """Computation of one entity's windows for the N events of a batch.

    Attributes:
        values: float64[W, N], filled by the portions.
        duplicate: bool[N], events whose id is already in their history; likewise.
        capped: bool[N], events for which the cap hides a member within the horizon; likewise.
    """

    def __init__(
        self,
        plan: EntityWindows,
        request: HistoryRequest,
        batch: EventBatch,
        ids: npt.NDArray[np.uint64],
        frame: Frame,
        at: WindowPosition,
        stored: StoredValues,
    ) -> None:
        """Prepare the computation.

        Args:
            plan: Windows of the entity.
            request: Keys of the batch's histories and labels.
            batch: N events.
            ids: uint64[N], hashes of the event ids.
            frame: Values of the batch, with the features of the event alone.
            at: Positions of the events.
            stored: Stored values of the request's keys, histories before labels.

        Raises:
            ConfigurationError: The store holds a value that does not consist of members.
        """
        self._plan, self._request = plan, request
        count, size = len(request.histories), plan.compiled.size
        self._events = _events_of(plan, request, batch, ids, frame, at)
        labels = stored[count:] if request.labels else _nothing(count)
        self._stored = _stored(stored[:count], size, "a history", _oldest(plan, at))
        self._labels = _stored(labels, LABEL.itemsize, "labels", _oldest_labels(plan, request, at))
        self.values = np.empty((len(plan.windows), len(batch)))
        self.duplicate, self.capped = np.empty((2, len(batch)), np.bool_)
        self._results = Results(
            self.values,
            self.duplicate,
            self.capped,
            np.empty(len(batch) * size, np.uint8),
            np.empty(self._stored.ends[-1], np.uint8),
            np.empty(self._labels.ends[-1], np.uint8),
            np.empty((3, count), np.int64),
        )

    def portions(self, trace: Trace = NO_TRACE) -> list[Portion]:
        """Split the computation where the histories have too many members.

        Args:
            trace: Request for the members of one window.
        """
        plan, events, made, first = self._plan.compiled, self._events, list[Portion](), 0
        arguments = plan, self._stored, self._labels, events, self._results, trace
        through = self._stored.ends // plan.size + events.ends
        while first < len(through) - 1:
            most = through[first] + MEMBERS_AT_A_TIME
            last = max(int(through.searchsorted(most, "right")) - 1, first + 1)
            made.append(partial(compute, *arguments, first, last))
            first = last
        return made

    @property
    def appends(self) -> AppendColumns:
        """Members to append to the histories, after all portions."""
        begins = self._events.ends[:-1] * self._plan.compiled.size
        return AppendColumns(
            self._request.histories, self._written(self._results.added, begins, rows.ADDED)
        )

    @property
    def compactions(self) -> list[CompactionColumns]:
        """Histories and labels that a later event may reach, after all portions."""
        results, request = self._results, self._request
        kept = [
            (request.histories, self._stored, results.compacted, rows.COMPACTED),
            (request.labels, self._labels, results.labels, rows.LABELS),
        ]
        return [
            CompactionColumns(
                keys,
                StoredValues(stored.data, stored.begins, stored.lengths),
                self._written(data, stored.ends[:-1], row),
            )
            for keys, stored, data, row in kept
            if keys is not None
        ]

    def _written(self, data: Bytes, begins: Longs, row: int) -> StoredValues:
        data.flags.writeable = False
        return StoredValues(data, begins, self._results.lengths[row])


def _events_of(
    plan: EntityWindows,
    request: HistoryRequest,
    batch: EventBatch,
    ids: npt.NDArray[np.uint64],
    frame: Frame,
    at: WindowPosition,
) -> Events:
    """Events in the form that the compiled loop reads."""
    members = np.empty((rows.KEPT + len(plan.layout.columns), len(batch)), np.int64)
    # In this order the loop reads them from one place after the other.
    order = request.rows
    members[rows.TIME] = batch.event_time[order]
    members[rows.PARTITION] = batch.records.partitions[order]
    members[rows.OFFSET] = batch.records.offsets[order]
    members[rows.EVENT_ID] = ids.view(np.int64)[order]
    for row, column in enumerate(plan.layout.columns, rows.KEPT):
        members[row] = column.read(frame)[order]
    first = np.full(max(at.first, default=0) + 1, np.iinfo(np.int64).max)
    first[list(at.first)] = list(at.first.values())
    counts = np.bincount(request.codes, minlength=len(request.histories))
    ends = np.concatenate(([0], np.cumsum(counts)))
    return Events(order, ends, members, at.base[order], at.late[order], first)


def _stored(values: StoredValues, size: int, what: str, oldest: Longs) -> Stored:
    lengths, ends = np.maximum(values.lengths, 0), np.zeros(len(values) + 1, np.int64)
    check_size(lengths, size, what)
    lengths.cumsum(out=ends[1:])
    return Stored(values.data, values.begins, lengths, ends, oldest)


def _nothing(count: int) -> StoredValues:
    """Values of keys that no window needs."""
    data, zeros = np.frombuffer(b"", np.uint8), np.zeros(count, np.int64)
    return StoredValues(data, zeros, zeros)


def _oldest(plan: EntityWindows, at: WindowPosition) -> Longs:
    """Time that no event at or after the batch reaches back to, by partition.

    UNKNOWN for a partition that is not in the batch, as its watermark is not known here.
    """
    oldest = np.full(max(at.reached, default=0) + 1, UNKNOWN)
    for partition, reached in at.reached.items():
        oldest[partition] = reached - plan.back
    return oldest


def _oldest_labels(plan: EntityWindows, request: HistoryRequest, at: WindowPosition) -> Longs:
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
