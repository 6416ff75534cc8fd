"""``fraud-worker run`` as a child process, and a reader of its output topics."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from tests.support.fork_server import Forked

_END_S = 40.0


@contextmanager
def worker(pipeline: Path, status: int = 0) -> Iterator[Forked]:
    """Run the worker, and end it with SIGTERM on exit, if it has not ended by itself.

    Raises:
        AssertionError: The worker does not end with the status.
    """
    log = pipeline / "worker.log"
    process = Forked(["tools", "run", "--pipeline", str(pipeline)], log)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        ended = process.wait(_END_S)
        assert ended == status, f"status {ended}; {log} ends with {log.read_text()[-4000:]}"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(_END_S)


def read_until(
    bootstrap: str, topics: list[str], count: int, deadline_s: float = 60.0
) -> list[Message]:
    """Read ``count`` committed records of the topics.

    Raises:
        TimeoutError: There are fewer records; the message says how many.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"test-{uuid.uuid4()}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    try:
        consumer.assign(
            [
                TopicPartition(topic, partition, OFFSET_BEGINNING)
                for topic in topics
                for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions
            ]
        )
        messages: list[Message] = []
        until = time.monotonic() + deadline_s
        while len(messages) < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(messages)} of {count} records in {topics}")
            for message in consumer.consume(1000, 0.2):
                error = message.error()
                assert error is None or error.code() == KafkaError._PARTITION_EOF, error
                messages.append(message)
        return messages
    finally:
        consumer.close()
