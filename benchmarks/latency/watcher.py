"""Read committed scores, and record the time at which each was first seen."""

from __future__ import annotations

import time
from uuid import uuid4

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from benchmarks.latency.task import LatencyTask

_SILENCE_S = 20.0
# Time to wait after the last score, to detect a second score of an event.
_AFTER_S = 0.5
# Confluent's prefix is 5 bytes; then the event id: its length as zigzag (doubled), and its text.
_LENGTH_AT = 5


def watch(task: LatencyTask) -> None:
    """Read until every event has a score, or no score arrives for a while; write the times."""
    consumer = Consumer(
        {
            "bootstrap.servers": task.bootstrap,
            "group.id": f"bench-watcher-{uuid4()}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    topics = consumer.list_topics(task.topic, timeout=10).topics
    partitions = topics[task.topic].partitions
    consumer.assign([TopicPartition(task.topic, p, OFFSET_BEGINNING) for p in partitions])
    seen, counts = np.zeros(task.events, np.int64), np.zeros(task.events, np.int64)
    missing, deadline = task.events, time.monotonic() + 2 * _SILENCE_S
    while time.monotonic() < deadline:
        messages = consumer.consume(1, 0.1)
        if not messages:
            continue
        messages += consumer.consume(1000, 0)
        now = time.monotonic_ns()
        for message in messages:
            if message.error() is None:
                number = number_of(message.value() or b"") - task.first
                if not counts[number]:
                    seen[number] = now
                    missing -= 1
                counts[number] += 1
        deadline = time.monotonic() + (_SILENCE_S if missing else _AFTER_S)
    consumer.close()
    np.save(task.seen, seen)
    np.save(task.counts, counts)


def number_of(score: bytes) -> int:
    """Number of the event of a framed score, from its id such as ``tx000000000123``."""
    length = score[_LENGTH_AT] // 2
    return int(score[_LENGTH_AT + 3 : _LENGTH_AT + 1 + length])


if __name__ == "__main__":
    watch(LatencyTask.given())
