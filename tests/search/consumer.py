"""Simulated consumer: a member of the group that learns of rebalances in the background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from tests.search.group import OUTSIDE, Group, GroupMetadata
from tests.search.reader import SimulatedReader
from tests.support.fakes import FakeMessage, kafka_error

_COMMITTED_S = 1.0


@dataclass(eq=False, kw_only=True)
class SimulatedConsumer(SimulatedReader):
    """Consumer of the input topic, like that of confluent_kafka.

    Partitions are revoked and assigned in callbacks within ``consume``. Between them the membership
    changes in the background, as with librdkafka.

    Attributes:
        subscribed: True from `subscribe` to `close`.
        has_asked: True once it has asked for committed offsets.
    """

    group: Group
    subscribed: bool = False
    has_asked: bool = False
    _membership: GroupMetadata = OUTSIDE
    _owned: tuple[int, ...] = ()
    _waits_for_assignment: bool = False
    _must_join: bool = False
    _callbacks: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    _rejoins_after: bool = False
    _on: dict[str, Callable[[Any, list[TopicPartition]], None]] = field(default_factory=dict)

    # Background of the client

    @property
    def member(self) -> str:
        return self._membership.member

    def has_background(self) -> bool:
        """True if the client has something to do that its application does not ask for."""
        if not self.subscribed or self._callbacks:
            return False
        at = self.group.members.get(self.member)
        if self._must_join or at is None:
            return True
        return (self._waits_for_assignment or self.group.rebalancing) and not at.joined

    def background(self) -> str:
        """Do the next step of the membership, and return its name."""
        at = self.group.members.get(self.member)
        if at is None and self.member:
            self._membership, self._must_join, self._waits_for_assignment = OUTSIDE, True, False
            if self._owned:
                self._callbacks.append(("on_lost", self._owned))
                self._owned = ()
            return "is no member any more"
        if self._must_join or at is None or not self._waits_for_assignment:
            member = self.group.join(self.member, self._owned)
            # The generation stays the old one until the group has assigned.
            self._membership = self._membership._replace(member=member)
            self._must_join, self._waits_for_assignment = False, True
            return "joins"
        self._take(at.assigned)
        return f"is assigned {at.assigned} in generation {self.group.generation}"

    def _take(self, assigned: tuple[int, ...]) -> None:
        self._waits_for_assignment = False
        self._membership = self._membership._replace(generation=self.group.generation)
        revoked = tuple(p for p in self._owned if p not in assigned)
        added = tuple(p for p in assigned if p not in self._owned)
        self._owned = assigned
        if revoked:
            self._callbacks.append(("on_revoke", revoked))
            self._rejoins_after = True
        if added or not revoked:
            self._callbacks.append(("on_assign", added))

    # Methods of the client

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self._on = callbacks
        self.subscribed = self._must_join = True

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        def ready() -> bool:
            return bool(self._callbacks) or self._has_news()

        if timeout and not ready():
            self.scheduler.wait(ready, timeout)
        else:
            self.scheduler.pause()
        messages: list[FakeMessage] = []
        if self._callbacks and self.rng.random() < 0.5:
            messages = self._fetch(count)
        while self._callbacks:
            callback, partitions = self._callbacks.pop(0)
            self._on[callback](self, [TopicPartition("in", p) for p in partitions])
        if self._rejoins_after:
            self._rejoins_after, self._must_join = False, True
        return messages + self._fetch(count - len(messages))

    def consumer_group_metadata(self) -> GroupMetadata:
        self.scheduler.pause()
        generation, member = self._membership
        return GroupMetadata(generation, member) if generation >= 0 else OUTSIDE

    def committed(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        partitions = [at.partition for at in asked]
        self.has_asked = True

        def land() -> list[TopicPartition] | None:
            if not self.group.stable(partitions):
                return None
            return [self._committed(p) for p in partitions]

        answer = self.network.request("committed", land)
        while answer is None:
            if not self.scheduler.wait(lambda: self.group.stable(partitions), _COMMITTED_S):
                raise kafka_error(KafkaError._TIMED_OUT, retriable=True)
            answer = self.network.request("committed", land)
        return answer

    def _committed(self, partition: int) -> TopicPartition:
        known = self.group.offsets.get(partition)
        if known is None:
            return TopicPartition("in", partition, OFFSET_INVALID)
        return TopicPartition("in", partition, known.offset, metadata=known.metadata)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        for at in partitions:
            assert at.partition not in self._positions
            self._go(at)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        for at in partitions:
            del self._positions[at.partition]

    def seek(self, at: TopicPartition) -> None:
        if at.partition not in self._positions:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self._go(at)

    def resume(self, partitions: list[TopicPartition]) -> None:
        self._paused -= {at.partition for at in partitions}

    def list_topics(self, topic: str, timeout: float) -> None:
        self.network.request("list_topics", lambda: None)

    def close(self) -> None:
        self.scheduler.pause()
        if self._positions or self._owned:
            self._on["on_revoke"](self, [TopicPartition("in", p) for p in self._owned])
        self.subscribed = False
        if self.member:
            self.group.remove(self.member)
