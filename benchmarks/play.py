"""Produce records to a topic at full speed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from confluent_kafka import Producer

CHUNK = 50_000
"""Maximum number of records in a chunk."""

Messages = tuple[Sequence[bytes | None], Sequence[bytes | None]]
"""Values and keys of records."""


def play(bootstrap: str, topic: str, chunks: Iterable[Messages]) -> None:
    """Produce all records, and wait until the broker has acknowledged them.

    Raises:
        RuntimeError: The broker did not acknowledge all records in time.
    """
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 2 * CHUNK,
            "delivery.report.only.error": True,
            "log_level": 3,
        }
    )
    for values, keys in chunks:
        left = [{"value": value, "key": key} for value, key in zip(values, keys, strict=True)]
        while left:
            producer.produce_batch(topic, left)
            left = [message for message in left if message.pop("_error", None)]
            producer.poll(0.05 if left else 0)
    if producer.flush(60):
        raise RuntimeError("the events were not accepted in time")
    # Left to the garbage collector, librdkafka 2.x was once seen to crash in its own thread.
    producer.close()
