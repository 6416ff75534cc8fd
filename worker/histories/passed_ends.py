"""Ends of partitions that others were scored past: events behind them may have been missed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaException

from features.history.watermarks import UNKNOWN, LogState, PassedEnd
from features.windows.plan import WindowPlan

_APART_S = 1.0
"""Time between two questions about a partition: one that is idle lies behind all others."""


class PassedEnds:
    """For each assigned partition, an end that others were scored past, and up to which time.

    The brokers are asked for an end after the watermarks of scored events were read. So an event
    behind it came to its partition later, whatever was applied or lost meanwhile. An event before
    it, such as one of a backlog, may have been there: it is never flagged.

    Args:
        plan: Windows that read the histories.
        bounds: Asks the brokers for the begin of a partition and its end; raises KafkaException.
        clock: Returns monotonic seconds.

    Attributes:
        ends: The ends.
    """

    def __init__(
        self,
        plan: WindowPlan,
        bounds: Callable[[int], tuple[int, int]],
        clock: Callable[[], float],
    ) -> None:
        self._rules = plan.rules
        self._delay = plan.aligned_delay
        self._bounds = bounds
        self._clock = clock
        # By partition, the watermark of others and the time of the last question.
        self._asked: dict[int, tuple[int, float]] = {}
        self.ends: dict[int, PassedEnd] = {}

    def look(self, log: LogState, scored: Mapping[int, int]) -> None:
        """Ask for the ends of partitions whose next events may be across_late.

        Args:
            log: State of the log before the next event of each assigned partition.
            scored: Watermark of the committed events of each partition, as far as known.
        """
        if self._delay is None or not scored:
            return
        watermarks = log.watermarks(self._rules.watermark_support)
        now = self._clock()
        first, *others = sorted(scored, key=scored.__getitem__, reverse=True)
        for partition, offset in log.offsets.items():
            if partition != first:
                passed = scored[first]
            else:
                passed = scored[others[0]] if others else UNKNOWN
            asked, asked_at = self._asked.get(partition, (UNKNOWN, -math.inf))
            if passed <= asked or now < asked_at + _APART_S:
                continue
            # The earliest time of an event that is not late.
            earliest = watermarks.get(partition, UNKNOWN) - self._rules.allowed_lateness
            if partition in watermarks and earliest + self._delay > passed:
                continue
            self._asked[partition] = passed, now
            try:
                _, end = self._bounds(partition)
            except KafkaException:
                # Asked again when others have gone on.
                return
            # While events behind the last end are unread, that one says more about them.
            if partition not in self.ends or end <= offset:
                self.ends[partition] = PassedEnd(end, passed)
