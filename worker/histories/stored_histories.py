"""Histories in the online store: their location, and the writes of each micro-batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from base.arrays import Longs
from base.errors import ConfigurationError, DependencyUnavailableError, StoreAwayError
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.protocol import MarkWrite, OnlineStore, StoreReads, Writes
from features.windows.plan import WindowPlan
from schemas.batch import Records
from worker.consume.topics import InputTopic
from worker.fill.fill import Progress
from worker.fill.source import LogSource
from worker.histories.alignment import Alignment, Wait
from worker.histories.filling import Ahead, HistoryTarget, Restoring
from worker.histories.marks import MarkedReads, Marks
from worker.histories.state import StateRequest, claim, source_of
from worker.labels import LabelFeed
from worker.process import metrics
from worker.process.watchdog import Watchdog
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StateLocation:
    """Key namespace and TTL of the histories.

    Attributes:
        namespace: Namespace of their keys in the online store.
        expire_ms: TTL of a history, in milliseconds after its last write; None: it never expires.
    """

    namespace: Namespace
    expire_ms: int | None


def claim_location(
    settings: WorkerSettings,
    feature_set: FeatureSet,
    store: OnlineStore,
    topic: InputTopic,
) -> StateLocation:
    """Claim the state in the store for the input topic.

    Args:
        settings: Settings of the worker.
        feature_set: Feature set whose windows read the histories.
        store: Online store that holds the state.
        topic: Input topic.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: Topic and state do not fit, or the store may evict keys.
    """
    store.require_no_eviction()
    wanted = state_request(settings, feature_set, topic)
    namespace = claim(store, feature_set.name, settings.state_name, wanted)
    expire_ms = expiry_ms(feature_set, topic.retention_ms, settings.max_lag_s)
    log.info(
        "histories", state=namespace.state, topic_id=namespace.topic_id, kept_ms=expire_ms or "ever"
    )
    return StateLocation(namespace, expire_ms)


def state_request(
    settings: WorkerSettings, feature_set: FeatureSet, topic: InputTopic
) -> StateRequest:
    """Make the request of a worker with these settings; arguments are those of `claim_location`."""
    return StateRequest(
        source_of(topic, settings.kafka.group),
        feature_set.histories.layouts,
        settings.kafka.accept_topic == topic.topic_id,
        settings.store.accept_group if settings.store else None,
        feature_set.histories.backs,
        feature_set.histories.rules.cap,
        expiry_ms(feature_set, topic.retention_ms, settings.max_lag_s),
        # With a labels topic, the worker applies labels by itself.
        frozenset(() if settings.kafka.labels_topic else feature_set.labelled_entities),
    )


def expiry_ms(
    feature_set: FeatureSet, retention_ms: int | None, max_lag_s: float | None
) -> int | None:
    """TTL of a history after its last write, in milliseconds.

    For that time, an event that needs the history may still come. The horizon of the windows is in
    event time: a worker that lags, or reads the topic again from its first record, needs a history
    for longer by its lag.

    Args:
        feature_set: Feature set whose windows read the histories.
        retention_ms: Retention of the input topic, in milliseconds; None: unlimited.
        max_lag_s: Longest delay behind real time of events that are read, in seconds; None: the
            retention of the topic.

    Returns:
        The TTL; None if nothing bounds the lag.
    """
    lag_ms = retention_ms if max_lag_s is None else int(1000 * max_lag_s)
    if lag_ms is None:
        return None
    return feature_set.histories.back // 1000 + lag_ms


@dataclass(frozen=True, slots=True, eq=False)
class HistoryWrites:
    """Writes of one micro-batch.

    Attributes:
        members: Members to append, and compactions.
        marks: Marks to write behind them.
    """

    members: Writes = field(default_factory=Writes)
    marks: Sequence[MarkWrite] = ()


class Histories(Protocol):
    """Interface to a worker's histories, for the loop, the committing thread and enrich.

    The loop announces writes before it hands them over, the committing thread writes them, and the
    next reader waits for that: each reader sees all earlier writes.
    """

    def open(self, topic: InputTopic) -> None:
        """Find the location of this topic's histories.

        Raises:
            DependencyUnavailableError: The store does not answer.
            ConfigurationError: The store holds histories of another topic or group.
        """
        ...

    def namespace(self) -> Namespace | None:
        """Namespace of the keys of the histories; None for a store that serves this run alone."""
        ...

    def restore(self, log: LogState) -> Generator[Progress, None, LogState]:
        """Fill histories of which members before the checkpoint are missing, in steps.

        Args:
            log: State of the log at the checkpoints of the assigned partitions.

        Returns:
            The state, with the times that the histories reach back to.

        Raises:
            DependencyUnavailableError: The store or the registry does not answer.
            KafkaException: The brokers do not answer.
            HistoriesLostError: The store has lost members meanwhile.
            ConfigurationError: A partition is new since the histories began, or as by `open`.
        """
        ...

    def known(self, log: LogState) -> LogState:
        """The state of the log, with what is known of the partitions that other workers read."""
        ...

    def checked(
        self, store: OnlineStore, records: Records, until: Longs, log: LogState
    ) -> StoreReads:
        """Reads of a micro-batch that notice lost members, and events that have to wait.

        Args:
            store: Online store.
            records: Records of the N events of the micro-batch.
            until: int64[N], as of `Enriching`.
            log: State of the log before them.
        """
        ...

    def require(self, log: LogState) -> None:
        """Look for lost members without reading histories; no micro-batch may be in flight.

        Args:
            log: State of the log before the next micro-batch.

        Raises:
            DependencyUnavailableError: The store does not answer.
            HistoriesLostError: Members before that are missing.
        """
        ...

    def still_waiting(self, waits: Mapping[int, Wait]) -> Mapping[int, Wait]:
        """Read the marks of other partitions again; return the events that still have to wait.

        Raises:
            DependencyUnavailableError: The store does not answer.
        """
        ...

    def lagging(self, waits: Mapping[int, Wait]) -> Sequence[int]:
        """Find the waiting partitions whose records others may wait for, as of the last read."""
        ...

    def apply_ahead(self, partitions: Iterable[int], log: LogState) -> None:
        """Apply the next records of waiting partitions. No micro-batch may be in flight.

        Args:
            partitions: Waiting partitions.
            log: State of the log before their waiting events.

        Raises:
            DependencyUnavailableError: The store or the registry does not answer.
            KafkaException: The brokers do not answer.
            HistoriesLostError: The store has lost members.
        """
        ...

    def close(self) -> None:
        """End what is being filled."""
        ...

    def announce(
        self, writes: Writes, before: LogState, after: LogState, ends: Mapping[int, int]
    ) -> HistoryWrites:
        """Announce a `write` to come.

        Args:
            writes: Members of a micro-batch, and compactions.
            before: State of the log before it.
            after: State of the log behind it.
            ends: Offset behind it in each of its partitions.
        """
        ...

    def write(self, writes: HistoryWrites) -> None:
        """Put the writes into the store, and then their marks.

        Raises:
            StoreAwayError: Some of the writes may be missing from the store.
            HistoriesLostError: Earlier writes are missing from the store.
        """
        ...

    def await_written(self) -> None:
        """Wait until the announced writes are in the store, or have failed."""
        ...


class NoHistories:
    """Histories of a feature set without windows, or of a store that serves one run alone."""

    def open(self, topic: InputTopic) -> None:
        pass

    def namespace(self) -> Namespace | None:
        return None

    def restore(self, log: LogState) -> Generator[Progress, None, LogState]:
        yield from ()
        return log

    def known(self, log: LogState) -> LogState:
        return log

    def checked(
        self,
        store: OnlineStore,
        records: Records,  # noqa: ARG002 - see Histories
        until: Longs,  # noqa: ARG002
        log: LogState,  # noqa: ARG002
    ) -> StoreReads:
        return store

    def require(self, log: LogState) -> None:
        pass

    def still_waiting(self, waits: Mapping[int, Wait]) -> Mapping[int, Wait]:  # noqa: ARG002 - see Histories
        return {}

    def lagging(self, waits: Mapping[int, Wait]) -> Sequence[int]:  # noqa: ARG002 - see Histories
        return ()

    def apply_ahead(self, partitions: Iterable[int], log: LogState) -> None:
        pass

    def close(self) -> None:
        pass

    def announce(
        self,
        writes: Writes,  # noqa: ARG002 - see Histories
        before: LogState,  # noqa: ARG002
        after: LogState,  # noqa: ARG002
        ends: Mapping[int, int],  # noqa: ARG002
    ) -> HistoryWrites:
        return HistoryWrites()

    def write(self, writes: HistoryWrites) -> None:
        pass

    def await_written(self) -> None:
        pass


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
        self._source = source
        self._ahead = Ahead(source)
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

    def restore(self, log: LogState) -> Generator[Progress, None, LogState]:
        self._refuse_new(log.offsets)
        self._ahead.close()
        self._alignment.forget()
        # Until marks are those of the present record: with the histories the store may have lost
        # it, also after it was read here, and another worker has written a new one.
        while True:
            self.open(self._topic)
            self._target.read_marks()
            if not self._target.marks.missing(log.offsets):
                return self._target.marks.reaching(log)
            if self._fills:
                restoring = Restoring(self._target, self._source, log)
                yield from restoring.run()
                log = restoring.state
            else:
                self._begin(log.offsets)

    def known(self, log: LogState) -> LogState:
        return replace(log, elsewhere=self._target.marks.scored_elsewhere(log.offsets))

    def checked(
        self, store: OnlineStore, records: Records, until: Longs, log: LogState
    ) -> StoreReads:
        marks, alignment = self._target.marks, self._alignment
        return MarkedReads(store, marks, alignment, records, until, log.offsets, self._labels)

    def require(self, log: LogState) -> None:
        self._target.read_marks()
        self._target.marks.require(log.offsets)

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

    def close(self) -> None:
        if self._labels is not None:
            self._labels.close()
        self._ahead.close()

    def announce(
        self, writes: Writes, before: LogState, after: LogState, ends: Mapping[int, int]
    ) -> HistoryWrites:
        self._written.clear()
        marks = self._target.marks
        # What is applied already, ahead of scoring or before a crash, is not appended again.
        applied = marks.applied(ends)
        appends = writes.appends
        if applied:
            appends = [item for item in appends if not item[0].startswith(applied)]
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
                f"{count} partitions: keys are now in other partitions than their histories; name "
                "another store.state, whose histories are filled from the topic"
            )

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
        metrics.history_bytes.inc(sum(len(added) for _, added in members.appends))
        metrics.compactions.inc(len(members.compactions))
