"""Fill histories from ranges of the log: the members that scoring makes, without scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import structlog

from features.compute.bind import bind
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.writes import Appends
from schemas.avro.decoder import Decoder
from schemas.batch import EventBatch, Records
from worker.fill.members import Members
from worker.fill.ranges import RangeReader
from worker.process import metrics
from worker.process.garbage import without_collection

log = structlog.get_logger(__name__)

STEP_RECORDS = 50_000
"""Maximum number of records of a step, which takes a fraction of a second."""
WAIT_S = 0.1
"""Longest wait of a step for records, in seconds."""
_REPORT_EVERY_S = 5.0
_SHORT_S = 0.5
"""Time up to which a fill is not logged, in seconds."""

Append = Callable[[Appends, Mapping[int, int], LogState], None]
"""Append members to the store, then note the offset up to which each partition is applied.

The last argument is the state of the log behind the members.
"""


@dataclass(frozen=True, slots=True, eq=False)
class FilledHistories:
    """Histories to fill, and all that makes members of records.

    Attributes:
        feature_set: Feature set whose windows read the histories.
        decoder: Decoder of the input topic, the one that scoring uses: a record that it refuses is
            a dead letter there and joins no history.
        namespace: Namespace of the histories.
        append: Appends members to the store.
        present: Offset, by partition, before which the store holds all members. The events before
            it are read for lateness and duplicates only.
    """

    feature_set: FeatureSet
    decoder: Decoder
    namespace: Namespace
    append: Append
    present: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a fill.

    Attributes:
        events: Number of events so far.
        remaining: Number of offsets to the end of its range, of each partition that is not read.
        seconds_left: Time for these at the speed so far; None before the first record.
    """

    events: int
    remaining: Mapping[int, int]
    seconds_left: float | None

    @property
    def done(self) -> bool:
        """True if the store holds all members of all ranges."""
        return not self.remaining


class Fill:
    """Fill of histories in steps, between which the caller may do other work, or stop.

    Args:
        histories: Histories to fill.
        reader: Reader of the ranges.
        log_state: State of the log at the begins of the ranges.
        records: Maximum number of records of a step.
        clock: Returns monotonic seconds.

    Attributes:
        log_state: State of the log behind the events so far. Histories reach back as if they had
            begun at the begins of the ranges.
        applied: Offset, by partition, behind these events.
    """

    def __init__(
        self,
        histories: FilledHistories,
        reader: RangeReader,
        log_state: LogState,
        *,
        records: int = STEP_RECORDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.log_state = log_state
        self._histories = histories
        self._reader = reader
        self._clock = clock
        self._members = Members(histories.feature_set, histories.namespace)
        self._step_records = records
        # Records that were read and are not applied yet.
        self._records: Records | None = None
        self.applied = dict(reader.positions)
        self._events = 0
        self._offsets = sum(reader.remaining().values())
        self._started = self._reported = clock()

    def step(self, wait_s: float = WAIT_S) -> Progress:
        """Apply the next records; wait for them up to ``wait_s`` seconds.

        After an error, the next step repeats what is not done.

        Raises:
            DependencyUnavailableError: The store or the registry is away.
            KafkaException: The brokers do not answer.
            DeliveryFatalError: The topic cannot be read.
        """
        # With it, a step takes two thirds more CPU (measured): each record is an object.
        with without_collection():
            if self._records is None:
                self._records = self._reader.read(self._step_records, wait_s)
            events = self._apply(self._records)
            self._records = None
        self._events += events
        metrics.filled_events.inc(events)
        remaining = self._reader.remaining()
        self._members.forget(self.log_state, remaining.keys())
        return self._report(remaining)

    @property
    def truncated(self) -> Mapping[int, int]:
        """First offset of the log, for each partition that has lost records of its range."""
        return self._reader.truncated

    def close(self) -> None:
        """End the fill, also before it is done."""
        self._reader.close()
        metrics.fill_remaining.clear()

    def _apply(self, records: Records) -> int:
        """Append the members among the records; return the number of events."""
        histories, state = self._histories, self.log_state
        decoded = histories.decoder.decode(records.values, records.headers)
        batch, _ = bind(histories.feature_set, records, decoded)
        known, new = _divide(batch, histories.present)
        appends = Appends([])
        if len(known):
            _, state = self._members.add(known, state)
        if len(new):
            appends, state = self._members.add(new, state)
        positions = dict(self._reader.positions)
        reached = {
            partition: position
            for partition, position in positions.items()
            if position > max(self.applied[partition], histories.present.get(partition, 0))
        }
        if appends or reached:
            histories.append(appends, reached, state)
        self.log_state, self.applied = state, positions
        return len(batch)

    def _report(self, remaining: Mapping[int, int]) -> Progress:
        """Publish the progress, and log it every few seconds."""
        for partition in self.applied:
            metrics.fill_remaining.labels(partition).set(remaining.get(partition, 0))
        now, left = self._clock(), sum(remaining.values())
        took_s, read = now - self._started, self._offsets - left
        seconds_left = took_s * left / read if read else None
        # Those of partitions that other workers read are short, and many.
        ends = not left and took_s >= _SHORT_S
        if ends or now - self._reported >= _REPORT_EVERY_S:
            self._reported = now
            log.info(
                "filling_histories",
                offsets=self.applied,
                remaining=dict(remaining),
                events=self._events,
                events_per_s=round(self._events / took_s) if took_s else None,
                seconds_left=None if seconds_left is None else round(seconds_left),
            )
        return Progress(self._events, remaining, seconds_left)


def _divide(batch: EventBatch, present: Mapping[int, int]) -> tuple[EventBatch, EventBatch]:
    """Divide events into those before and those from the offsets in ``present`` on."""
    partitions, offsets = batch.records.partitions, batch.records.offsets
    before = np.zeros(len(batch), np.bool_)
    for partition, offset in present.items():
        before |= (partitions == partition) & (offsets < offset)
    if not before.any():
        return batch.take(np.empty(0, np.intp)), batch
    return batch.take(np.flatnonzero(before)), batch.take(np.flatnonzero(~before))
