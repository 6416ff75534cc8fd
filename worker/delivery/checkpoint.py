"""Checkpoint: write scores, dead letters and offsets so that all become visible, or none.

The protocol is that of Kafka's transactions for consume-process-produce loops (KIP-98, KIP-447).
A micro-batch is committed by a checkpoint and nowhere else, under the group metadata that
`worker.consume.poll` has captured. An unknown outcome is settled by `open`. `worker.loop` drops
micro-batches of an earlier assignment before they come here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from base.errors import DeliveryFatalError
from worker.consume.offset_metadata import MAX_BYTES
from worker.delivery.publish import Outbox, Publisher, SizeLimits
from worker.delivery.reports import Reports
from worker.process.watchdog import Watchdog

log = structlog.get_logger(__name__)

_NOT_ALLOWED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


class Checkpoint(Protocol):
    """Interface to the delivery of outboxes, one at a time."""

    def limits(self) -> SizeLimits:
        """Size limits of the output topics, as of the last `open`."""
        ...

    def open(self) -> None:
        """Settle each transaction that may be open, and read the limits of the topics again.

        The first call and each call after a failed delivery end the transactions of predecessors.
        All producers are replaced, some of them only before their next use.

        Raises:
            KafkaException: The brokers do not answer.
            DeliveryFatalError: Another worker has taken this one's place.
        """
        ...

    def suspect(self) -> None:
        """Replace each producer before its next use: its connections may be broken."""
        ...

    def deliver(self, outbox: Outbox) -> None:
        """Write and commit an outbox.

        Raises:
            DeliveryError: The outbox is not committed, or its outcome is unknown.
        """
        ...

    def close(self) -> None:
        """Discard the producers, and the records in their queues: they were not committed."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """A producer, and the reports on records that it did not write.

    Attributes:
        producer: Kafka's producer.
        publisher: Queues records on the producer.
        reports: The client's reports.
    """

    producer: Producer
    publisher: Publisher
    reports: Reports

    def connection_lost(self) -> bool:
        """Return True if the producer has lost a connection, with requests that may arrive late."""
        # The client reports while it is called.
        self.producer.poll(0)
        return self.reports.connection_lost

    def discard(self) -> None:
        """Purge the queue: without it, the end of the producer would try to deliver the records."""
        try:
            self.producer.purge(in_queue=True, in_flight=True, blocking=False)
        except KafkaException as error:
            log.warning("purge_failed", error=str(error))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Destination:
    """Topics and bounds that both guarantees share.

    Attributes:
        topics: Names of the input, score and dead-letter topics.
        limits: Returns the size limits of the output topics, as of the last refresh.
        refresh_limits: Asks the brokers for the size limits of the output topics.
        timeout_s: Bound on one call to the brokers, in seconds.
        watchdog: Ends the process when a call to the brokers exceeds its limit.
    """

    topics: tuple[str, str, str]
    limits: Callable[[], SizeLimits]
    refresh_limits: Callable[[], object]
    timeout_s: float
    watchdog: Watchdog

    def channel(self, make: Callable[[Reports], Producer]) -> Channel:
        """Make a producer; late reports of its predecessors do not reach its channel."""
        reports = Reports()
        producer = make(reports)
        return Channel(producer, Publisher(producer, *self.topics[1:], reports), reports)

    def offsets(self, outbox: Outbox) -> list[TopicPartition]:
        """Offsets of an outbox with their metadata, as Kafka's clients take them."""
        return [
            TopicPartition(
                self.topics[0],
                partition,
                offset,
                metadata=outbox.offset_metadata.get(partition, ""),
            )
            for partition, offset in outbox.next_offsets.items()
        ]


def metadata_refused(reason: KafkaError) -> DeliveryFatalError | None:
    """Error of brokers that refuse the metadata of offsets; None for any other reason.

    They would refuse it each time.
    """
    if reason.code() != KafkaError.OFFSET_METADATA_TOO_LARGE:
        return None
    return DeliveryFatalError(
        f"the brokers refuse the metadata of offsets ({reason.str()}): set "
        f"offset.metadata.max.bytes of the brokers to {MAX_BYTES:,} or more (their default is 4,096)"
    )


def with_remedy(reason: KafkaError) -> str:
    """The brokers' error, with a remedy where an operator has to act."""
    if reason.code() in _NOT_ALLOWED:
        return f"{reason}; allow this worker's user to write its topics and to commit for its group"
    return str(reason)
