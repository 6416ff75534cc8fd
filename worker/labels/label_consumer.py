"""Consumer of the labels topic, in a group of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from confluent_kafka import Consumer, KafkaError, Message

from schemas.batch import Records
from worker.consume.group_member import GroupMember
from worker.consume.micro_batch import records_of


class LabelConsumer(GroupMember):
    """Member of the group of the labels topic; it commits no offsets.

    When ``rewind_needed`` is true, nothing is read until `go_to`.

    Args:
        consumer: Kafka's consumer.
        topic: Name of the labels topic.
    """

    def __init__(self, consumer: Consumer, topic: str) -> None:
        super().__init__(consumer, lambda: None)
        self._topic = topic

    def subscribe(self) -> None:
        """Join the group."""
        self._join(self._topic)

    def poll(self, count: int, timeout_s: float) -> tuple[Records, dict[int, int]]:
        """Consume up to ``count`` records; wait up to ``timeout_s`` for the first.

        Returns:
            The records, and the offset behind them of each partition, or the end of a partition
            that was reached; nothing while a rewind is needed.

        Raises:
            DeliveryFatalError: The topic cannot be read.
        """
        messages = self._consumer.consume(1, timeout_s)
        if messages:
            messages += self._consumer.consume(count - 1, 0)
        behind: dict[int, int] = {}
        records: list[Message] = []
        for message in messages:
            error, partition = message.error(), cast("int", message.partition())
            offset = cast("int", message.offset())
            if error is None:
                records.append(message)
                behind[partition] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent_kafka has no public name for it
                # Behind control records and aborted records, which only this tells.
                behind[partition] = max(offset, behind.get(partition, offset))
            else:
                self._note_error(error)
        if self.rewind_needed:
            return records_of(self._topic, []), {}
        return records_of(self._topic, records), behind

    def go_to(self, starts: Mapping[int, int]) -> None:
        """Read each assigned partition from its start.

        Raises:
            KafkaException: The client refuses.
            DeliveryFatalError: The client no longer reads a partition.
        """
        self._go_to(starts)
        self.rewind_needed = False

    def close(self) -> None:
        self._consumer.close()
