"""Load of a broker's trial run: transactions as those of a worker, and what is around them."""

from __future__ import annotations

import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

from tools.embedded.pass_through import copy
from tools.embedded.topic_admin import create_topics

_SOURCE, _TARGET, _PARTITIONS = "trial-input", "trial-output", 4
_TICK_S, _TICK_RECORDS = 0.01, 10
_VALUE = bytes(100)
_MOST = 10_000
# For the last copies.
_SLACK_S = 30.0


def transact(bootstrap: str, seconds: float) -> int:
    """Produce 1,000 records a second, copy them in transactions, and read the copies.

    Returns:
        Number of copies that were read.

    Raises:
        KafkaException: The broker refuses something, or does not answer in time.
        BufferError: Transactions take so long that the records of one fill a queue.
    """
    create_topics(bootstrap, dict.fromkeys((_SOURCE, _TARGET), _PARTITIONS))
    ended, errors = threading.Event(), []

    def copying() -> None:
        try:
            copy(bootstrap, "trial", _SOURCE, _TARGET, ended.is_set)
        except (KafkaException, BufferError) as error:
            errors.append(error)
            ended.set()

    thread = threading.Thread(target=copying, name="trial")
    thread.start()
    try:
        copies = _produce_and_read(bootstrap, seconds, ended)
    finally:
        ended.set()
        thread.join()
    if errors:
        raise errors[0]
    return copies


def _produce_and_read(bootstrap: str, seconds: float, ended: threading.Event) -> int:
    options = {"bootstrap.servers": bootstrap, "log_level": 0}
    producer = Producer({**options, "linger.ms": 0})
    consumer = Consumer(
        {**options, "group.id": "trial-reader", "isolation.level": "read_committed"}
    )
    consumer.assign([TopicPartition(_TARGET, p, OFFSET_BEGINNING) for p in range(_PARTITIONS)])
    records = int(seconds / _TICK_S) * _TICK_RECORDS
    sent = read = 0
    until = time.monotonic() + seconds + _SLACK_S
    while read < records and not ended.is_set() and time.monotonic() < until:
        if sent < records:
            producer.produce_batch(_SOURCE, _tick())
            producer.poll(0)
            sent += _TICK_RECORDS
        read += sum(copied.error() is None for copied in consumer.consume(_MOST, _TICK_S))
    consumer.close()
    producer.close()
    return read


def _tick() -> list[dict[str, str | bytes]]:
    return [{"value": _VALUE, "key": str(number)} for number in range(_TICK_RECORDS)]
