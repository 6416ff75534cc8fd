"""Outages of dependencies, reported to the log, the probes and a metric."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from base.errors import DeliveryFatalError
from worker.process import metrics
from worker.process.health import Health

log = structlog.get_logger(__name__)

_BACKOFF_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_FIRST_REFUSAL_S, _LONGEST_REFUSAL_S = 1.0, 30.0
_REFUSALS_TO_BE_UNREADY = 3


def backoff_s(attempt: int) -> float:
    """Seconds to wait after a failed attempt, counted from 0."""
    return _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]


class Outage:
    """State of one dependency that may be away.

    Args:
        dependency: Its name in the log, the probes and the metric.
        error: Exception that calls raise while it is away.
        remedy: What the log tells an operator to do then.
        health: State of the worker that the probes read.
        give_up: Returns True if there is no use in waiting any more.
    """

    def __init__(
        self,
        dependency: str,
        error: type[Exception],
        remedy: str,
        health: Health,
        give_up: Callable[[], bool],
    ) -> None:
        self._dependency = dependency
        self._begun, self._ended = f"{dependency}_away", f"{dependency}_back"
        self._error = error
        self._remedy = remedy
        self._health = health
        self._give_up = give_up
        self.lasts = False
        self.retrying = False

    def begins(self, reason: str) -> None:
        """Note that the dependency is away, or still away, now for this reason."""
        if not self.lasts:
            log.warning(self._begun, reason=reason, remedy=self._remedy)
        self.lasts = True
        self._health.away(self._dependency, reason)
        metrics.paused.labels(self._dependency).set(1)

    def ends(self) -> None:
        """Note that the dependency answers."""
        if self.lasts:
            log.info(self._ended)
        self.lasts = False
        self._health.back(self._dependency)
        metrics.paused.labels(self._dependency).set(0)

    def outlast(
        self, call: Callable[[], None], wait: Callable[[float], None] | None = None
    ) -> None:
        """Repeat the call until it answers; the wait between two attempts grows to 2 s.

        Args:
            call: Raises the outage's error while the dependency is away.
            wait: Waits for so many seconds; must keep up the membership of the group, where there
                is one.
        """
        attempt = 0
        self.retrying = True
        try:
            while not self._give_up():
                try:
                    call()
                except self._error as error:
                    self.begins(str(error))
                    self._health.tick()
                    (wait or time.sleep)(backoff_s(attempt))
                    attempt += 1
                else:
                    self.ends()
                    return
        finally:
            self.retrying = False


class Refusals:
    """Refusals in a row of a record that must be written and that nothing can replace.

    Args:
        outage: Outage that begins when refusals go on.
        limit_s: Seconds after which there is no use in waiting any more.
        clock: Returns monotonic seconds.
    """

    def __init__(self, outage: Outage, limit_s: float, clock: Callable[[], float]) -> None:
        self._outage = outage
        self._limit_s = limit_s
        self._clock = clock
        self._count = 0
        self._since = 0.0

    def wait_s(self, reason: str) -> float:
        """Seconds to wait after one more refusal. Raises DeliveryFatalError after the limit."""
        if self._count == 0:
            self._since = self._clock()
        lasted_s = self._clock() - self._since
        if lasted_s >= self._limit_s:
            raise DeliveryFatalError(
                f"kafka.dead_letter_topic: a dead letter is refused since {lasted_s:.0f} s "
                f"(delivery.refused_s is {self._limit_s:g}): {reason}"
            )
        wait_s = min(_FIRST_REFUSAL_S * 2.0**self._count, _LONGEST_REFUSAL_S)
        self._count += 1
        if self._count >= _REFUSALS_TO_BE_UNREADY:
            self._outage.begins(reason)
        return min(wait_s, self._limit_s - lasted_s)

    def end(self) -> None:
        """Note that the record was taken."""
        self._count = 0
        self.rest()

    def rest(self) -> None:
        """Note that writing the record is left to other workers now."""
        self._outage.ends()
