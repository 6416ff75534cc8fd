"""Watermarks: progress of event time in a partition, robust against a few wild event times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from base.arrays import Longs
from features.history.pairs import Pair, add_pair, is_due, replay_from
from features.history.recent_records import RecentRecords

UNKNOWN = np.iinfo(np.int64).min
"""Watermark of a partition with too few events; time given to an event that must not affect one."""


class PassedEnd(NamedTuple):
    """End of a partition at a moment when others were scored further.

    Attributes:
        offset: Offset behind the last record that was there.
        time: Highest watermark of the scored events of another partition before that moment.
    """

    offset: int
    time: int


@dataclass(frozen=True, slots=True)
class LogState:
    """State of the log after some events, by partition; times in microseconds.

    This and the stored histories are all that a micro-batch needs from earlier events.

    Attributes:
        highest: Highest event times of those events, in descending order, up to
            ``watermark_support`` of them. A partition without such events has no entry.
        lowest: Event time that histories reach back to, by `Namespace.history_digest`.
        counted: Number of those events in histories that have too few events for a `lowest`, by
            `Namespace.history_digest`.
        early: Latest event time of those that did not support the watermark. A partition without
            such events has no entry.
        pairs: The state at earlier offsets, in their order.
        recent: The last records, and which of them are dead letters.
        offsets: Offset of the next record. Known where partitions are read from a topic.
        elsewhere: Watermarks of the scored events of partitions that other workers read.
        passed: Ends of partitions that others were scored past. Known while events are scored from
            a topic.
    """

    highest: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    lowest: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    counted: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    early: Mapping[int, int] = field(default_factory=dict)
    pairs: Mapping[int, tuple[Pair, ...]] = field(default_factory=dict)
    recent: Mapping[int, RecentRecords] = field(default_factory=dict)
    offsets: Mapping[int, int] = field(default_factory=dict)
    elsewhere: Mapping[int, int] = field(default_factory=dict)
    passed: Mapping[int, PassedEnd] = field(default_factory=dict)

    def watermarks(self, support: int) -> dict[int, int]:
        """The ``support``-th highest event time of each partition that has at least that many."""
        reached = ((partition, times[:support]) for partition, times in self.highest.items())
        return {partition: times[-1] for partition, times in reached if len(times) == support}

    def pairs_at(
        self, first: Mapping[int, int], support: int, span: int
    ) -> Mapping[int, tuple[Pair, ...]]:
        """Pairs of all partitions, with those that are due at the first events of a batch.

        Any division of the log into batches gives valid pairs, but not the same ones.

        Args:
            first: Offset of the first event behind this state, by partition.
            support: Number of events that support the watermark.
            span: Longest distance before the watermark that an event may need, in microseconds.
        """
        watermarks = self.watermarks(support)
        due = [
            partition
            for partition in first
            if partition in watermarks
            and is_due(self.pairs.get(partition, ()), watermarks[partition], span)
        ]
        if not due:
            return self.pairs
        pairs, needed_time = dict(self.pairs), min(watermarks.values()) - span
        for partition in due:
            highest = self.highest[partition]
            latest = max(highest[0], self.early.get(partition, highest[0]))
            pair = Pair(first[partition], highest, latest)
            pairs[partition] = add_pair(pairs.get(partition, ()), pair, needed_time)
        return pairs

    def replay_from(self, partition: int, needed_time: int) -> tuple[int, LogState] | None:
        """Find the offset from which a fill puts all needed members into histories.

        Args:
            partition: Partition to fill.
            needed_time: Event time from which on members are needed, in microseconds.

        Returns:
            The offset, and the state of this partition there, without the times that histories
            reach back to; None if the fill must begin at the start of the log.
        """
        pair = replay_from(self.pairs.get(partition, ()), needed_time)
        return None if pair is None else (pair.offset, self._at_pair(partition, pair))

    def before(self, partition: int, offset: int) -> LogState | None:
        """The state of one partition at the last offset up to ``offset`` where it is known.

        Returns:
            The state, with that offset; None if it is known at no such offset.
        """
        at = self.offsets.get(partition)
        if at is not None and at <= offset:
            return LogState(
                {p: times for p, times in self.highest.items() if p == partition},
                early={p: time for p, time in self.early.items() if p == partition},
                offsets={partition: at},
            )
        pairs = [pair for pair in self.pairs.get(partition, ()) if pair.offset <= offset]
        if not pairs:
            return None
        return replace(self._at_pair(partition, pairs[-1]), offsets={partition: pairs[-1].offset})

    def _at_pair(self, partition: int, pair: Pair) -> LogState:
        pairs = self.pairs[partition]
        return LogState(
            {partition: pair.highest},
            early={partition: pair.latest} if pair.latest > pair.highest[0] else {},
            pairs={partition: pairs[: pairs.index(pair) + 1]},
        )


def enough_to_begin(support: int) -> int:
    """Number of events that histories need before they count as complete.

    They are complete from the watermark after those events on. That watermark is at or above the
    median of the events' times: fewer than ``support`` wild times, too low or too high, do not move
    it.
    """
    return 2 * support - 1


def advance(
    times: Longs, highest: Sequence[int], support: int
) -> tuple[Longs, Longs, tuple[int, ...]]:
    """Advance a partition's watermark, the ``support``-th highest event time so far.

    The window engine calls it for a micro-batch, the training table for a file.

    Args:
        times: int64[N], times of the partition's next events in the order of the log, at least one;
            UNKNOWN for an event that does not support the watermark.
        highest: Highest times before, in descending order.
        support: Number of highest times that are kept.

    Returns:
        int64[N], the watermark before each event, UNKNOWN while fewer events have supported it;
        int64[N], the watermark after each event; the highest times after all events.
    """
    left = times.copy()
    # Before the first event, then after each. Filled in place: allocation costs more than the
    # computation.
    reached = np.empty(len(times) + 1, np.int64)
    kept: list[int] = []
    for rank in range(support):
        reached[0] = highest[rank] if rank < len(highest) else UNKNOWN
        reached[1:] = left
        np.maximum.accumulate(reached, out=reached)
        # An event that takes this rank moves the previous one to the next rank.
        np.minimum(left, reached[:-1], out=left)
        kept.append(int(reached[-1]))
    return reached[:-1], reached[1:], tuple(time for time in kept if time != UNKNOWN)
