"""Fakes of Kafka's clients, in one thread and without a broker.

They keep a log, positions and checkpoints like the real ones, so that a test can cause events
("partition 1 is lost") and check the result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from worker.consume.topics import INPUT, InputTopic, Topics
from worker.process.health import Health

Happening = Callable[[], None]
OnDelivery = Callable[["KafkaError | None", Any], None]


class Clock:
    """Clock that advances only in ``sleep``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass(slots=True)
class FakeMessage:
    """A record as a consumer returns it, or an error.

    Attributes:
        at: Partition and offset.
        body: Value of the record.
        name: Key of the record.
        extra: Headers.
        millis: Kafka timestamp in milliseconds.
        fault: Error instead of a record.
        unreadable: True if the name of a header is not UTF-8.
        on: Topic.
    """

    at: tuple[int, int] = (0, 0)
    body: bytes | None = b"body"
    name: bytes | None = b"key"
    extra: list[tuple[str, bytes | None]] | None = None
    millis: int = 1_700_000_000_000
    fault: KafkaError | None = None
    unreadable: bool = False
    on: str = "in"
    _reads: int = 0

    def topic(self) -> str:
        return self.on

    def partition(self) -> int:
        return self.at[0]

    def offset(self) -> int:
        return self.at[1]

    def key(self) -> bytes | None:
        return self.name

    def value(self) -> bytes | None:
        return self.body

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        self._reads += 1
        if self.unreadable:
            assert self._reads == 1, "the second call would give a list that ends the process"
            raise SystemError("returned a result with an exception set")
        return self.extra

    def timestamp(self) -> tuple[int, int]:
        return (1, self.millis)

    def error(self) -> KafkaError | None:
        return self.fault


class FakeConsumer:
    """A group member on one topic.

    A ``consume`` without records lets its timeout pass on the clock; with a timeout, and if nothing
    else happened, it calls ``when_idle``. A pause outlives the assignment of its partition, as in
    librdkafka.

    Args:
        records: Number of records of each partition.
        committed: Committed offsets of the group.
        lows: First offset of partitions that lost older records.
        clock: Clock on which timeouts pass.

    Attributes:
        next: Actions, one of which runs in each ``consume``.
        faults: Exceptions by the name of the call that raises them, one for each call.
        checkpoints: Committed offsets.
        offset_metadata: Metadata of the committed offsets.
        starts: Partition and offset of each start of reading.
        controls: Number of offsets of control records after the records of a partition.
        gaps: Partitions and offsets of control records between the records.
    """

    def __init__(
        self,
        records: Mapping[int, int],
        committed: Mapping[int, int] | None = None,
        lows: Mapping[int, int] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.ends = dict(records)
        self.checkpoints = dict(committed or {})
        self.offset_metadata: dict[int, str] = {}
        self.lows = dict(lows or {})
        self.next: deque[Happening] = deque()
        self.faults: dict[str, deque[BaseException]] = {}
        self.when_idle: Happening = lambda: None
        self.generation = 0
        self.positions: dict[int, int] = {}
        self.paused: set[int] = set()
        self.closed = False
        self.calls: list[str] = []
        self.timeouts: list[float] = []
        self.starts: list[tuple[int, int]] = []
        self.commits: list[dict[int, int]] = []
        self.refused_commits: dict[int, int] = {}
        self.messages: dict[tuple[int, int], FakeMessage] = {}
        self.errors: deque[KafkaError] = deque()
        self.controls: dict[int, int] = {}
        self.gaps: set[tuple[int, int]] = set()
        self.high: dict[int, int] = {}
        self._ends_told: dict[int, int] = {}
        self._clock = clock or Clock()
        self._callbacks: dict[str, Callable[[Any, list[TopicPartition]], None]] = {}

    # Events of the group

    def will_assign(self, *partitions: int) -> None:
        self.next.append(lambda: self._rebalance("on_assign", partitions))

    def will_revoke(self, *partitions: int) -> None:
        self.next.append(lambda: self._rebalance("on_revoke", partitions))

    def will_lose(self, *partitions: int) -> None:
        self.next.append(lambda: self._rebalance("on_lost", partitions))

    def fail(self, call: str, *errors: BaseException) -> None:
        self.faults.setdefault(call, deque()).extend(errors)

    def _rebalance(self, callback: str, partitions: Sequence[int]) -> None:
        self.generation += 1
        self._callbacks[callback](self, [TopicPartition("in", p) for p in partitions])

    # Methods of the client

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self._called("subscribe")
        assert topics == ["in"]
        self._callbacks = callbacks

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        self._called("consume")
        self.timeouts.append(timeout)
        happened = bool(self.next)
        if happened:
            self.next.popleft()()
        if self.errors:
            return [FakeMessage(fault=self.errors.popleft())]
        messages = []
        for _ in range(count):
            message = self._fetch()
            if message is None:
                break
            messages.append(message)
        if len(messages) < count:
            messages += self._fetch_ends()
        if not messages:
            self._clock.sleep(timeout)
            if timeout > 0 and not happened:
                self.when_idle()
        return messages

    def _fetch(self) -> FakeMessage | None:
        for partition in sorted(self.positions.keys() - self.paused):
            while (partition, self.positions[partition]) in self.gaps:
                self.positions[partition] += 1
            offset = self.positions[partition]
            if offset < self.ends[partition]:
                self.positions[partition] += 1
                at = (partition, offset)
                return self.messages.get(at) or FakeMessage(at)
        return None

    def _fetch_ends(self) -> list[FakeMessage]:
        """Report each partition's end once, until its position or end changes."""
        told = []
        for partition in sorted(self.positions.keys() - self.paused):
            end = self.ends[partition] + self.controls.get(partition, 0)
            if self.positions[partition] >= self.ends[partition] != self._ends_told.get(partition):
                self._ends_told[partition] = self.ends[partition]
                self.positions[partition] = end
                eof = KafkaError(KafkaError._PARTITION_EOF)
                told.append(FakeMessage((partition, end), None, None, fault=eof))
        return told

    def consumer_group_metadata(self) -> str:
        return f"generation {self.generation}"

    def committed(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self._called("committed")
        assert timeout > 0
        return [
            TopicPartition(
                "in",
                at.partition,
                self.checkpoints.get(at.partition, OFFSET_INVALID),
                metadata=self.offset_metadata.get(at.partition, ""),
            )
            for at in asked
        ]

    def get_watermark_offsets(
        self, at: TopicPartition, timeout: float | None = None, *, cached: bool = False
    ) -> tuple[int, int]:
        self._called("get_watermark_offsets")
        assert cached or timeout
        end = self.ends[at.partition] + self.controls.get(at.partition, 0)
        high = self.high.get(at.partition, end) if cached else end
        return self.lows.get(at.partition, 0), high

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._called("assign")
        self.positions.clear()
        self._ends_told.clear()
        self.incremental_assign(partitions)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self._called("incremental_assign")
        for at in partitions:
            assert at.offset >= 0
            assert at.partition not in self.positions
            self.positions[at.partition] = at.offset
            self._ends_told.pop(at.partition, None)
            self.starts.append((at.partition, at.offset))

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        for at in partitions:
            del self.positions[at.partition]

    def seek(self, at: TopicPartition) -> None:
        self._called("seek")
        assert at.partition in self.positions
        self.positions[at.partition] = at.offset
        self._ends_told.pop(at.partition, None)
        self.starts.append((at.partition, at.offset))

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= {at.partition for at in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= {at.partition for at in partitions}

    def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> list[TopicPartition]:
        self._called("commit")
        assert not asynchronous
        self.commits.append({at.partition: at.offset for at in offsets})
        answers = []
        for at in offsets:
            refused = self.refused_commits.get(at.partition)
            if refused is None:
                self.checkpoints[at.partition] = at.offset
                self.offset_metadata[at.partition] = at.metadata or ""
            answers.append(_Answer(at.partition, None if refused is None else KafkaError(refused)))
        return answers  # type: ignore[return-value]

    def list_topics(self, topic: str, timeout: float) -> None:
        self._called("list_topics")

    def close(self) -> None:
        self.closed = True
        self.calls.append("close")
        if self.positions and self._callbacks:
            self._rebalance("on_revoke", list(self.positions))

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.faults.get(name):
            raise self.faults[name].popleft()


class Brokers:
    """Topics of the brokers.

    Attributes:
        ids: Id of each topic, by name.
        partitions: Number of partitions of the input topic.
        away: Exception that is raised while the brokers are away.
        asked: Number of requests.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.ids: dict[str, str | None] = {"in": "id-1", "out": "id-2", "dead": "id-3"}
        self.partitions = partitions
        self.away: BaseException | None = None
        self.asked = 0

    def describe(self, names: Sequence[str]) -> Mapping[str, str | None]:
        self.asked += 1
        if self.away is not None:
            raise self.away
        return {name: self.ids[name] for name in names}

    def describe_input(self) -> InputTopic:
        return InputTopic("in", self.describe(["in"])["in"] or "", self.partitions, None)

    def topics(self, health: Health, clock: Clock) -> Topics:
        names = {INPUT: "in", "kafka.output_topic": "out", "kafka.dead_letter_topic": "dead"}
        return Topics(
            names, self.describe, self.describe_input, health, brokers="fake:9092", clock=clock
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    partition: int
    error: KafkaError | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A record that was passed to a producer."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: list[tuple[str, bytes | None]] | None = None


@dataclass(slots=True)
class FakeProducer:
    """Producer that records its calls and records.

    All records that are queued when something waits for them are one batch, which its topic
    accepts or refuses as a whole. A transaction with a refused record must be aborted. After a
    refusal the producer can begin no transaction.

    Attributes:
        room: Number of records that the queue can still take.
        refuses: Returns the error code with which the topic refuses a record, or None.
        on_delivery: Callback for records without their own.
        written: Records that read-committed consumers see.
        unacknowledged: Result of ``flush``, after ``when_flushed``.
        calls: Names of the calls.
        sent: All records that were passed to the producer.
        offsets: Offsets and group metadata of each ``send_offsets_to_transaction``.
        offset_metadata: Metadata of each set of offsets.
        faults: Exceptions by the name of the call that raises them, one for each call.
        batch_fault: Error of each record of ``produce_batch``.
        when_flushed: Called in ``flush``.
        checkpoints: Offsets of the committed transactions.
        refused: Number of refused batches.
    """

    room: int = 1_000_000
    refuses: Callable[[Sent], int | None] = lambda _: None
    on_delivery: OnDelivery | None = None
    written: list[Sent] = field(default_factory=list)
    unacknowledged: int = 0
    calls: list[str] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    offsets: list[tuple[dict[int, int], Any]] = field(default_factory=list)
    offset_metadata: list[dict[int, str | None]] = field(default_factory=list)
    faults: dict[str, deque[BaseException]] = field(default_factory=dict)
    batch_fault: KafkaError | None = None
    when_flushed: Happening = lambda: None
    _queued: list[tuple[Sent, OnDelivery | None]] = field(default_factory=list)
    checkpoints: dict[int, int] = field(default_factory=dict)
    _uncommitted: list[Sent] = field(default_factory=list)
    refused: int = 0
    _transactional: bool = False
    _broken: int | None = None

    def fail(self, call: str, *errors: BaseException) -> None:
        self.faults.setdefault(call, deque()).extend(errors)

    def list_topics(self, topic: str, timeout: float) -> None:
        self._called("list_topics")

    def init_transactions(self, timeout: float) -> None:
        self._transactional = True
        self._called("init_transactions")

    def begin_transaction(self) -> None:
        self._called("begin_transaction")
        if self._uncommitted or self.refused:
            raise kafka_error(KafkaError._STATE)

    def produce_batch(self, topic: str, messages: list[dict[str, Any]]) -> int:
        self._called("produce_batch")
        queued = 0
        for message in messages:
            if self.room == 0 or self.batch_fault is not None:
                message["_error"] = self.batch_fault or KafkaError(KafkaError._QUEUE_FULL)
                continue
            self.room -= 1
            queued += 1
            self._queue(Sent(topic, message["value"], message["key"]), None)
        return queued

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: list[tuple[str, bytes | None]],
        on_delivery: OnDelivery | None = None,
    ) -> None:
        self._called("produce")
        if self.room == 0:
            raise BufferError("Local: Queue full")
        self.room -= 1
        self._queue(Sent(topic, value, key, list(headers)), on_delivery)

    def send_offsets_to_transaction(
        self, offsets: list[TopicPartition], group_metadata: Any, timeout: float
    ) -> None:
        self._called("send_offsets_to_transaction")
        self._raise_refusal()
        self.offsets.append(({at.partition: at.offset for at in offsets}, group_metadata))
        self.offset_metadata.append({at.partition: at.metadata for at in offsets})

    def commit_transaction(self, timeout: float) -> None:
        self._called("commit_transaction")
        self._deliver()
        self._raise_refusal()
        self.checkpoints.update(self.offsets[-1][0])
        self.written += self._uncommitted
        self._uncommitted.clear()

    def abort_transaction(self, timeout: float) -> None:
        self._called("abort_transaction")
        self._queued.clear()
        self._uncommitted.clear()
        self._broken = None

    def flush(self, timeout: float) -> int:
        self._called("flush")
        self._deliver()
        self.when_flushed()
        return self.unacknowledged

    def poll(self, timeout: float) -> int:
        self._called("poll")
        self._deliver()
        return 0

    def __len__(self) -> int:
        return len(self._queued)

    def _queue(self, sent: Sent, told: OnDelivery | None) -> None:
        self.sent.append(sent)
        self._queued.append((sent, told or self.on_delivery))

    def _deliver(self) -> None:
        """Send the queued records, one batch for each topic."""
        queued, self._queued = self._queued, []
        for topic in dict.fromkeys(sent.topic for sent, _ in queued):
            batch = [(sent, told) for sent, told in queued if sent.topic == topic]
            refusals = [self.refuses(sent) for sent, _ in batch]
            codes = batch_codes(refusals)
            if codes is None:
                if self._broken is None:
                    self._uncommitted += [sent for sent, _ in batch]
                continue
            self._broken = self._broken or next(filter(None, refusals))
            self.refused += 1
            for (sent, told), code in zip(batch, codes, strict=True):
                if told is not None:
                    told(KafkaError(code), FakeMessage((0, -1001), sent.value, sent.key, on=topic))
        if not self._transactional:
            self.written += self._uncommitted
            self._uncommitted.clear()
            self._broken = None

    def _raise_refusal(self) -> None:
        if self._broken is not None:
            raise kafka_error(self._broken, txn_requires_abort=True)

    def purge(self, *, in_queue: bool, in_flight: bool, blocking: bool) -> None:
        assert not blocking
        self._called("purge")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.faults.get(name):
            raise self.faults[name].popleft()


def batch_codes(refusals: Sequence[int | None]) -> list[int] | None:
    """Error codes that librdkafka reports for the records of a batch; None if it is accepted.

    Args:
        refusals: Error code of the topic for each record, or None.
    """
    codes = [code for code in refusals if code is not None]
    if not codes:
        return None
    if len(codes) == 1 or codes[0] == KafkaError.MSG_SIZE_TOO_LARGE:
        return [codes[0]] * len(refusals)
    return [
        KafkaError._INVALID_DIFFERENT_RECORD if code is None else KafkaError.INVALID_RECORD
        for code in refusals
    ]


def kafka_error(
    code: int, *, fatal: bool = False, retriable: bool = False, txn_requires_abort: bool = False
) -> KafkaException:
    """Exception like those of the clients."""
    return KafkaException(
        KafkaError(
            code, None, fatal=fatal, retriable=retriable, txn_requires_abort=txn_requires_abort
        )
    )
