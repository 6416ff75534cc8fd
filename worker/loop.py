"""The one loop: polls a micro-batch, runs the stages on it, has it committed, and recovers.

While one micro-batch is being committed, in a thread of its own, the next one is polled and
scored. Nothing of the next leaves the process before the outcome of the first is known; if that
is a failure, the next is dropped and both are read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException

from base.errors import (
    BatchAbortedError,
    DeliveryError,
    DeliveryFatalError,
    DependencyUnavailableError,
    OutcomeUnknownError,
    StoreAwayError,
    TopicReplacedError,
)
from features.history.watermarks import LogState
from schemas.batch import Records
from worker.consume.batch_bound import BatchBound
from worker.consume.poll import Polled, Poller
from worker.delivery.delivery import Delivery, InFlightBatch, count
from worker.delivery.reports import RecordsRefusedError
from worker.process import metrics
from worker.process.ahead import AheadShare
from worker.process.health import Health
from worker.process.outage import Outage, Refusals, backoff_s
from worker.process.pulse import Pulse
from worker.stages.stages import Processed

log = structlog.get_logger(__name__)

_IDLE_POLL_S = 0.2
# What the stages can wait for; the error names which.
_SERVICE = "store or registry"
_STORE_REMEDY = "it has to take writes; the same events come again when it does"
_DELIVERY_REMEDY = "see the answer of the brokers; the same events come again until it is another"
_LETTER_REMEDY = (
    "mend the settings of the topic; the dead letter is written again until it is taken"
)
# Unknown outcomes in a row after which the worker does no work that anyone should count on.
_UNKNOWN_TO_BE_UNREADY = 3
# A member that is not heard of by its own client for too long loses its partitions.
_SERVE_EVERY_S = 1.0
_SLOW_S = 1.0
_CONNECTION_LOST = (
    KafkaError._TRANSPORT,  # noqa: SLF001 - its public name
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - likewise
)
# A rejoin is a few calls to the brokers, each of which has its bound.
_REJOIN_CALLS = 4


class StageProcess(Protocol):
    """The pure stages, decode to encode, over one micro-batch of records.

    Raises DependencyUnavailableError while the online store or the registry is away.
    """

    def __call__(self, records: Records, log: LogState) -> Processed: ...


@dataclass(frozen=True, slots=True)
class Waits:
    """Bounds of waiting, in seconds.

    Attributes:
        settle_s: Longest wait for the outcome in flight when partitions move.
        refused_s: Longest wait for a dead-letter topic that refuses a dead letter.
    """

    settle_s: float
    refused_s: float


class Loop:
    """Owns the control flow of a worker, from start to drain."""

    def __init__(
        self,
        poller: Poller,
        process: StageProcess,
        delivery: Delivery,
        bound: BatchBound,
        health: Health,
        waits: Waits,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._poller = poller
        self._process = process
        self._delivery = delivery
        self._bound = bound
        self._health = health
        self._ahead = AheadShare(health)
        self._settle_s = waits.settle_s
        self._clock = clock
        self._in_flight: InFlightBatch | None = None
        # Behind what was handed over last: what the stages know of the log before a micro-batch.
        self._log_state = LogState()
        self._stopping = False
        self._unwritten_in_a_row = 0
        self._unknown_in_a_row = 0
        self._not_rewound_in_a_row = 0
        self._kafka = self._outage(
            "kafka",
            KafkaException,
            f"see that the brokers at {delivery.topics.brokers} are up (kafka.bootstrap_servers)",
        )
        self._store = self._outage("store", DependencyUnavailableError, _STORE_REMEDY)
        self._delivering = self._outage("delivery", DeliveryError, _DELIVERY_REMEDY)
        letters = self._outage("dead_letter_topic", DeliveryError, _LETTER_REMEDY)
        self._refusals = Refusals(letters, waits.refused_s, clock)
        self._served_at = clock()
        self._producer_is_suspect = False
        self._pulse = Pulse(poller, health, self._kafka, _REJOIN_CALLS * waits.settle_s, clock)

    def stop(self) -> None:
        """Ask the loop to drain; safe in a signal handler."""
        self._stopping = True

    def on_client_error(self, error: KafkaError) -> None:
        """The consumer tells of its connections: nobody else notices while there is no event."""
        # A producer that lives through a broken connection may hang in its next transaction
        # (measured: send_offsets_to_transaction; librdkafka issue 5456).
        self._producer_is_suspect |= error.code() in _CONNECTION_LOST
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - its public name
            self._kafka.begins(str(error))

    def before_change(self) -> None:
        """Partitions are about to move: let the transaction in flight end, for a bounded time."""
        if self._in_flight is not None:
            try:
                self._in_flight.outcome.exception(timeout=self._settle_s)
            except FutureTimeoutError:
                log.warning("partitions_move_before_the_outcome", waited_s=self._settle_s)

    def run(self) -> None:
        """Work until `stop`. Raises DeliveryFatalError when a new process has to take over."""
        self._open()
        try:
            # Asked to drain before it began: nothing was found yet.
            if not self._stopping:
                self._poller.subscribe()
            while not self._stopping:
                self._turn()
            self._health.draining()
            self._settle()
        except TopicReplacedError:
            self._poller.shut_out(self._settle_s)
            raise
        finally:
            self._close()

    def _open(self) -> None:
        """Find topics, histories and checkpoints, however long brokers or store are away."""
        self._kafka.outlast(self._delivery.topics.open)
        self._store.outlast(self._delivery.open_histories)
        # Before the checkpoints are read: a predecessor that was killed may still hold them.
        self._kafka.outlast(self._delivery.checkpoint.open)
        self._kafka.outlast(self._poller.open)

    def _turn(self) -> None:
        self._pulse.beat()
        # With a commit in flight there is something to wait for: take only what is there.
        timeout_s = _IDLE_POLL_S if self._in_flight is None else 0
        polled = self._poller.poll(self._bound.events, timeout_s)
        if self._poller.rewind_needed:
            self._settle()
            self._rewind()
            return
        if polled is None:
            self._settle()
            if not self._poller.partitions:
                # What could not be delivered is for others to deliver.
                self._delivering.ends()
                self._refusals.rest()
            return
        started = self._clock()
        processed = self._process_or_pause(polled)
        # Nothing may be committed behind a micro-batch that was not: a stop leaves out the rewind.
        settled = self._settle()
        if settled and self._producer_is_suspect:
            self._open_checkpoint()
        if not settled or processed is None or polled.epoch != self._poller.epoch:
            metrics.batches.labels("dropped").inc()
            return
        self._log_state = processed.after
        self._in_flight = self._delivery.begin(polled, processed, started)

    def _process_or_pause(self, polled: Polled) -> Processed | None:
        """The stages' result; None when the partitions moved while a dependency was away."""
        attempt = 0
        while True:
            try:
                processed = self._process(polled.records, self._log_state)
            except DependencyUnavailableError as error:
                self._settle()
                if attempt == 0:
                    self._pause(str(error))
                self._wait(backoff_s(attempt))
                attempt += 1
                if self._stopping or self._poller.epoch != polled.epoch:
                    self._resume()
                    return None
            else:
                if attempt:
                    self._resume()
                return processed

    def _pause(self, reason: str) -> None:
        log.warning("paused", reason=reason, remedy="reading goes on when it answers again")
        self._health.away(_SERVICE, reason)
        metrics.paused.labels(_SERVICE).set(1)
        self._poller.pause()

    def _resume(self) -> None:
        self._poller.resume()
        metrics.paused.labels(_SERVICE).set(0)
        self._health.back(_SERVICE)
        log.info("resumed")

    def _wait(self, seconds: float) -> None:
        """Back off, and stay a member of the group meanwhile; not longer than partitions stay."""
        until, epoch = self._clock() + seconds, self._poller.epoch
        while not self._stopping and self._clock() < until and self._poller.epoch == epoch:
            self._pulse.beat()
            self._poller.serve()

    def _hold(self, seconds: float) -> None:
        """Back off with reading paused."""
        self._poller.pause()
        self._wait(seconds)
        self._poller.resume()
        self._served_at = self._clock()

    def _settle(self) -> bool:
        """Learn the outcome of the micro-batch in flight; on failure go back to the checkpoint.

        Returns whether all that was handed over is committed.
        """
        if self._in_flight is None:
            return True
        self._served_at = self._clock()
        flight, error = self._in_flight, self._in_flight.outcome.exception()
        while isinstance(error, RecordsRefusedError) and self._amended(flight, error):
            self._in_flight = flight = self._delivery.again(flight)
            error = flight.outcome.exception()
        self._in_flight = None
        if error is None:
            self._committed(flight)
            return True
        if not isinstance(error, DeliveryError) or isinstance(error, DeliveryFatalError):
            raise error
        log.warning("not_committed", kind=type(error).__name__, error=str(error))
        if isinstance(error, (BatchAbortedError, RecordsRefusedError)):
            metrics.batches.labels("aborted").inc()
        else:
            # A new producer settles the old one's transaction.
            metrics.batches.labels("unknown").inc()
            self._open_checkpoint()
        self._rewind()
        if isinstance(error, StoreAwayError):
            self._let_the_store_recover(error)
        if isinstance(error, OutcomeUnknownError):
            self._let_the_brokers_recover(error)
        return False

    def _amended(self, flight: InFlightBatch, error: RecordsRefusedError) -> bool:
        """Put other answers in place of refused ones; False where the micro-batch must be dropped.

        Waits where a dead letter is refused: nothing can take its place. Raises DeliveryFatalError
        when that has lasted too long.
        """
        # A new producer knows the topics' present limits, and its batches keep to them. The old one
        # has skipped sequence numbers: its next transaction fails (measured: librdkafka 2.16).
        self._open_checkpoint()
        hopeless = self._delivery.amend(flight, error)
        if hopeless is not None:
            self._hold(self._refusals.wait_s(hopeless))
        elif self._clock() - self._served_at > _SERVE_EVERY_S:
            self._hold(_IDLE_POLL_S)
        return not self._stopping and flight.polled.epoch == self._poller.epoch

    def _committed(self, flight: InFlightBatch) -> None:
        self._unwritten_in_a_row = self._unknown_in_a_row = 0
        self._store.ends()
        self._delivering.ends()
        self._refusals.end()
        took_s = self._clock() - flight.started
        self._bound.observe(len(flight.polled.records), took_s)
        # It may have lived through a broken connection that nobody has told of yet.
        self._producer_is_suspect |= took_s > _SLOW_S
        self._ahead.observe(flight.answers.final().ahead)
        count(flight)

    def _let_the_store_recover(self, error: StoreAwayError) -> None:
        """It may still answer reads, as one without memory does: nothing else slows the loop."""
        self._store.begins(str(error))
        self._hold(backoff_s(self._unwritten_in_a_row))
        self._unwritten_in_a_row += 1

    def _let_the_brokers_recover(self, error: OutcomeUnknownError) -> None:
        """They may answer all else, as where writing is forbidden: nothing else slows the loop."""
        self._unknown_in_a_row += 1
        if self._unknown_in_a_row >= _UNKNOWN_TO_BE_UNREADY:
            self._delivering.begins(str(error))
        self._hold(backoff_s(self._unknown_in_a_row - 1))

    def _open_checkpoint(self) -> None:
        self._producer_is_suspect = False
        self._kafka.outlast(self._delivery.checkpoint.open, self._wait)

    def _rewind(self) -> None:
        """Go back to the checkpoint; where the brokers do not answer, the next turn tries again.

        Not here: until it is polled, the client keeps back what the group has meanwhile decided,
        and may answer nothing else (measured: `committed` timed out until the worker was killed).
        """
        try:
            self._poller.rewind()
        except KafkaException as error:
            self._kafka.begins(str(error))
            self._hold(backoff_s(self._not_rewound_in_a_row))
            self._not_rewound_in_a_row += 1
            return
        self._kafka.ends()
        self._not_rewound_in_a_row = 0
        metrics.rebalances.inc()
        self._delivery.histories.assigned(self._poller.partitions)
        self._ahead.assigned(self._poller.partitions)
        self._log_state = self._poller.log_state

    def _outage(self, dependency: str, error: type[Exception], remedy: str) -> Outage:
        return Outage(dependency, error, remedy, self._health, lambda: self._stopping)

    def _close(self) -> None:
        self._delivery.close()
        self._poller.close()
