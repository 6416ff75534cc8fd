"""Transactions that a killed worker left open, on any of its ids: nothing is lost or doubled."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.conftest import MakeTopic, SharedKafka
from tests.oracles.topics import await_ended_transactions, read_to_end
from worker.delivery.checkpoint import Destination
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.producers_in_turn import PRODUCERS
from worker.delivery.publish import Outbox, SizeLimits
from worker.kafka import make_producer
from worker.process.replica import transactional_id
from worker.process.watchdog import Watchdog
from worker.settings import KafkaSettings

BOUND_S = 30.0
LIMITS = SizeLimits(1_000_000, 1_000_000)
# Longer than a test may take: no transaction ends by itself.
NEVER_MS = 300_000
SOON_MS = 6_000


@dataclass(frozen=True, slots=True)
class Ground:
    """Topics and a group that no other test has.

    Attributes:
        kafka: Settings of the brokers, the group and the topics.
        timeout_ms: ``transaction.timeout.ms`` of the producers.
    """

    kafka: KafkaSettings
    timeout_ms: int

    def checkpoint(self, count: int) -> ExactlyOnce:
        """Checkpoint whose deliveries take turns at any distance of time."""
        ticks = iter(range(10**6))

        def make(number: int, report: Any) -> Any:
            options = {
                "transactional.id": transactional_id(self.kafka.group, "r", number),
                "transaction.timeout.ms": self.timeout_ms,
            }
            return make_producer(self.kafka, LIMITS, on_delivery=report, **options)

        kafka = self.kafka
        return ExactlyOnce(
            destination=Destination(
                topics=(kafka.input_topic, kafka.output_topic, kafka.dead_letter_topic),
                limits=lambda: LIMITS,
                refresh_limits=lambda: None,
                timeout_s=BOUND_S,
                watchdog=Watchdog(2 * BOUND_S),
            ),
            make_producer=make,
            replica="r",
            count=count,
            clock=lambda: next(ticks) / 1e6,
        )

    def outbox(self, offset: int, consumer: Consumer) -> Outbox:
        """One score for the record at an offset, and the checkpoint behind it."""
        metadata = consumer.consumer_group_metadata()
        return Outbox([b"k"], [b"%d" % offset], None, [], {0: offset + 1}, metadata, 1)

    def consumer(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.kafka.bootstrap_servers,
                "group.id": self.kafka.group,
                "isolation.level": "read_committed",
            }
        )

    def die_in(self, delivery: int, count: int) -> None:
        """Commit all deliveries before this one, and die with its transaction open."""
        checkpoint, consumer = self.checkpoint(count), self.consumer()
        checkpoint.open()
        for offset in range(delivery):
            checkpoint.deliver(self.outbox(offset, consumer))
        with checkpoint.producers.transaction() as channel:
            outbox = self.outbox(delivery, consumer)
            channel.producer.begin_transaction()
            channel.publisher.publish(outbox, LIMITS)
            channel.producer.send_offsets_to_transaction(
                checkpoint.destination.offsets(outbox), outbox.group_metadata, BOUND_S
            )
            assert channel.producer.flush(BOUND_S) == 0
            os.kill(os.getpid(), signal.SIGKILL)

    def committed(self, consumer: Consumer) -> int:
        """The next offset to read: 0 without a checkpoint."""
        asked = [TopicPartition(self.kafka.input_topic, 0)]
        (answer,) = consumer.committed(asked, timeout=BOUND_S)
        return max(0, answer.offset)

    def scores(self) -> Sequence[int]:
        bootstrap, topic = self.kafka.bootstrap_servers, self.kafka.output_topic
        await_ended_transactions(bootstrap, [topic], BOUND_S)
        return sorted(int(m.value() or b"") for ms in read_to_end(bootstrap, topic) for m in ms)


@pytest.fixture(params=[NEVER_MS], ids=["never"])
def ground(kafka: SharedKafka, make_topic: MakeTopic, request: pytest.FixtureRequest) -> Ground:
    topic = make_topic("in")
    settings = KafkaSettings(
        bootstrap_servers=kafka.bootstrap,
        group=f"group-{topic}",
        input_topic=topic,
        output_topic=make_topic("out", 2),
        dead_letter_topic=make_topic("dead"),
        start_from="earliest",
    )
    return Ground(settings, request.param)


def killed(ground: Ground, delivery: int, count: int) -> None:
    """Run a process that dies in a delivery."""
    process = multiprocessing.get_context("spawn").Process(
        target=ground.die_in, args=(delivery, count)
    )
    process.start()
    process.join(2 * BOUND_S)
    assert process.exitcode == -signal.SIGKILL


def finish(ground: Ground, deliveries: int) -> float:
    """Restart and deliver the rest; return the seconds until the checkpoint was known."""
    checkpoint, consumer = ground.checkpoint(PRODUCERS), ground.consumer()
    started = time.monotonic()
    checkpoint.open()
    first = ground.committed(consumer)
    took = time.monotonic() - started
    for offset in range(first, deliveries):
        checkpoint.deliver(ground.outbox(offset, consumer))
    assert ground.committed(consumer) == deliveries
    checkpoint.close()
    consumer.close()
    return took


@pytest.mark.parametrize("left_open", range(PRODUCERS))
def test_a_restart_ends_the_transaction_of_whichever_id_was_left_open(
    ground: Ground, left_open: int
) -> None:
    killed(ground, left_open, PRODUCERS)
    assert finish(ground, 6) < BOUND_S
    assert ground.scores() == list(range(6))


@pytest.mark.parametrize("ground", [SOON_MS], indirect=True)
def test_a_start_waits_for_the_end_of_an_id_that_only_a_predecessor_had(ground: Ground) -> None:
    """The committed offsets are stable: they are not told before that transaction has ended."""
    killed(ground, PRODUCERS + 1, PRODUCERS + 2)
    assert finish(ground, PRODUCERS + 4) > 0.5
    assert ground.scores() == list(range(PRODUCERS + 4))
