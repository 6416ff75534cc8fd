"""Reading topics from their beginning, as a read-committed consumer sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from base.errors import DependencyUnavailableError

_CHUNK = 20_000
_SILENCE_S = 30.0


def reader(bootstrap: str, topics: Sequence[str]) -> Consumer:
    """Consumer without a real group, assigned to every partition from its beginning."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "group.id": f"demo-{uuid4()}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 20,
        }
    )
    consumer.assign(
        [
            TopicPartition(topic, partition, OFFSET_BEGINNING)
            for topic in topics
            for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ]
    )
    return consumer


def fresh(consumer: Consumer, timeout_s: float) -> list[Message]:
    """Read the next messages, waiting at most ``timeout_s`` seconds for the first."""
    messages = consumer.consume(1, timeout_s)
    if messages:
        messages += consumer.consume(_CHUNK, 0)
    return [m for m in messages if m.error() is None]


def read_to_end(bootstrap: str, topic: str) -> Iterator[list[Message]]:
    """Yield all records that the topic holds now.

    Raises:
        DependencyUnavailableError: The brokers fall silent.
    """
    consumer = reader(bootstrap, [topic])
    try:
        open_partitions = {at.partition for at in consumer.assignment()}
        while open_partitions:
            messages = consumer.consume(1, _SILENCE_S)
            messages += consumer.consume(_CHUNK, 0)
            if not messages:
                raise DependencyUnavailableError(
                    f"{topic}: nothing heard for {_SILENCE_S:g} s, partitions {open_partitions} "
                    "are not at their end; see that the brokers are up"
                )
            good = []
            for message in messages:
                error = message.error()
                if error is None:
                    good.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    open_partitions.discard(message.partition())
            yield good
    finally:
        consumer.close()
