"""Measure runs, and check their output."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from confluent_kafka.admin import AdminClient

from benchmarks.agreement import Agreement
from benchmarks.programs import Run, Start
from benchmarks.testbed import Testbed, note
from benchmarks.throughput import Measured, Span, measure
from tools.embedded.topic_admin import create_topics

Check = Callable[[Testbed, Run, int], None]
"""Called with the testbed, the run and its committed events; raises RunError for wrong output."""

Programs = Mapping[str, Start]
"""Programs by name."""

COPYING = "pass_through"
"""Program that writes events instead of scores."""


def alternate(
    testbed: Testbed, programs: Programs, rounds: int, span: Span
) -> dict[str, list[Measured]]:
    """Run the programs in turn, so that other load on the machine affects all equally.

    Returns:
        The runs of each program, whose scores are equal to those of the others.

    Raises:
        RunError: A program fails, loses an event or computes a different score.
    """
    runs: dict[str, list[Measured]] = defaultdict(list)
    agreement = Agreement()
    for number in range(1, rounds + 1):
        for program, start in programs.items():
            check = check_of(agreement, program)
            run = Run(f"{program}-{number}")
            runs[program].append(measured_run(testbed, start, run, span, check))
    note(f"{agreement.compared:,} scores compared with those of another program: all the same")
    return dict(runs)


def check_of(agreement: Agreement, program: str) -> Check:
    """Check of a program's output: scores, or the number of records of one that only copies."""
    return agreement.check_count if program == COPYING else agreement.check_scores


def measured_run(testbed: Testbed, start: Start, run: Run, span: Span, check: Check) -> Measured:
    """Measure a program with its own output topic, check the output, and delete the topic."""
    create_topics(testbed.kafka.bootstrap, {run.output_topic: testbed.partitions})
    measured = measure(testbed, start, run, span)
    note(
        f"{run.name}: {measured.events_per_s:,.0f} events/s, "
        f"{measured.cpu_us_per_event:.1f} µs of CPU an event"
    )
    check(testbed, run, measured.committed)
    delete_topics(testbed.kafka.bootstrap, run.output_topic)
    return measured


def delete_topics(bootstrap: str, *names: str) -> None:
    """Delete topics, and wait until the broker has done so."""
    with AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}) as admin:
        for deleted in admin.delete_topics(list(names)).values():
            deleted.result(30)
