"""The worker's checkpoint on a broker, with topics and a group of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.oracles.topics import await_ended_transactions, read_to_end
from worker.delivery.checkpoint import Destination
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.publish import Outbox, SizeLimits
from worker.delivery.reports import Reports
from worker.kafka import make_transactional_producer
from worker.process.replica import transactional_id
from worker.process.watchdog import Watchdog
from worker.settings import KafkaSettings

LIMITS = SizeLimits(1_000_000, 1_000_000)
_BOUND_S = 30.0


@dataclass(frozen=True, slots=True)
class DeliveryTestbed:
    """Topics and a group that no other test has.

    Attributes:
        kafka: Settings of the brokers, the group and the topics.
        transaction_timeout_ms: ``transaction.timeout.ms`` of the producers.
        timeout_s: Bound of a checkpoint on one call to the brokers, in seconds.
    """

    kafka: KafkaSettings
    transaction_timeout_ms: int
    timeout_s: float

    def checkpoint(self, count: int) -> ExactlyOnce:
        """Checkpoint whose deliveries take turns at any distance of time."""
        ticks = iter(range(10**6))

        def make(number: int, reports: Reports) -> Producer:
            options = {
                "transactional.id": transactional_id(self.kafka.group, "r", number),
                "transaction.timeout.ms": self.transaction_timeout_ms,
            }
            return make_transactional_producer(self.kafka, LIMITS, reports, **options)

        kafka = self.kafka
        return ExactlyOnce(
            destination=Destination(
                topics=(kafka.input_topic, kafka.output_topic, kafka.dead_letter_topic),
                limits=lambda: LIMITS,
                refresh_limits=lambda: None,
                timeout_s=self.timeout_s,
                watchdog=Watchdog(2 * _BOUND_S),
            ),
            make_producer=make,
            replica="r",
            count=count,
            clock=lambda: next(ticks) / 1e6,
        )

    def consumer(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.kafka.bootstrap_servers,
                "group.id": self.kafka.group,
                "isolation.level": "read_committed",
            }
        )

    def outbox(self, offset: int, consumer: Consumer) -> Outbox:
        """One score for the record at an offset, and the checkpoint behind it."""
        metadata = consumer.consumer_group_metadata()
        return Outbox([b"k"], [b"%d" % offset], None, [], {0: offset + 1}, metadata, 1)

    def committed(self, consumer: Consumer) -> int:
        """The next offset to read: 0 without a checkpoint."""
        asked = [TopicPartition(self.kafka.input_topic, 0)]
        (answer,) = consumer.committed(asked, timeout=_BOUND_S)
        return max(0, answer.offset)

    def scores(self) -> Sequence[int]:
        """The committed scores, in order, when all transactions have ended."""
        bootstrap, topic = self.kafka.bootstrap_servers, self.kafka.output_topic
        await_ended_transactions(bootstrap, [topic], _BOUND_S)
        return sorted(int(m.value() or b"") for ms in read_to_end(bootstrap, topic) for m in ms)
