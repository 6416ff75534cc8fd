"""Checkpoints of a group on a topic, and the offsets at which reading starts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Self

import structlog
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from base.errors import ConfigurationError, DeliveryFatalError
from features.history.watermarks import LogState
from worker.consume.offset_metadata import OffsetMetadata, log_state_of
from worker.consume.topics import InputTopic
from worker.kafka import make_consumer
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)

StartFrom = Literal["earliest", "latest", "error"]


class Committed(NamedTuple):
    """The group's checkpoint of a partition.

    Attributes:
        offset: Committed offset; None if there is no checkpoint.
        metadata: State of the partition behind that offset.
    """

    offset: int | None
    metadata: OffsetMetadata

    @classmethod
    def of(cls, answer: TopicPartition) -> Self:
        """Read the brokers' answer for a partition."""
        offset = None if answer.offset == OFFSET_INVALID else answer.offset
        return cls(offset, OffsetMetadata.decode(answer.metadata or ""))


@dataclass(frozen=True, slots=True, eq=False)
class StartOffsets:
    """The group's checkpoints on one topic, and the rules on where reading starts.

    Attributes:
        consumer: Consumer of the group.
        topic: Input topic, as it was when the worker started.
        start_from: Start of a partition for which the group has no checkpoint.
        accept_topic: Id of a topic whose predecessor's checkpoints may be dropped, or None.
        timeout_s: Bound on one answer of the brokers, in seconds.
        inherited: Checkpoint, by partition, of another group whose histories are taken over.
    """

    consumer: Consumer
    topic: InputTopic
    start_from: StartFrom
    accept_topic: str | None
    timeout_s: float
    inherited: Mapping[int, Committed] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: WorkerSettings, consumer: Consumer, topic: InputTopic) -> Self:
        """Make the start offsets of a worker, with the checkpoints of ``store.accept_group``.

        Raises:
            KafkaException: The brokers do not answer.
        """
        kafka, timeout_s = settings.kafka, settings.delivery.broker_timeout_s
        rules = kafka.start_from, kafka.accept_topic, timeout_s
        group = settings.store.accept_group if settings.store else None
        if group is None:
            return cls(consumer, topic, *rules)
        others = kafka.model_copy(update={"group": group})
        with closing(make_consumer(others, lambda _: None)) as other:
            inherited = cls(other, topic, *rules).committed(range(topic.partitions))
        return cls(consumer, topic, *rules, inherited)

    def prepare(self) -> None:
        """Compare the group's checkpoints with the topic, before this worker joins the group.

        With ``latest``, the present ends of the partitions are committed for a group without any
        checkpoint. A partition without a checkpoint is then one that was added later.

        Raises:
            KafkaException: The brokers do not answer, or refuse.
            ConfigurationError: A checkpoint belongs to another topic.
        """
        checkpoints = self.committed(range(self.topic.partitions))
        ids = foreign_ids(self.topic, checkpoints.values())
        if ids and self.accept_topic != self.topic.topic_id:
            raise ConfigurationError(other_topic(self.topic, ids, self.accept_topic))
        without_id = [
            p for p, at in checkpoints.items() if at.offset is not None and not at.metadata.topic_id
        ]
        if without_id:
            log.warning(
                "checkpoint_without_topic_id",
                partitions=without_id,
                meaning=f"assumed to belong to the present topic, id {self.topic.topic_id}",
            )
        if self.start_from == "latest" and all(at.offset is None for at in checkpoints.values()):
            self._commit_ends()

    def committed(
        self, partitions: Iterable[int], timeout_s: float | None = None
    ) -> dict[int, Committed]:
        """The group's checkpoint of each partition.

        The call waits for transactions that still hold offsets of these partitions: a consumer with
        read_committed asks for stable offsets.

        Args:
            partitions: Partitions to look up.
            timeout_s: Bound on the answer, in seconds; None: that of all others.

        Raises:
            KafkaException: The brokers do not answer, or refuse.
        """
        asked = [TopicPartition(self.topic.name, p) for p in partitions]
        if not asked:
            return {}
        checkpoints = {}
        for answer in self.consumer.committed(asked, timeout=timeout_s or self.timeout_s):
            if answer.error:
                raise KafkaException(answer.error)
            checkpoints[answer.partition] = Committed.of(answer)
        return checkpoints

    def log_state(self, partitions: Collection[int], timeout_s: float | None = None) -> LogState:
        """State of the log at the group's checkpoints of some partitions, and their offsets.

        A partition without a checkpoint of this topic is left out.

        Args:
            partitions: The partitions, of any worker.
            timeout_s: As of `committed`.

        Raises:
            KafkaException: The brokers do not answer, or refuse.
        """
        known = {
            partition: at
            for partition, at in self.committed(partitions, timeout_s).items()
            if at.offset is not None and at.metadata.topic_id in (None, self.topic.topic_id)
        }
        state = log_state_of({partition: at.metadata for partition, at in known.items()})
        return replace(state, offsets={p: at.offset or 0 for p, at in known.items()})

    def own(self, partitions: Iterable[int]) -> dict[int, Committed]:
        """The checkpoints that belong to this topic, and not to its predecessor of the same name.

        Their metadata says how far back histories reach, including inherited ones. Where the new
        topic was accepted, its beginning is committed in place of the predecessor's checkpoints.

        Args:
            partitions: Partitions to look up.

        Raises:
            KafkaException: The brokers do not answer, or refuse.
            DeliveryFatalError: A checkpoint belongs to the predecessor, and the new topic was not
                accepted.
        """
        checkpoints = self.committed(partitions)
        ids = foreign_ids(self.topic, checkpoints.values())
        if not ids:
            return {p: self._inheriting(p, at) for p, at in checkpoints.items()}
        if self.accept_topic != self.topic.topic_id:
            raise DeliveryFatalError(other_topic(self.topic, ids, self.accept_topic))
        foreign = [p for p, at in checkpoints.items() if at.metadata.topic_id in ids]
        starts = {p: self.bounds(p)[0] for p in foreign}
        log.warning("reading_the_accepted_topic", topic_id=self.topic.topic_id, starts=starts)
        self.commit(starts, OffsetMetadata(self.topic.topic_id))
        return checkpoints | {p: Committed(start, OffsetMetadata()) for p, start in starts.items()}

    def start(self, partition: int, before: int | None, committed: int | None) -> int:
        """The offset from which an assigned partition is read.

        Args:
            partition: Partition to read.
            before: Offset at which this worker began to read it; None if it is newly assigned.
            committed: The group's checkpoint; None if there is none.

        Raises:
            KafkaException: The brokers do not answer, or refuse.
            DeliveryFatalError: Records were lost, or the partition has no place to start from.
        """
        low, high = self.bounds(partition)
        start = before if committed is None else committed
        if start is None:
            return self._without_checkpoint(partition, low)
        where = f"partition {partition} of {self.topic.name}"
        if start < low:
            raise DeliveryFatalError(
                f"the checkpoint of {where} is {start}, its first record is {low}: retention "
                f"deleted {low - start} unread records; lengthen the retention, and reset the "
                "group's offset to accept the loss"
            )
        if start > high:
            raise DeliveryFatalError(
                f"the checkpoint of {where} is {start}, the partition ends at {high}: the topic "
                "lost records or was created again; use another kafka.group, or reset the group's "
                "offset to accept the loss"
            )
        return start

    def commit(self, offsets: Mapping[int, int], metadata: OffsetMetadata) -> None:
        """Commit offsets for the group outside of a micro-batch.

        Raises:
            KafkaException: The brokers do not answer, or refuse.
        """
        answers = self.consumer.commit(
            offsets=[
                TopicPartition(self.topic.name, partition, offset, metadata=metadata.encode())
                for partition, offset in offsets.items()
            ],
            asynchronous=False,
        )
        for answer in answers or ():
            if answer.error:
                raise KafkaException(answer.error)

    def _inheriting(self, partition: int, at: Committed) -> Committed:
        """The group's own checkpoint, with the reach of inherited histories in its metadata.

        The other group has stopped permanently. Once this group is past the other's checkpoint, its
        own metadata decides: it has compacted the histories since.
        """
        other = self.inherited.get(partition, Committed(None, OffsetMetadata()))
        lowest = dict(at.metadata.lowest_event_time)
        past = at.offset is not None and other.offset is not None and at.offset > other.offset
        for digest, time in other.metadata.lowest_event_time.items():
            if digest not in lowest or not past:
                lowest[digest] = min(time, lowest.get(digest, time))
        return at._replace(metadata=replace(at.metadata, lowest_event_time=lowest))

    def _without_checkpoint(self, partition: int, low: int) -> int:
        if self.start_from == "error" and partition < self.topic.partitions:
            raise DeliveryFatalError(
                f"kafka.start_from is error and partition {partition} of {self.topic.name} has no "
                "checkpoint; set earliest or latest, or commit an offset for the group"
            )
        # Also with `latest`: `prepare` has committed the ends of the partitions that existed then.
        return low

    def _commit_ends(self) -> None:
        ends = {p: self.bounds(p)[1] for p in range(self.topic.partitions)}
        try:
            self.commit(ends, OffsetMetadata(self.topic.topic_id))
        except KafkaException as error:
            # Only an empty group accepts offsets from a client that is not a member (measured):
            # another worker was first, and has committed the ends before it joined.
            if error.args[0].code() != KafkaError.UNKNOWN_MEMBER_ID:
                raise

    def bounds(self, partition: int) -> tuple[int, int]:
        """Offset of the first record of a partition, and its end behind committed records.

        Raises:
            KafkaException: The brokers do not answer, or refuse.
        """
        at = TopicPartition(self.topic.name, partition)
        return self.consumer.get_watermark_offsets(at, timeout=self.timeout_s)


def foreign_ids(topic: InputTopic, checkpoints: Iterable[Committed]) -> set[str]:
    """Topic ids in the metadata of the checkpoints that are not the topic's own."""
    ids = {checkpoint.metadata.topic_id for checkpoint in checkpoints}
    return {topic_id for topic_id in ids if topic_id not in (None, topic.topic_id)}


def other_topic(topic: InputTopic, ids: Iterable[str], accept_topic: str | None) -> str:
    """Message for checkpoints that belong to other topic ids than the input topic's."""
    accepted = f" (kafka.accept_topic is {accept_topic})" if accept_topic else ""
    return (
        f"kafka.input_topic: the group's checkpoints are of topic id {', '.join(sorted(ids))}, "
        f"{topic.name} has id {topic.topic_id}{accepted}: it was deleted and created again, or this "
        f"is another cluster; set kafka.accept_topic: {topic.topic_id} to read it from its "
        "beginning"
    )
