"""The input topic, as far as histories depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from schemas.errors import ConfigurationError
from worker.kafka import make_admin, topic_settings
from worker.settings import Kafka


@dataclass(frozen=True, slots=True)
class InputTopic:
    """topic_id: Kafka's own, another one when a topic is made anew.

    retention_ms: how long it keeps records; None for ever, or where this may not be read.
    """

    name: str
    topic_id: str
    partitions: int
    retention_ms: int | None


def describe_input(kafka: Kafka, timeout_s: float) -> InputTopic:
    """The input topic as it is now.

    Raises KafkaException while the brokers do not answer, ConfigurationError where they have no
    such topic.
    """
    name = kafka.input_topic
    with make_admin(kafka) as admin:
        asked = admin.describe_topics(TopicCollection([name]), request_timeout=timeout_s)
        try:
            found = asked[name].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            raise ConfigurationError(
                f"kafka.input_topic: the brokers have no {name}; create it, or name another"
            ) from error
        retention_ms = retention_of(topic_settings(admin, name, timeout_s))
    return InputTopic(name, str(found.topic_id), len(found.partitions), retention_ms)


def retention_of(settings: Mapping[str, str]) -> int | None:
    """Of a topic's settings; None for ever, or where they may not be read."""
    retention_ms = int(settings.get("retention.ms", -1))
    return None if retention_ms < 0 else retention_ms
