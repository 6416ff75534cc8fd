"""Position of the worker in the log: a micro-batch advances it, a rewind sets it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog
from confluent_kafka import KafkaException

from base.errors import HistoriesLostError
from features.history.watermarks import LogState
from worker.aligner import Aligner
from worker.backoff import Backoff
from worker.consume.poll import Poller
from worker.dead_letter_holds import DeadLetterHolds
from worker.process import metrics
from worker.process.loop_monitor import LoopMonitor
from worker.process.outage import Outages
from worker.restorer import Restorer

log = structlog.get_logger(__name__)


class LogPosition:
    """State of the log behind the last micro-batch that was handed to the delivery.

    Args:
        poller: Poller of the input topic.
        aligner: Aligner of its partitions.
        holds: Partitions that are held for their dead letters.
        restorer: Restorer of the histories.
        outages: Outages that a rewind waits out.
        backoff: Waits of the loop.
        monitor: Monitor of the loop.

    Attributes:
        state: The state of the log; the stages need it for the next micro-batch.
    """

    def __init__(
        self,
        poller: Poller,
        aligner: Aligner,
        holds: DeadLetterHolds,
        restorer: Restorer,
        outages: Outages,
        backoff: Backoff,
        monitor: LoopMonitor,
    ) -> None:
        self.state = LogState()
        self._poller = poller
        self._aligner = aligner
        self._holds = holds
        self._restorer = restorer
        self._outages = outages
        self._backoff = backoff
        self._monitor = monitor

    def advance(self, after: LogState, next_offsets: Mapping[int, int]) -> None:
        """Advance behind a micro-batch.

        Args:
            after: State of the log behind it, as the stages return it.
            next_offsets: Offsets behind it of its partitions.
        """
        self.state = replace(after, offsets={**self.state.offsets, **next_offsets})

    def rewind(self) -> None:
        """Rewind to the checkpoint; if the brokers do not answer, the next turn tries again.

        A retry in this place could wait forever: the client does not apply the group's new
        assignment until it is polled, and may answer nothing else (measured: `committed` timed out
        until the worker was killed).
        """
        self._monitor.flush()
        try:
            self._poller.rewind()
        except KafkaException as error:
            self._backoff.pause_and_wait(self._outages.rewind_failures.record_failure(str(error)))
            return
        self._outages.rewind_failures.record_success()
        self._monitor.rewound()
        self._aligner.forget()
        self._holds.forget()
        epoch, restored = self._poller.epoch, False

        def restore() -> None:
            nonlocal restored
            # Partitions that have moved meanwhile are restored after the rewind that follows.
            state = self._restorer.restore() if self._poller.epoch == epoch else None
            if state is not None:
                self.state, restored = state, True

        self._outages.store.retry_until_up(restore, self._backoff.pause_and_wait)
        if not restored:
            # The state is that of another position. A worker that is told to drain while the store
            # is away must not score with it.
            self._poller.rewind_needed = True


def report_lost_histories(error: HistoriesLostError) -> None:
    """Report that the store has lost members; a rewind restores them."""
    metrics.histories_lost.inc()
    log.warning("histories_lost", reason=str(error))
