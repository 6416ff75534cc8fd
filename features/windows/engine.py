"""Computation of one entity's windows for a micro-batch, in independent portions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from base.arrays import Bytes, Longs
from features.history.labels import LABEL
from features.history.layout import check_size
from features.history.watermarks import UNKNOWN
from features.store.protocol import Compaction, Writes
from features.store.stored_values import StoredValues
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

Portion = Callable[[], Writes]
"""Computation of some histories, with all of the batch's events of their keys.

Portions are independent; each returns the writes to its histories.
"""

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
    ) -> None:
        """Prepare the computation.

        Args:
            plan: Windows of the entity.
            request: Keys of the batch's histories and labels.
            batch: N events.
            ids: uint64[N], hashes of the event ids.
            frame: Values of the batch, with the features of the event alone.
            at: Positions of the events.
        """
        self._plan = plan
        self._request = request
        self._events = _events_of(plan, request, batch, ids, frame, at)
        self._oldest = _oldest(plan, at)
        self._oldest_labels = _oldest_labels(plan, request, at)
        self.values = np.empty((len(plan.windows), len(batch)))
        self.duplicate = np.empty(len(batch), np.bool_)
        self.capped = np.empty(len(batch), np.bool_)

    def portions(self, stored: StoredValues, trace: Trace = NO_TRACE) -> list[Portion]:
        """Split the computation where the histories have too many members.

        Args:
            stored: Stored values of the request's keys, histories before labels.
            trace: Request for the members of one window.

        Raises:
            ConfigurationError: The store holds a value that does not consist of members.
        """
        count, size = len(self._request.histories), self._plan.compiled.size
        histories = _stored(stored[:count], size, "a history", self._oldest)
        labels = stored[count:] if self._request.labels else StoredValues.of([b""] * count)
        labelled = _stored(labels, LABEL.itemsize, "labels", self._oldest_labels)
        through = np.zeros(count + 1, np.int64)
        (histories.lengths // size).cumsum(out=through[1:])
        through += self._events.ends
        keys = self._request.histories.to_list()
        made, begin = list[Portion](), 0
        while begin < count:
            most = through[begin] + MEMBERS_AT_A_TIME
            end = max(int(np.searchsorted(through, most, "right")) - 1, begin + 1)
            made.append(partial(self._run, begin, end, keys, histories, labelled, trace))
            begin = end
        return made

    def _run(
        self,
        begin: int,
        end: int,
        keys: Sequence[bytes],
        histories: Stored,
        labelled: Stored,
        trace: Trace,
    ) -> Writes:
        """Compute the histories [begin, end), and return the writes to them."""
        size, request = self._plan.compiled.size, self._request
        stored, labels = _some(histories, begin, end), _some(labelled, begin, end)
        labels = labels._replace(oldest=labels.oldest[begin:end])
        events = self._events._replace(ends=self._events.ends[begin : end + 1])
        results = Results(
            self.values,
            self.duplicate,
            self.capped,
            np.empty((events.ends[-1] - events.ends[0]) * size, np.uint8),
            np.empty(_extent(stored), np.uint8),
            np.empty(_extent(labels), np.uint8),
            np.empty((3, end - begin), np.int64),
        )
        compute(self._plan.compiled, stored, labels, events, results, trace)
        added = _cut(
            results.added, (events.ends - events.ends[0]) * size, results.lengths[rows.ADDED]
        )
        compactions = [
            *_compactions(
                request.histories, begin, stored, results.compacted, results.lengths[rows.COMPACTED]
            ),
            *_compactions(
                request.labels, begin, labels, results.labels, results.lengths[rows.LABELS]
            ),
        ]
        return Writes([(keys[begin + of], value) for of, value in added if value], compactions)


def _compactions(
    keys: Keys | None, begin: int, stored: Stored, data: Bytes, lengths: Longs
) -> list[Compaction]:
    """Compactions of the values of ``keys`` from ``begin`` on that do not stay as they are."""
    compacted = _cut(data, stored.begins - stored.begins[0], lengths)
    if keys is None or not compacted:
        return []
    return [Compaction(keys.key(begin + of), _value(stored, of), value) for of, value in compacted]


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
    lengths = np.maximum(values.lengths, 0)
    check_size(lengths, size, what)
    return Stored(values.data, values.begins, lengths, oldest)


def _some(stored: Stored, begin: int, end: int) -> Stored:
    """The values [begin, end)."""
    return stored._replace(begins=stored.begins[begin:end], lengths=stored.lengths[begin:end])


def _extent(stored: Stored) -> int:
    """Bytes from the begin of the first value to the end of the last."""
    return int(stored.begins[-1] + stored.lengths[-1] - stored.begins[0])


def _value(stored: Stored, index: int) -> bytes:
    begin = int(stored.begins[index])
    return stored.data[begin : begin + int(stored.lengths[index])].tobytes()


def _cut(data: Bytes, begins: Longs, lengths: Longs) -> list[tuple[int, bytes]]:
    """Indexes of the histories that have a value, and the values."""
    view, has = data.data, np.flatnonzero(lengths != NOWHERE)
    ranges = zip(has.tolist(), begins[has].tolist(), lengths[has].tolist(), strict=True)
    return [(of, bytes(view[begin : begin + length])) for of, begin, length in ranges]


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
