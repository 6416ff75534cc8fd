"""Records of the input topic whose dead letters lack the value, as it was too large."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from base.errors import DependencyUnavailableError
from schemas.batch import Headers, Position
from tools.topics.topic_log import brokers_answer, ignore_error
from worker.consume.micro_batch import records_of
from worker.kafka import captured_errors, make_consumer
from worker.settings import KafkaSettings

_LOOK_S = 0.1

Original = tuple[bytes | None, bytes | None, Headers]
"""Key, value and headers of a record."""


class Originals:
    """Reader of single records by their positions.

    Args:
        kafka: Settings of the brokers.
        timeout_s: Bound on each answer of the brokers.
    """

    def __init__(self, kafka: KafkaSettings, timeout_s: float) -> None:
        self._kafka, self._timeout_s = kafka, timeout_s
        # One record is read at each place: what is fetched behind it is thrown away.
        self._consumer = make_consumer(kafka, ignore_error, **{"queued.min.messages": 1})
        self._partitions: dict[str, Collection[int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def find(self, at: Position, sha256: str) -> Original | None:
        """Read the record at a position; None if it is gone, or its value has another hash.

        A topic that was created again has other records at the same positions.

        Raises:
            DependencyUnavailableError: The brokers do not answer.
        """
        with captured_errors() as lines, brokers_answer(self._kafka, lines):
            return self._read(at, sha256)

    def _read(self, at: Position, sha256: str) -> Original | None:
        place = TopicPartition(at.topic, at.partition, at.offset)
        if at.topic not in self._partitions:
            described = self._consumer.list_topics(at.topic, timeout=self._timeout_s)
            self._partitions[at.topic] = described.topics[at.topic].partitions
        if at.partition not in self._partitions[at.topic]:
            return None
        low, high = self._consumer.get_watermark_offsets(place, timeout=self._timeout_s)
        if not low <= at.offset < high:
            return None
        self._consumer.assign([place])
        message = self._next(at)
        if message is None or message.offset() != at.offset:
            return None
        records = records_of(at.topic, [message])
        if hashlib.sha256(records.values[0] or b"").hexdigest() != sha256:
            return None
        headers = (records.headers[0] if records.headers else None) or ()
        return records.keys[0], records.values[0], headers

    def _next(self, at: Position) -> Message | None:
        """Read the next record; None if there is none before the end of the partition."""
        until = time.monotonic() + self._timeout_s
        while time.monotonic() < until:
            for message in self._consumer.consume(1, _LOOK_S):
                error = message.error()
                if error is None:
                    return message
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent_kafka has no public name for it
                    return None
                if not error.retriable():
                    raise KafkaException(error)
        raise DependencyUnavailableError(
            f"kafka: no record of {at.topic}, partition {at.partition}, arrived for "
            f"{self._timeout_s:g} s; see that the brokers are up"
        )
