"""Compute the Handbook's features in the usual way: Redis sorted sets, one event at a time.

Each customer and terminal has a sorted set of recent payments by time, and each terminal has one of
its known frauds. An event is one pipeline of commands: it trims its sets, adds itself, reads the
customer's payments of 30 days and counts those at the terminal. Means are computed here. Another
program writes the labels to the sets of frauds; a label is known after 7 days, the windows' delay.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import redis
from confluent_kafka import Message

from benchmarks.rivals.parts import Event, EventReader, OneScorer
from benchmarks.rivals.task import Task, given_task, one_by_one

DAY = 86_400_000
"""Times are in milliseconds, as in the events."""
WINDOWS = (DAY, 7 * DAY, 30 * DAY)
DELAY = 7 * DAY
CUSTOMER_KEPT = WINDOWS[-1]
TERMINAL_KEPT = WINDOWS[-1] + DELAY
COMMANDS = 5 + 2 * len(WINDOWS)
"""Number of commands for one event."""

Row = list[float]


def customer_key(customer: str) -> str:
    """Key of a customer's payments."""
    return f"c:{customer}"


def terminal_key(terminal: str) -> str:
    """Key of the payments at a terminal."""
    return f"t:{terminal}"


def fraud_key(terminal: str) -> str:
    """Key of the known frauds at a terminal, by the time of the payment."""
    return f"f:{terminal}"


def payment(event_id: str, cents: int) -> str:
    """Member of a customer's set."""
    return f"{event_id}:{cents}"


class SortedSets:
    """Windows over sorted sets."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    def rows(self, events: Iterable[Event]) -> list[Row]:
        """Features of the events in their order, with one round trip for all of them."""
        some = list(events)
        pipeline = self._client.pipeline(transaction=False)
        for event in some:
            ask(pipeline, event)
        answers: list[Any] = pipeline.execute()
        return [
            features(event, answers[at : at + COMMANDS])
            for event, at in zip(some, range(0, len(answers), COMMANDS), strict=True)
        ]


def ask(pipeline: Any, event: Event) -> None:
    """Add the commands of one event; the windows without delay include the event itself."""
    at, event_id = event["tx_time"], event["transaction_id"]
    customer, terminal = customer_key(event["customer_id"]), terminal_key(event["terminal_id"])
    frauds = fraud_key(event["terminal_id"])
    pipeline.zremrangebyscore(customer, "-inf", at - CUSTOMER_KEPT)
    pipeline.zadd(customer, {payment(event_id, round(event["amount"] * 100)): at})
    pipeline.zrangebyscore(customer, f"({at - CUSTOMER_KEPT}", at, withscores=True)
    pipeline.zremrangebyscore(terminal, "-inf", at - TERMINAL_KEPT)
    pipeline.zadd(terminal, {event_id: at})
    for key in (terminal, frauds):
        for window in WINDOWS:
            pipeline.zcount(key, f"({at - DELAY - window}", at - DELAY)


def features(event: Event, answers: Sequence[Any]) -> Row:
    """Compute the 15 features, in the order of the Handbook, from the answers to ``ask``."""
    at = datetime.fromtimestamp(event["tx_time"] / 1000, UTC)
    row = [event["amount"], at.weekday() >= 5, at.hour <= 6]
    members: list[tuple[bytes, float]] = answers[2]
    times = [time for _, time in members]
    cents = [int(member.rpartition(b":")[2]) for member, _ in members]
    for window in WINDOWS:
        seen = cents[bisect_right(times, event["tx_time"] - window) :]
        row += [len(seen), sum(seen) / len(seen) / 100]
    counts, frauds = answers[5 : 5 + len(WINDOWS)], answers[5 + len(WINDOWS) :]
    for count, fraud in zip(counts, frauds, strict=True):
        row += [count, fraud / count if count else 0.0]
    return row


class Scorer:
    """Score one event, from bytes to bytes."""

    def __init__(self, task: Task) -> None:
        self._reader, self._sets = EventReader(task.event_schema_file), SortedSets(task.redis_url)
        self._one = OneScorer(task)

    def score(self, message: Message) -> bytes:
        """Score the message."""
        event = self._reader.read(message.value())
        row = self._sets.rows([event])[0]
        return self._one.score((message.partition(), message.offset()), event, row, missing=0)


def run(task: Task) -> None:
    """Run until a signal asks to stop."""
    one_by_one(task, Scorer(task).score)


if __name__ == "__main__":
    run(given_task())
