"""The reader of a topic: its bounds, its end, and what it says of silence and errors."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from base.errors import ConfigurationError, DependencyUnavailableError
from tests.support.fakes import FakeMessage, kafka_error
from tools.topics import topic_log
from tools.topics.topic_log import TopicLog, local_brokers

BROKERS = local_brokers("broker:9092")


class Consumer:
    """Gives what it was told to, a list for each call; then nothing."""

    def __init__(self, bounds: dict[int, tuple[int, int]], *answers: list[FakeMessage]) -> None:
        self.bounds = bounds
        self.answers = deque(answers)
        self.error: KafkaError | None = None
        self.starts: list[tuple[int, int]] = []
        self.closed = False

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        found = SimpleNamespace(error=self.error, partitions=self.bounds)
        return SimpleNamespace(topics={topic: found})

    def get_watermark_offsets(self, at: Any, timeout: float) -> tuple[int, int]:
        return self.bounds[at.partition]

    def assign(self, partitions: list[Any]) -> None:
        self.starts = [(at.partition, at.offset) for at in partitions]

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        return self.answers.popleft() if self.answers else []

    def close(self) -> None:
        self.closed = True


def end(partition: int, offset: int) -> FakeMessage:
    return FakeMessage((partition, offset), fault=KafkaError(KafkaError._PARTITION_EOF))


def opened(monkeypatch: pytest.MonkeyPatch, consumer: Consumer, **more: Any) -> TopicLog:
    monkeypatch.setattr(topic_log, "make_consumer", lambda *_: cast("Any", consumer))
    return TopicLog(BROKERS, "kafka.input_topic", "in", 1.0, **more)


def read(log: TopicLog) -> list[tuple[int, int]]:
    with log:
        return [
            (int(partition), int(offset))
            for records in log
            for partition, offset in zip(records.partitions, records.offsets, strict=True)
        ]


def test_each_partition_is_read_to_its_end_at_the_time_of_opening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer = Consumer(
        {0: (3, 6), 1: (0, 0), 2: (0, 2)},
        [FakeMessage((0, 3)), FakeMessage((2, 0))],
        [],
        # Offset 5 of partition 0 is a control record; what came later does not count.
        [FakeMessage((0, 4)), end(0, 6), FakeMessage((2, 1)), FakeMessage((2, 2))],
    )
    log = opened(monkeypatch, consumer)
    assert (log.partitions, log.count()) == (3, 5)
    assert read(log) == [(0, 3), (2, 0), (0, 4), (2, 1)]
    assert consumer.starts == [(0, 3), (2, 0)]
    assert consumer.closed


def test_the_last_offsets_of_the_first_partitions_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consumer({0: (0, 100), 1: (98, 100), 2: (0, 9)}, [end(0, 100), end(1, 100)])
    log = opened(monkeypatch, consumer, last=10, most_partitions=2)
    assert log.count() == 12
    assert read(log) == []
    assert consumer.starts == [(0, 90), (1, 98)]


def test_a_topic_that_is_missing_is_a_matter_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer = Consumer({})
    consumer.error = kafka_error(KafkaError.UNKNOWN_TOPIC_OR_PART).args[0]
    with pytest.raises(ConfigurationError, match=r"^kafka\.input_topic: the brokers have no in"):
        opened(monkeypatch, consumer)
    assert consumer.closed


def test_silence_before_the_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 20))
    monkeypatch.setattr("tools.topics.topic_log.time.monotonic", lambda: next(now))
    log = opened(monkeypatch, Consumer({0: (0, 2)}, [FakeMessage((0, 0))]))
    told = r"no record of in, partitions \[0\], arrived for 30 s, before the end"
    with pytest.raises(DependencyUnavailableError, match=told):
        read(log)


def test_an_error_of_the_brokers_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = FakeMessage((0, 0), fault=KafkaError(KafkaError.TOPIC_EXCEPTION))
    log = opened(monkeypatch, Consumer({0: (0, 2)}, [unknown]))
    with pytest.raises(DependencyUnavailableError, match="no answer from broker:9092") as raised:
        read(log)
    assert isinstance(raised.value.__cause__, KafkaException)


def test_a_right_that_is_missing_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = FakeMessage((0, 0), fault=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    log = opened(monkeypatch, Consumer({0: (0, 2)}, [denied]))
    with pytest.raises(ConfigurationError, match=r"this user lacks a right .*allow it"):
        read(log)
