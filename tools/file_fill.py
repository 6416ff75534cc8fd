"""Fill of histories with events of files, which come before all events of the topic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from base.errors import ConfigurationError
from features.definition import FeatureSet
from features.history.marks import NOT_BEGUN, Mark
from features.history.watermarks import UNKNOWN, LogState
from features.loading.label_rows import FILE_PARTITION
from features.store.protocol import OnlineStore
from features.store.stored_values import StoredValues
from features.store.writes import AppendColumns, Appends
from schemas.batch import EventBatch
from worker.consume.topics import InputTopic
from worker.fill.members import Members
from worker.histories.filling import HistoryTarget
from worker.histories.location import state_request
from worker.histories.marks import MAX_GAP, Marks
from worker.histories.record import StateRecord, change_record, or_new
from worker.histories.state import accept_state, begin_anew
from worker.settings import WorkerSettings

_PARTITION_BYTES = np.frombuffer(np.array([FILE_PARTITION], "<i4").tobytes(), np.uint8)


class FileFill:
    """Fill of histories with events of files, by the loop that makes the members of the topic.

    The rows of all files are one partition of their own, FILE_PARTITION, and rows are its offsets.

    Args:
        feature_set: Feature set whose windows read the histories.
        target: Histories to fill, whose marks were read.
        since: Event time up to which no member is needed, in microseconds.
        until: Event time from which on the topic has all events; None if it has none yet.

    Attributes:
        filled: Number of events that were applied.
        skipped: Number of events that are too old, or that the topic has.
        log: State of the log behind the events that were applied.
    """

    def __init__(
        self, feature_set: FeatureSet, target: HistoryTarget, since: int, until: int | None
    ) -> None:
        self._target = target
        self._since = since
        self._until = NOT_BEGUN if until is None else until
        self._members = Members(feature_set, target.namespace)
        self._sizes = _sizes(target)
        self._has_older = False
        self.log = LogState()
        self.filled = 0
        self.skipped = 0

    def add(self, batch: EventBatch) -> None:
        """Apply the next events of the files, which are records of partition 0.

        Raises:
            DependencyUnavailableError: The store does not answer.
        """
        times = batch.event_time
        older = times <= self._since
        rows = np.flatnonzero(~older & (times < self._until))
        self._has_older |= bool(older.any())
        self.skipped += len(batch) - len(rows)
        self.filled += len(rows)
        if len(rows):
            appends, self.log = self._members.add(batch.take(rows), self.log)
            target = self._target
            moved = Appends([self._of_file(part) for part in appends.parts])
            target.append(moved, {one: {} for one in target.marks.histories})
            self._members.forget(self.log, [0])

    def finish(self) -> int | None:
        """Write the marks of the files; return the time that all histories reach back to.

        The time is None if there are too few events for one, or a gap behind them.
        """
        target = self._target
        writes, reached = [], []
        end = UNKNOWN if self.end is None else self.end
        until = end if self._until == NOT_BEGUN else self._until
        for histories in target.marks.histories:
            lowest = self.log.lowest.get(0, {}).get(histories.digest, NOT_BEGUN)
            if self._has_older and lowest != NOT_BEGUN:
                # Of older events none is needed: nothing is missing behind this time.
                lowest = self._since
            if until - end > MAX_GAP:
                lowest = NOT_BEGUN
            mark = Mark(0, self.filled, until, lowest=lowest)
            writes.append(target.marks.write(histories, target.namespace.partitions, None, mark))
            reached.append(lowest)
        target.store.write_marks(writes, target.expire_ms)
        latest = max(reached)
        return None if latest == NOT_BEGUN else latest

    @property
    def end(self) -> int | None:
        """Watermark behind the events so far; None without one."""
        return self.log.watermarks(self._target.plan.rules.watermark_support).get(0)

    def _of_file(self, part: AppendColumns) -> AppendColumns:
        """Members of partition 0 as members of FILE_PARTITION."""
        size = self._sizes[part.keys.prefix]
        values = [value and _moved(value, size) for value in part.values.to_list()]
        return AppendColumns(part.keys, StoredValues.of(values))


def _moved(members: bytes, size: int) -> bytes:
    """Members of ``size`` bytes each, in FILE_PARTITION."""
    changed = np.frombuffer(members, np.uint8).reshape(-1, size).copy()
    changed[:, : len(_PARTITION_BYTES)] = _PARTITION_BYTES
    return changed.tobytes()


def _sizes(target: HistoryTarget) -> dict[bytes, int]:
    """Bytes of a member of each entity's histories, by the prefix of their keys."""
    pairs = zip(target.plan.entities, target.marks.histories, strict=True)
    return {histories.prefix: windows.layout.dtype.itemsize for windows, histories in pairs}


class NewHistories:
    """Histories of a state that begin anew, and that the next start of a worker takes over.

    Args:
        settings: Settings of the worker.
        feature_set: Feature set whose windows read the histories.
        store: Online store that holds the state.
        topic: Input topic.
        moves: True if the topic may have another number of partitions than before.

    Attributes:
        target: Histories to fill.

    Raises:
        ConfigurationError: The state is another worker's.
        DependencyUnavailableError: The store does not answer.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        feature_set: FeatureSet,
        store: OnlineStore,
        topic: InputTopic,
        *,
        moves: bool = False,
    ) -> None:
        self._store, self._name, self._state = store, feature_set.name, settings.state_name
        self._wanted = replace(state_request(settings, feature_set, topic), moves=moves)
        # The key of the hashes is in the record, and must be there before the first member.
        record = change_record(store, self._name, self._state, or_new)
        self._begun = begin_anew(self._state, record, self._wanted)
        plan, namespace = feature_set.histories, self._begun.namespace(self._name, self._state)
        marks = Marks(plan, namespace)
        self.target = HistoryTarget(store, plan, namespace, marks, self._wanted.expire_ms)
        self.target.read_marks()

    def adopt(self) -> None:
        """Make the filled histories those of the state.

        Raises:
            ConfigurationError: The state is another worker's now, or was lost.
        """
        change_record(self._store, self._name, self._state, self._adopted)

    def _adopted(self, record: StateRecord | None) -> StateRecord:
        accepted = accept_state(self._state, record, self._wanted)
        if accepted.key != self._begun.key:
            raise ConfigurationError(
                f"store.state: the store has lost the record of {self._state} during the fill; "
                "fill again"
            )
        return accepted.with_histories(
            {entity: self._begun.histories[entity] for entity in self._wanted.layouts}
        )
