"""Simulated reading of the input topic, of the group's consumer and of one that fills histories."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, TopicPartition

from tests.search.network import Network
from tests.search.scheduler import Scheduler
from tests.support.fakes import FakeMessage


@dataclass(eq=False)
class InputPartition:
    """A partition of the input topic.

    Attributes:
        entries: Its records; None for a control record or an aborted record.
        end: Number of entries that its producer has written.
        stable_end: Offset of the first entry of a transaction that is still open.
    """

    entries: Sequence[FakeMessage | None]
    end: int = 0
    stable_end: int = 0


@dataclass(eq=False, kw_only=True)
class SimulatedReader:
    """Consumer of the input topic that is no member of a group, like that of confluent_kafka."""

    network: Network
    scheduler: Scheduler
    rng: random.Random
    topic: Sequence[InputPartition]
    _positions: dict[int, int] = field(default_factory=dict)
    _paused: set[int] = field(default_factory=set)
    _told_ends: dict[int, int] = field(default_factory=dict)

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._positions.clear()
        for at in partitions:
            self._go(at)

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        if timeout and not self._has_news():
            self.scheduler.wait(self._has_news, timeout)
        else:
            self.scheduler.pause()
        return self._fetch(count)

    def get_watermark_offsets(
        self, at: TopicPartition, timeout: float | None = None, *, cached: bool = False
    ) -> tuple[int, int]:
        held = self.topic[at.partition]
        if cached:
            return 0, held.end
        return self.network.request("end of the partition", lambda: (0, held.stable_end))

    def pause(self, partitions: list[TopicPartition]) -> None:
        self._paused |= {at.partition for at in partitions}

    def close(self) -> None:
        self.scheduler.pause()

    def _go(self, at: TopicPartition) -> None:
        self._positions[at.partition] = at.offset
        self._told_ends.pop(at.partition, None)

    def _has_news(self) -> bool:
        return any(
            position < self.topic[p].stable_end or self._told_ends.get(p) != position
            for p, position in self._positions.items()
            if p not in self._paused
        )

    def _fetch(self, count: int) -> list[FakeMessage]:
        """Some of the records that are there, and the ends of the partitions that are read."""
        messages: list[FakeMessage] = []
        for p in [p for p in self._positions if p not in self._paused]:
            if len(messages) >= count:
                break
            held, position = self.topic[p], self._positions[p]
            most = count - len(messages) if self.rng.random() < 0.7 else 1
            while position < held.stable_end and most:
                entry = held.entries[position]
                position += 1
                if entry is not None:
                    messages.append(entry)
                    most -= 1
            self._positions[p] = position
            if position == held.stable_end != self._told_ends.get(p) and len(messages) < count:
                self._told_ends[p] = position
                end = KafkaError(KafkaError._PARTITION_EOF)
                messages.append(FakeMessage((p, position), None, None, fault=end))
        return messages
