"""Commit of one micro-batch while the next one is scored, and recovery if it fails."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError

import structlog

from base.errors import (
    BatchAbortedError,
    DeliveryError,
    DeliveryFatalError,
    HistoriesLostError,
    OutcomeUnknownError,
    StoreAwayError,
)
from worker.backoff import Backoff
from worker.consume.micro_batch import BatchBound, Polled
from worker.delivery.delivery import Delivery, InFlightBatch
from worker.delivery.reports import RecordsRefusedError
from worker.log_position import LogPosition, report_lost_histories
from worker.process import metrics
from worker.process.loop_monitor import LoopMonitor
from worker.process.outage import Outages
from worker.stages.stages import Processed

log = structlog.get_logger(__name__)

# A member whose client is not polled for too long loses its partitions.
_SERVE_EVERY_S = 1.0
_SERVE_S = 0.2
_SLOW_S = 1.0


class Committer:
    """Commits micro-batches in the order of the log, one at a time.

    Args:
        delivery: Delivery of micro-batches.
        bound: Bound on the events of a micro-batch.
        position: Position of the worker in the log.
        outages: Outages that end or begin with a commit.
        backoff: Waits of the loop.
        monitor: Monitor of the loop.
        clock: Returns monotonic seconds.

    Attributes:
        in_flight: Micro-batch whose outcome is not settled yet.
        committed: Number of committed micro-batches.
    """

    def __init__(
        self,
        delivery: Delivery,
        bound: BatchBound,
        position: LogPosition,
        outages: Outages,
        backoff: Backoff,
        monitor: LoopMonitor,
        clock: Callable[[], float],
    ) -> None:
        self.in_flight: InFlightBatch | None = None
        self.committed = 0
        self._delivery = delivery
        self._bound = bound
        self._position = position
        self._outages = outages
        self._backoff = backoff
        self._monitor = monitor
        self._clock = clock
        self._served_at = clock()
        self._producers_are_suspect = False

    def suspect_producers(self) -> None:
        """Replace each producer before the next micro-batch: it may have lost its connection."""
        self._producers_are_suspect = True

    def begin(self, polled: Polled, processed: Processed, started: float) -> None:
        """Begin to commit a micro-batch; everything before it must be settled.

        Args:
            polled: Records of the micro-batch.
            processed: Result of the stages.
            started: Start of its processing, on the clock.
        """
        if self._producers_are_suspect:
            self._producers_are_suspect = False
            self._delivery.suspect_producers()
        before = self._position.state
        self._position.advance(processed.after, polled.next_offsets)
        self.in_flight = self._delivery.begin(polled, processed, before, started)

    def await_outcome(self, timeout_s: float) -> None:
        """Wait, with a bound, until the outcome of the micro-batch in flight is known."""
        if self.in_flight is not None:
            try:
                self.in_flight.outcome.exception(timeout=timeout_s)
            except FutureTimeoutError:
                log.warning("partitions_move_before_the_outcome", waited_s=timeout_s)

    def settle(self) -> bool:
        """Wait for the outcome of the micro-batch in flight; rewind to the checkpoint if it failed.

        Returns:
            True if everything that was handed to the delivery is committed.

        Raises:
            DeliveryFatalError: A new process has to take over.
        """
        if self.in_flight is None:
            return True
        self._served_at = self._clock()
        batch, error = self.in_flight, self.in_flight.outcome.exception()
        while isinstance(error, RecordsRefusedError) and self._handle_refusals(batch, error):
            self.in_flight = batch = self._delivery.retry(batch)
            error = batch.outcome.exception()
        self.in_flight = None
        if error is None:
            self._on_committed(batch)
            return True
        if not isinstance(error, DeliveryError) or isinstance(error, DeliveryFatalError):
            raise error
        self._recover(error)
        return False

    def _on_committed(self, batch: InFlightBatch) -> None:
        self.committed += 1
        self._outages.store_failures.record_success()
        self._outages.unknown_outcomes.record_success()
        self._outages.letter_refusals.record_success()
        took_s = self._clock() - batch.started
        self._bound.observe(len(batch.polled.records), took_s)
        # The producers may have survived a broken connection that is not reported yet.
        self._producers_are_suspect |= took_s > _SLOW_S
        self._monitor.committed(batch.polled, batch.answers.final(), took_s)

    def _recover(self, error: DeliveryError) -> None:
        """Rewind to the checkpoint behind a micro-batch that may not be committed."""
        log.warning("not_committed", kind=type(error).__name__, error=str(error))
        if isinstance(error, HistoriesLostError):
            report_lost_histories(error)
        aborted = isinstance(error, (BatchAbortedError, RecordsRefusedError))
        metrics.batches.labels("aborted" if aborted else "unknown").inc()
        if not isinstance(error, StoreAwayError):
            # Before the committed offsets are read: a new producer settles the old one's
            # transaction.
            self._open_checkpoint()
        self._position.rewind()
        if isinstance(error, StoreAwayError):
            wait_s = self._outages.store_failures.record_failure(str(error))
            self._backoff.pause_and_wait(wait_s)
        if isinstance(error, OutcomeUnknownError):
            wait_s = self._outages.unknown_outcomes.record_failure(str(error))
            self._backoff.pause_and_wait(wait_s)

    def _handle_refusals(self, batch: InFlightBatch, error: RecordsRefusedError) -> bool:
        """Replace refused scores and dead letters; False if the micro-batch must be dropped.

        A refused dead letter that nothing can replace is retried after a wait.

        Raises:
            DeliveryFatalError: The topic has refused a dead letter for too long.
        """
        # A new producer reads the topics' present limits, and its batches keep to them. The old one
        # has skipped sequence numbers: its next transaction fails (measured: librdkafka 2.16).
        self._open_checkpoint()
        unfixable_reason = self._delivery.handle_refusals(batch, error)
        if unfixable_reason is not None:
            self._serve(self._outages.letter_refusals.record_failure(unfixable_reason))
        elif self._clock() - self._served_at > _SERVE_EVERY_S:
            self._serve(_SERVE_S)
        return not self._backoff.interrupted(batch.polled.epoch)

    def _serve(self, seconds: float) -> None:
        self._backoff.pause_and_wait(seconds)
        self._served_at = self._clock()

    def _open_checkpoint(self) -> None:
        self._producers_are_suspect = False
        self._outages.kafka.retry_until_up(self._delivery.open_checkpoint, self._backoff.wait)
