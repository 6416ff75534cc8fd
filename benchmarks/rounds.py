"""Measure a run, and check its output."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka.admin import AdminClient

from benchmarks.programs import Run, Start
from benchmarks.testbed import Testbed, note
from benchmarks.throughput import Measured, Span, measure
from tools.embedded.topic_admin import create_topics

Check = Callable[[Testbed, Run, int], None]
"""Called with the testbed, the run and its committed events; raises RunError for wrong output."""


def measured_run(testbed: Testbed, start: Start, run: Run, span: Span, check: Check) -> Measured:
    """Measure a program with its own output topic, check the output, and delete the topic."""
    create_topics(testbed.kafka.bootstrap, {run.output_topic: testbed.partitions})
    measured = measure(testbed, start, run, span)
    note(
        f"{run.name}: {measured.events_per_s:,.0f} events/s, "
        f"{measured.cpu_us_per_event:.1f} µs of CPU an event"
    )
    check(testbed, run, measured.committed)
    with AdminClient({"bootstrap.servers": testbed.kafka.bootstrap, "log_level": 0}) as admin:
        for deleted in admin.delete_topics([run.output_topic]).values():
            deleted.result(30)
    return measured
