"""Bare transactional loop: consume, produce, send offsets, commit, and nothing else."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, Producer

# In one transaction.
_MOST = 4_000
_LOOK_S = 0.1
_ANSWER_S = 30.0


def copy(bootstrap: str, group: str, source: str, target: str, stop: Callable[[], bool]) -> None:
    """Copy records exactly once until ``stop`` returns True.

    A copy has the same value, and as its key the input record's partition and offset in decimal
    digits with a space between them.

    Args:
        bootstrap: Address of the brokers.
        group: Consumer group and transactional id.
        source: Topic to read from its beginning.
        target: Topic to write.
        stop: Called between transactions, at least every tenth of a second.

    Raises:
        KafkaException: The brokers refuse something, or do not answer in time.
        BufferError: The producer's queue cannot hold the records of a transaction.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "log_level": 0,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": group,
            "transaction.timeout.ms": 10_000,
            # The defaults, 5 and 100 ms, hold up a transaction that follows closely on another.
            "linger.ms": 0,
            "retry.backoff.ms": 2,
            "retry.backoff.max.ms": 100,
            "compression.type": "lz4",
            "log_level": 0,
        }
    )
    try:
        producer.init_transactions(_ANSWER_S)
        consumer.subscribe([source])
        while not stop():
            _copy_some(consumer, producer, target)
    finally:
        consumer.close()
        producer.close()


def _copy_some(consumer: Consumer, producer: Producer, target: str) -> None:
    """Copy the records that have arrived, in one transaction; wait a moment if there are none."""
    messages = consumer.consume(1, _LOOK_S)
    if not messages:
        return
    messages += consumer.consume(_MOST - 1, 0)
    for message in messages:
        if (error := message.error()) is not None:
            raise KafkaException(error)
    producer.begin_transaction()
    copies = [{"value": m.value(), "key": f"{m.partition()} {m.offset()}"} for m in messages]
    if producer.produce_batch(target, copies) < len(copies):
        raise BufferError("the producer's queue is full")
    read = [at for at in consumer.position(consumer.assignment()) if at.offset >= 0]
    producer.send_offsets_to_transaction(read, consumer.consumer_group_metadata(), _ANSWER_S)
    producer.commit_transaction(_ANSWER_S)


def main(bootstrap: str, group: str, source: str, target: str) -> None:
    """Copy until SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    copy(bootstrap, group, source, target, ended.is_set)


if __name__ == "__main__":
    main(*sys.argv[1:])
