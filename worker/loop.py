"""The loop of a worker: poll a micro-batch, run the stages on it, deliver it, and recover.

A large micro-batch is committed in a thread of its own while the next one is polled and scored.
Nothing of the next one leaves the process before the outcome of the first is known. If the commit
fails, the next one is dropped and both are read again.

Exactly-once is decided in three places. `worker.consume.poll` captures the group metadata of each
micro-batch. This loop drops a micro-batch if the assignment epoch has changed since its poll.
`worker.delivery.exactly_once` commits under the captured metadata and settles unknown outcomes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException

from base.errors import (
    BatchAbortedError,
    DeliveryError,
    DeliveryFatalError,
    DependencyUnavailableError,
    HistoriesLostError,
    OutcomeUnknownError,
    StoreAwayError,
    TopicReplacedError,
)
from features.history.watermarks import LogState
from schemas.batch import Records
from worker.aligner import Aligner
from worker.consume.micro_batch import BatchBound, Polled
from worker.consume.poll import Poller
from worker.delivery.delivery import Delivery, InFlightBatch, observe_committed_batch
from worker.delivery.reports import RecordsRefusedError
from worker.histories import NotAlignedError
from worker.process import metrics
from worker.process.event_time_monitor import EventTimeMonitor
from worker.process.health import Health
from worker.process.loop_monitor import LoopMonitor
from worker.process.outage import Outages, backoff_s
from worker.restorer import Restorer
from worker.stages.stages import Processed

log = structlog.get_logger(__name__)

_IDLE_POLL_S = 0.2
# Time between two looks at partitions that an event waits for.
_REVIEW_S = 0.02
# Time between two looks for lost members while no events are read, so that histories are filled
# before the next events come; and between two looks at partitions that no other worker applies.
_LOOK_EVERY_S = 1.0
# Dependencies that the stages can wait for; the error says which one it is.
_SERVICE = "store or registry"
# A member whose client is not polled for too long loses its partitions.
_SERVE_EVERY_S = 1.0
_SLOW_S = 1.0
_CONNECTION_LOST = (
    KafkaError._TRANSPORT,  # noqa: SLF001 - confluent_kafka has no public name for it
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - confluent_kafka has no public name for it
)
# A rejoin takes a few calls to the brokers, each with a bound of its own.
_REJOIN_CALLS = 4


class StageProcess(Protocol):
    """The processing stages from decode to encode; they make no Kafka calls."""

    def __call__(self, records: Records, log: LogState) -> Processed:
        """Run the stages on one micro-batch of records.

        Raises:
            DependencyUnavailableError: The online store or the registry is away.
        """
        ...


@dataclass(frozen=True, slots=True)
class Waits:
    """Bounds of waiting, in seconds, and the wait before the worker is a member of its group.

    Attributes:
        rebalance_wait_s: Longest wait for the outcome in flight when partitions move.
        refusal_limit_s: Longest wait for a dead-letter topic that refuses a dead letter.
        align_wait_s: Longest wait for other partitions of which the probes know nothing.
        sleep: Waits for a number of seconds.
    """

    rebalance_wait_s: float
    refusal_limit_s: float
    align_wait_s: float
    sleep: Callable[[float], None] = time.sleep


class Loop:
    """The control flow of a worker, from start to drain.

    Args:
        poller: Poller of the input topic.
        process: Stages that score a micro-batch.
        delivery: Delivery of what they return.
        bound: Bound on the events of a micro-batch.
        health: State of the worker that the probes read.
        waits: Bounds of waiting, and how to wait.
        clock: Returns monotonic seconds.
    """

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
        self._event_time_monitor = EventTimeMonitor(health)
        self._rebalance_wait_s = waits.rebalance_wait_s
        self._clock = clock
        self._sleep = waits.sleep
        self._in_flight: InFlightBatch | None = None
        # The last committed micro-batch, until the metrics have it.
        self._unobserved: tuple[Polled, Processed, float] | None = None
        # State of the log behind the last micro-batch that was handed to the delivery; the stages
        # need it for the next one.
        self._log_state = LogState()
        self._stopping = False
        self._failure: Exception | None = None
        self._outages = Outages(
            health, delivery.brokers, waits.refusal_limit_s, lambda: self._stopping, clock
        )
        self._served_at = clock()
        self._looked_at = self._tended_at = clock()
        self._reviewed_at = -math.inf
        self._producers_are_suspect = False
        self._aligner = Aligner(poller, delivery.histories, health, waits.align_wait_s, clock)
        self._restorer = Restorer(poller, delivery.histories, health, lambda: self._stopping, clock)
        self._monitor = LoopMonitor(
            poller, health, self._outages.kafka, _REJOIN_CALLS * waits.rebalance_wait_s, clock
        )

    def stop(self) -> None:
        """Ask the loop to drain; safe in a signal handler."""
        self._stopping = True

    def fail(self, error: Exception) -> None:
        """Ask the loop to drain and then to raise an error; safe in any thread."""
        self._failure = error
        self._stopping = True

    def on_client_error(self, error: KafkaError) -> None:
        """Handle a connection error of the consumer. On an idle topic, nothing else reports it."""
        # A producer that survives a broken connection may hang in its next transaction
        # (measured: send_offsets_to_transaction; librdkafka issue 5456).
        self._producers_are_suspect |= error.code() in _CONNECTION_LOST
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - confluent_kafka has no public name for it
            self._outages.kafka.mark_down(str(error))

    def before_change(self) -> None:
        """Wait, with a bound, for the transaction in flight before partitions move."""
        if self._in_flight is not None:
            try:
                self._in_flight.outcome.exception(timeout=self._rebalance_wait_s)
            except FutureTimeoutError:
                log.warning("partitions_move_before_the_outcome", waited_s=self._rebalance_wait_s)

    def run(self) -> None:
        """Work until `stop`.

        Raises:
            DeliveryFatalError: A new process has to take over.
            Exception: The error of `fail`.
        """
        self._open()
        try:
            # If stop was requested during `_open`, the topics may not be open.
            if not self._stopping:
                self._poller.subscribe()
            while not self._stopping:
                self._turn()
            self._health.draining()
            self._settle()
            if self._failure is not None:
                raise self._failure
        except TopicReplacedError:
            self._poller.commit_old_topic_id(self._rebalance_wait_s)
            raise
        finally:
            self._close()

    def _open(self) -> None:
        """Open topics, histories and checkpoints; retry while brokers or store are away."""
        kafka, store = self._outages.kafka, self._outages.store
        kafka.retry_until_up(self._delivery.open_topics, self._sleep)
        store.retry_until_up(self._delivery.open_histories, self._sleep)
        # Before the checkpoints are read: open transactions of a predecessor that was killed may
        # still hold them.
        kafka.retry_until_up(self._delivery.open_checkpoint, self._sleep)
        kafka.retry_until_up(self._poller.open, self._sleep)

    def _turn(self) -> None:
        self._monitor.check()
        if self._waits_before_poll() and not self._settle():
            return
        # With a commit in flight, take only the records that are there: its outcome comes next.
        timeout_s = _IDLE_POLL_S if self._in_flight is None else 0
        if self._aligner.waits:
            self._review_when_due()
            timeout_s = min(timeout_s, _REVIEW_S)
        if self._clock() - self._tended_at >= _LOOK_EVERY_S:
            self._tended_at = self._clock()
            self._look(self._tend)
        polled = self._poller.poll(self._bound.events, timeout_s, self._log_state.highest)
        if self._poller.rewind_needed:
            self._settle()
            self._rewind()
            return
        if polled is None:
            self._observe()
            if self._settle() and self._clock() - self._looked_at >= _LOOK_EVERY_S:
                self._looked_at = self._clock()
                self._look(lambda: self._delivery.histories.require(self._log_state))
            if not self._poller.partitions:
                # Other workers own these partitions now and deliver those events.
                self._outages.delivery.mark_up()
                self._outages.letter_refusals.on_reassigned()
            return
        started = self._clock()
        polled, processed = self._process_or_pause(polled)
        # Nothing may be committed behind a micro-batch that was not committed. A stop skips the
        # rewind, so the outcome itself decides.
        settled = self._settle()
        if settled and self._producers_are_suspect:
            self._producers_are_suspect = False
            self._delivery.suspect_producers()
        if not settled or processed is None or polled.epoch != self._poller.epoch:
            metrics.batches.labels("dropped").inc()
            return
        before, offsets = self._log_state, {**self._log_state.offsets, **polled.next_offsets}
        self._log_state = replace(processed.after, offsets=offsets)
        self._in_flight = self._delivery.begin(polled, processed, before, started)
        self._observe()

    def _waits_before_poll(self) -> bool:
        """True if the next micro-batch begins when the one in flight is committed.

        In a sparse stream the records that come during a commit would else wait for that of the few
        records that were there when it began.
        """
        return self._in_flight is not None and (
            len(self._in_flight.polled.records) < self._bound.overlap_from
        )

    def _review_when_due(self) -> None:
        """Review waits, a trip to the store; polls end at each record of a partition that waits."""
        if self._clock() - self._reviewed_at >= _REVIEW_S:
            self._reviewed_at = self._clock()
            self._look(self._review_waits)

    def _review_waits(self) -> None:
        self._aligner.review()
        lagging = self._aligner.lagging()
        # The marks of the micro-batch in flight come before those of records ahead.
        if lagging and self._settle():
            self._aligner.apply_ahead(lagging, self._log_state)
        self._apply_others()

    def _tend(self) -> None:
        self._delivery.histories.tidy()
        # With events that wait, their review applies what they wait for.
        if not self._aligner.waits:
            self._apply_others()

    def _apply_others(self) -> None:
        """Apply partitions that no worker with the same histories reads."""
        histories = self._delivery.histories
        partitions = histories.unattended(self._aligner.waits, self._log_state)
        if partitions and self._settle():
            histories.apply_others(partitions, self._log_state)

    def _look(self, look: Callable[[], None]) -> None:
        """Look at the marks of histories; rewind if members are lost."""
        try:
            look()
        except HistoriesLostError as error:
            self._note_loss(error)
            self._poller.rewind_needed = True
        except DependencyUnavailableError as error:
            self._outages.store.mark_down(str(error))
        else:
            self._outages.store.mark_up()

    def _process_or_pause(self, polled: Polled) -> tuple[Polled, Processed | None]:
        """Records that can be scored now, and the result of the stages for them.

        There is no result if no record can be scored now, or if partitions moved while a dependency
        was away.
        """
        attempt = 0
        try:
            while True:
                try:
                    return polled, self._process(polled.records, self._log_state)
                except HistoriesLostError as error:
                    self._settle()
                    self._note_loss(error)
                    self._rewind()
                    return polled, None
                except NotAlignedError as error:
                    polled = self._aligner.hold(polled, error.waits)
                    if not polled.next_offsets:
                        return polled, None
                except DependencyUnavailableError as error:
                    self._settle()
                    if attempt == 0:
                        self._pause(str(error))
                    self._wait(backoff_s(attempt))
                    attempt += 1
                    if self._stopping or self._poller.epoch != polled.epoch:
                        return polled, None
        finally:
            if attempt:
                self._resume()

    def _note_loss(self, error: HistoriesLostError) -> None:
        metrics.histories_lost.inc()
        log.warning("histories_lost", reason=str(error))

    def _pause(self, reason: str) -> None:
        log.warning("paused", reason=reason, remedy="reading resumes when it answers again")
        self._health.away(_SERVICE, reason)
        metrics.paused.labels(_SERVICE).set(1)
        self._poller.pause()

    def _resume(self) -> None:
        self._poller.resume()
        metrics.paused.labels(_SERVICE).set(0)
        self._health.back(_SERVICE)
        log.info("resumed")

    def _wait(self, seconds: float) -> None:
        """Wait, and stay in the group. Return early if the assignment changes."""
        self._observe()
        until, epoch = self._clock() + seconds, self._poller.epoch
        while not self._stopping and self._clock() < until and self._poller.epoch == epoch:
            self._monitor.check()
            self._poller.serve()

    def _hold(self, seconds: float) -> None:
        """Back off with reading paused."""
        self._poller.pause()
        self._wait(seconds)
        self._poller.resume()
        self._served_at = self._clock()

    def _settle(self) -> bool:
        """Wait for the outcome of the micro-batch in flight; rewind to the checkpoint if it failed.

        Returns:
            True if everything that was handed to the delivery is committed.
        """
        if self._in_flight is None:
            return True
        self._served_at = self._clock()
        batch, error = self._in_flight, self._in_flight.outcome.exception()
        while isinstance(error, RecordsRefusedError) and self._handle_refusals(batch, error):
            self._in_flight = batch = self._delivery.retry(batch)
            error = batch.outcome.exception()
        self._in_flight = None
        if error is None:
            self._committed(batch)
            return True
        if not isinstance(error, DeliveryError) or isinstance(error, DeliveryFatalError):
            raise error
        log.warning("not_committed", kind=type(error).__name__, error=str(error))
        if isinstance(error, HistoriesLostError):
            self._note_loss(error)
        aborted = isinstance(error, (BatchAbortedError, RecordsRefusedError))
        metrics.batches.labels("aborted" if aborted else "unknown").inc()
        if not isinstance(error, StoreAwayError):
            # Before the committed offsets are read: a new producer settles the old one's
            # transaction.
            self._open_checkpoint()
        self._rewind()
        if isinstance(error, StoreAwayError):
            self._hold(self._outages.store_failures.record_failure(str(error)))
        if isinstance(error, OutcomeUnknownError):
            self._hold(self._outages.unknown_outcomes.record_failure(str(error)))
        return False

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
            self._hold(self._outages.letter_refusals.record_failure(unfixable_reason))
        elif self._clock() - self._served_at > _SERVE_EVERY_S:
            self._hold(_IDLE_POLL_S)
        return not self._stopping and batch.polled.epoch == self._poller.epoch

    def _committed(self, batch: InFlightBatch) -> None:
        self._outages.store_failures.record_success()
        self._outages.unknown_outcomes.record_success()
        self._outages.letter_refusals.record_success()
        took_s = self._clock() - batch.started
        self._bound.observe(len(batch.polled.records), took_s)
        # The producers may have survived a broken connection that is not reported yet.
        self._producers_are_suspect |= took_s > _SLOW_S
        processed = batch.answers.final()
        self._event_time_monitor.observe(processed.records.partitions, processed.ahead)
        self._observe()
        self._unobserved = batch.polled, processed, time.time()
        # Its marks may release what waits.
        self._reviewed_at = -math.inf

    def _observe(self) -> None:
        """Record the last committed micro-batch in the metrics.

        It takes up to 0.13 ms, for which the next micro-batch of a sparse stream need not wait.
        """
        if self._unobserved is not None:
            observe_committed_batch(*self._unobserved)
            self._unobserved = None

    def _open_checkpoint(self) -> None:
        self._producers_are_suspect = False
        self._outages.kafka.retry_until_up(self._delivery.open_checkpoint, self._wait)

    def _rewind(self) -> None:
        """Rewind to the checkpoint; if the brokers do not answer, the next turn tries again.

        A retry in this place could wait forever: the client does not apply the group's new
        assignment until it is polled, and may answer nothing else (measured: `committed` timed out
        until the worker was killed).
        """
        self._observe()
        try:
            self._poller.rewind()
        except KafkaException as error:
            self._hold(self._outages.rewind_failures.record_failure(str(error)))
            return
        self._outages.rewind_failures.record_success()
        metrics.rebalances.inc()
        self._event_time_monitor.assigned(self._poller.partitions)
        self._aligner.forget()
        epoch = self._poller.epoch

        def restore() -> None:
            # Partitions that have moved meanwhile are restored after the rewind that follows.
            if self._poller.epoch == epoch:
                self._log_state = self._restorer.restore() or self._log_state

        self._outages.store.retry_until_up(restore, self._hold)

    def _close(self) -> None:
        self._observe()
        self._delivery.close()
        self._delivery.histories.close()
        self._poller.close()
