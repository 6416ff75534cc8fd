"""Checks of an input's event times: events out of order, and records without a timestamp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from base.arrays import Longs
from features.history.watermarks import UNKNOWN
from features.windows.position import AHEAD, early_for_records
from features.windows.window import HistoryRules
from schemas.batch import EventBatch

_RANKS = 3


class InputTimes:
    """Counts of the events of an input whose times say that the input may be wrong.

    Attributes:
        out_of_order: Number of events older than an earlier event of their partition, whose windows
            do not count them. An event more than a day above the third-highest time so far, or too
            far ahead of its record, is ignored as the earlier event: else one event of 2042 would
            make all later events out of order.
        without_timestamp: Number of events that `history.max_ahead` and `history.arrival` do not
            judge, as their records have no timestamp; 0 if none of them is set.
    """

    def __init__(self, rules: HistoryRules) -> None:
        self.out_of_order = 0
        self.without_timestamp = 0
        self._rules = rules
        # At most watermark_support, so that a late event is always out of order.
        self._ranks = min(_RANKS, rules.watermark_support)
        self._highest: dict[int, list[int]] = {}

    def add(self, batch: EventBatch) -> None:
        """Count the next events of the input."""
        of, times = batch.records.partitions, batch.event_time
        early = early_for_records(batch, self._rules)
        measures = times
        if early is not None:
            measures = np.where(early, UNKNOWN, times)
        if early is not None or self._rules.arrival:
            self.without_timestamp += int(np.count_nonzero(batch.records.timestamps <= 0))
        for partition in np.unique(of).tolist():
            rows = np.flatnonzero(of == partition)
            known = self._highest.get(partition, [UNKNOWN] * self._ranks)
            newest, self._highest[partition] = _newest_before(measures[rows], known)
            self.out_of_order += int(np.count_nonzero(times[rows] < newest))


def _newest_before(times: Longs, highest: Sequence[int]) -> tuple[Longs, list[int]]:
    """Find the newest time before each of the next events of a partition, without wild events.

    Args:
        times: int64[N], UNKNOWN for an event whose time is ignored.
        highest: Highest times before, in descending order; UNKNOWN if there were fewer.

    Returns:
        int64[N], UNKNOWN before the first; the highest times behind all.
    """
    reached = np.empty((len(highest), len(times) + 1), np.int64)
    reached[:, 0] = highest
    left = times
    for rank in reached:
        rank[1:] = left
        np.maximum.accumulate(rank, out=rank)
        left = np.minimum(left, rank[:-1])
    before = reached[:, :-1]
    lowest = before[0]
    for rank in before[1:]:
        lowest = np.where(rank == UNKNOWN, lowest, rank)
    newest: Longs = np.where(before <= lowest + AHEAD, before, lowest).max(axis=0)
    return newest, reached[:, -1].tolist()
