"""The loop of a worker: poll a micro-batch, run the stages on it, deliver it, and recover.

A large micro-batch is committed in a thread of its own while the next one is polled and scored.
Nothing of the next one leaves the process before the outcome of the first is known. If the commit
fails, the next one is dropped and both are read again.

Exactly-once is decided in three places. `worker.consume.poll` captures the group metadata of each
micro-batch. This loop drops a micro-batch if the assignment epoch has changed since its poll.
`worker.delivery.exactly_once` commits under the captured metadata and settles unknown outcomes.

`worker.committer` settles the outcome of each micro-batch, `worker.log_position` rewinds to the
checkpoint, and `worker.maintenance` looks after histories between micro-batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import KafkaError

from base.errors import DependencyUnavailableError, HistoriesLostError, TopicReplacedError
from features.history.watermarks import LogState
from schemas.batch import Records
from worker.aligner import Aligner
from worker.backoff import Backoff
from worker.committer import Committer
from worker.consume.micro_batch import BatchBound, Polled
from worker.consume.poll import Poller
from worker.dead_letter_holds import DeadLetterHolds
from worker.delivery.delivery import Delivery
from worker.histories import NotAlignedError
from worker.log_position import LogPosition, report_lost_histories
from worker.maintenance import REVIEW_S, Maintenance
from worker.process import metrics
from worker.process.health import Health
from worker.process.loop_monitor import LoopMonitor
from worker.process.outage import Outages, backoff_s
from worker.process.tracing import Spans
from worker.restorer import Restorer
from worker.stages.dead_letter_limit import TooManyDeadLettersError
from worker.stages.stages import Processed

_IDLE_POLL_S = 0.2
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
            TooManyDeadLettersError: Dead letters exceed the limit with one of the records.
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
        clock: Returns monotonic seconds.
    """

    rebalance_wait_s: float
    refusal_limit_s: float
    align_wait_s: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


class Loop:
    """The control flow of a worker, from start to drain.

    Args:
        poller: Poller of the input topic.
        process: Stages that score a micro-batch.
        delivery: Delivery of what they return.
        bound: Bound on the events of a micro-batch.
        health: State of the worker that the probes read.
        waits: Bounds of waiting, how to wait, and the clock.
        tracing: Traces of committed micro-batches; None without any.
    """

    def __init__(
        self,
        poller: Poller,
        process: StageProcess,
        delivery: Delivery,
        bound: BatchBound,
        health: Health,
        waits: Waits,
        tracing: Spans | None = None,
    ) -> None:
        self._poller = poller
        self._process = process
        self._delivery = delivery
        self._bound = bound
        self._health = health
        self._waits = waits
        self._clock = clock = waits.clock
        self._stopping = False
        self._failure: Exception | None = None

        def stopping() -> bool:
            return self._stopping

        histories = delivery.histories
        self._outages = Outages(health, delivery.brokers, waits.refusal_limit_s, stopping, clock)
        self._monitor = LoopMonitor(
            poller,
            health,
            self._outages.kafka,
            _REJOIN_CALLS * waits.rebalance_wait_s,
            clock,
            tracing,
        )
        self._backoff = Backoff(poller, health, self._monitor, stopping, clock)
        self._aligner = Aligner(poller, histories, health, waits.align_wait_s, clock)
        self._holds = DeadLetterHolds(poller, health)
        self._position = LogPosition(
            poller,
            self._aligner,
            self._holds,
            Restorer(poller, histories, health, stopping, clock),
            self._outages,
            self._backoff,
            self._monitor,
        )
        self._committer = Committer(
            delivery, bound, self._position, self._outages, self._backoff, self._monitor, clock
        )
        self._maintenance = Maintenance(
            poller,
            histories,
            self._aligner,
            self._committer,
            self._position,
            self._outages.store,
            clock,
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
        if error.code() in _CONNECTION_LOST:
            self._committer.suspect_producers()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - confluent_kafka has no public name for it
            self._outages.kafka.mark_down(str(error))

    def before_change(self) -> None:
        """Wait, with a bound, for the transaction in flight before partitions move."""
        self._committer.await_outcome(self._waits.rebalance_wait_s)

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
            self._committer.settle()
            if self._failure is not None:
                raise self._failure
        except TopicReplacedError:
            self._poller.commit_old_topic_id(self._waits.rebalance_wait_s)
            raise
        finally:
            self._close()

    def _open(self) -> None:
        """Open topics, histories and checkpoints; retry while brokers or store are away."""
        kafka, store = self._outages.kafka, self._outages.store
        kafka.retry_until_up(self._delivery.open_topics, self._waits.sleep)
        store.retry_until_up(self._delivery.open_histories, self._waits.sleep)
        # Before the checkpoints are read: open transactions of a predecessor that was killed may
        # still hold them.
        kafka.retry_until_up(self._delivery.open_checkpoint, self._waits.sleep)
        kafka.retry_until_up(self._poller.open, self._waits.sleep)

    def _turn(self) -> None:
        """Poll and score one micro-batch, while the one before may be committed."""
        self._monitor.check()
        if self._waits_before_poll() and not self._committer.settle():
            return
        timeout_s = self._poll_timeout_s()
        self._maintenance.run_due()
        polled = self._poller.poll(self._bound.events, timeout_s, self._position.state.highest)
        if self._poller.rewind_needed:
            self._committer.settle()
            self._position.rewind()
            return
        if polled is None:
            self._idle()
            return
        started = self._clock()
        polled, processed = self._process_or_pause(polled)
        # Nothing may be committed behind a micro-batch that was not committed. A stop skips the
        # rewind, so the outcome itself decides.
        settled = self._committer.settle()
        if not settled or processed is None or polled.epoch != self._poller.epoch:
            metrics.batches.labels("dropped").inc()
            return
        self._committer.begin(polled, processed, started)
        self._monitor.flush()

    def _waits_before_poll(self) -> bool:
        """True if the next micro-batch begins when the one in flight is committed.

        In a sparse stream the records that come during a commit would else wait for that of the few
        records that were there when it began.
        """
        in_flight = self._committer.in_flight
        return in_flight is not None and len(in_flight.polled.records) < self._bound.overlap_from

    def _poll_timeout_s(self) -> float:
        # With a commit in flight, take only the records that are there: its outcome comes next.
        timeout_s = _IDLE_POLL_S if self._committer.in_flight is None else 0
        return min(timeout_s, REVIEW_S) if self._aligner.waits else timeout_s

    def _idle(self) -> None:
        """Do the work that waits until no records are there."""
        self._monitor.flush()
        if self._committer.settle():
            self._maintenance.require_members()
        if not self._poller.partitions:
            # Other workers own these partitions now and deliver those events.
            self._outages.delivery.mark_up()
            self._outages.letter_refusals.on_reassigned()

    def _process_or_pause(self, polled: Polled) -> tuple[Polled, Processed | None]:
        """Records that can be scored now, and the result of the stages for them.

        There is no result if no record can be scored now, or if partitions moved while a dependency
        was away.
        """
        attempt = 0
        try:
            while True:
                try:
                    return polled, self._process(polled.records, self._position.state)
                except HistoriesLostError as error:
                    self._committer.settle()
                    report_lost_histories(error)
                    self._position.rewind()
                    return polled, None
                except (NotAlignedError, TooManyDeadLettersError) as error:
                    polled = self._hold(polled, error)
                    if not polled.next_offsets:
                        return polled, None
                except DependencyUnavailableError as error:
                    self._committer.settle()
                    if attempt == 0:
                        self._backoff.pause(str(error))
                    self._backoff.wait(backoff_s(attempt))
                    attempt += 1
                    if self._backoff.interrupted(polled.epoch):
                        return polled, None
        finally:
            if attempt:
                self._backoff.resume()

    def _hold(self, polled: Polled, error: NotAlignedError | TooManyDeadLettersError) -> Polled:
        """Hold partitions back, and return the records before these."""
        if isinstance(error, NotAlignedError):
            return self._aligner.hold(polled, error.waits)
        return self._holds.hold(polled, error.crossings)

    def _close(self) -> None:
        self._monitor.flush()
        self._delivery.close()
        self._delivery.histories.close()
        self._poller.close()
