"""Quix Streams on the same work: Avro in, lookups in Redis, XGBoost, scores out, exactly once.

Quix Streams processes one record at a time. A function that gathered records for one prediction
would lose them: a commit covers every record that the function was called with. Windows gather
records in a state store with a topic behind it, at a higher cost than that of single records.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from quixstreams import Application, message_context
from quixstreams.models import Deserializer

from benchmarks.rivals.parts import Event, EventReader
from benchmarks.rivals.per_event import Scorer
from benchmarks.rivals.task import Task

COMMIT_EVENTS = 4000


class EventDeserializer(Deserializer):  # type: ignore[misc]  # its own environment has its types
    """Decode framed events with the schema in a file; the library's own asks a registry."""

    def __init__(self, schema_file: str) -> None:
        super().__init__()
        self._reader = EventReader(schema_file)

    def __call__(self, value: bytes, ctx: Any) -> Event:  # noqa: ARG002 - given by its name
        return self._reader.read(value)


def run(task: Task, commit_s: float) -> None:
    """Run until a signal asks to stop.

    Args:
        task: Task of the run.
        commit_s: Longest time between commits. A score can be read after the commit.
    """
    app = Application(
        broker_address=task.bootstrap,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=commit_s,
        commit_every=COMMIT_EVENTS,
        # Commits wait for this too.
        consumer_poll_timeout=min(commit_s, 0.01),
        auto_create_topics=False,
        # The same as those of the other programs.
        producer_extra_config={
            "transactional.id": task.group,
            "transaction.timeout.ms": 10_000,
            "retry.backoff.ms": 2,
            "retry.backoff.max.ms": 100,
            "linger.ms": 5,
            "compression.type": "lz4",
        },
    )
    events = app.topic(
        task.input_topic, value_deserializer=EventDeserializer(task.event_schema_file)
    )
    scores = app.topic(task.output_topic, value_serializer="bytes")
    scorer = Scorer(task)

    def score(event: Event) -> bytes:
        at = message_context()
        return scorer.score(event, (at.partition, at.offset))

    app.dataframe(events).apply(score).to_topic(scores)
    app.run()


if __name__ == "__main__":
    run(Task.read(Path(sys.argv[1])), float(sys.argv[2]))
