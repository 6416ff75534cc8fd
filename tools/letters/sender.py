"""Producer of redriven records: each transaction commits the offsets of their dead letters too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self, cast

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from base.errors import ConfigurationError, DeliveryFatalError, DependencyUnavailableError
from schemas.batch import Headers
from tools.letters.redriven import Redriven
from tools.topics.topic_log import (
    FORBIDDEN,
    brokers_answer,
    describe_topic,
    ignore_error,
    once_coordinated,
)
from worker.delivery.publish import SizeLimits
from worker.delivery.reports import REFUSED_CODES, Reports
from worker.kafka import (
    captured_errors,
    make_admin,
    make_consumer,
    make_transactional_producer,
    max_message_bytes,
    topic_settings,
    whole_number,
)
from worker.process.replica import transactional_prefix
from worker.settings import KafkaSettings

_FENCED = (
    KafkaError._FENCED,  # noqa: SLF001 - confluent_kafka has no public name for it
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
)
_AGAIN = "redrive again: what is committed is not sent twice"
_OFFSETS_KEPT_MINUTES = 7 * 24 * 60
"""Kafka's default of offsets.retention.minutes, where the brokers' may not be read."""


def redrive_group(group: str) -> str:
    """Name of the consumer group whose offsets say what was redriven."""
    return f"{group}.redrive"


def redrive_id(group: str) -> str:
    """Transactional id of a redrive; the access rule of the workers' ids covers it."""
    return f"{transactional_prefix(group)}redrive"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to send.

    Attributes:
        key: Its key.
        value: Its value.
        headers: Its headers.
        partition: Partition to write to; None for the default partitioner's choice.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None


@dataclass(frozen=True, slots=True)
class RedriveTarget:
    """Topic that redriven records are sent to.

    Attributes:
        setting: Setting or option that names it, for messages.
        topic: Its name.
        partitions: Number of its partitions.
        max_bytes: Size of the largest record that it accepts.
    """

    setting: str
    topic: str
    partitions: int
    max_bytes: int


class RedriveBooks:
    """Committed offsets of the redrive group: what was redriven.

    Args:
        kafka: Settings of the brokers.
        timeout_s: Bound on each answer of the brokers.

    Attributes:
        topic_id: Kafka's id of the dead-letter topic.
        offsets_kept_ms: Time for which the brokers keep offsets of a group without members.
    """

    def __init__(self, kafka: KafkaSettings, timeout_s: float) -> None:
        self._kafka, self._timeout_s = kafka, timeout_s
        group = kafka.model_copy(update={"group": redrive_group(kafka.group)})
        self._consumer = make_consumer(group, ignore_error)
        with captured_errors() as lines, brokers_answer(kafka, lines), make_admin(kafka) as admin:
            topic = kafka.dead_letter_topic
            self.topic_id = str(
                describe_topic(admin, "kafka.dead_letter_topic", topic, timeout_s).topic_id
            )
            self.offsets_kept_ms = _offsets_kept_ms(admin, timeout_s)

    def close(self) -> None:
        self._consumer.close()

    @property
    def group_metadata(self) -> Any:
        """Group metadata, for transactions."""
        return self._consumer.consumer_group_metadata()

    def read(self, partitions: Sequence[int]) -> dict[int, Redriven]:
        """Read what was redriven of each partition that has a committed offset.

        Raises:
            ConfigurationError: This user may not read the group, or a later version wrote it.
            DependencyUnavailableError: The brokers do not answer.
        """
        topic = self._kafka.dead_letter_topic
        asked = [TopicPartition(topic, partition) for partition in partitions]
        with captured_errors() as lines, brokers_answer(self._kafka, lines):
            answers = once_coordinated(lambda: self._committed(asked), self._timeout_s)
        known = {
            at.partition: Redriven.decode(at.offset, at.metadata or "", self.topic_id)
            for at in answers
            if at.offset >= 0
        }
        return {partition: redriven for partition, redriven in known.items() if redriven}

    def _committed(self, asked: list[TopicPartition]) -> list[TopicPartition]:
        answers = self._consumer.committed(asked, timeout=self._timeout_s)
        if refused := next((at.error for at in answers if at.error), None):
            raise KafkaException(refused)
        return answers

    def offsets(self, redriven: Mapping[int, Redriven]) -> list[TopicPartition]:
        """Offsets to commit, with their metadata."""
        topic = self._kafka.dead_letter_topic
        return [
            TopicPartition(topic, partition, one.begin, metadata=one.encode(self.topic_id))
            for partition, one in redriven.items()
        ]


class RedriveSender:
    """Transactional producer; a second one of the same pipeline fences the first.

    Args:
        kafka: Settings of the brokers.
        target: Topic to send to.
        timeout_s: Bound on each answer of the brokers.

    Attributes:
        committed: Number of committed records.
    """

    def __init__(self, kafka: KafkaSettings, target: RedriveTarget, timeout_s: float) -> None:
        self._kafka, self._target, self._timeout_s = kafka, target, timeout_s
        self.committed = 0
        self._reports = Reports()
        with ExitStack() as stack:
            self._lines = stack.enter_context(captured_errors())
            self._producer = make_transactional_producer(
                kafka,
                SizeLimits(target.max_bytes, target.max_bytes),
                self._reports,
                **{"transactional.id": redrive_id(kafka.group), "error_cb": ignore_error},
            )
            stack.callback(self._producer.purge)
            # Ends the transaction of a redrive that was killed.
            self._call("init_transactions", lambda: self._producer.init_transactions(timeout_s))
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def send(
        self, records: Sequence[Outgoing], offsets: Sequence[TopicPartition], group_metadata: Any
    ) -> None:
        """Send records, and commit offsets with them; all of it becomes visible, or nothing.

        Raises:
            ConfigurationError: The topic refuses a record, or this user may not write.
            DeliveryFatalError: Another redrive of this pipeline has begun.
            DependencyUnavailableError: The brokers do not answer.
        """
        self._require_connection()
        self._call("begin_transaction", self._producer.begin_transaction)
        try:
            for record in records:
                self._produce(record)
            self._call(
                "send_offsets_to_transaction",
                lambda: self._producer.send_offsets_to_transaction(
                    [*offsets], group_metadata, self._timeout_s
                ),
            )
            self._call(
                "commit_transaction", lambda: self._producer.commit_transaction(self._timeout_s)
            )
        except BaseException:
            self._abort()
            raise
        self.committed += len(records)

    def _produce(self, record: Outgoing) -> None:
        partition = -1 if record.partition is None else record.partition
        while True:
            try:
                self._producer.produce(
                    self._target.topic,
                    record.value,
                    record.key,
                    partition,
                    headers=cast("Any", [*record.headers]),
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise self._failed("produce", error.args[0]) from error
            else:
                return

    def _require_connection(self) -> None:
        """Raise DependencyUnavailableError if a connection was lost since the beginning.

        A commit that was sent twice may still be on its way, and would end the next transaction. A
        new producer is no remedy: it would fence a redrive that has begun meanwhile.
        """
        self._producer.poll(0)
        if self._reports.connection_lost:
            raise DependencyUnavailableError(
                f"kafka: the connection to the brokers was lost after {self.committed:,} records; "
                f"{_AGAIN}"
            )

    def _call(self, what: str, call: Any) -> None:
        try:
            call()
        except KafkaException as error:
            raise self._failed(what, error.args[0]) from error

    def _failed(self, what: str, reason: KafkaError) -> Exception:
        """Error to raise for an error of a call; errors of records explain it."""
        errors = [reason, *(report.error for report in self._reports.all())]
        if any(error.code() in _FENCED for error in errors):
            return DeliveryFatalError(
                "another `dead-letters redrive` of this pipeline has begun, and has ended this one "
                f"after {self.committed:,} records; wait for it, and {_AGAIN}"
            )
        for error in reversed(errors):
            if error.code() in FORBIDDEN:
                return _forbidden(self._kafka, self._target.topic, error)
            if error.code() in REFUSED_CODES:
                return ConfigurationError(
                    f"{self._target.setting}: {self._target.topic} refuses a record ({error.str()}) "
                    f"after {self.committed:,}; correct the settings of the topic, and {_AGAIN}"
                )
        why = f" ({self._lines[-1]})" if self._lines else ""
        return DependencyUnavailableError(
            f"kafka: {what}: {reason.str()}{why}, after {self.committed:,} records; see that the "
            f"brokers are up, and {_AGAIN}"
        )

    def _abort(self) -> None:
        """Abort now: readers of the topic would wait for the end of the transaction."""
        try:
            self._producer.abort_transaction(self._timeout_s)
        except KafkaException:
            # The brokers abort it after transaction.timeout.ms.
            return


def find_target(kafka: KafkaSettings, to: str | None, timeout_s: float) -> RedriveTarget:
    """Look the target topic up: ``to``, else the input topic.

    Raises:
        ConfigurationError: The brokers have no such topic.
        DependencyUnavailableError: The brokers do not answer.
    """
    setting, topic = ("--to", to) if to else ("kafka.input_topic", kafka.input_topic)
    with captured_errors() as lines, brokers_answer(kafka, lines), make_admin(kafka) as admin:
        described = describe_topic(admin, setting, topic, timeout_s)
        largest = max_message_bytes(topic_settings(admin, topic, timeout_s))
    return RedriveTarget(setting, topic, len(described.partitions), largest)


def _offsets_kept_ms(admin: AdminClient, timeout_s: float) -> int:
    node = admin.describe_cluster(request_timeout=timeout_s).result().nodes[0].id_string
    resource = ConfigResource(ResourceType.BROKER, node)
    try:
        entries = admin.describe_configs([resource], request_timeout=timeout_s)[resource].result()
        minutes = whole_number(entries["offsets.retention.minutes"].value)
    except (KafkaException, KeyError):
        minutes = None
    return 60_000 * (_OFFSETS_KEPT_MINUTES if minutes is None else minutes)


def _forbidden(kafka: KafkaSettings, topic: str, reason: KafkaError) -> ConfigurationError:
    return ConfigurationError(
        f"kafka: this user may not redrive ({reason.str()}); allow Read on "
        f"{kafka.dead_letter_topic}, Write on {topic}, Read on the group "
        f"{redrive_group(kafka.group)}, and Write and Describe on transactional ids with the prefix "
        f"{transactional_prefix(kafka.group)}"
    )
