"""Merge the partitions of a log into one stream by the progress of event time in each."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from base.arrays import Longs
from features.history.watermarks import UNKNOWN, advance
from features.windows.position import AHEAD, early_for_records
from features.windows.window import HistoryRules
from schemas.batch import Column, EventBatch, Kind, Records


class Merge:
    """Merge of each partition's events, which are added in order.

    An event is placed by the highest event time of its partition up to it. So it comes after all
    events of other partitions that are older than it by more than their lateness. An event that is
    ahead is placed at most a day above its partition's watermark.
    """

    def __init__(self, rows: int, rules: HistoryRules) -> None:
        """Take ``rows`` as the approximate number of events to return at once."""
        self._rows = rows
        self._rules = rules
        self._highest: dict[int, tuple[int, ...]] = {}
        self._waiting: dict[int, list[tuple[EventBatch, Longs]]] = {}
        self._reached: dict[int, int] = {}

    def add(self, batch: EventBatch) -> None:
        """Add events after those already added for the same partitions."""
        for partition in np.unique(batch.records.partitions).tolist():
            rows = np.flatnonzero(batch.records.partitions == partition)
            part = batch if len(rows) == len(batch) else batch.take(rows)
            reached = self._places(partition, part)
            waiting = self._waiting.setdefault(partition, [])
            # Wild events among the first few are recognised once there is a watermark.
            for _, earlier in waiting:
                np.minimum(earlier, reached[0], out=earlier)
            self._reached[partition] = int(reached[-1])
            waiting.append((part, reached))

    def _places(self, partition: int, part: EventBatch) -> Longs:
        """Merge positions of the next events of a partition, int64[N], non-decreasing."""
        early = early_for_records(part, self._rules)
        times = part.event_time if early is None else np.where(early, UNKNOWN, part.event_time)
        known = self._highest.get(partition, ())
        _, after, self._highest[partition] = advance(times, known, self._rules.watermark_support)
        highest = np.maximum(np.maximum.accumulate(times), known[0] if known else UNKNOWN)
        bound = np.where(after == UNKNOWN, highest, after + AHEAD)
        return np.minimum.accumulate(np.minimum(highest, bound)[::-1])[::-1]

    def full(self, unfinished: Collection[int]) -> set[int]:
        """Partitions with enough events waiting, which need no more until others have caught up."""
        enough = 2 * self._rows // max(len(unfinished), 1)
        return {p for p, parts in self._waiting.items() if sum(len(b) for b, _ in parts) >= enough}

    def take(self, unfinished: Collection[int]) -> EventBatch | None:
        """Take the next events; None if more must be added first, or nothing is left.

        Args:
            unfinished: Partitions that have more events to come.
        """
        waiting = sum(len(batch) for parts in self._waiting.values() for batch, _ in parts)
        if not waiting or not self._waiting.keys() >= set(unfinished):
            return None
        if unfinished and waiting < self._rows and not self.full(unfinished) >= set(unfinished):
            return None
        until = min((self._reached[p] for p in unfinished), default=max(self._reached.values()))
        batches, reached = [], []
        for partition in sorted(self._waiting):
            for batch, times in self._cut(partition, until):
                batches.append(batch)
                reached.append(times)
        merged = concat(batches)
        records = merged.records
        order = np.lexsort((records.offsets, records.partitions, np.concatenate(reached)))
        return merged if (np.diff(order) == 1).all() else merged.take(order)

    def _cut(self, partition: int, until: int) -> list[tuple[EventBatch, Longs]]:
        """Take out the events of a partition that are placed at or before ``until``."""
        taken, left = [], []
        for batch, reached in self._waiting.pop(partition):
            end = int(np.searchsorted(reached, until, "right"))
            if end == len(batch):
                taken.append((batch, reached))
                continue
            if end:
                taken.append((batch.take(np.arange(end)), reached[:end]))
            left.append((batch.take(np.arange(end, len(batch))), reached[end:]))
        if left:
            self._waiting[partition] = left
        return taken


def concat(batches: Sequence[EventBatch]) -> EventBatch:
    """Concatenate the events of at least one batch; their records have no content."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    nothing = [None] * sum(map(len, batches))
    amounts = [batch.amount_minor for batch in batches if batch.amount_minor is not None]
    return EventBatch(
        Records(
            first.records.topic,
            nothing,
            nothing,
            np.concatenate([batch.records.partitions for batch in batches]),
            np.concatenate([batch.records.offsets for batch in batches]),
            np.concatenate([batch.records.timestamps for batch in batches]),
        ),
        {path: _column([batch.columns[path] for batch in batches]) for path in first.columns},
        pa.concat_arrays([batch.event_id for batch in batches]),
        np.concatenate([batch.event_time for batch in batches]),
        np.concatenate(amounts) if amounts else None,
        {
            entity: pa.concat_arrays([batch.entity_keys[entity] for batch in batches])
            for entity in first.entity_keys
        },
    )


def _column(parts: Sequence[Column]) -> Column:
    kind, scale = parts[0].kind, parts[0].scale
    join = pa.concat_arrays if kind is Kind.STRING else np.concatenate
    values = join([part.values for part in parts])
    return Column(kind, values, np.concatenate([part.valid for part in parts]), scale)
