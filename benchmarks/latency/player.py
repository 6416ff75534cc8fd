"""Send each event when it is due, and record the time of each."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from confluent_kafka import Producer

from benchmarks.latency.events import Events
from benchmarks.latency.task import LatencyTask


def play(task: LatencyTask) -> None:
    """Send the events of the task, and write the times of sending."""
    events, due = Events.read(Path(task.events)), np.load(task.due).tolist()
    producer = Producer(
        {
            "bootstrap.servers": task.bootstrap,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 0,
            "delivery.report.only.error": True,
            "log_level": 3,
        }
    )
    # Connect before the measurement: the first request of a producer waits for its connections.
    producer.list_topics(task.topic, timeout=10)
    sent = np.zeros(len(events), np.int64)
    started = time.monotonic() + 0.5
    records = zip(events.values, events.keys, due, strict=True)
    for number, (value, key, after_s) in enumerate(records):
        wait = started + after_s - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        sent[number] = time.monotonic_ns()
        producer.produce(task.topic, value, key)
    if producer.flush(30):
        raise RuntimeError("not all events were accepted")
    np.save(task.sent, sent)


if __name__ == "__main__":
    play(LatencyTask.given())
