"""Compute the Handbook's features with Redis sorted sets, in batches.

A batch of events needs one pipeline of commands in the order of the events, one prediction and one
transaction.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from confluent_kafka import Message

from benchmarks.rivals.parts import BatchScorer, EventReader
from benchmarks.rivals.sorted_sets import SortedSets
from benchmarks.rivals.task import Task, given_task, in_batches


class Scorer:
    """Score a batch of events, from bytes to bytes."""

    def __init__(self, task: Task) -> None:
        self._reader, self._sets = EventReader(task.event_schema_file), SortedSets(task.redis_url)
        self._batch = BatchScorer(task)

    def score(self, messages: list[Message]) -> Iterator[bytes]:
        """Score each message."""
        events = [self._reader.read(message.value()) for message in messages]
        matrix = np.array(self._sets.rows(events), np.float32)
        return self._batch.score(messages, events, matrix, [0] * len(events))


def run(task: Task) -> None:
    """Run until a signal asks to stop."""
    in_batches(task, Scorer(task).score)


if __name__ == "__main__":
    run(given_task())
