"""A member of a real group: what it reads when partitions go and come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from confluent_kafka import Producer

from tests.conftest import MakeTopic, SharedKafka
from tests.support.rig import await_that
from worker.consume.poll import Poller
from worker.consume.start_offsets import StartOffsets
from worker.consume.topics import INPUT, Topics, describe_input, ids_from
from worker.kafka import make_admin, make_consumer
from worker.process.health import Health
from worker.settings import KafkaSettings

BOUND_S = 30.0
RECORDS = 20


@contextmanager
def member(settings: KafkaSettings) -> Iterator[Poller]:
    """One that polls as the worker's loop does."""
    consumer = make_consumer(settings, lambda _: None)
    with make_admin(settings) as admin:
        topics = Topics(
            {INPUT: settings.input_topic},
            ids_from(admin, BOUND_S),
            lambda: describe_input(settings, BOUND_S),
            Health(60.0),
            brokers=settings.bootstrap_servers,
        )
        topics.open()
        poller = Poller(
            consumer,
            topics,
            lambda topic: StartOffsets(consumer, topic, "earliest", None, BOUND_S),
            before_change=lambda: None,
        )
        poller.open()
        poller.subscribe()
        with closing(poller):
            yield poller


def read(poller: Poller) -> int:
    """Poll once, and count the records; go to the starts where partitions moved."""
    polled = poller.poll(100, 0.1, {})
    if poller.rewind_needed:
        poller.rewind()
    return 0 if polled is None else len(polled.records)


@pytest.fixture
def settings(kafka: SharedKafka, make_topic: MakeTopic) -> KafkaSettings:
    topic = make_topic("in", partitions=2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(RECORDS):
        producer.produce(topic, str(number).encode(), partition=number % 2)
    assert producer.flush(BOUND_S) == 0
    return KafkaSettings(
        bootstrap_servers=kafka.bootstrap,
        group=f"{topic}.group",
        input_topic=topic,
        output_topic="out",
        dead_letter_topic="dead",
        start_from="earliest",
    )


def test_partitions_that_went_during_a_pause_are_read_when_they_are_back(
    settings: KafkaSettings,
) -> None:
    with member(settings) as poller:
        await_that(
            lambda: read(poller) > 0, BOUND_S, "the first records", lambda: poller.partitions
        )
        poller.pause()
        with member(settings) as other:

            def shared() -> bool:
                poller.serve()
                read(other)
                return [len(each.partitions) for each in (poller, other)] == [1, 1]

            await_that(shared, BOUND_S, "a partition each", lambda: poller.partitions)
        poller.resume()
        found: set[tuple[int, int]] = set()

        def all_read() -> bool:
            polled = poller.poll(100, 0.1, {})
            if poller.rewind_needed:
                poller.rewind()
            elif polled is not None:
                records = polled.records
                found.update(
                    zip(records.partitions.tolist(), records.offsets.tolist(), strict=True)
                )
            return len(found) == RECORDS

        await_that(all_read, BOUND_S, "all records", lambda: (poller.partitions, sorted(found)))
