"""Topics of the pipeline: their ids at the start, and a watch on these while the worker runs.

Kafka gives a topic an id, and a new id when the topic is deleted and created again (KIP-516).
Offsets do not distinguish the two topics: without an error, the consumer continues at the old
offset in the new topic as soon as that is long enough (measured: Kafka 4.3, librdkafka 2.16).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from base.errors import ConfigurationError, TopicReplacedError
from worker.kafka import make_admin, topic_settings, whole_number
from worker.process import metrics
from worker.process.health import Health
from worker.settings import KafkaSettings

log = structlog.get_logger(__name__)

_REFRESH_S = 3.0
# To delete a topic and create it again takes 49 ms on an idle broker (measured), before its first
# record is written: an id looked up this recently still belongs to the records just read.
_TRUST_S = 0.05
_JOIN_S = 2.0
INPUT = "kafka.input_topic"

Describe = Callable[[Sequence[str]], Mapping[str, str | None]]


@dataclass(frozen=True, slots=True)
class InputTopic:
    """Input topic as the brokers describe it.

    Attributes:
        name: Name of the topic.
        topic_id: Kafka's id of the topic; a topic that is created again gets a new one.
        partitions: Number of partitions.
        retention_ms: Retention in milliseconds; None if unlimited, or if the worker may not read
            it.
    """

    name: str
    topic_id: str
    partitions: int
    retention_ms: int | None


def describe_input(kafka: KafkaSettings, timeout_s: float) -> InputTopic:
    """Describe the input topic as it is now.

    Raises:
        KafkaException: The brokers do not answer.
        ConfigurationError: The brokers have no such topic.
    """
    name = kafka.input_topic
    with make_admin(kafka) as admin:
        asked = admin.describe_topics(TopicCollection([name]), request_timeout=timeout_s)
        try:
            topic = asked[name].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            raise no_topic(INPUT, name) from error
        retention_ms = retention_of(topic_settings(admin, name, timeout_s))
    return InputTopic(name, str(topic.topic_id), len(topic.partitions), retention_ms)


def retention_of(settings: Mapping[str, str]) -> int | None:
    """Retention in a topic's settings, in milliseconds; None if it is unlimited or missing."""
    retention_ms = whole_number(settings.get("retention.ms"))
    return None if retention_ms is None or retention_ms < 0 else retention_ms


def ids_from(admin: AdminClient, timeout_s: float) -> Describe:
    """Make the function that asks the brokers for topic ids; None for a topic that is not there.

    The function raises KafkaException while the brokers do not answer.
    """

    def describe(names: Sequence[str]) -> Mapping[str, str | None]:
        answers = admin.describe_topics(TopicCollection([*names]), request_timeout=timeout_s)
        ids: dict[str, str | None] = {}
        for name in names:
            try:
                ids[name] = str(answers[name].result().topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
                ids[name] = None
        return ids

    return describe


class Topics:
    """Watch on the ids of the input, output and dead-letter topics.

    An input topic that was created again ends the worker; for the other two this is a log line and
    a metric. A deleted topic makes the worker unready until it is there again. Calls may come from
    several threads.

    Args:
        names: Names of the topics by setting.
        describe: Asks the brokers for topic ids.
        describe_input: Asks the brokers for the input topic.
        health: State of the worker that the probes read.
        brokers: Addresses of the brokers, for messages.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        describe: Describe,
        describe_input: Callable[[], InputTopic],
        health: Health,
        *,
        brokers: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.brokers = brokers
        self._names = dict(names)
        self._describe = describe
        self._describe_input = describe_input
        self._health = health
        self._clock = clock
        self._lock = threading.Lock()
        self._ids: dict[str, str] = {}
        self._deleted: set[str] = set()
        self._replaced_by: str | None = None
        self._refreshed_at = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="topics", daemon=True)

    @property
    def input(self) -> InputTopic:
        """The input topic as it was at `open`."""
        return self._input

    def open(self) -> None:
        """Look up the topics for the first time.

        Raises:
            KafkaException: The brokers do not answer.
            ConfigurationError: A topic is not there; the message names it.
        """
        self._input = self._describe_input()
        ids = self._describe(tuple(self._names.values()))
        for setting, name in self._names.items():
            topic_id = ids[name]
            if topic_id is None:
                raise no_topic(setting, name)
            self._ids[setting] = topic_id
        self._ids[INPUT] = self._input.topic_id

    def start(self) -> None:
        """Refresh the ids every few seconds, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def refresh_ids(self) -> None:
        """Compare the present ids of the topics with those at the start.

        Raises:
            KafkaException: The brokers do not answer.
        """
        started = self._clock()
        ids = self._describe(tuple(self._names.values()))
        with self._lock:
            for setting, name in self._names.items():
                self._compare_id(setting, name, ids[name])
            self._refreshed_at = max(self._refreshed_at, started)

    def require_same_input(self) -> None:
        """Raise TopicReplacedError if the input topic is known to have been created again."""
        if self._replaced_by is not None:
            raise TopicReplacedError(
                f"{INPUT}: {self._names[INPUT]} was deleted and created again while this worker "
                f"ran: its id was {self._ids[INPUT]} and is now {self._replaced_by}; set "
                f"kafka.accept_topic: {self._replaced_by} to read the new topic from its beginning"
            )

    def verify(self, since: float) -> None:
        """Verify that records read at ``since`` belong to the topic that existed at the start.

        The brokers are asked, unless they have just been asked.

        Raises:
            TopicReplacedError: The topic was deleted and created again.
            KafkaException: The brokers do not answer, or have no such topic.
        """
        if self._refreshed_at < since - _TRUST_S:
            self.refresh_ids()
        self.require_same_input()
        if INPUT in self._deleted:
            reason = f"{self._names[INPUT]} was deleted"
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, reason))

    def _compare_id(self, setting: str, name: str, topic_id: str | None) -> None:
        if topic_id is None:
            if setting not in self._deleted:
                log.warning("topic_deleted", setting=setting, topic=name, remedy="create it again")
            self._deleted.add(setting)
            self._health.away(setting, f"{name} was deleted; create it again")
            return
        self._deleted.discard(setting)
        self._health.back(setting)
        if topic_id == self._ids[setting]:
            return
        if setting == INPUT:
            self._replaced_by = topic_id
            return
        log.warning("topic_recreated", setting=setting, topic=name, topic_id=topic_id)
        metrics.topics_recreated.labels(setting).inc()
        self._ids[setting] = topic_id

    def _watch(self) -> None:
        while not self._stop.wait(_REFRESH_S):
            try:
                self.refresh_ids()
            except KafkaException as error:
                log.debug("topics_not_described", error=str(error))


def no_topic(setting: str, name: str) -> ConfigurationError:
    """Error for a topic that the brokers do not have."""
    return ConfigurationError(
        f"{setting}: the brokers have no topic {name}; create it, or name another"
    )
