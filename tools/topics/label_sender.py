"""Producer of the labels topic."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException

from base.errors import ConfigurationError, DependencyUnavailableError
from tools.topics.label_records import LabelRecords
from tools.topics.topic_log import brokers_answer, describe_topic, ignore_error
from worker.delivery.publish import SizeLimits
from worker.delivery.reports import FAILED_BY_ANOTHER_RECORD, REFUSED_CODES
from worker.kafka import (
    captured_errors,
    make_admin,
    make_producer,
    max_message_bytes,
    topic_settings,
)
from worker.settings import KafkaSettings

_LOOK_S = 0.1
_FORBIDDEN = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
_AGAIN = "send the files again: a label that is sent twice counts once"


class LabelSender:
    """Idempotent producer that counts the acknowledgement of every label.

    Attributes:
        acknowledged: Number of labels that all in-sync replicas have.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, timeout_s: float) -> None:
        """Connect.

        Args:
            kafka: Settings of the brokers.
            topic: Name of the labels topic.
            timeout_s: Bound on each answer of the brokers, and on the wait for the next
                acknowledgement.

        Raises:
            ConfigurationError: The brokers have no such topic.
            DependencyUnavailableError: The brokers do not answer.
        """
        self.acknowledged = 0
        self._topic, self._timeout_s = topic, timeout_s
        self._failed = 0
        self._first: tuple[str, KafkaError] | None = None
        with ExitStack() as stack:
            self._lines = stack.enter_context(captured_errors())
            with brokers_answer(kafka, self._lines):
                largest = self._largest_record(kafka)
            self._producer = make_producer(
                kafka,
                SizeLimits(largest, largest),
                **{"delivery.report.only.error": False, "error_cb": ignore_error},
            )
            stack.callback(self._producer.purge)
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def send(self, records: LabelRecords, describe_row: Callable[[int], str]) -> None:
        """Queue records; wait where the queue is full.

        Args:
            records: Records to send.
            describe_row: Gives the place of a row, for messages.

        Raises:
            ConfigurationError: The topic refuses a record.
            DependencyUnavailableError: The brokers do not acknowledge records.
        """
        for key, value, row in zip(records.keys, records.values, records.rows, strict=True):
            report = partial(self._report, describe_row, row)
            while not self._queued(key, value, report):
                self._await(len(self._producer) - 1)
        self._producer.poll(0)
        if self._failed:
            self.finish()

    def finish(self) -> None:
        """Wait for the acknowledgement of every record; errors are those of ``send``."""
        self._await(0)
        if self._first is None:
            return
        place, error = self._first
        failure = (
            f"{self._topic} did not accept {self._failed:,} labels, the first from {place} "
            f"({error.str()}); {self.acknowledged:,} labels were acknowledged"
        )
        if error.code() in _FORBIDDEN:
            raise ConfigurationError(
                f"kafka.labels_topic: {failure}; allow Write on it, and {_AGAIN}"
            )
        if error.code() in REFUSED_CODES:
            raise ConfigurationError(
                f"kafka.labels_topic: {failure}; correct the row or the topic's settings, and {_AGAIN}"
            )
        raise DependencyUnavailableError(
            f"kafka.labels_topic: {failure}; see that the brokers are up, and {_AGAIN}"
        )

    def _queued(self, key: bytes, value: bytes, report: Callable[[Any, Any], None]) -> bool:
        """Queue one record; False where the queue is full."""
        try:
            self._producer.produce(self._topic, value, key, on_delivery=report)
        except BufferError:
            return False
        except KafkaException as error:
            report(error.args[0], None)
        return True

    def _report(
        self, describe_row: Callable[[int], str], row: int, error: KafkaError | None, _message: Any
    ) -> None:
        if error is None:
            self.acknowledged += 1
            return
        self._failed += 1
        # Of a refused batch, the record at fault is to be named.
        if self._first is None or self._first[1].code() == FAILED_BY_ANOTHER_RECORD:
            self._first = describe_row(row), error

    def _await(self, most: int) -> None:
        """Wait until at most ``most`` records have no report.

        Raises:
            DependencyUnavailableError: No report came for too long.
        """
        open_records, until = len(self._producer), time.monotonic() + self._timeout_s
        while open_records > most:
            self._producer.poll(_LOOK_S)
            if len(self._producer) < open_records:
                until = time.monotonic() + self._timeout_s
            elif time.monotonic() > until:
                why = f" ({self._lines[-1]})" if self._lines else ""
                raise DependencyUnavailableError(
                    f"kafka.labels_topic: {self._topic} acknowledged no label for "
                    f"{self._timeout_s:g} s{why}, {self.acknowledged:,} before; see that the brokers "
                    f"are up, and {_AGAIN}"
                )
            open_records = len(self._producer)

    def _largest_record(self, kafka: KafkaSettings) -> int:
        """Size of the largest record that the topic accepts, in bytes."""
        with make_admin(kafka) as admin:
            describe_topic(admin, "kafka.labels_topic", self._topic, self._timeout_s)
            return max_message_bytes(topic_settings(admin, self._topic, self._timeout_s))
