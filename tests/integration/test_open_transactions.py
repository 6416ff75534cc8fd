"""Transactions that a killed worker left open, on any of its ids: nothing is lost or doubled."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from tests.conftest import MakeTopic, SharedKafka
from tests.support.delivery_testbed import LIMITS, DeliveryTestbed
from worker.delivery.producers_in_turn import PRODUCERS
from worker.settings import KafkaSettings

BOUND_S = 30.0
# Longer than a test may take: no transaction ends by itself.
NEVER_MS = 300_000
SOON_MS = 6_000


def die_in(testbed: DeliveryTestbed, delivery: int, count: int) -> None:
    """Commit all deliveries before this one, and die with its transaction open."""
    checkpoint, consumer = testbed.checkpoint(count), testbed.consumer()
    checkpoint.open()
    for offset in range(delivery):
        checkpoint.deliver(testbed.outbox(offset, consumer))
    with checkpoint.producers.transaction() as channel:
        outbox = testbed.outbox(delivery, consumer)
        channel.producer.begin_transaction()
        channel.publisher.publish(outbox, LIMITS)
        channel.producer.send_offsets_to_transaction(
            checkpoint.destination.offsets(outbox), outbox.group_metadata, BOUND_S
        )
        assert channel.producer.flush(BOUND_S) == 0
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(params=[NEVER_MS], ids=["never"])
def testbed(
    kafka: SharedKafka, make_topic: MakeTopic, request: pytest.FixtureRequest
) -> DeliveryTestbed:
    topic = make_topic("in")
    settings = KafkaSettings(
        bootstrap_servers=kafka.bootstrap,
        group=f"group-{topic}",
        input_topic=topic,
        output_topic=make_topic("out", 2),
        dead_letter_topic=make_topic("dead"),
        start_from="earliest",
    )
    return DeliveryTestbed(settings, request.param, BOUND_S)


def killed(testbed: DeliveryTestbed, delivery: int, count: int) -> None:
    """Run a process that dies in a delivery."""
    process = multiprocessing.get_context("spawn").Process(
        target=die_in, args=(testbed, delivery, count)
    )
    process.start()
    process.join(2 * BOUND_S)
    assert process.exitcode == -signal.SIGKILL


def finish(testbed: DeliveryTestbed, deliveries: int) -> float:
    """Restart and deliver the rest; return the seconds until the checkpoint was known."""
    checkpoint, consumer = testbed.checkpoint(PRODUCERS), testbed.consumer()
    started = time.monotonic()
    checkpoint.open()
    first = testbed.committed(consumer)
    took = time.monotonic() - started
    for offset in range(first, deliveries):
        checkpoint.deliver(testbed.outbox(offset, consumer))
    assert testbed.committed(consumer) == deliveries
    checkpoint.close()
    consumer.close()
    return took


@pytest.mark.parametrize("left_open", range(PRODUCERS))
def test_a_restart_ends_the_transaction_of_whichever_id_was_left_open(
    testbed: DeliveryTestbed, left_open: int
) -> None:
    killed(testbed, left_open, PRODUCERS)
    assert finish(testbed, 6) < BOUND_S
    assert testbed.scores() == list(range(6))


@pytest.mark.parametrize("testbed", [SOON_MS], indirect=True)
def test_a_start_waits_for_the_end_of_an_id_that_only_a_predecessor_had(
    testbed: DeliveryTestbed,
) -> None:
    """The committed offsets are stable: they are not told before that transaction has ended."""
    killed(testbed, PRODUCERS + 1, PRODUCERS + 2)
    assert finish(testbed, PRODUCERS + 4) > 0.5
    assert testbed.scores() == list(range(PRODUCERS + 4))
