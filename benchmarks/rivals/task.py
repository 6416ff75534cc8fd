"""Task file of a rival, and the loops that the rivals share."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, Message, Producer

BATCH_EVENTS = 4000
TRANSACTION_EVENTS = 1000
TRANSACTION_S = 0.1


@dataclass(frozen=True)
class LookupTask:
    """A lookup; a stored value is int64 updated_at and a float64 for each name, little-endian.

    Attributes:
        name: Name of the lookup.
        prefix: Prefix of the keys.
        names: Names of the values.
        defaults: Values for a key that is not stored.
    """

    name: str
    prefix: str
    names: list[str]
    defaults: list[float]


@dataclass(frozen=True)
class ScoreTask:
    """Constant fields of the scores, and the rules of the decision.

    Attributes:
        bands: Decision and threshold of each band, the highest first.
        vector: Features that the score carries: name and index among all features.
    """

    schema_file: str
    schema_id: int
    model_name: str
    model_version: str
    policy_version: str
    segment: str
    default: str
    bands: list[tuple[str, float]]
    feature_set: str
    device: str
    vector: dict[str, int]


@dataclass(frozen=True)
class Task:
    """One run of one program.

    Attributes:
        model_file: File of the XGBoost model.
        threads: Number of XGBoost threads.
    """

    bootstrap: str
    group: str
    input_topic: str
    output_topic: str
    redis_url: str
    event_schema_file: str
    model_file: str
    threads: int
    lookups: list[LookupTask]
    score: ScoreTask

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Self:
        fields: dict[str, Any] = json.loads(path.read_text())
        fields["lookups"] = [LookupTask(**lookup) for lookup in fields["lookups"]]
        fields["score"] = ScoreTask(**fields["score"])
        return cls(**fields)


def given_task() -> Task:
    """Read the task file named on the command line."""
    return Task.read(Path(sys.argv[1]))


class Stop:
    """False until SIGTERM or SIGINT is received."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def __bool__(self) -> bool:
        return self._asked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True


def make_consumer(task: Task) -> Consumer:
    """Create a consumer from the earliest record, whose offsets are committed in transactions."""
    consumer = Consumer(
        {
            "bootstrap.servers": task.bootstrap,
            "group.id": task.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([task.input_topic])
    return consumer


def make_producer(task: Task) -> Producer:
    """Create a transactional producer, configured for short transactions like the worker's."""
    producer = Producer(
        {
            "bootstrap.servers": task.bootstrap,
            "transactional.id": task.group,
            "transaction.timeout.ms": 10_000,
            "retry.backoff.ms": 2,
            "retry.backoff.max.ms": 100,
            "linger.ms": 5,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
        }
    )
    producer.init_transactions(30)
    return producer


def records(messages: list[Message]) -> list[Message]:
    """Return the messages, or raise KafkaException if one is an error."""
    for message in messages:
        if (error := message.error()) is not None:
            raise KafkaException(error)
    return messages


def in_batches(task: Task, score: Callable[[list[Message]], Iterable[bytes]]) -> None:
    """Score batches until a signal asks to stop, each with one transaction.

    Args:
        task: Task of the run.
        score: Returns the bytes of a score for each message.
    """
    consumer, producer, stop = make_consumer(task), make_producer(task), Stop()
    while not stop:
        messages = records(consumer.consume(BATCH_EVENTS, 0.1))
        if not messages:
            continue
        values = score(messages)
        producer.begin_transaction()
        for message, value in zip(messages, values, strict=True):
            producer.produce(task.output_topic, value, message.key())
        commit(producer, consumer)
    consumer.close()


def one_by_one(task: Task, score: Callable[[Message], bytes]) -> None:
    """Score one event at a time until a signal asks to stop.

    A transaction takes the events of up to 100 ms, at most 1,000.
    """
    consumer, producer, stop = make_consumer(task), make_producer(task), Stop()
    while not stop:
        message = consumer.poll(0.1)
        if message is None:
            continue
        producer.begin_transaction()
        until, events = time.monotonic() + TRANSACTION_S, 0
        while message is not None:
            records([message])
            producer.produce(task.output_topic, score(message), message.key())
            events += 1
            if events == TRANSACTION_EVENTS or time.monotonic() > until:
                break
            message = consumer.poll(0.01)
        commit(producer, consumer)
    consumer.close()


def commit(producer: Producer, consumer: Consumer) -> None:
    """Commit the transaction with the offsets of all consumed records."""
    read = [at for at in consumer.position(consumer.assignment()) if at.offset >= 0]
    producer.send_offsets_to_transaction(read, consumer.consumer_group_metadata(), 30)
    producer.commit_transaction(30)
