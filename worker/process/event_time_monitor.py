"""Readiness check on the share of each partition's recent events that are ahead of time."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import structlog

from worker.process.health import Health

log = structlog.get_logger(__name__)

Mask = npt.NDArray[np.bool_]

RECENT = 1000
"""Number of the latest events of a partition that are checked."""
MAX_AHEAD = 10
"""Number of these that may be ahead of time: 1 %."""
_SUBJECT = "event time"


class EventTimeMonitor:
    """Unready state while more than 1 % of a partition's last 1,000 events are ahead of time.

    Events count from the assignment of their partition on, when they are committed. A few such
    events move no watermark. Many such events mean a wrong clock. Three in a row can advance the
    watermark and empty other events' windows.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._recent: dict[int, Mask] = {}
        self._alerting: set[int] = set()

    def observe(self, ahead: Mapping[int, Mask]) -> None:
        """Count a committed micro-batch, bool[N] by partition in the order of the log."""
        for partition, events in ahead.items():
            known = self._recent.get(partition, np.empty(0, np.bool_))
            self._recent[partition] = np.concatenate([known, events])[-RECENT:]
        self._report()

    def assigned(self, partitions: Collection[int]) -> None:
        """Forget partitions that other workers read now."""
        self._recent = {p: recent for p, recent in self._recent.items() if p in partitions}
        self._report()

    def _report(self) -> None:
        counts = {p: int(np.count_nonzero(recent)) for p, recent in self._recent.items()}
        alerting = {partition: count for partition, count in counts.items() if count > MAX_AHEAD}
        for partition in alerting.keys() - self._alerting:
            log.error(
                "events_ahead",
                partition=partition,
                ahead=alerting[partition],
                of=len(self._recent[partition]),
                meaning="their times are after those of the events around them, or of their records",
                remedy="find the producer whose clock is wrong: its scores have the flag ahead",
            )
        for partition in self._alerting - alerting.keys():
            log.info("events_ahead_no_more", partition=partition)
        self._alerting = {*alerting}
        if alerting:
            words = [f"partition {p}: {count}" for p, count in sorted(alerting.items())]
            self._health.unready(
                _SUBJECT,
                f"more than {MAX_AHEAD} of the last {RECENT:,} events are ahead of time "
                f"({', '.join(words)}); find the producer whose clock is wrong",
            )
        else:
            self._health.back(_SUBJECT)
