"""Waits of the loop, during which the worker stays a member of its group."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from worker.consume.poll import Poller
from worker.process import metrics
from worker.process.health import Health
from worker.process.loop_monitor import LoopMonitor

log = structlog.get_logger(__name__)

# Dependencies that the stages can wait for; the error says which one it is.
_SERVICE = "store or registry"


class Backoff:
    """Waits that end early when the worker stops or its partitions move.

    Args:
        poller: Poller of the input topic.
        health: State of the worker that the probes read.
        monitor: Monitor of the loop.
        stopping: Returns True once the worker is asked to stop.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        poller: Poller,
        health: Health,
        monitor: LoopMonitor,
        stopping: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._poller = poller
        self._health = health
        self._monitor = monitor
        self._stopping = stopping
        self._clock = clock

    def interrupted(self, epoch: int) -> bool:
        """Return True if the worker stops, or partitions have moved since this epoch."""
        return self._stopping() or self._poller.epoch != epoch

    def wait(self, seconds: float) -> None:
        """Wait with reading paused by the caller."""
        self._monitor.flush()
        until, epoch = self._clock() + seconds, self._poller.epoch
        while self._clock() < until and not self.interrupted(epoch):
            self._monitor.check()
            self._poller.serve()

    def pause_and_wait(self, seconds: float) -> None:
        """Pause reading, wait, and resume it."""
        self._poller.pause()
        self.wait(seconds)
        self._poller.resume()

    def pause(self, reason: str) -> None:
        """Pause reading, and report that the stages wait for a dependency."""
        log.warning("paused", reason=reason, remedy="reading resumes when it answers again")
        self._health.away(_SERVICE, reason)
        metrics.paused.labels(_SERVICE).set(1)
        self._poller.pause()

    def resume(self) -> None:
        """Resume reading after `pause`."""
        self._poller.resume()
        metrics.paused.labels(_SERVICE).set(0)
        self._health.back(_SERVICE)
        log.info("resumed")
