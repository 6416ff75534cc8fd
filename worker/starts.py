"""Starts: how far the group has come in each partition, and where a new one is read from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from worker.errors import DeliveryFatalError

StartFrom = Literal["earliest", "latest", "error"]


class Committed(NamedTuple):
    """The group's checkpoint of a partition. offset: None where there is none; note: its metadata."""

    offset: int | None
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class Starts:
    """What the brokers know of a group's reading of one topic. timeout_s: bound on one answer."""

    consumer: Consumer
    topic: str
    start_from: StartFrom
    timeout_s: float

    def committed(self, partitions: Iterable[int]) -> dict[int, Committed]:
        """The group's checkpoint of each partition. Raises KafkaException.

        Waits for transactions that still hold offsets of these partitions: the consumer asks for
        stable offsets, as it is read_committed.
        """
        asked = [TopicPartition(self.topic, p) for p in partitions]
        if not asked:
            return {}
        found = {}
        for answer in self.consumer.committed(asked, timeout=self.timeout_s):
            if answer.error:
                raise KafkaException(answer.error)
            offset = answer.offset if answer.offset != OFFSET_INVALID else None
            found[answer.partition] = Committed(offset, answer.metadata or "")
        return found

    def first(self, partition: int, committed: int | None) -> int:
        """Where reading of a partition starts that was assigned anew.

        Raises KafkaException, and DeliveryFatalError where no place to start from is sound.
        """
        low, high = self.consumer.get_watermark_offsets(
            TopicPartition(self.topic, partition), timeout=self.timeout_s
        )
        if committed is None:
            return self._without_checkpoint(partition, low, high)
        if committed < low:
            raise DeliveryFatalError(
                f"the checkpoint of partition {partition} of {self.topic} is {committed}, its "
                f"first record is {low}: retention deleted {low - committed} unread records; "
                "lengthen the retention, and reset the group's offset to accept the loss"
            )
        if committed > high:
            raise DeliveryFatalError(
                f"the checkpoint of partition {partition} of {self.topic} is {committed}, the "
                f"partition ends at {high}: the topic was made anew; use another kafka.group"
            )
        return committed

    def _without_checkpoint(self, partition: int, low: int, high: int) -> int:
        if self.start_from == "error":
            raise DeliveryFatalError(
                f"kafka.start_from is error and partition {partition} of {self.topic} has no "
                "checkpoint; set earliest or latest, or commit an offset for the group"
            )
        if self.start_from == "earliest":
            return low
        # Kept, or a crash before the first checkpoint would skip events.
        self.consumer.commit(
            offsets=[TopicPartition(self.topic, partition, high)], asynchronous=False
        )
        return high
