"""What a program is to do: the file that it is started with."""

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
    """Where a lookup's values lie: int64 updated_at and float64 of each name, little-endian.

    prefix: what the keys begin with. defaults: for a key without a value.
    """

    name: str
    prefix: str
    names: list[str]
    defaults: list[float]


@dataclass(frozen=True)
class ScoreTask:
    """What stands on every score, and how scores are decided.

    bands: decision and threshold, the highest first. vector: names of the features whose values go
    on the score, with their places among all features.
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
    """One run of one program. model_file: an XGBoost model. threads: of XGBoost."""

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
        found: dict[str, Any] = json.loads(path.read_text())
        found["lookups"] = [LookupTask(**lookup) for lookup in found["lookups"]]
        found["score"] = ScoreTask(**found["score"])
        return cls(**found)


def given_task() -> Task:
    """The task named on the command line."""
    return Task.read(Path(sys.argv[1]))


class Stop:
    """False until SIGTERM or SIGINT asks for the end."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def __bool__(self) -> bool:
        return self._asked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True


def make_consumer(task: Task) -> Consumer:
    """A consumer from the earliest record, whose offsets are committed in transactions."""
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
    """A transactional producer, set for short transactions like the worker's."""
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
    """The messages, none of which is an error."""
    for message in messages:
        if (error := message.error()) is not None:
            raise KafkaException(error)
    return messages


def in_batches(task: Task, score: Callable[[list[Message]], Iterable[bytes]]) -> None:
    """Until asked to stop: as many events as there are, one transaction for them.

    score: gives the bytes of one score for each message.
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
    """Until asked to stop: an event at a time, a transaction for all of 100 ms but 1,000 at most."""
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
    """End the transaction with the offsets of all that was consumed."""
    read = [at for at in consumer.position(consumer.assignment()) if at.offset >= 0]
    producer.send_offsets_to_transaction(read, consumer.consumer_group_metadata(), 30)
    producer.commit_transaction(30)
