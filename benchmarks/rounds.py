"""One measured run after the other, each read back and checked."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka.admin import AdminClient

from benchmarks.ground import Ground, note
from benchmarks.programs import Run, Start
from benchmarks.throughput import Measured, Span, measure
from tools.embedded.topic_admin import create_topics

Check = Callable[[Ground, Run, int], None]
"""Told how many events a run has committed. Raises RunError where its output is not as it should."""


def measured_run(on: Ground, start: Start, run: Run, span: Span, check: Check) -> Measured:
    """Measure a program into a topic of its own, check what it wrote, and drop the topic."""
    create_topics(on.kafka.bootstrap, {run.output_topic: on.partitions})
    measured = measure(on, start, run, span)
    note(
        f"{run.name}: {measured.events_per_s:,.0f} events/s, "
        f"{measured.cpu_us_per_event:.1f} µs of CPU an event"
    )
    check(on, run, measured.committed)
    with AdminClient({"bootstrap.servers": on.kafka.bootstrap, "log_level": 0}) as admin:
        for deleted in admin.delete_topics([run.output_topic]).values():
            deleted.result(30)
    return measured
