"""Making topics."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

_TIMEOUT_S = 30.0


def create_topics(
    bootstrap: str, partitions: Mapping[str, int], settings: Mapping[str, str] | None = None
) -> None:
    """Make the topics that are not there yet, by name, with their number of partitions.

    ``settings`` are topic settings such as ``cleanup.policy``. Returns when the topics can be
    used. Raises KafkaException.
    """
    topics = [
        NewTopic(name, num_partitions=count, config=dict(settings or {}))
        for name, count in partitions.items()
    ]
    with AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}) as client:
        for made in client.create_topics(topics, operation_timeout=_TIMEOUT_S).values():
            try:
                made.result(_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
