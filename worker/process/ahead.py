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
MOST = 10
"""Most of them that may be ahead of time: 1 %."""
_SUBJECT = "event time"


class AheadShare:
    """Unready state while more than 1 % of a partition's last 1,000 events are ahead of time.

    Events count from the assignment of their partition on, when they are committed. A few wild
    events move no watermark. Many mean that a clock is wrong, and three in a row empty the windows
    of the other events.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._recent: dict[int, Mask] = {}
        self._loud: set[int] = set()

    def observe(self, ahead: Mapping[int, Mask]) -> None:
        """Count a committed micro-batch, bool[N] by partition in the order of the log."""
        for partition, events in ahead.items():
            known = self._recent.get(partition, np.empty(0, np.bool_))
            self._recent[partition] = np.concatenate([known, events])[-RECENT:]
        self._tell()

    def assigned(self, partitions: Collection[int]) -> None:
        """Forget partitions that other workers read now."""
        self._recent = {p: recent for p, recent in self._recent.items() if p in partitions}
        self._tell()

    def _tell(self) -> None:
        counts = {p: int(np.count_nonzero(recent)) for p, recent in self._recent.items()}
        loud = {partition: count for partition, count in counts.items() if count > MOST}
        for partition in loud.keys() - self._loud:
            log.error(
                "events_ahead",
                partition=partition,
                ahead=loud[partition],
                of=len(self._recent[partition]),
                meaning="their times are after those of the events around them, or of their records",
                remedy="find the producer whose clock is wrong: its scores have the flag ahead",
            )
        for partition in self._loud - loud.keys():
            log.info("events_ahead_no_more", partition=partition)
        self._loud = {*loud}
        if loud:
            words = [f"partition {p}: {count}" for p, count in sorted(loud.items())]
            self._health.unready(
                _SUBJECT,
                f"more than {MOST} of the last {RECENT:,} events are ahead of time "
                f"({', '.join(words)}); find the producer whose clock is wrong",
            )
        else:
            self._health.back(_SUBJECT)
