"""Records of a topic, from its first to its end at the time of opening."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Self, cast

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from base.errors import ConfigurationError, DependencyUnavailableError
from schemas.batch import Records
from worker.consume.micro_batch import records_of
from worker.kafka import captured_errors, make_consumer
from worker.settings import KafkaSettings

_MOST = 20_000
_LOOK_S = 0.1
_SILENCE_S = 30.0


class TopicLog:
    """Committed records of a topic, read outside the group; offsets are not committed."""

    def __init__(self, kafka: KafkaSettings, setting: str, topic: str, timeout_s: float) -> None:
        """Connect, and look up the ends of the partitions.

        Args:
            kafka: Settings of the brokers.
            setting: Setting that names the topic, for messages.
            topic: Name of the topic.
            timeout_s: Timeout of each answer of the brokers.

        Raises:
            KafkaException: The brokers do not answer.
            ConfigurationError: The brokers have no such topic.
        """
        self._topic = topic
        self._consumer = make_consumer(kafka, _ignore)
        try:
            found = self._consumer.list_topics(topic, timeout=timeout_s).topics[topic]
            if found.error is not None:
                raise ConfigurationError(
                    f"{setting}: the brokers have no {topic} ({found.error.str()}); create it, or "
                    "name another"
                )
            self._bounds = {p: self._bound(p, timeout_s) for p in sorted(found.partitions)}
        except BaseException:
            self._consumer.close()
            raise
        self.unfinished = {p for p, (low, high) in self._bounds.items() if low < high}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    @property
    def partitions(self) -> int:
        return len(self._bounds)

    def count(self) -> int:
        """Number of offsets to read, at least the number of records."""
        return sum(high - low for low, high in self._bounds.values())

    def __iter__(self) -> Iterator[Records]:
        """Yield records, each partition in its order, until every partition is at its end.

        Raises:
            KafkaException: The brokers report an error.
            DependencyUnavailableError: No record has come for too long.
        """
        self._consumer.assign(
            [TopicPartition(self._topic, p, self._bounds[p][0]) for p in sorted(self.unfinished)]
        )
        heard = time.monotonic()
        while self.unfinished:
            messages = self._consumer.consume(_MOST, _LOOK_S)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE_S:
                raise DependencyUnavailableError(
                    f"kafka: nothing came of {self._topic}, partitions "
                    f"{sorted(self.unfinished)}, for {_SILENCE_S:g} s, and it does not end there"
                )
            records = self._until_the_ends(messages)
            if records:
                yield records_of(self._topic, records)

    def pause(self, partitions: Collection[int]) -> None:
        """Pause reading of these partitions, and resume that of all others."""
        if self.unfinished:
            waiting = {p: TopicPartition(self._topic, p) for p in self.unfinished}
            self._consumer.pause([at for p, at in waiting.items() if p in partitions])
            self._consumer.resume([at for p, at in waiting.items() if p not in partitions])

    def _bound(self, partition: int, timeout_s: float) -> tuple[int, int]:
        at = TopicPartition(self._topic, partition)
        return self._consumer.get_watermark_offsets(at, timeout=timeout_s)

    def _until_the_ends(self, messages: list[Message]) -> list[Message]:
        """Records before the ends of their partitions; marks partitions at their end as read."""
        kept = []
        for message in messages:
            error, partition = message.error(), cast("int", message.partition())
            if error is not None:
                # Transaction markers may follow a partition's last record.
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
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
def answering(kafka: KafkaSettings) -> Iterator[None]:
    """Raise DependencyUnavailableError for the KafkaException of brokers that do not answer."""
    with captured_errors() as lines:
        try:
            yield
        except KafkaException as error:
            why = lines[-1] if lines else error.args[0].str()
            raise DependencyUnavailableError(
                f"kafka.bootstrap_servers: no answer from {kafka.bootstrap_servers} ({why}); see "
                "that the brokers are up, and security.protocol and sasl.… in kafka.options"
            ) from error


def _ignore(_error: KafkaError) -> None:
    """Ignore errors of connections, which come and go; calls fail when no connection is left."""
