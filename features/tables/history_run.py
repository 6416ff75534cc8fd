"""Histories in memory during one pass over an input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Longs, Mask, Rows
from features.compute.enrich import Enriching, StoreRead
from features.definition import FeatureSet
from features.history.labels import LabelBatch, label_appends
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.loading import NO_PAST_LOOKUPS, KnownLabels, PastLookup
from features.loading.label_rows import FILE_PARTITION
from features.store.memory import MemoryStore
from features.store.protocol import Compaction, MarkWrite
from features.store.writes import Appends
from features.tables.event_table import EventTable
from features.windows.order import InputTimes
from features.windows.plan import Each
from schemas.batch import EventBatch

_MIN_KEYS_TO_SWEEP = 10_000
"""Number of keys below which no sweep runs."""


class SweptStore(MemoryStore):
    """Store that drops keys that are no longer read; histories lose old members when they are read.

    Attributes:
        now: Event time reached so far, in microseconds. Nothing that is written is later, except
            the keys passed to `outlive`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self._written: dict[bytes, int] = {}
        self._later: dict[bytes, int] = {}
        self._due = _MIN_KEYS_TO_SWEEP

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
        marks: Sequence[MarkWrite] = (),
    ) -> None:
        added = Appends.of(appends)
        super().append(added, compactions, expire_ms, marks)
        for keys, _ in added.parts:
            self._written |= dict.fromkeys(keys.to_list(), self.now)

    def outlive(self, keys: Iterable[bytes], time: int) -> None:
        """Keep these keys until ``time``, which is later than ``now``."""
        for key in keys:
            self._later[key] = max(time, self._later.get(key, time))

    def sweep(self, before: int) -> None:
        """Drop keys whose last write was when ``now`` was at or before ``before``.

        A sweep runs only once the number of keys has doubled, as its cost grows with that number.
        """
        if len(self._written) < self._due:
            return
        self._later = {key: time for key, time in self._later.items() if time > before}
        old = [key for key, last in self._written.items() if last <= before]
        gone = [key for key in old if key not in self._later]
        for key in gone:
            del self._written[key]
        self.drop(gone)
        self._due = max(_MIN_KEYS_TO_SWEEP, 2 * len(self._written))


class HistoryRun:
    """Histories in memory during one pass over an input.

    Args:
        feature_set: The feature set.
        labels: Labels of all events; None for the labels that the events carry.
        partitions: Number of partitions of the input.
        each: ``map``, or the ``map`` of a thread pool.
        lookups: Past values of lookups, by name; the other lookups have their defaults.

    Attributes:
        flagged: Number of events so far with each flag of windows or lookups.
        times: Event times of the events so far.
    """

    def __init__(
        self,
        feature_set: FeatureSet,
        labels: KnownLabels | None,
        partitions: int,
        each: Each = map,
        lookups: Mapping[str, PastLookup] = NO_PAST_LOOKUPS,
    ) -> None:
        self.store = SweptStore()
        self.log = LogState()
        self.flagged: Counter[str] = Counter()
        self.times = InputTimes(feature_set.histories.rules)
        self.namespace = replace(Namespace.local(feature_set.name), partitions=partitions)
        self._feature_set = feature_set
        self._labels = labels
        self._partitions = partitions
        self._each = each
        self._past_lookups = {name: past.history for name, past in lookups.items()}
        if labels is not None and labels.ahead is not None and len(labels):
            self.store.now = int(labels.ahead.event_time.max())
            self._learn(labels.ahead)
            self.store.now = 0

    def label(self, events: EventTable) -> dict[str, pa.Array]:
        """Make the labels of the events known to windows; return ``label`` and ``label_time``."""
        batch = events.batch
        if len(batch):
            self._reach(batch)
        if self._labels is not None:
            of = self._labels.of(batch)
            if self._labels.ahead is None:
                self._learn(of.labels)
            return _labels(len(batch), of.rows, of.fraud, of.label_time)
        label = self._feature_set.bindings.label
        if events.fraud is None or label is None:
            nothing = np.empty(0, np.int64)
            return _labels(len(batch), nothing, nothing > 0, nothing)
        rows = np.flatnonzero(events.fraud.is_valid())
        fraud = pc.is_in(events.fraud, pa.array([True])).to_numpy(zero_copy_only=False)
        known = batch.event_time + label.delay
        # An event without a label is not a fraud, so only labels of frauds are stored.
        self._learn(_of_column(events, np.flatnonzero(fraud), known))
        return _labels(len(batch), rows, fraud[rows], known[rows])

    def begin(self, batch: EventBatch, log: LogState) -> Enriching:
        """First step for events after ``log``: the next ones, or later ones."""
        return Enriching(self._feature_set, batch, log, self.namespace, self._past_lookups)

    def read(self, enriching: Enriching) -> StoreRead:
        """Compute the windows of the next events, which ``label`` has seen.

        The run is not changed.
        """
        return enriching.read(self.store, self._each)

    def keep(self, batch: EventBatch, answered: StoreRead) -> None:
        """Add the events to the histories."""
        self.store.append(answered.writes.appends, answered.writes.compactions)
        self.log = answered.after
        self.times.add(batch)
        counts = {name: int(np.count_nonzero(rows)) for name, rows in answered.flags.items()}
        self.flagged.update(counts)
        histories = self._feature_set.histories
        watermarks = self.log.watermarks(histories.rules.watermark_support)
        if len(watermarks) == self._partitions:
            self.store.sweep(min(watermarks.values()) - histories.back)

    def _reach(self, batch: EventBatch) -> None:
        """Tell the store the event time reached so far, and the keys of few events beyond it."""
        histories, times = self._feature_set.histories, batch.event_time
        few = min(histories.rules.watermark_support, len(times))
        self.store.now = max(self.store.now, int(np.partition(times, -few)[-few]))
        beyond = batch.take(np.flatnonzero(times > self.store.now))
        for entity in histories.entities if len(beyond) else ():
            written = entity.request(beyond, self.namespace)
            keys = [key for keys in written.keys for key in keys.to_list()]
            self.store.outlive(keys, int(beyond.event_time.max()))

    def _learn(self, labels: LabelBatch) -> None:
        entities = self._feature_set.labelled_entities
        self.store.append(label_appends(labels, entities, self.namespace))


def _of_column(events: EventTable, rows: Rows, known: Longs) -> LabelBatch:
    """Labels of the events at ``rows``, all of them frauds."""
    batch, places = events.batch, pa.array(rows)
    return LabelBatch(
        batch.event_id.take(places),
        batch.event_time[rows],
        {entity: keys.take(places) for entity, keys in batch.entity_keys.items()},
        np.ones(len(rows), np.bool_),
        known[rows],
        np.full(len(rows), FILE_PARTITION, np.int32),
        events.numbers[rows],
    )


def _labels(size: int, rows: Rows, fraud: Mask, known: Longs) -> dict[str, pa.Array]:
    """Label columns of N events; null except at ``rows``."""
    missing = np.ones(size, np.bool_)
    missing[rows] = False
    label, time = np.zeros(size, np.int8), np.zeros(size, np.int64)
    label[rows], time[rows] = fraud, known
    return {
        "label": pa.array(label, mask=missing),
        "label_time": pa.array(time, pa.timestamp("us", "UTC"), mask=missing),
    }
