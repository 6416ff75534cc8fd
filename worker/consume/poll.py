"""Poll: consume records of the input topic, with the assignment under which they were consumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from features.history.watermarks import LogState
from schemas.batch import Records
from worker.consume.group_member import GroupMember
from worker.consume.held_records import HeldRecords
from worker.consume.micro_batch import Polled, records_of
from worker.consume.offset_metadata import OffsetMetadata, log_state_of
from worker.consume.partition_ends import PartitionEnds, StalledPartitions
from worker.consume.start_offsets import StartOffsets
from worker.consume.topics import InputTopic, Topics
from worker.kafka import NOT_A_MEMBER

log = structlog.get_logger(__name__)


class Poller(GroupMember):
    """Consumer of the input topic, as a member of the group.

    Each micro-batch carries the group metadata and the assignment epoch of its poll. `worker.loop`
    compares the epoch, and `worker.delivery.exactly_once` commits under the metadata.

    When ``rewind_needed`` is true, the caller settles the micro-batch in flight, then calls
    `rewind`.

    Attributes:
        log_state: State of the log at the checkpoint that the last `rewind` went to.
    """

    def __init__(
        self,
        consumer: Consumer,
        topics: Topics,
        starts: Callable[[InputTopic], StartOffsets],
        *,
        before_change: Callable[[], None],
        needs_log_state: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a poller that has not joined the group.

        Args:
            consumer: Kafka's consumer.
            topics: Topics of the pipeline, which are watched from `subscribe` on.
            starts: Makes the start offsets of the input topic.
            before_change: Called whenever partitions are about to move, so that a transaction in
                flight can end first.
            needs_log_state: True to warn of checkpoints that do not hold the state of the log.
            clock: Returns monotonic seconds.
        """
        super().__init__(consumer, before_change)
        self._topics = topics
        self._make_starts = starts
        self._warns_of_metadata = needs_log_state
        self._clock = clock
        self._ends = PartitionEnds()
        self._stalled = StalledPartitions()
        self._paused: list[TopicPartition] = []
        self._held = HeldRecords()
        # Partitions that are paused, as many of their records are kept.
        self._full: set[int] = set()
        self.log_state = LogState()

    @property
    def topic(self) -> str:
        """Name of the input topic."""
        return self._topics.input.name

    def open(self) -> None:
        """Compare the group's checkpoints with the topic, before `subscribe`.

        Raises:
            KafkaException: The brokers do not answer.
            ConfigurationError: The checkpoints belong to another topic.
        """
        self._checkpoints = self._make_starts(self._topics.input)
        self._checkpoints.prepare()

    def subscribe(self) -> None:
        """Join the group, and watch the topics from now on."""
        self._join(self.topic)
        self._topics.start()

    def poll(
        self, max_events: int, timeout_s: float, highest: Mapping[int, tuple[int, ...]]
    ) -> Polled | None:
        """Consume up to ``max_events`` records.

        Wait up to ``timeout_s`` for the first, then take what is available.

        Args:
            max_events: Maximum number of records.
            timeout_s: Maximum wait for the first record, in seconds.
            highest: Highest event times of the records before, by partition, in descending order;
                of records that were held back, those of the earliest partition come first.

        Returns:
            The records; None when there is nothing to score or to commit, or when the assignment
            has changed meanwhile.

        Raises:
            TopicReplacedError: The input topic was deleted and created again.
            DeliveryFatalError: The topic cannot be read.
        """
        self._topics.require_same_input()
        epoch = self.epoch
        self._stalled.begin_poll(self._clock())
        messages = self._consumer.consume(1, 0 if self._held.has_ready else timeout_s)
        if messages and max_events > 1:
            messages += self._consumer.consume(max_events - 1, 0)
        at = self._clock()
        self._stalled.end_poll(at, took_all=len(messages) < max_events)
        # Taken here, on the polling thread, right after the records. A fresh object at the time of
        # the commit would let a member that lost its partitions commit for the new generation.
        group_metadata = self._consumer.consumer_group_metadata()
        # A member that the group has just expelled has the metadata of one that never joined. With
        # it the brokers accept offsets of any partition unchecked (measured: Kafka 4.3).
        messages, ends = self._read(messages)
        if self.epoch != epoch or group_metadata == self._outside_the_group:
            self.rewind_needed |= bool(messages)
            return None
        if self.rewind_needed:
            return None
        records = records_of(self.topic, messages)
        self._stalled.heard_from({*records.partitions.tolist()})
        records = self._held.exchange(records, max_events, highest)
        self._fetch_what_can_be_kept()
        held = self._held.partitions
        self._ends.reach(ends, held)
        # Offsets rise within a partition, so the last one of each is its highest.
        last = dict(zip(records.partitions.tolist(), records.offsets.tolist(), strict=True))
        offsets = self._ends.behind(last, held) if last else self._ends.due(at)
        return Polled(records, offsets, group_metadata, epoch, at) if offsets else None

    def serve(self) -> None:
        """Keep the membership alive while reading is paused."""
        messages, ends = self._read(self._consumer.consume(1, 0.1))
        self._ends.reach(ends, self._held.partitions)
        self.rewind_needed |= bool(messages)

    def rewind(self) -> None:
        """Seek every assigned partition to its checkpoint, or to its start.

        Cooperative rebalancing does not rewind retained partitions. The epoch changes, so that
        records polled before are dropped. ``rewind_needed`` stays true if the group has already
        rebalanced without this member: the next poll brings the new assignment.

        Raises:
            KafkaException: The brokers do not answer.
            DeliveryFatalError: A partition has no sound place to start from.
        """
        self.epoch += 1
        self.rewind_needed = True
        self._held.clear()
        self._fetch_what_can_be_kept()
        self._topics.verify(self._clock())
        try:
            checkpoints = self._checkpoints.own(self.partitions)
            starts = {
                partition: self._checkpoints.start(partition, self._starts[partition], at.offset)
                for partition, at in checkpoints.items()
            }
        except KafkaException as error:
            if error.args[0].code() in NOT_A_MEMBER:
                return
            raise
        self._go_to(starts)
        self._starts.update(starts)
        self._ends.restart(starts)
        self._stalled.restart(starts, self._clock())
        self.rewind_needed = False
        metadata = {p: at.metadata for p, at in checkpoints.items() if at.offset is not None}
        self._warn_of_metadata(metadata)
        self.log_state = replace(log_state_of(metadata), offsets=starts)
        if starts:
            log.info("reading", starts=starts, epoch=self.epoch)

    def commit_old_topic_id(self, deadline_s: float) -> None:
        """Commit the old topic's id, because a new topic has the same name.

        The brokers delete a topic's offsets with it. Without it, the next start would take
        the new topic for the one that it read before. Retries until the deadline, as the group may
        be rebalancing.
        """
        topic_id, until = self._topics.input.topic_id, self._clock() + deadline_s
        while True:
            try:
                self._checkpoints.commit({0: 0}, OffsetMetadata(topic_id))
            except KafkaException as error:
                if self._clock() > until:
                    log.warning("not_shut_out", topic_id=topic_id, error=str(error))
                    return
                self.serve()
            else:
                return

    def hold(self, offsets: Mapping[int, int], records: Records) -> None:
        """Keep a micro-batch's records from these offsets on, until `release` or a rewind."""
        self._held.hold(offsets, records)
        self._ends.go_back(offsets)

    def stop(self, offsets: Mapping[int, int], records: Records) -> None:
        """Read partitions no further than these offsets of a micro-batch, until a rewind."""
        self._held.stop(offsets, records)
        self._ends.go_back(offsets)
        self._fetch_what_can_be_kept()

    def release(self, partitions: Iterable[int]) -> None:
        """Poll partitions on from the first record that `hold` kept."""
        self._held.release(partitions)

    def _fetch_what_can_be_kept(self) -> None:
        """Pause partitions of which no more can be kept, and resume those that were full."""
        full, before = self._held.full, self._full
        if full != before:
            self._consumer.pause([TopicPartition(self.topic, p) for p in sorted(full - before)])
            self._consumer.resume([TopicPartition(self.topic, p) for p in sorted(before - full)])
            self._full = full

    def bounds(self, partition: int) -> tuple[int, int]:
        """Offset of the first record of a partition, and its end behind committed records.

        Raises:
            KafkaException: The brokers do not answer, or refuse.
        """
        return self._checkpoints.bounds(partition)

    def checkpoints(self, partitions: Collection[int], timeout_s: float | None = None) -> LogState:
        """State of the log at the group's checkpoints; see `StartOffsets.log_state`."""
        return self._checkpoints.log_state(partitions, timeout_s)

    def pause(self) -> None:
        self._paused = [TopicPartition(self.topic, p) for p in self.partitions]
        self._consumer.pause(self._paused)

    def resume(self) -> None:
        # Also those that were taken away meanwhile: librdkafka keeps the pause of a partition until
        # it is assigned again, and then reads nothing of it (measured).
        self._consumer.resume([at for at in self._paused if at.partition not in self._full])
        self._paused = []
        self._stalled.restart_stall_timer(self._clock())

    def stalled(self, seconds: float) -> list[int]:
        """Partitions that gave neither a record nor their end for this time since the rewind."""
        return [] if self._paused else self._stalled.partitions(seconds, self._clock())

    def restart_stall_timer(self) -> None:
        """Count the time of `stalled` from now on."""
        self._stalled.restart_stall_timer(self._clock())

    def lag(self) -> dict[int, int]:
        """Offsets before the end of each assigned partition, as last heard from the broker."""
        ends = {}
        for partition in self.partitions:
            at = TopicPartition(self.topic, partition)
            _, high = self._consumer.get_watermark_offsets(at, cached=True)
            if high >= 0:
                ends[partition] = high
        return self._ends.lag(ends)

    def held_up(self, lag: Mapping[int, int]) -> dict[int, int]:
        """Offset of each partition whose lag waits for a transaction that stays open too long."""
        return self._ends.held_up(lag, self._clock())

    def brokers_answer(self) -> bool:
        """Return True if the brokers answer within a second."""
        try:
            self._consumer.list_topics(self.topic, timeout=1.0)
        except KafkaException:
            return False
        return True

    def close(self) -> None:
        self._topics.stop()
        self._consumer.close()

    def _warn_of_metadata(self, metadata: Mapping[int, OffsetMetadata]) -> None:
        """Warn once of checkpoints that do not say how far event time had come."""
        empty = [p for p, state in metadata.items() if state == OffsetMetadata()]
        if empty and self._warns_of_metadata:
            self._warns_of_metadata = False
            log.warning(
                "checkpoint_without_event_time",
                partitions=empty,
                meaning="no event of these partitions counts as late until event time has caught up",
            )

    def _read(self, messages: list[Message]) -> tuple[list[Message], dict[int, int]]:
        """The records among the messages, and the ends of partitions; notes errors.

        Raises:
            DeliveryFatalError: The topic cannot be read.
        """
        events = [
            (message, error) for message in messages if (error := message.error()) is not None
        ]
        if not events:
            return messages, {}
        ends: dict[int, int] = {}
        for message, error in events:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent_kafka has no public name for it
                ends[cast("int", message.partition())] = cast("int", message.offset())
            else:
                self._note_error(error)
        self._stalled.heard_from(ends)
        return [message for message in messages if message.error() is None], ends
