"""Read topics to their ends with a read-committed consumer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

_CHUNK = 10_000
_latest: Callable[[], Any] = OffsetSpec.latest
_LOOK_S = 0.1


def await_ended_transactions(bootstrap: str, topics: Sequence[str], deadline_s: float) -> None:
    """Wait until no transaction is open in the topics; a reader then sees all committed records.

    Raises:
        TimeoutError: Transactions are still open; the message names their partitions.
    """
    until = time.monotonic() + deadline_s
    while behind := open_transactions(bootstrap, topics):
        if time.monotonic() > until:
            raise TimeoutError(f"transactions still open after {deadline_s:g} s: {behind}")
        time.sleep(_LOOK_S)


def open_transactions(bootstrap: str, topics: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Find partitions with an open transaction: where committed records end, and all records."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    asked = [
        TopicPartition(topic, partition)
        for topic in topics
        for partition in admin.list_topics(topic, timeout=10).topics[topic].partitions
    ]
    committed = _ends(admin, asked, IsolationLevel.READ_COMMITTED)
    ends = _ends(admin, asked, IsolationLevel.READ_UNCOMMITTED)
    return {
        place: (committed[place], end) for place, end in ends.items() if committed[place] != end
    }


def read_to_end(bootstrap: str, topic: str, silence_s: float = 30.0) -> Iterator[list[Message]]:
    """Read all records of the topic, partition by partition in the order of their offsets.

    Raises:
        TimeoutError: No record arrived for ``silence_s`` seconds before the end of a partition.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "oracle",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            # The broker reports an end only after this time without a record; 500 by default.
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        for partition in sorted(consumer.list_topics(topic, timeout=10).topics[topic].partitions):
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
            yield from _partition(consumer, f"{topic}[{partition}]", silence_s)
    finally:
        consumer.close()


def _partition(consumer: Consumer, name: str, silence_s: float) -> Iterator[list[Message]]:
    ended = False
    while not ended:
        messages = consumer.consume(1, silence_s)
        if not messages:
            raise TimeoutError(f"{name}: no record for {silence_s:g} s before its end")
        messages += consumer.consume(_CHUNK, 0)
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                ended = True
            elif error is not None and not error.retriable():
                raise KafkaException(error)
        yield [message for message in messages if message.error() is None]


def _ends(
    admin: AdminClient, asked: Sequence[TopicPartition], isolation: IsolationLevel
) -> dict[str, int]:
    answers = admin.list_offsets(
        {at: _latest() for at in asked}, isolation_level=isolation, request_timeout=10
    )
    return {f"{at.topic}[{at.partition}]": answer.result().offset for at, answer in answers.items()}
