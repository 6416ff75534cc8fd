"""`fraud-worker run` as a child of a test, and the topics that it writes."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

_END_S = 40.0


@contextmanager
def worker(pipeline: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The worker, ended by SIGTERM on exit. Raises AssertionError unless it then drains."""
    log = pipeline / "worker.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools", "run", "--pipeline", str(pipeline)],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield process
        process.terminate()
        status = process.wait(_END_S)
        assert status == 0, f"status {status}; {log} ends with {log.read_text()[-4000:]}"
    finally:
        process.kill()
        process.wait(_END_S)


def read_until(
    bootstrap: str, topics: list[str], count: int, deadline_s: float = 60.0
) -> list[Message]:
    """``count`` committed records of the topics. Raises TimeoutError saying what was there."""
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
        found: list[Message] = []
        until = time.monotonic() + deadline_s
        while len(found) < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(found)} of {count} records in {topics}")
            for message in consumer.consume(1000, 0.2):
                error = message.error()
                assert error is None or error.code() == KafkaError._PARTITION_EOF, error
                found.append(message)
        return found
    finally:
        consumer.close()
