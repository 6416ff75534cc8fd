"""Membership of the consumer group: assigned partitions, and the epoch of the assignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from base.errors import DeliveryFatalError

log = structlog.get_logger(__name__)

_UNREADABLE = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


class GroupMember:
    """A member of a consumer group, with the partitions of one topic that are assigned to it.

    Attributes:
        epoch: Counter of assignment changes and rewinds.
        joined: True once the group has assigned partitions, or none, to this member.
        expelled: True while the group has taken all partitions away and not assigned any again.
        unable_to_join: Reason why the group refuses this member; "" if it does not.
        rewind_needed: True when partitions have moved, or records were dropped.
    """

    def __init__(self, consumer: Consumer, before_change: Callable[[], None]) -> None:
        """Make a member that has not joined.

        Args:
            consumer: Kafka's consumer.
            before_change: Called whenever partitions are about to move.
        """
        self._consumer = consumer
        self._before_change = before_change
        # Start of each assigned partition; None until its first rewind, where reading begins.
        self._starts: dict[int, int | None] = {}
        self._outside_the_group: Any = None
        self._subscribed = ""
        self.epoch = 0
        self.joined = False
        self.expelled = False
        self.unable_to_join = ""
        self.rewind_needed = False

    @property
    def partitions(self) -> list[int]:
        """The partitions that are assigned now."""
        return sorted(self._starts)

    def _join(self, topic: str) -> None:
        self._outside_the_group = self._consumer.consumer_group_metadata()
        self._subscribed = topic
        self._consumer.subscribe(
            [topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._change()
        self.joined = True
        self.expelled = False
        self.unable_to_join = ""
        # Nothing is read until `rewind` knows the offsets. To begin at a logical offset and then to
        # seek is not sound: librdkafka looks the offset up, and goes back to it if that answer
        # comes after the seek (read in its source, rd_kafka_toppar_handle_Offset; its issue 2256).
        consumer.incremental_assign([])
        self._starts.update(dict.fromkeys(p.partition for p in assigned))
        log.info("assigned", topic=self._subscribed, partitions=self.partitions, epoch=self.epoch)

    def _on_revoke(self, _consumer: Consumer, revoked: list[TopicPartition]) -> None:
        self._change()
        self._give_up("revoked", revoked)

    def _on_lost(self, _consumer: Consumer, lost: list[TopicPartition]) -> None:
        self._change()
        self.expelled = True
        self._give_up("lost", lost)

    def _change(self) -> None:
        self._before_change()
        self.epoch += 1
        self.rewind_needed = True

    def _give_up(self, how: str, gone: list[TopicPartition]) -> None:
        read = [at for at in gone if self._starts.pop(at.partition, None) is not None]
        # Also without any: without the call the client would unassign all partitions itself.
        self._consumer.incremental_unassign(read)
        log.info(
            how,
            topic=self._subscribed,
            gone=[p.partition for p in gone],
            partitions=self.partitions,
        )

    def _go_to(self, starts: Mapping[int, int]) -> None:
        """Assign or seek each partition to its start."""
        new = [
            TopicPartition(self._subscribed, partition, start)
            for partition, start in starts.items()
            if self._starts[partition] is None
        ]
        if new:
            self._consumer.incremental_assign(new)
            # Noted at once: a seek may fail, and the client assigns no partition twice.
            self._starts.update((at.partition, at.offset) for at in new)
        read = {at.partition for at in new}
        for partition in starts.keys() - read:
            self._seek(partition, starts[partition])

    def _seek(self, partition: int, start: int) -> None:
        try:
            self._consumer.seek(TopicPartition(self._subscribed, partition, start))
        except KafkaException as error:
            if error.args[0].code() == KafkaError._STATE:  # noqa: SLF001 - confluent_kafka has no public name for it
                # This happens after an offset out of range; only a new assignment fixes it.
                raise DeliveryFatalError(
                    f"the client no longer reads partition {partition} of {self._subscribed}; "
                    "restart the worker"
                ) from error
            raise

    def _note_error(self, error: KafkaError) -> None:
        """Take an error of the consumer. Raises DeliveryFatalError if reading cannot go on."""
        require_readable(error, self._subscribed)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - confluent_kafka has no public name for it
            # Retention has overtaken this worker, or the topic is another one: `rewind` finds out.
            self.rewind_needed = True
        if error.code() != KafkaError.INCONSISTENT_GROUP_PROTOCOL:
            log.warning("consumer_error", error=str(error))
        elif not self.unable_to_join:
            # The client retries about every second, with a message each time.
            self.unable_to_join = (
                f"{error.str()}: a member of the group assigns partitions eagerly (range, "
                "roundrobin), this worker cooperatively; stop that member, or use another "
                "kafka.group"
            )
            log.error("unable_to_join", reason=self.unable_to_join)


def require_readable(error: KafkaError, topic: str) -> None:
    """Raise DeliveryFatalError for an error of a consumer after which reading cannot go on."""
    if error.fatal() or error.code() in _UNREADABLE:
        raise DeliveryFatalError(f"topic {topic} cannot be read: {error}")
