"""Build a training table: the online computation over an input, in large batches."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.errors import ConfigurationError
from features.compute.enrich import Enriching, StoreRead
from features.definition import FeatureSet
from features.history.labels import LabelBatch
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.loading import KnownLabels
from features.loading.label_rows import FILE_PARTITION
from features.tables.event_table import EventTable
from features.tables.refusal import Refusal
from features.tables.swept_store import SweptStore
from features.tables.threads import Behind, ahead
from features.tables.training_table import Table
from features.windows.order import InputTimes
from features.windows.portions import Each
from schemas.batch import EventBatch

Longs = npt.NDArray[np.int64]

_AHEAD = 1
_BEHIND = 0
_SHOWN = 5


class HistoryRun:
    """Histories in memory during one pass over an input.

    Args:
        feature_set: The feature set.
        labels: Labels of all events; None for the labels that the events carry.
        partitions: Number of partitions of the input.
        each: ``map``, or the ``map`` of a thread pool.

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
        """First step for events behind ``log``: the next ones, or later ones."""
        return self._feature_set.begin(batch, log, self.namespace)

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
            keys = [*written.histories, *written.labels]
            self.store.outlive(keys, int(beyond.event_time.max()))

    def _learn(self, labels: LabelBatch) -> None:
        self.store.append(self._feature_set.label_appends(labels, self.namespace))


@dataclass(slots=True)
class Built:
    """Counts of a build.

    Attributes:
        rows: Number of rows of the table.
        labelled: Number of rows with a label.
        refused: Number of invalid rows of the input, by error code.
        examples: The first invalid rows.
        flagged: Number of rows with each flag.
        out_of_order: As in ``InputTimes``.
        without_timestamp: As in ``InputTimes``.
    """

    rows: int = 0
    labelled: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: list[Refusal] = field(default_factory=list)
    flagged: Mapping[str, int] = field(default_factory=dict)
    out_of_order: int = 0
    without_timestamp: int = 0

    def note(self, events: EventTable, labels: Mapping[str, pa.Array]) -> None:
        self.rows += len(events.batch)
        self.labelled += len(labels["label"]) - labels["label"].null_count
        self.refused.update(refusal.code for refusal in events.refused)
        self.examples += events.refused[: _SHOWN - len(self.examples)]


def build(
    feature_set: FeatureSet,
    source: Iterable[EventTable],
    out: Path,
    labels: KnownLabels | None = None,
    *,
    partitions: int = 1,
    by_partition: bool = False,
    advance: Callable[[int, HistoryRun], None] = lambda _rows, _run: None,
) -> Built:
    """Write the table of all events of ``source``, in their order, to ``out``.

    If it raises, ``out`` is as it was; it also raises what ``advance`` raises.

    Args:
        feature_set: The feature set.
        source: Events in order.
        out: Path of the table.
        labels: Labels that replace those of the events.
        partitions: Number of partitions of the input.
        by_partition: See ``Table``.
        advance: Called with the number of input rows done and the run, which has their counts.

    Returns:
        The counts of the build.

    Raises:
        ConfigurationError: The input or a label is invalid, or there are no events.
    """
    built, done = Built(), 0
    with ThreadPoolExecutor(os.cpu_count(), "windows") as pool:
        run = HistoryRun(feature_set, labels, partitions, pool.map)
        with (
            Table(out, feature_set, by_partition=by_partition) as table,
            Behind(_BEHIND) as behind,
            closing(ahead(_begun(run, source), _AHEAD)) as chunks,
        ):
            for events, enriching in chunks:
                known = run.label(events)
                answered = run.read(enriching)
                behind.call(_write, table, events, answered, known)
                run.keep(events.batch, answered)
                built.note(events, known)
                done += events.rows
                advance(done, run)
            behind.finish()
            if not built.rows:
                raise ConfigurationError(_nothing(built, done))
            table.finish()
            built.flagged = table.flagged
            built.out_of_order = run.times.out_of_order
            built.without_timestamp = run.times.without_timestamp
    return built


def _nothing(built: Built, rows: int) -> str:
    if not rows:
        return "nothing is built: the input has no rows; give files or a topic with events"
    codes = ", ".join(f"{count:,} {code}" for code, count in built.refused.items())
    first = built.examples[0]
    return (
        f"nothing is built: of {rows:,} rows none is an event ({codes}); the first is "
        f"{first.where}: {first.code}: {first.message}. Correct the input, or name its columns "
        "under events of features.yaml"
    )


def _begun(run: HistoryRun, source: Iterable[EventTable]) -> Iterator[tuple[EventTable, Enriching]]:
    log = run.log
    for events in source:
        enriching = run.begin(events.batch, log)
        log = enriching.after
        yield events, enriching


def _write(
    table: Table, events: EventTable, answered: StoreRead, labels: Mapping[str, pa.Array]
) -> None:
    table.write(events, answered.finish(), labels)


def _of_column(events: EventTable, rows: npt.NDArray[np.intp], known: Longs) -> LabelBatch:
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


def _labels(
    size: int, rows: npt.NDArray[np.intp], fraud: npt.NDArray[np.bool_], known: Longs
) -> dict[str, pa.Array]:
    """Label columns of N events; null except at ``rows``."""
    missing = np.ones(size, np.bool_)
    missing[rows] = False
    label, time = np.zeros(size, np.int8), np.zeros(size, np.int64)
    label[rows], time[rows] = fraud, known
    return {
        "label": pa.array(label, mask=missing),
        "label_time": pa.array(time, pa.timestamp("us", "UTC"), mask=missing),
    }
