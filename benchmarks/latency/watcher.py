"""Read committed scores, and record the time at which each was first seen."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from benchmarks.latency.events import Events, id_of
from benchmarks.latency.task import LatencyTask

WATCHING = "watching"
"""Line that the watcher prints when it reads the topic."""
_SILENCE_S = 20.0
# Time to wait after the last score, to detect a second score of an event.
_AFTER_S = 0.5


def watch(task: LatencyTask) -> None:
    """Read until every event has a score, or no score arrives for a while; write the times.

    Records of other events are skipped, and so is what the topic holds at the start.
    """
    values = Events.read(Path(task.events)).values
    numbers = {id_of(value): number for number, value in enumerate(values)}
    consumer = Consumer(
        {
            "bootstrap.servers": task.bootstrap,
            "group.id": f"bench-watcher-{uuid4()}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign(_ends(consumer, task.topic))
    print(WATCHING, flush=True)
    seen, counts = np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.int64)
    missing, deadline = len(numbers), time.monotonic() + 2 * _SILENCE_S
    while time.monotonic() < deadline:
        messages = consumer.consume(1, 0.1)
        if not messages:
            continue
        messages += consumer.consume(1000, 0)
        now = time.monotonic_ns()
        for message in messages:
            number = None if message.error() else numbers.get(id_of(message.value()))
            if number is None:
                continue
            if not counts[number]:
                seen[number] = now
                missing -= 1
            counts[number] += 1
        deadline = time.monotonic() + (_SILENCE_S if missing else _AFTER_S)
    consumer.close()
    np.save(task.seen, seen)
    np.save(task.counts, counts)


def _ends(consumer: Consumer, topic: str) -> list[TopicPartition]:
    """End of each partition at this moment."""
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    ends = []
    for partition in partitions:
        _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        ends.append(TopicPartition(topic, partition, high))
    return ends


if __name__ == "__main__":
    watch(LatencyTask.given())
