"""Checkpoint: write scores, dead letters and offsets so that all become visible, or none.

The protocol is that of Kafka's transactions for consume-process-produce loops (KIP-98, KIP-447).
A micro-batch is committed here and nowhere else, under the group metadata that
`worker.consume.poll` has captured. An unknown outcome is settled by `open`. `worker.loop` drops
micro-batches of an earlier assignment before they come here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from base.errors import BatchAbortedError, DeliveryError, DeliveryFatalError, OutcomeUnknownError
from worker.delivery.publish import Outbox, Publisher, SizeLimits
from worker.delivery.reports import (
    FAILED_BY_ANOTHER_RECORD,
    REFUSED_CODES,
    OnFailure,
    RecordsRefusedError,
    Reports,
)
from worker.kafka import NOT_A_MEMBER
from worker.process.watchdog import Watchdog

log = structlog.get_logger(__name__)

_POLL_S = 0.05


class Checkpoint(Protocol):
    """Interface to the delivery of outboxes, one at a time."""

    def limits(self) -> SizeLimits:
        """Size limits of the output topics, as of the last `open`."""
        ...

    def open(self) -> None:
        """Replace the producer, and settle the transaction that the last one left open.

        Raises:
            KafkaException: The brokers do not answer.
            DeliveryFatalError: Another worker has taken this one's place.
        """
        ...

    def deliver(self, outbox: Outbox) -> None:
        """Write and commit an outbox.

        Raises:
            DeliveryError: The outbox is not committed, or its outcome is unknown.
        """
        ...

    def close(self) -> None:
        """Discard the producer, and the records in its queue: they were not committed."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class _ProducingCheckpoint:
    """Base of both guarantees: a producer that `open` replaces.

    Attributes:
        make_producer: Makes a producer; takes a function that is called for each score that was
            not written.
        topics: Names of the input, score and dead-letter topics.
        limits: Returns the size limits of the output topics.
        timeout_s: Bound on one call to the brokers, in seconds.
        watchdog: Ends the process when a call to the brokers exceeds its limit.
    """

    make_producer: Callable[[OnFailure], Producer]
    topics: tuple[str, str, str]
    limits: Callable[[], SizeLimits]
    timeout_s: float
    watchdog: Watchdog
    _producer: Producer | None = field(default=None, init=False)
    _publisher: Publisher | None = field(default=None, init=False)
    _reports: Reports = field(default_factory=Reports, init=False)

    def close(self) -> None:
        """Discard the producer, and the records in its queue: they were not committed."""
        _discard(self._producer)
        self._producer = self._publisher = None

    def _make(self) -> Producer:
        """Make a new producer; late reports of its predecessor are ignored."""
        self._reports = Reports()
        return self.make_producer(self._reports.on_score)

    def _use(self, producer: Producer) -> None:
        self._producer = producer
        self._publisher = Publisher(producer, *self.topics[1:], self._reports)

    def _opened(self) -> tuple[Producer, Publisher]:
        if self._producer is None or self._publisher is None:
            raise OutcomeUnknownError("no producer is open")
        self._reports.clear()
        return self._producer, self._publisher

    def _offsets(self, outbox: Outbox) -> list[TopicPartition]:
        return [
            TopicPartition(
                self.topics[0],
                partition,
                offset,
                metadata=outbox.offset_metadata.get(partition, ""),
            )
            for partition, offset in outbox.next_offsets.items()
        ]


@dataclass(slots=True, kw_only=True, eq=False)
class ExactlyOnce(_ProducingCheckpoint):
    """One transaction per micro-batch, fenced by the group metadata of its own poll.

    Attributes:
        replica: Name of the worker in its group; part of the producer's transactional id.
    """

    replica: str

    def open(self) -> None:
        """Replace the producer: the brokers complete or abort its predecessor's transaction.

        Raises:
            KafkaException: The brokers do not answer.
            DeliveryFatalError: The producer is fenced.
        """
        self.close()
        producer = self._make()
        try:
            with self.watchdog.guard("init_transactions"):
                producer.init_transactions(self.timeout_s)
        except KafkaException as error:
            _discard(producer)
            if _is_final(error.args[0]):
                raise self._final("init_transactions", error.args[0]) from error
            raise
        self._use(producer)

    def deliver(self, outbox: Outbox) -> None:
        producer, publisher = self._opened()
        try:
            producer.begin_transaction()
            self._publish(producer, publisher, outbox)
            with self.watchdog.guard("send_offsets_to_transaction"):
                producer.send_offsets_to_transaction(
                    self._offsets(outbox),
                    outbox.group_metadata,
                    self.timeout_s,
                )
            with self.watchdog.guard("commit_transaction"):
                producer.commit_transaction(self.timeout_s)
        except (BatchAbortedError, RecordsRefusedError):
            self._abort(producer)
            raise
        except KafkaException as error:
            raise self._failed(producer, error) from error

    def _publish(self, producer: Producer, publisher: Publisher, outbox: Outbox) -> None:
        """Queue the outbox, and raise RecordsRefusedError if any record is refused so far."""
        limits = self.limits()
        publisher.publish(outbox, limits)
        for group in outbox.isolated_groups:
            self._await_reports(producer)
            if self._reports.refusals:
                break
            publisher.publish(group, limits)
        if outbox.isolated_groups:
            self._await_reports(producer)
        if self._reports.refusals:
            raise RecordsRefusedError(self._reports.all(), None, others_written=False)

    def _await_reports(self, producer: Producer) -> None:
        """Wait until all queued records are acknowledged, or one is refused.

        `flush` is not usable: after a refused record the client stops sending.
        """
        until = time.monotonic() + self.timeout_s
        while len(producer) and not self._reports.all():
            if time.monotonic() > until:
                raise OutcomeUnknownError(f"{len(producer)} records were not acknowledged in time")
            producer.poll(_POLL_S)

    def _failed(self, producer: Producer, error: KafkaException) -> DeliveryError:
        reason: KafkaError = error.args[0]
        if _is_final(reason):
            return self._final("the transaction was refused permanently", reason)
        if reason.code() == KafkaError._STATE:  # noqa: SLF001 - confluent_kafka has no public name for it
            # A refusal may have caused the state, and be reported after it.
            producer.poll(_POLL_S)
        if reason.code() in REFUSED_CODES or self._reports.refusals:
            # The abort calls back with the reports that are still missing.
            self._abort(producer)
            if self._reports.refusals:
                return RecordsRefusedError(self._reports.all(), reason, others_written=False)
        if reason.code() in NOT_A_MEMBER:
            self._abort(producer)
            return BatchAbortedError(str(reason))
        # Abortable or not: a producer that lost its brokers may hang forever in its next
        # transaction (measured: send_offsets_to_transaction, librdkafka issue 5456).
        return OutcomeUnknownError(_with_remedy(reason))

    def _abort(self, producer: Producer) -> None:
        try:
            with self.watchdog.guard("abort_transaction"):
                producer.abort_transaction(self.timeout_s)
        except KafkaException as error:
            if _is_final(error.args[0]):
                raise self._final("abort_transaction", error.args[0]) from error
            raise OutcomeUnknownError(f"abort_transaction: {error}") from error

    def _final(self, what: str, reason: KafkaError) -> DeliveryFatalError:
        if reason.code() in _FENCED:
            return DeliveryFatalError(
                f"{what}: this worker is fenced ({reason.str()}): another worker of the group has the "
                f"same replica ({self.replica}), or this one stood still for longer than "
                "transaction.timeout.ms; give each worker a replica of its own"
            )
        if reason.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            return DeliveryFatalError(
                f"{what}: {reason.str()}; allow Write and Describe on transactional ids that begin "
                "with kafka.group and a slash: `fraud-worker check` prints the prefix"
            )
        return DeliveryFatalError(f"{what}: {reason}")


@dataclass(slots=True, kw_only=True, eq=False)
class AtLeastOnce(_ProducingCheckpoint):
    """Scores first, then the offsets.

    A crash between the two steps may repeat scores, but loses none.

    Attributes:
        consumer: Consumer that commits the offsets.
    """

    consumer: Consumer

    def open(self) -> None:
        """Replace the producer.

        Raises:
            KafkaException: The brokers do not answer.
        """
        self.close()
        self._use(self._make())

    def deliver(self, outbox: Outbox) -> None:
        producer, publisher = self._opened()
        limits = self.limits()
        try:
            for group in (outbox, *outbox.isolated_groups):
                publisher.publish(group, limits)
                with self.watchdog.guard("flush"):
                    left = producer.flush(self.timeout_s)
                if left:
                    raise OutcomeUnknownError(f"{left} records were not acknowledged in time")
            self._raise_failures()
            with self.watchdog.guard("commit"):
                self._commit(outbox)
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.fatal():
                raise DeliveryFatalError(str(reason)) from error
            raise OutcomeUnknownError(_with_remedy(reason)) from error

    def _commit(self, outbox: Outbox) -> None:
        offsets = self._offsets(outbox)
        try:
            answers = self.consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() in NOT_A_MEMBER:
                raise BatchAbortedError(str(error)) from error
            raise
        for answer in answers or ():
            if answer.error:
                raise BatchAbortedError(str(answer.error))

    def _raise_failures(self) -> None:
        reports = self._reports.all()
        for report in sorted(reports, key=lambda report: not report.error.fatal()):
            if not report.is_refusal and report.error.code() != FAILED_BY_ANOTHER_RECORD:
                raise KafkaException(report.error)
        if reports:
            raise RecordsRefusedError(reports, None, others_written=True)


def _with_remedy(reason: KafkaError) -> str:
    """The brokers' error, with a remedy where an operator has to act."""
    if reason.code() in _NOT_ALLOWED:
        return f"{reason}; allow this worker's user to write its topics and to commit for its group"
    return str(reason)


_NOT_ALLOWED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


_FENCED = (
    KafkaError._FENCED,  # noqa: SLF001 - confluent_kafka has no public name for it
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
)


def _is_final(reason: KafkaError) -> bool:
    """Return True if the brokers will refuse this producer and each one after it."""
    final = (*_FENCED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    return bool(reason.fatal()) or reason.code() in final


def _discard(producer: Producer | None) -> None:
    if producer is not None:
        try:
            # Without waiting: destroying it would try to deliver what is queued.
            producer.purge(in_queue=True, in_flight=True, blocking=False)
        except KafkaException as error:
            log.warning("purge_failed", error=str(error))
