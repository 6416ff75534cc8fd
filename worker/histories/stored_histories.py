"""Histories in an online store: restored, read with their marks, and written."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from base.arrays import Longs
from base.errors import ConfigurationError, DependencyUnavailableError, StoreAwayError
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.protocol import OnlineStore, StoreReads, Writes
from features.store.writes import Appends
from features.windows.plan import WindowPlan
from schemas.batch import Records
from worker.consume.topics import InputTopic
from worker.fill.fill import Progress
from worker.fill.source import LogSource
from worker.histories.ahead import Ahead
from worker.histories.alignment import Alignment, Wait
from worker.histories.filling import HistoryTarget, Restoring
from worker.histories.interface import HistoryWrites
from worker.histories.location import StateLocation
from worker.histories.marked_reads import MarkedReads
from worker.histories.marks import Marks
from worker.histories.neighbours import Neighbours
from worker.histories.passed_ends import PassedEnds
from worker.histories.state import SEEN_EVERY_S, note_seen
from worker.labels import LabelFeed
from worker.process import metrics
from worker.process.watchdog import Watchdog

log = structlog.get_logger(__name__)

_AHEAD_RECORDS = 2_000
"""Records of a step ahead of scoring: in between, events that need not wait are scored."""


class StoredHistories:
    """Histories in an online store that others write to as well.

    Args:
        store: Online store.
        plan: Windows that read the histories.
        find: Finds the location of the histories of a topic.
        watchdog: Bounds the write and the wait for it; the store's own timeout bounds one answer.
        source: Reader of the input topic for fills.
        fills: False if histories begin empty at the checkpoint instead of being filled.
        labels: Feed of the labels topic; None without one, or without windows that count frauds.
    """

    def __init__(
        self,
        store: OnlineStore,
        plan: WindowPlan,
        find: Callable[[InputTopic], StateLocation],
        watchdog: Watchdog,
        source: LogSource,
        *,
        fills: bool,
        labels: LabelFeed | None = None,
    ) -> None:
        self._store = store
        self._plan = plan
        self._find = find
        self._watchdog = watchdog
        self._alignment = Alignment(plan, source.bounds)
        self._passed = PassedEnds(plan, source.bounds, source.clock)
        self._source = source
        self._ahead = Ahead(source, _AHEAD_RECORDS)
        self._neighbours = Neighbours(source)
        self._tidied = -math.inf
        self._fills = fills
        self._labels = labels
        self._written = threading.Event()
        self._written.set()

    def open(self, topic: InputTopic) -> None:
        self._topic = topic
        self._location = self._find(topic)
        namespace, expire_ms = self._location.namespace, self._location.expire_ms
        marks = Marks(self._plan, namespace)
        if self._labels is not None:
            of_labels = self._labels.open(namespace, marks.keys, expire_ms)
            marks = Marks(self._plan, namespace, of_labels)
        self._target = HistoryTarget(self._store, self._plan, namespace, marks, expire_ms)

    def namespace(self) -> Namespace:
        return self._location.namespace

    def restore(self, log: LogState) -> Generator[Progress | None, None, LogState]:
        self._refuse_new(log.offsets)
        self._ahead.close()
        self._neighbours.close()
        self._alignment.forget()
        others = LogState()
        # Until marks are those of the present record: with the histories the store may have lost
        # it, also after it was read here, and another worker has written a new one.
        while True:
            self.open(self._topic)
            self._target.read_marks()
            if not self._lacks(log):
                filled = yield from self._neighbours.restore(
                    self._target, log, others, fills=self._fills
                )
                if filled is None:
                    return self._target.marks.reaching(log)
                others = filled
            elif self._fills:
                restoring = Restoring(self._target, self._source, log)
                yield from restoring.run()
                log = restoring.state
            else:
                self._begin(log.offsets)

    def known(self, log: LogState) -> LogState:
        scored = self._target.marks.scored()
        self._passed.look(log, scored)
        elsewhere = {p: time for p, time in scored.items() if p not in log.offsets}
        return replace(log, elsewhere=elsewhere, passed=dict(self._passed.ends))

    def checked(
        self, store: OnlineStore, records: Records, until: Longs, log: LogState
    ) -> StoreReads:
        marks, alignment = self._target.marks, self._alignment
        return MarkedReads(store, marks, alignment, records, until, log.offsets, self._labels)

    def require(self, log: LogState) -> None:
        marks = self._target.marks
        self._target.read_marks()
        marks.require(log.offsets)
        self._passed.look(log, marks.scored())

    def still_waiting(self, waits: Mapping[int, Wait]) -> Mapping[int, Wait]:
        self._target.read_marks()
        marks = self._target.marks
        if self._labels is not None and not self._labels.are_applied(marks.labels):
            return waits
        return self._alignment.still_waiting(marks.read, waits)

    def lagging(self, waits: Mapping[int, Wait]) -> Sequence[int]:
        others = {p: wait for p, wait in waits.items() if wait.behind is not None}
        return self._alignment.lagging(self._target.marks.read, others)

    def apply_ahead(self, partitions: Iterable[int], log: LogState) -> None:
        self.require(log)
        for partition in partitions:
            self._ahead.apply(self._target, partition, log)

    def unattended(self, waits: Mapping[int, Wait], log: LogState) -> Sequence[int]:
        return self._neighbours.unattended(self._target, log, waits)

    def tidy(self) -> None:
        self._ahead.close_idle()
        self._neighbours.close_idle()
        if self._source.clock() >= self._tidied + SEEN_EVERY_S:
            note_seen(self._store, self._location.namespace, self._plan.layouts, int(time.time()))
            self._tidied = self._source.clock()

    def apply_others(self, partitions: Collection[int], log: LogState) -> None:
        self.require(log)
        self._neighbours.apply(self._target, partitions)
        self._target.read_marks()

    def close(self) -> None:
        if self._labels is not None:
            self._labels.close()
        self._ahead.close()
        self._neighbours.close()

    def announce(
        self, writes: Writes, before: LogState, after: LogState, ends: Mapping[int, int]
    ) -> HistoryWrites:
        self._written.clear()
        marks = self._target.marks
        # What is applied already, ahead of scoring or before a crash, is not appended again.
        applied = marks.applied(ends)
        appends = writes.appends
        if applied:
            appends = Appends.of(appends).where(lambda prefix: prefix not in applied)
        return HistoryWrites(
            Writes(appends, writes.compactions), marks.advance(before, after, ends)
        )

    def write(self, writes: HistoryWrites) -> None:
        try:
            self._write(writes)
        finally:
            # Also after a failure: the micro-batch that reads then is dropped as well.
            self._written.set()

    def await_written(self) -> None:
        if not self._written.is_set():
            with self._watchdog.guard("await_histories"):
                self._written.wait()

    def _refuse_new(self, partitions: Collection[int]) -> None:
        state, count = self._location.namespace.state, self._location.namespace.partitions
        if max(partitions, default=0) >= count:
            raise ConfigurationError(
                f"kafka.input_topic: partition {max(partitions)} is new, store.state {state} is of "
                f"{count} partitions: keys are now in other partitions than their histories; stop "
                "all workers and run fraud-worker features fill --from-topic"
            )

    def _lacks(self, log: LogState) -> bool:
        """True if histories of assigned partitions have to be filled, or to begin."""
        marks = self._target.marks
        return bool(marks.missing(log.offsets) or (self._fills and marks.of_unknown_reach(log)))

    def _begin(self, offsets: Mapping[int, int]) -> None:
        begun = self._target.marks.missing(offsets)
        log.warning(
            "histories_begin",
            state=self._location.namespace.state,
            offsets={f"{one.entity} of partition {p}": offsets[p] for one, p in begun},
            meaning="the store has no members of earlier events; events are flagged history_short "
            "until the histories reach back far enough",
        )
        self._store.write_marks(self._target.marks.begin(offsets), self._location.expire_ms)

    def _write(self, writes: HistoryWrites) -> None:
        expire_ms, members = self._location.expire_ms, writes.members
        started = time.perf_counter()
        try:
            with self._watchdog.guard("write_histories"):
                self._store.append(members.appends, members.compactions, expire_ms, writes.marks)
        except DependencyUnavailableError as error:
            raise StoreAwayError(str(error)) from error
        metrics.stage_seconds.labels("write").observe(time.perf_counter() - started)
        metrics.history_bytes.inc(Appends.of(members.appends).byte_length)
        metrics.compactions.inc(len(members.compactions))
