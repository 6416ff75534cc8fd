"""Ranges of the input topic, read by a consumer that is no member of the group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.batch import Records
from worker.consume.group_member import require_readable
from worker.consume.micro_batch import records_of

log = structlog.get_logger(__name__)


class FillRange(NamedTuple):
    """Part of a partition, from ``begin`` to before ``end``.

    A negative ``begin`` is that of a client that knows no offset, and stands for the start of the
    log. With a negative ``end`` there is nothing to read.
    """

    begin: int
    end: int


class RangeReader:
    """Reads ranges of several partitions at once.

    Args:
        consumer: Consumer with read_committed and end-of-partition events, for this reader alone.
        topic: Input topic.
        ranges: FillRange of each partition.
        timeout_s: Bound on one answer of the brokers, in seconds.

    Attributes:
        positions: Offset of the next record to read of each partition, at most its end. A partition
            at its end is read.
        truncated: First offset of the log, for each partition that has lost records of its range.
    """

    def __init__(
        self, consumer: Consumer, topic: str, ranges: Mapping[int, FillRange], timeout_s: float
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._timeout_s = timeout_s
        self._ends = {partition: max(part.end, 0) for partition, part in ranges.items()}
        self.positions = {
            partition: min(max(part.begin, 0), self._ends[partition])
            for partition, part in ranges.items()
        }
        self.truncated: dict[int, int] = {}
        self._from_the_start = {p for p, part in ranges.items() if part.begin < 0}
        self._assigned = False

    def remaining(self) -> dict[int, int]:
        """Number of offsets to the end, of each partition that is not read."""
        left = {p: self._ends[p] - position for p, position in self.positions.items()}
        return {partition: count for partition, count in left.items() if count}

    def read(self, count: int, timeout_s: float) -> Records:
        """Read the next records, at most ``count``; wait for them up to ``timeout_s``.

        Raises:
            KafkaException: The brokers do not answer.
            DeliveryFatalError: The topic cannot be read.
        """
        messages: list[Message] = []
        if self.remaining():
            if not self._assigned:
                self._assign()
            messages = self._consumer.consume(count, timeout_s)
        records = records_of(self._topic, [m for m in messages if m.error() is None])
        last = dict(zip(records.partitions.tolist(), records.offsets.tolist(), strict=True))
        for partition, offset in last.items():
            self._reach(partition, offset + 1)
        for message in messages:
            if (error := message.error()) is not None:
                self._take_event(message, error)
        return self._within(records)

    def close(self) -> None:
        self._consumer.close()

    def _assign(self) -> None:
        """Begin or go on at the positions, or at the start of the log where it is behind them."""
        for partition in self.remaining():
            at = TopicPartition(self._topic, partition)
            low, _ = self._consumer.get_watermark_offsets(at, timeout=self._timeout_s)
            wanted = self.positions[partition]
            if low > wanted and partition not in self._from_the_start:
                self.truncated[partition] = low
                log.warning(
                    "fill_begins_at_the_start_of_the_log",
                    partition=partition,
                    wanted=wanted,
                    first=low,
                    meaning="retention has deleted the records before",
                )
            self.positions[partition] = min(max(low, wanted), self._ends[partition])
        self._from_the_start.clear()
        starts = {partition: self.positions[partition] for partition in self.remaining()}
        self._consumer.assign(
            [TopicPartition(self._topic, partition, start) for partition, start in starts.items()]
        )
        self._assigned = True

    def _take_event(self, message: Message, error: KafkaError) -> None:
        partition, offset = message.partition(), message.offset()
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent_kafka has no public name for it
            # Behind control records and aborted records, which only this tells. Before the end of
            # the range, a transaction is open: its end brings more.
            if partition is not None and offset is not None:
                self._reach(partition, offset)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - confluent_kafka has no public name for it
            # Retention has overtaken the fill.
            self._assigned = False
        else:
            require_readable(error, self._topic)
            log.warning("consumer_error", error=str(error))

    def _reach(self, partition: int, offset: int) -> None:
        end, position = self._ends[partition], self.positions[partition]
        self.positions[partition] = min(max(offset, position), end)
        if offset >= end > position:
            self._consumer.pause([TopicPartition(self._topic, partition)])

    def _within(self, records: Records) -> Records:
        """The records before the ends of their ranges."""
        ends = np.zeros(max(self._ends, default=0) + 1, np.int64)
        ends[list(self._ends)] = list(self._ends.values())
        within = records.offsets < ends[records.partitions]
        return records if within.all() else records.take(np.flatnonzero(within))
