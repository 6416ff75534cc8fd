"""Poll: records from the input topic, bound to the assignment under which they were consumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, cast

import numpy as np
import structlog
from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from features.history.log_state import LogState
from schemas.batch import Headers, Records
from schemas.errors import ErrorCode, RecordError
from worker.errors import DeliveryFatalError
from worker.kafka import NOT_A_MEMBER
from worker.starts import Committed, StartFrom, Starts

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Polled:
    """Records and the group membership they were consumed under.

    group_metadata is the consumer's own at that moment; epoch counts assignment changes.
    """

    records: Records
    group_metadata: Any
    epoch: int


class Poller:
    """Consumes the input topic as a member of the group.

    before_change is called whenever partitions are about to move, so that a transaction in
    flight can end first. ``rewind_needed`` says that partitions moved: the caller settles what is
    in flight, then calls `rewind`. ``log_state`` is the log's state where the last `rewind` went;
    needs_log_state: a checkpoint that does not tell it is worth a warning.
    """

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        *,
        start_from: StartFrom,
        timeout_s: float,
        before_change: Callable[[], None],
        needs_log_state: bool = False,
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._places = Starts(consumer, topic, start_from, timeout_s)
        self._before_change = before_change
        self._warns_without_note = needs_log_state
        # None from the assignment to the first rewind.
        self._starts: dict[int, int | None] = {}
        self._outside_the_group: Any = None
        self.epoch = 0
        self.joined = False
        self.expelled = False
        self.rewind_needed = False
        self.log_state = LogState()

    @property
    def partitions(self) -> list[int]:
        """The partitions that are assigned now."""
        return sorted(self._starts)

    def subscribe(self) -> None:
        self._outside_the_group = self._consumer.consumer_group_metadata()
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def poll(self, max_events: int, timeout_s: float) -> Polled | None:
        """Up to ``max_events`` records: the first within ``timeout_s``, the others that are there.

        None when there are none, or when the assignment changed meanwhile.
        """
        epoch = self.epoch
        messages = self._consumer.consume(1, timeout_s)
        if messages and max_events > 1:
            messages += self._consumer.consume(max_events - 1, 0)
        if not messages:
            return None
        # Taken here, on the polling thread, right after the records: a fresh object at commit
        # time would let a member that lost its partitions commit for the new generation.
        group_metadata = self._consumer.consumer_group_metadata()
        # A member that the group has just thrown out has the metadata of one that never joined, and
        # with it the brokers take offsets unchecked, for any partition (measured: Kafka 4.3).
        if self.epoch != epoch or group_metadata == self._outside_the_group:
            self.rewind_needed = True
            return None
        messages = _without_errors(messages)
        if not messages:
            return None
        return Polled(records_of(self._topic, messages), group_metadata, epoch)

    def serve(self) -> None:
        """Keep the membership alive while reading is paused."""
        messages = self._consumer.consume(1, 0.1)
        if messages:
            self.rewind_needed = True
            _without_errors(messages)

    def rewind(self) -> None:
        """Go back to the checkpoint of every partition that is assigned, or to its start.

        Cooperative rebalancing does not rewind retained partitions. Drops what was polled: the
        epoch moves. ``rewind_needed`` stays where the group has meanwhile gone on without this
        member: the next poll tells what is assigned. Raises KafkaException while the brokers do not
        answer, DeliveryFatalError where no place to start from is sound.
        """
        self.epoch += 1
        self.rewind_needed = True
        try:
            checkpoints = self._places.committed(self.partitions)
            for partition, checkpoint in checkpoints.items():
                self._seek(partition, checkpoint.offset)
        except KafkaException as error:
            if error.args[0].code() in NOT_A_MEMBER:
                return
            raise
        self.rewind_needed = False
        self._warn_without_note(checkpoints)
        self.log_state = LogState.of_notes({p: at.note for p, at in checkpoints.items()})
        log.info("reading", starts=self._starts, epoch=self.epoch)

    def pause(self) -> None:
        self._consumer.pause([TopicPartition(self._topic, p) for p in self.partitions])

    def resume(self) -> None:
        self._consumer.resume([TopicPartition(self._topic, p) for p in self.partitions])

    def lag(self) -> dict[int, int]:
        """Records behind the end of each assigned partition, as last heard from the broker."""
        lags = {}
        for at in self._consumer.position(
            [TopicPartition(self._topic, p) for p in self.partitions]
        ):
            _, high = self._consumer.get_watermark_offsets(at, cached=True)
            # The position is unknown until a record was consumed from there.
            following = at.offset if at.offset >= 0 else self._starts[at.partition]
            if high >= 0 and following is not None:
                lags[at.partition] = max(0, high - following)
        return lags

    def brokers_answer(self) -> bool:
        """Whether the brokers answer within a second."""
        try:
            self._consumer.list_topics(self._topic, timeout=1.0)
        except KafkaException:
            return False
        return True

    def close(self) -> None:
        self._consumer.close()

    def _warn_without_note(self, checkpoints: Mapping[int, Committed]) -> None:
        """Tell, once, of checkpoints that do not say how far event time had come."""
        silent = [p for p, at in checkpoints.items() if at.offset is not None and not at.note]
        if silent and self._warns_without_note:
            self._warns_without_note = False
            log.warning(
                "checkpoint_without_event_time",
                partitions=silent,
                meaning="until event time passes where it was, no event of theirs counts as late",
            )

    def _seek(self, partition: int, committed: int | None) -> None:
        start = self._starts[partition]
        if start is None:
            start = self._places.first(partition, committed)
        elif committed is not None:
            start = committed
        self._consumer.seek(TopicPartition(self._topic, partition, start))
        self._starts[partition] = start

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._change()
        self.joined = True
        self.expelled = False
        # Left to librdkafka, it would start from a place of its own: `rewind` seeks the right one.
        consumer.incremental_assign(
            [TopicPartition(self._topic, p.partition, OFFSET_END) for p in assigned]
        )
        self._starts.update(dict.fromkeys(p.partition for p in assigned))
        log.info("assigned", partitions=self.partitions, epoch=self.epoch)

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        self._change()
        consumer.incremental_unassign(revoked)
        self._forget("revoked", revoked)

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        self._change()
        self.expelled = True
        consumer.incremental_unassign(lost)
        self._forget("lost", lost)

    def _change(self) -> None:
        self._before_change()
        self.epoch += 1
        self.rewind_needed = True

    def _forget(self, how: str, gone: list[TopicPartition]) -> None:
        for partition in gone:
            self._starts.pop(partition.partition, None)
        log.info(how, gone=[p.partition for p in gone], partitions=self.partitions)


def _without_errors(messages: list[Message]) -> list[Message]:
    failed = [error for m in messages if (error := m.error()) is not None]
    if not failed:
        return messages
    for error in failed:
        if error.fatal() or error.code() in (
            KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - its public name
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.GROUP_AUTHORIZATION_FAILED,
        ):
            raise DeliveryFatalError(f"the input topic cannot be read: {error}")
        log.warning("consumer_error", error=str(error))
    return [m for m in messages if m.error() is None]


def records_of(topic: str, messages: list[Message]) -> Records:
    """Consumed messages of one topic, none of them an error, as columns.

    A record whose headers cannot be read has none, and a fault. Reads the headers of each message,
    so that nobody else may.
    """
    headers: list[Headers | None] = []
    faults: dict[int, RecordError] = {}
    for row, message in enumerate(messages):
        own = headers_of(message)
        if isinstance(own, RecordError):
            faults[row] = own
            own = None
        headers.append(own)
    return Records(
        topic,
        cast("list[bytes | None]", [m.key() for m in messages]),
        cast("list[bytes | None]", [m.value() for m in messages]),
        np.array([m.partition() for m in messages], dtype=np.int32),
        np.array([m.offset() for m in messages], dtype=np.int64),
        np.array([m.timestamp()[1] for m in messages], dtype=np.int64),
        headers if any(headers) else None,
        faults,
    )


# The client gives headers whose names are not UTF-8 back with an exception pending, and a name that
# is NULL (confluent-kafka 2.16, c_headers_to_py). A method called by Python's own bytecode is not
# checked for that: the exception surfaces anywhere later. A call through C is checked.
_read_headers = methodcaller("headers")


def headers_of(message: Message) -> Headers | RecordError | None:
    """The headers of a consumed message. Read once: a second call may end the process."""
    try:
        return cast("Headers | None", _read_headers(message))
    except (SystemError, UnicodeDecodeError):
        return RecordError(
            ErrorCode.HEADER_INVALID,
            "the name of a header is not UTF-8, and the client can read none of its headers",
        )
