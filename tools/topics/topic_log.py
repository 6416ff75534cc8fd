"""Reader of a topic, from its first records or its last ones to its end at the time of opening."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self, TypeVar, cast

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from base.errors import ConfigurationError, DependencyUnavailableError
from schemas.batch import Records
from worker.consume.micro_batch import records_of
from worker.kafka import captured_errors, make_consumer
from worker.settings import KafkaSettings

FORBIDDEN = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
"""Error codes for a right that this user lacks."""
_ABSENT = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED)
_SOON = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
_MOST = 20_000
_LOOK_S = 0.1
_SILENCE_S = 30.0

T = TypeVar("T")


class TopicLog:
    """Committed records of a topic, read outside the group; offsets are not committed.

    Attributes:
        unfinished: Partitions that have not been read to their ends yet.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        setting: str,
        topic: str,
        timeout_s: float,
        *,
        last: int | None = None,
        most_partitions: int | None = None,
    ) -> None:
        """Connect, and look up the ends of the partitions.

        Args:
            kafka: Settings of the brokers.
            setting: Setting that names the topic, for messages.
            topic: Name of the topic.
            timeout_s: Timeout of each answer of the brokers.
            last: Number of offsets to read at the end of each partition; None for all.
            most_partitions: Number of partitions to read, the first ones; None for all.

        Raises:
            ConfigurationError: The brokers have no such topic.
            DependencyUnavailableError: The brokers do not answer.
        """
        self._kafka, self._topic = kafka, topic
        with ExitStack() as stack:
            self._lines = stack.enter_context(captured_errors())
            self._consumer = make_consumer(kafka, ignore_error)
            stack.callback(self._consumer.close)
            with brokers_answer(kafka, self._lines):
                partitions = self._partitions(setting, timeout_s)[:most_partitions]
                self._bounds = {p: self._bound(p, last, timeout_s) for p in partitions}
            self._open = stack.pop_all()
        self.unfinished = {p for p, (low, high) in self._bounds.items() if low < high}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def partitions(self) -> int:
        return len(self._bounds)

    @property
    def ends(self) -> dict[int, int]:
        """End of each partition at the time of opening."""
        return {partition: high for partition, (_, high) in self._bounds.items()}

    def begin_at(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Read partitions from these offsets on, or from their first records if these are later.

        Returns:
            The offset from which each partition is read.
        """
        for partition, offset in offsets.items():
            low, high = self._bounds[partition]
            self._bounds[partition] = min(max(low, offset), high), high
        self.unfinished = {p for p, (low, high) in self._bounds.items() if low < high}
        return {partition: low for partition, (low, _) in self._bounds.items()}

    def count(self) -> int:
        """Number of offsets to read, at least the number of records."""
        return sum(high - low for low, high in self._bounds.values())

    def __iter__(self) -> Iterator[Records]:
        """Yield records, each partition in its order, until every partition is at its end.

        Raises:
            DependencyUnavailableError: The brokers report an error, or no record has come for too
                long.
        """
        for messages in self.messages():
            yield records_of(self._topic, messages)

    def messages(self) -> Iterator[list[Message]]:
        """Yield the records as messages of the client, one or more at a time; see ``__iter__``."""
        self._consumer.assign(
            [TopicPartition(self._topic, p, self._bounds[p][0]) for p in sorted(self.unfinished)]
        )
        last_answer = time.monotonic()
        while self.unfinished:
            with brokers_answer(self._kafka, self._lines):
                messages = self._consumer.consume(_MOST, _LOOK_S)
                records = self._until_the_ends(messages)
            if messages:
                last_answer = time.monotonic()
            elif time.monotonic() - last_answer > _SILENCE_S:
                raise DependencyUnavailableError(
                    f"kafka: no record of {self._topic}, partitions {sorted(self.unfinished)}, "
                    f"arrived for {_SILENCE_S:g} s, before the end of the topic; see that the "
                    "brokers are up"
                )
            if records:
                yield records

    def pause(self, partitions: Collection[int]) -> None:
        """Pause reading of these partitions, and resume that of all others."""
        if self.unfinished:
            waiting = {p: TopicPartition(self._topic, p) for p in self.unfinished}
            self._consumer.pause([at for p, at in waiting.items() if p in partitions])
            self._consumer.resume([at for p, at in waiting.items() if p not in partitions])

    def _partitions(self, setting: str, timeout_s: float) -> list[int]:
        described = self._consumer.list_topics(self._topic, timeout=timeout_s).topics[self._topic]
        if described.error is not None:
            raise ConfigurationError(
                f"{setting}: the brokers have no {self._topic} ({described.error.str()}); create "
                "it, or name another"
            )
        return sorted(described.partitions)

    def _bound(self, partition: int, last: int | None, timeout_s: float) -> tuple[int, int]:
        """First offset to read, and the end."""
        at = TopicPartition(self._topic, partition)
        low, high = self._consumer.get_watermark_offsets(at, timeout=timeout_s)
        return low if last is None else max(low, high - last), high

    def _until_the_ends(self, messages: list[Message]) -> list[Message]:
        """Records before the ends of their partitions; marks partitions at their end as read."""
        kept = []
        for message in messages:
            error, partition = message.error(), cast("int", message.partition())
            if error is not None:
                # Transaction markers may follow a partition's last record.
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent_kafka has no public name for it
                    self.unfinished.discard(partition)
                elif not error.retriable():
                    raise KafkaException(error)
                continue
            end, offset = self._bounds[partition][1], cast("int", message.offset())
            if offset < end:
                kept.append(message)
            if offset >= end - 1:
                self.unfinished.discard(partition)
        return kept


@contextmanager
def brokers_answer(kafka: KafkaSettings, lines: Sequence[str]) -> Iterator[None]:
    """Raise an error for that of the brokers, with librdkafka's reason.

    It is a ConfigurationError for a missing right, else a DependencyUnavailableError.

    Args:
        kafka: Settings of the brokers.
        lines: Errors that librdkafka has logged: see ``captured_errors``.
    """
    try:
        yield
    except KafkaException as error:
        why = lines[-1] if lines else error.args[0].str()
        if error.args[0].code() in FORBIDDEN:
            raise ConfigurationError(
                f"kafka: this user lacks a right ({why}); allow it: "
                "docs/how-to/secure-connections.md lists the rights"
            ) from error
        raise DependencyUnavailableError(
            f"kafka.bootstrap_servers: no answer from {kafka.bootstrap_servers} ({why}); see that "
            "the brokers are up, and security.protocol and sasl.… in kafka.options"
        ) from error


def describe_topic(admin: AdminClient, setting: str, topic: str, timeout_s: float) -> Any:
    """Describe a topic that is to be written to; a producer would create it, with any settings.

    Args:
        admin: Client of the brokers.
        setting: Setting or option that names the topic, for the message.
        topic: Its name.
        timeout_s: Bound on the answer.

    Raises:
        ConfigurationError: The brokers have no such topic.
        KafkaException: The brokers do not answer.
    """
    asked = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)
    try:
        return asked[topic].result()
    except KafkaException as error:
        if error.args[0].code() not in _ABSENT:
            raise
        raise ConfigurationError(
            f"{setting}: the brokers have no {topic}, or this user may not describe it; create it, "
            "or name another"
        ) from error


def once_coordinated(ask: Callable[[], T], timeout_s: float) -> T:
    """Ask a group's coordinator; retry while the first request finds it still being created."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _SOON or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def local_brokers(bootstrap: str) -> KafkaSettings:
    """Settings of clients that read topics of embedded brokers by name."""
    return KafkaSettings(
        bootstrap_servers=bootstrap,
        group="topic-reader",
        input_topic="input",
        output_topic="output",
        dead_letter_topic="dead-letters",
        start_from="earliest",
        # The broker tells of an end only after this time without a record.
        consumer={"fetch.wait.max.ms": 20},
    )


def read_to_end(bootstrap: str, topic: str) -> Iterator[Records]:
    """Yield all records that a topic of embedded brokers holds now.

    Raises:
        ConfigurationError: The brokers have no such topic.
        DependencyUnavailableError: The brokers do not answer, or fall silent.
    """
    with TopicLog(local_brokers(bootstrap), "topic", topic, _SILENCE_S) as log:
        yield from log


def ignore_error(_error: KafkaError) -> None:
    """Ignore errors of connections, which come and go; calls fail when no connection is left."""
