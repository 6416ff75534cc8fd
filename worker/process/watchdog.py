"""Watchdog that ends the process when a call exceeds its limit.

Some calls of librdkafka do not honour their timeout.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from worker.process.exits import ExitCode

log = structlog.get_logger(__name__)


def _end_process() -> None:
    os._exit(ExitCode.WATCHDOG_TIMEOUT)


class Watchdog:
    """Watch on guarded calls, in a thread of its own.

    A restart is safe at any moment. A process that hangs is not: nobody reads its partitions.

    Args:
        limit_s: Longest duration of a guarded call, in seconds.
        clock: Returns monotonic seconds.
        end: Ends the process.
    """

    def __init__(
        self,
        limit_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[], None] = _end_process,
    ) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._end = end
        self._guards: dict[int, tuple[str, float]] = {}
        self._next = 0
        # Reentrant: `bound` is called in signal handlers, which may interrupt a holder.
        self._lock = threading.RLock()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def guard(self, call: str) -> Iterator[None]:
        """Bound the time of the block; ``call`` names it in the log if it takes too long."""
        with self._lock:
            self._next += 1
            token = self._next
            self._guards[token] = (call, self._clock() + self._limit_s)
        try:
            yield
        finally:
            with self._lock:
                del self._guards[token]

    def bound(self, call: str, limit_s: float) -> None:
        """Give the whole process ``limit_s`` seconds from now on; ``call`` names the reason.

        The first bound counts: a repeated signal gives no more time.
        """
        with self._lock:
            self._guards.setdefault(-1, (call, self._clock() + limit_s))

    def check(self) -> None:
        """End the process if a guarded call has exceeded its limit."""
        now = self._clock()
        with self._lock:
            late = [call for call, deadline in self._guards.values() if now > deadline]
        if late:
            log.critical("call_overstayed", calls=late)
            self._end()

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self._limit_s / 4))
            self.check()
