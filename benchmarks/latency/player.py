"""Send events at a constant rate, and record the time of each."""

from __future__ import annotations

import time

import numpy as np
from confluent_kafka import Producer

from benchmarks import population
from benchmarks.latency.task import LatencyTask
from benchmarks.testbed import PIPELINE, encoder, event_keys
from features.definition import load_feature_set


def play(task: LatencyTask) -> None:
    """Send the events of the task, and write the times of sending."""
    feature_set = load_feature_set(PIPELINE / "features.yaml")
    columns = population.payments(task.first, task.events)
    values = encoder(feature_set).encode(task.events, columns)
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
    sent = np.zeros(task.events, np.int64)
    started = time.monotonic() + 0.5
    for number, (value, key) in enumerate(zip(values, event_keys(columns), strict=True)):
        wait = started + number / task.rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        sent[number] = time.monotonic_ns()
        producer.produce(task.topic, value, key)
    if producer.flush(30):
        raise RuntimeError("not all events were accepted")
    np.save(task.sent, sent)


if __name__ == "__main__":
    play(LatencyTask.given())
