"""Restoring of histories between a rewind and the next micro-batch."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from confluent_kafka import KafkaException

from base.errors import DependencyUnavailableError, HistoriesLostError
from features.history.watermarks import LogState
from worker.consume.poll import Poller
from worker.histories import Histories
from worker.process.health import Health

log = structlog.get_logger(__name__)

_SUBJECT = "histories"
# A member whose client is not polled for too long loses its partitions.
_SERVE_EVERY_S = 1.0


class Restorer:
    """Fills histories of which members before the checkpoints are missing.

    Reading is paused meanwhile, and the worker stays a member of its group.

    Args:
        poller: Poller of the input topic.
        histories: Histories of the input topic.
        health: State of the worker that the probes read.
        give_up: Returns True to stop.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        poller: Poller,
        histories: Histories,
        health: Health,
        give_up: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._poller = poller
        self._histories = histories
        self._health = health
        self._give_up = give_up
        self._clock = clock

    def restore(self) -> LogState | None:
        """Restore the histories of the partitions to which the poller has gone back.

        Returns:
            The state of the log; None if partitions have moved meanwhile, or the worker stops.

        Raises:
            DependencyUnavailableError: The store, the registry or the brokers do not answer.
        """
        self._poller.pause()
        try:
            return self._run()
        except HistoriesLostError as error:
            raise DependencyUnavailableError(f"while histories are filled, {error}") from error
        except KafkaException as error:
            raise DependencyUnavailableError(f"histories cannot be filled: {error}") from error
        finally:
            self._health.back(_SUBJECT)
            self._poller.resume()

    def _run(self) -> LogState | None:
        steps = self._histories.restore(self._poller.log_state)
        epoch, served_at = self._poller.epoch, self._clock()
        try:
            while True:
                progress = next(steps)
                self._health.tick()
                if progress is None:
                    self._health.unready(_SUBJECT, "other workers fill histories of theirs")
                    self._poller.serve()
                    served_at = self._clock()
                else:
                    left = sum(progress.remaining.values())
                    self._health.unready(
                        _SUBJECT, f"histories are filled; {left:,} offsets are left"
                    )
                if self._clock() - served_at >= _SERVE_EVERY_S:
                    self._poller.serve()
                    served_at = self._clock()
                if self._give_up() or self._poller.epoch != epoch:
                    return None
        except StopIteration as end:
            state: LogState = end.value
            return state
        finally:
            steps.close()
