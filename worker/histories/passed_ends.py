"""Ends of partitions that others were scored past: events behind them may have been missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from confluent_kafka import KafkaException

from features.history.watermarks import UNKNOWN, LogState, PassedEnd
from features.windows.plan import WindowPlan


class PassedEnds:
    """For each assigned partition, an end that others were scored past, and up to which time.

    The brokers are asked for an end after the watermarks of scored events were read. So an event
    behind it came to its partition later, whatever was applied or lost meanwhile. An event before
    it, such as one of a backlog, may have been there: it is never flagged.

    Args:
        plan: Windows that read the histories.
        bounds: Asks the brokers for the begin of a partition and its end; raises KafkaException.

    Attributes:
        ends: The ends.
    """

    def __init__(self, plan: WindowPlan, bounds: Callable[[int], tuple[int, int]]) -> None:
        self._rules = plan.rules
        self._delay = plan.aligned_delay
        self._bounds = bounds
        self._asked: dict[int, int] = {}
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
        first, *others = sorted(scored, key=scored.__getitem__, reverse=True)
        for partition, offset in log.offsets.items():
            if partition != first:
                passed = scored[first]
            else:
                passed = scored[others[0]] if others else UNKNOWN
            if passed <= self._asked.get(partition, UNKNOWN):
                continue
            # The earliest time of an event that is not late.
            earliest = watermarks.get(partition, UNKNOWN) - self._rules.allowed_lateness
            if partition in watermarks and earliest + self._delay > passed:
                continue
            self._asked[partition] = passed
            try:
                _, end = self._bounds(partition)
            except KafkaException:
                # Asked again when others have gone on.
                return
            # While events behind the last end are unread, that one says more about them.
            if partition not in self.ends or end <= offset:
                self.ends[partition] = PassedEnd(end, passed)
