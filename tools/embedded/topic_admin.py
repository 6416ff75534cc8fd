"""Topics and group offsets, for demo, benchmarks and tests."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

_TIMEOUT_S = 30.0


def create_topics(
    bootstrap: str, partitions: Mapping[str, int], settings: Mapping[str, str] | None = None
) -> None:
    """Create the missing topics, by name, with their number of partitions.

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


def committed_offsets(
    bootstrap: str, group: str, partitions: Mapping[str, int]
) -> list[TopicPartition]:
    """Read a group's committed offsets, for topics by name with their number of partitions.

    An admin client is not used: while the group's coordinator is being created, librdkafka 2.16
    crashes the process (rd_kafka_handle_OffsetFetch). Raises KafkaException.
    """
    asked = [TopicPartition(name, p) for name, count in partitions.items() for p in range(count)]
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0})
    try:
        return consumer.committed(asked, timeout=_TIMEOUT_S)
    finally:
        consumer.close()
