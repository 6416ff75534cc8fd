"""Positions of events in the log, and late and early events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from base.arrays import Longs, Mask
from base.times import DAY
from features.history.watermarks import UNKNOWN, LogState, advance
from features.windows.window import HistoryRules
from schemas.batch import EventBatch

AHEAD = DAY
"""Distance above the watermark from which an event is ahead, in microseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowPosition:
    """Positions of N events in the log, and their times for windows.

    Attributes:
        partitions: int32[N].
        first: Offset of the batch's first event in each of its partitions.
        base: int64[N], the event time, or for a late event the earliest time that would not have
            been late.
        late: bool[N].
        ahead: bool[N], the events that are wild, or early for their records.
        reached: Watermark before the batch in each of its partitions that has one.
        least: Lowest watermark of all partitions of the topic, None if one is not known.
    """

    partitions: npt.NDArray[np.int32]
    first: Mapping[int, int]
    base: Longs
    late: Mask
    ahead: Mask
    reached: Mapping[int, int]
    least: int | None


def locate(
    batch: EventBatch, log: LogState, rules: HistoryRules, partitions: int
) -> tuple[WindowPosition, LogState]:
    """Find the late and the early events, by the watermark before each in its own partition.

    Args:
        batch: N events.
        log: State of the log before the batch.
        rules: Rules for all windows.
        partitions: Number of partitions of the topic.

    Returns:
        The positions of the events; the state of the log behind the batch, without the times that
        histories reach back to and without new pairs.
    """
    of, time, support = batch.records.partitions, batch.event_time, rules.watermark_support
    early = early_for_records(batch, rules)
    supporting = time if early is None else np.where(early, UNKNOWN, time)
    before = np.empty(len(batch), np.int64)
    highest, first, latest_early = dict(log.highest), {}, dict(log.early)
    for partition in np.unique(of).tolist():
        rows = np.flatnonzero(of == partition)
        known = log.highest.get(partition, ())
        before[rows], _, kept = advance(supporting[rows], known, support)
        if kept:
            highest[partition] = kept
        first[partition] = int(batch.records.offsets[rows].min())
        if early is not None and early[rows].any():
            latest = int(time[rows[early[rows]]].max())
            latest_early[partition] = max(latest, latest_early.get(partition, latest))
    known_before = before != UNKNOWN
    least = np.where(known_before, before - rules.allowed_lateness, UNKNOWN)
    ahead = known_before & (time > before + AHEAD)
    if early is not None:
        ahead |= early
    watermarks = {**log.elsewhere, **log.watermarks(support)}
    return (
        WindowPosition(
            of,
            first,
            np.maximum(time, least),
            time < least,
            ahead,
            {p: watermarks[p] for p in first if p in watermarks},
            min(watermarks.values(), default=None) if len(watermarks) == partitions else None,
        ),
        replace(log, highest=highest, early=latest_early),
    )


def arrived_after(batch: EventBatch, delay: int) -> Mask:
    """Mark events whose record's timestamp is above their time + delay; delay in microseconds.

    A record without a timestamp is not judged.
    """
    # In milliseconds, rounded down: a timestamp may be any number of 64 bits.
    late: Mask = batch.records.timestamps > np.maximum((batch.event_time + delay) // 1000, 0)
    return late


def late_across(batch: EventBatch, log: LogState, late: Mask, delay: int | None) -> Mask:
    """Mark events that came after another partition was scored past their time + delay.

    Args:
        batch: N events.
        log: State of the log before the batch.
        late: bool[N], events that join no history: nothing misses them.
        delay: Shortest delay of an aligned window; None without one.

    Returns:
        bool[N].
    """
    missed = np.zeros(len(batch), np.bool_)
    if delay is None:
        return missed
    of, offsets = batch.records.partitions, batch.records.offsets
    for partition, passed in log.passed.items():
        behind = (of == partition) & (offsets >= passed.offset)
        missed |= behind & (batch.event_time + delay <= passed.time)
    return missed & ~late


def early_for_records(batch: EventBatch, rules: HistoryRules) -> Mask | None:
    """Mark events later than their record's timestamp by more than ``max_ahead``.

    A record without a timestamp is not judged.

    Returns:
        bool[N], or None if ``max_ahead`` is not set.
    """
    if rules.max_ahead is None:
        return None
    recorded = batch.records.timestamps
    # In milliseconds, rounded up: a timestamp may be any number of 64 bits.
    earliest = -((rules.max_ahead - batch.event_time) // 1000)
    early: Mask = (recorded > 0) & (recorded < earliest)
    return early
