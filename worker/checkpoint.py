"""Checkpoint: scores, dead letters and offsets become visible together, or not at all.

The protocol is Kafka's transactions for consume-process-produce loops (KIP-98, KIP-447).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from worker.errors import (
    NOT_A_MEMBER,
    BatchAbortedError,
    DeliveryFatalError,
    OutcomeUnknownError,
    OutputTooLargeError,
)
from worker.publish import Outbox, Publisher, SizeLimits
from worker.watchdog import Watchdog

log = structlog.get_logger(__name__)

MakeProducer = Callable[[], Producer]


class Checkpoint(Protocol):
    """Delivers outboxes, one at a time.

    ``deliver`` returns when the outbox is committed and raises a DeliveryError when it is not.
    ``open`` makes a new producer, and thereby settles what the last one left unsettled.
    """

    def open(self) -> None: ...

    def deliver(self, outbox: Outbox) -> None: ...

    def close(self) -> None: ...


class ExactlyOnce:
    """One transaction per micro-batch, fenced by the group metadata of its own poll."""

    def __init__(
        self,
        make_producer: MakeProducer,
        topics: tuple[str, str, str],
        limits: Callable[[], SizeLimits],
        *,
        timeout_s: float,
        watchdog: Watchdog,
    ) -> None:
        self._make_producer = make_producer
        self._input_topic, self._score_topic, self._dead_letter_topic = topics
        self._limits = limits
        self._timeout_s = timeout_s
        self._watchdog = watchdog
        self._producer: Producer | None = None
        self._publisher: Publisher | None = None

    def open(self) -> None:
        """Replace the producer: the brokers end or abort what its predecessor left open.

        Raises KafkaException while the brokers do not answer, DeliveryFatalError when fenced.
        """
        _discard(self._producer)
        self._producer = self._publisher = None
        producer = self._make_producer()
        try:
            with self._watchdog.guard("init_transactions"):
                producer.init_transactions(self._timeout_s)
        except KafkaException as error:
            _discard(producer)
            if error.args[0].fatal():
                raise DeliveryFatalError(f"init_transactions: {error}") from error
            raise
        self._producer = producer
        self._publisher = Publisher(producer, self._score_topic, self._dead_letter_topic)

    def deliver(self, outbox: Outbox) -> None:
        if self._producer is None or self._publisher is None:
            raise OutcomeUnknownError("no producer is open")
        try:
            self._producer.begin_transaction()
            self._publisher.publish(outbox, self._limits())
            with self._watchdog.guard("send_offsets_to_transaction"):
                self._producer.send_offsets_to_transaction(
                    _offsets(self._input_topic, outbox.next_offsets),
                    outbox.group_metadata,
                    self._timeout_s,
                )
            with self._watchdog.guard("commit_transaction"):
                self._producer.commit_transaction(self._timeout_s)
        except BatchAbortedError:
            self._abort(self._producer)
            raise
        except KafkaException as error:
            raise self._failed(self._producer, error) from error

    def close(self) -> None:
        _discard(self._producer)
        self._producer = self._publisher = None

    def _failed(self, producer: Producer, error: KafkaException) -> Exception:
        reason: KafkaError = error.args[0]
        if reason.fatal() or reason.code() in _FENCED:
            return DeliveryFatalError(f"the transaction was refused for good: {reason}")
        if reason.txn_requires_abort() or reason.code() in NOT_A_MEMBER:
            self._abort(producer)
            if reason.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                return OutputTooLargeError(str(reason))
            return BatchAbortedError(str(reason))
        return OutcomeUnknownError(str(reason))

    def _abort(self, producer: Producer) -> None:
        try:
            with self._watchdog.guard("abort_transaction"):
                producer.abort_transaction(self._timeout_s)
        except KafkaException as error:
            if error.args[0].fatal():
                raise DeliveryFatalError(f"abort_transaction: {error}") from error
            raise OutcomeUnknownError(f"abort_transaction: {error}") from error


class AtLeastOnce:
    """Scores first, then the offsets: a crash between the two repeats scores, and loses none."""

    def __init__(
        self,
        make_producer: Callable[[Callable[[KafkaError, Any], None]], Producer],
        consumer: Consumer,
        topics: tuple[str, str, str],
        limits: Callable[[], SizeLimits],
        *,
        timeout_s: float,
        watchdog: Watchdog,
    ) -> None:
        self._make_producer = make_producer
        self._consumer = consumer
        self._input_topic, self._score_topic, self._dead_letter_topic = topics
        self._limits = limits
        self._timeout_s = timeout_s
        self._watchdog = watchdog
        self._failures: list[KafkaError] = []
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._publisher: Publisher | None = None

    def open(self) -> None:
        _discard(self._producer)
        self._producer = self._make_producer(self._on_failure)
        self._publisher = Publisher(self._producer, self._score_topic, self._dead_letter_topic)

    def deliver(self, outbox: Outbox) -> None:
        if self._producer is None or self._publisher is None:
            raise OutcomeUnknownError("no producer is open")
        self._failures.clear()
        try:
            self._publisher.publish(outbox, self._limits())
            with self._watchdog.guard("flush"):
                left = self._producer.flush(self._timeout_s)
            if left:
                raise OutcomeUnknownError(f"{left} records were not acknowledged in time")
            self._raise_failures()
            with self._watchdog.guard("commit"):
                self._commit(outbox)
        except KafkaException as error:
            raise OutcomeUnknownError(str(error)) from error

    def close(self) -> None:
        _discard(self._producer)
        self._producer = self._publisher = None

    def _commit(self, outbox: Outbox) -> None:
        offsets = _offsets(self._input_topic, outbox.next_offsets)
        try:
            answers = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() in NOT_A_MEMBER:
                raise BatchAbortedError(str(error)) from error
            raise
        for answer in answers or ():
            if answer.error:
                raise BatchAbortedError(str(answer.error))

    def _raise_failures(self) -> None:
        with self._lock:
            failures = list(self._failures)
        for failure in failures:
            if failure.fatal():
                raise DeliveryFatalError(str(failure))
        if failures:
            kind = (
                OutputTooLargeError
                if failures[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
                else OutcomeUnknownError
            )
            raise kind(str(failures[0]))

    def _on_failure(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            with self._lock:
                self._failures.append(error)


_FENCED = (
    KafkaError._FENCED,  # noqa: SLF001 - its public name
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)


def _offsets(topic: str, next_offsets: Mapping[int, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for partition, offset in next_offsets.items()]


def _discard(producer: Producer | None) -> None:
    """Let go of a producer without waiting for what it has queued: it was not committed."""
    if producer is not None:
        try:
            producer.purge(in_queue=True, in_flight=True, blocking=False)
        except KafkaException as error:
            log.warning("purge_failed", error=str(error))
