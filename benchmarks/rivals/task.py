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
from typing import Any, Literal, Self

from confluent_kafka import Consumer, KafkaException, Message, Producer

BATCH_EVENTS = 4000
TRANSACTION_EVENTS = 1000
TRANSACTION_S = 0.1

READY = "ready: partitions are assigned"
"""Line that a rival prints when it reads its partitions."""

Guarantee = Literal["exactly_once", "at_least_once"]


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
        guarantee: Delivery guarantee; at least once takes no transactions.
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
    guarantee: Guarantee = "exactly_once"

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


class Client:
    """Consumer and producer of a rival, with the worker's options for short transactions."""

    def __init__(self, task: Task) -> None:
        self._transactional = task.guarantee == "exactly_once"
        self._topic = task.output_topic
        self._producer = _make_producer(task)
        self._consumer = Consumer(
            {
                "bootstrap.servers": task.bootstrap,
                "group.id": task.group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        self._consumer.subscribe(
            [task.input_topic], on_assign=lambda _consumer, _partitions: print(READY, flush=True)
        )

    def poll(self, timeout_s: float) -> Message | None:
        """Take the next record; None if there is none in time."""
        message = self._consumer.poll(timeout_s)
        return None if message is None else _records([message])[0]

    def take(self) -> list[Message]:
        """Wait up to 100 ms for a record, then take what is there, at most BATCH_EVENTS."""
        messages = self._consumer.consume(1, 0.1)
        if messages:
            messages += self._consumer.consume(BATCH_EVENTS - 1, 0)
        return _records(messages)

    def begin(self) -> None:
        """Begin a transaction, if the guarantee takes any."""
        if self._transactional:
            self._producer.begin_transaction()

    def produce(self, value: bytes, key: bytes | None) -> None:
        """Queue one record for the output topic."""
        self._producer.produce(self._topic, value, key)

    def produce_batch(self, records: list[dict[str, Any]]) -> None:
        """Queue records for the output topic, with one call of the client."""
        if self._producer.produce_batch(self._topic, records) < len(records):
            raise RuntimeError("the producer's queue is full")

    def commit(self) -> None:
        """Commit what was produced, and the offsets of all consumed records."""
        consumer = self._consumer
        read = [at for at in consumer.position(consumer.assignment()) if at.offset >= 0]
        if self._transactional:
            metadata = consumer.consumer_group_metadata()
            self._producer.send_offsets_to_transaction(read, metadata, 30)
            self._producer.commit_transaction(30)
        elif self._producer.flush(30):
            raise RuntimeError("the records were not accepted in time")
        else:
            consumer.commit(offsets=read, asynchronous=False)

    def close(self) -> None:
        self._consumer.close()


def _make_producer(task: Task) -> Producer:
    options: dict[str, Any] = {
        "bootstrap.servers": task.bootstrap,
        "enable.idempotence": True,
        "retry.backoff.ms": 2,
        "retry.backoff.max.ms": 100,
        # No wait at a commit: the flush before it ends the lingering.
        "linger.ms": 5,
        "compression.type": "lz4",
        "partitioner": "murmur2_random",
    }
    if task.guarantee == "at_least_once":
        return Producer(options)
    options |= {"transactional.id": task.group, "transaction.timeout.ms": 10_000}
    producer = Producer(options)
    producer.init_transactions(30)
    return producer


def _records(messages: list[Message]) -> list[Message]:
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
    client, stop = Client(task), Stop()
    while not stop:
        messages = client.take()
        if not messages:
            continue
        values = score(messages)
        client.begin()
        for message, value in zip(messages, values, strict=True):
            client.produce(value, message.key())
        client.commit()
    client.close()


def one_by_one(task: Task, score: Callable[[Message], bytes]) -> None:
    """Score one event at a time until a signal asks to stop.

    A transaction takes the events of up to 100 ms, at most 1,000.
    """
    client, stop = Client(task), Stop()
    while not stop:
        message = client.poll(0.1)
        if message is None:
            continue
        client.begin()
        until, events = time.monotonic() + TRANSACTION_S, 0
        while message is not None:
            client.produce(score(message), message.key())
            events += 1
            if events == TRANSACTION_EVENTS or time.monotonic() > until:
                break
            message = client.poll(0.01)
        client.commit()
    client.close()
