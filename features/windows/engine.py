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
from features.windows.position import WindowPosition, arrived_after
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
        duplicate: bool[N], events whose id is already in their history, of a shared one among the
            members of their own partition; likewise.
        capped: bool[N], events for which the cap hides a member within the horizon; likewise.
        compactions: Histories and labels with what a later event may see alone; likewise.
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
        self._added = np.empty(len(batch) * size, np.uint8)
        self._begins, self._lengths = np.empty((2, 3, count), np.int64)
        self.compactions: list[CompactionColumns] = []

    def portions(self, trace: Trace = NO_TRACE) -> list[Portion]:
        """Split the computation where the histories have too many members.

        Args:
            trace: Request for the members of one window.
        """
        through = self._events.ends.copy()
        through[1:] += self._stored.lengths.cumsum() // self._plan.compiled.size
        made, first = list[Portion](), 0
        while first < len(through) - 1:
            most = through[first] + MEMBERS_AT_A_TIME
            last = max(int(through.searchsorted(most, "right")) - 1, first + 1)
            made.append(partial(self._run, first, last, trace))
            first = last
        return made

    def _run(self, first: int, last: int, trace: Trace) -> None:
        """Compute the histories [first, last)."""
        some = slice(first, last)
        results = Results(
            self.values,
            self.duplicate,
            self.capped,
            self._added,
            np.empty(self._stored.lengths[some].sum(), np.uint8),
            np.empty(self._labels.lengths[some].sum(), np.uint8),
            self._begins,
            self._lengths,
        )
        plan, stored, labels, events = self._plan.compiled, self._stored, self._labels, self._events
        compute(plan, stored, labels, events, results, trace, first, last)
        self._compact(self._request.histories, stored, results.compacted, rows.COMPACTED, some)
        if self._request.labels is not None:
            self._compact(self._request.labels, labels, results.labels, rows.LABELS, some)

    def _compact(self, keys: Keys, stored: Stored, kept: Bytes, row: int, some: slice) -> None:
        """Note the compactions of the values at ``some`` of ``keys``."""
        begins, lengths = self._begins[row, some], self._lengths[row, some]
        if (lengths == NOWHERE).all():
            return
        # Most bytes of the array were not needed: it is given back, and its memory used again.
        kept = kept[: lengths.clip(0).sum()].copy()
        kept.flags.writeable = False
        prefixes = StoredValues(stored.data, stored.begins[some], stored.lengths[some])
        self.compactions.append(
            CompactionColumns(keys[some], prefixes, StoredValues(kept, begins, lengths))
        )

    @property
    def appends(self) -> AppendColumns:
        """Members to append to the histories, after all portions."""
        self._added.flags.writeable = False
        values = StoredValues(self._added, self._begins[rows.ADDED], self._lengths[rows.ADDED])
        return AppendColumns(self._request.histories, values)


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
    outside = at.late
    if plan.most_delayed is not None:
        outside = outside | arrived_after(batch, plan.most_delayed)
    return Events(order, ends, members, at.base[order], outside[order], first)


def _stored(values: StoredValues, size: int, what: str, oldest: Longs) -> Stored:
    lengths = np.maximum(values.lengths, 0)
    check_size(lengths, size, what)
    # In one form for all stores, so that the loop is compiled once.
    data = values.data.view()
    data.flags.writeable = False
    return Stored(data, np.ascontiguousarray(values.begins), lengths, oldest)


def _nothing(count: int) -> StoredValues:
    """Values of keys that no window needs."""
    data, zeros = np.frombuffer(b"", np.uint8), np.zeros(count, np.int64)
    return StoredValues(data, zeros, zeros)


def _oldest(plan: EntityWindows, at: WindowPosition) -> Longs:
    """Times that no event at or after the batch reaches back to, as in `Stored`.

    UNKNOWN for a partition that is not in the batch, as its watermark is not known here. Shared
    histories have bounds for the members of all partitions.
    """
    if not plan.own:
        if at.least is None:
            return np.full(2, UNKNOWN)
        settled = at.least - plan.rules.allowed_lateness - plan.delay - 1
        return np.array([at.least - plan.back, settled])
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
