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
from features.values.frame import Frame
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

    def portions(self, stored: Sequence[bytes | None], trace: Trace = NO_TRACE) -> list[Portion]:
        """Split the computation where the histories have too many members.

        Args:
            stored: Stored values of the request's keys, histories before labels.
            trace: Request for the members of one window.
        """
        count = len(self._request.histories)
        values = [value or b"" for value in stored]
        histories, labels = values[:count], values[count:] or [b""] * count
        through = ends_of(histories) // self._plan.compiled.size + self._events.ends
        made, begin = list[Portion](), 0
        while begin < count:
            most = through[begin] + MEMBERS_AT_A_TIME
            end = max(int(np.searchsorted(through, most, "right")) - 1, begin + 1)
            made.append(
                partial(self._run, begin, end, histories[begin:end], labels[begin:end], trace)
            )
            begin = end
        return made

    def _run(
        self,
        begin: int,
        end: int,
        histories: Sequence[bytes],
        labels: Sequence[bytes],
        trace: Trace,
    ) -> Writes:
        """Compute the histories [begin, end), and return the writes to them.

        Raises:
            ConfigurationError: The store holds a value that does not consist of members.
        """
        size, request = self._plan.compiled.size, self._request
        stored = _stored(histories, size, "a history", self._oldest)
        stored_labels = _stored(labels, LABEL.itemsize, "labels", self._oldest_labels[begin:end])
        events = self._events._replace(ends=self._events.ends[begin : end + 1])
        results = Results(
            self.values,
            self.duplicate,
            self.capped,
            np.empty((events.ends[-1] - events.ends[0]) * size, np.uint8),
            np.empty(len(stored.data), np.uint8),
            np.empty(len(stored_labels.data), np.uint8),
            np.empty((3, end - begin), np.int64),
        )
        compute(self._plan.compiled, stored, stored_labels, events, results, trace)
        added = _cut(
            results.added, (events.ends - events.ends[0]) * size, results.lengths[rows.ADDED]
        )
        compacted = _cut(results.compacted, stored.ends, results.lengths[rows.COMPACTED])
        new_labels = _cut(results.labels, stored_labels.ends, results.lengths[rows.LABELS])
        return Writes(
            [(request.histories[begin + of], value) for of, value in added if value],
            [
                *(
                    Compaction(request.histories[begin + of], histories[of], value)
                    for of, value in compacted
                ),
                *(
                    Compaction(request.labels[begin + of], labels[of], value)
                    for of, value in new_labels
                ),
            ],
        )


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
    members[rows.TIME] = batch.event_time
    members[rows.PARTITION] = batch.records.partitions
    members[rows.OFFSET] = batch.records.offsets
    members[rows.EVENT_ID] = ids.view(np.int64)
    for row, column in enumerate(plan.layout.columns, rows.KEPT):
        members[row] = column.read(frame)
    first = np.full(max(at.first, default=0) + 1, np.iinfo(np.int64).max)
    first[list(at.first)] = list(at.first.values())
    counts = np.bincount(request.codes, minlength=len(request.histories))
    ends = np.concatenate(([0], np.cumsum(counts)))
    return Events(request.rows, ends, members, at.base, at.late, first)


def ends_of(values: Sequence[bytes]) -> Longs:
    """int64[U + 1], the bytes before each of U concatenated values, and those of all."""
    ends = np.zeros(len(values) + 1, np.int64)
    np.array(list(map(len, values)), np.int64).cumsum(out=ends[1:])
    return ends


def _stored(values: Sequence[bytes], size: int, what: str, oldest: Longs) -> Stored:
    ends = ends_of(values)
    check_size(ends[1:] - ends[:-1], size, what)
    return Stored(np.frombuffer(b"".join(values), np.uint8), ends, oldest)


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
