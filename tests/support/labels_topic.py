"""Labels topic in memory: its brokers, its records, and the appliers that read it."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, cast

import fastavro
import numpy as np
from confluent_kafka import TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec

from base.errors import DependencyUnavailableError
from features.history.labels import LABEL
from features.history.marks import read_marks
from features.history.namespace import Namespace
from features.store.memory import MemoryStore
from features.store.protocol import Compaction, MarkWrite
from features.values.hash64 import KEY_BYTES
from tests.support.fakes import Clock, FakeConsumer, FakeMessage
from tests.support.transactions import SET, handbook
from worker.labels.label_applier import LabelApplier, LabelTarget
from worker.labels.label_consumer import LabelConsumer
from worker.labels.label_decoder import LabelDecoder
from worker.labels.label_topic import LabelTopic
from worker.schema_sources import framed, label_schema
from worker.settings import load_settings

FEATURES = handbook()
NAMESPACE = Namespace("handbook", "s", "id-1", 2, bytes(KEY_BYTES))
TARGET = LabelTarget(
    NAMESPACE, NAMESPACE.label_marks_key("labels-1", ["terminal"]), [b"fw:histories"], None
)
START_US = 1_525_132_800_000_000
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_SCHEMA = fastavro.parse_schema(label_schema())
_SETTINGS = load_settings(SET.parent)
Place = tuple[int, int]


def label(number: int, **changes: Any) -> bytes:
    """Record of a label; its label time is ``START_US`` and its number in microseconds."""
    body = io.BytesIO()
    content = {
        "event_id": f"e{number}",
        "event_time": START_US,
        "entity_keys": {"terminal": f"t{number % 3}"},
        "fraud": number % 2 == 0,
        "label_time": START_US + number,
        **changes,
    }
    fastavro.schemaless_writer(body, _SCHEMA, content)
    return framed(3) + body.getvalue()


class FakeAdmin:
    """Brokers' answers about the labels topic.

    Attributes:
        topic_id: Id of the topic.
        ends: End of each partition.
        lows: First offset of partitions that lost older records.
        away: Exception that is raised while the brokers are away.
        asked: Number of questions for offsets.
    """

    def __init__(self, ends: dict[int, int]) -> None:
        self.topic_id = "labels-1"
        self.ends = ends
        self.lows: dict[int, int] = {}
        self.away: BaseException | None = None
        self.asked = 0

    def describe_topics(
        self, names: TopicCollection, request_timeout: float
    ) -> dict[str, Future[Any]]:
        assert request_timeout > 0
        described = _Answer(topic_id=self.topic_id, partitions=[None] * len(self.ends))
        return {"in": self._answer(described)}

    def list_offsets(
        self, asked: Mapping[TopicPartition, OffsetSpec], **_: object
    ) -> dict[TopicPartition, Future[Any]]:
        self.asked += 1
        return {
            at: self._answer(
                _Answer(
                    offset=self.ends[at.partition]
                    if spec is _LATEST
                    else self.lows.get(at.partition, 0)
                )
            )
            for at, spec in asked.items()
        }

    def _answer(self, value: object) -> Future[Any]:
        future: Future[Any] = Future()
        if self.away is None:
            future.set_result(value)
        else:
            future.set_exception(self.away)
        return future


class _Answer:
    def __init__(self, **values: object) -> None:
        self.__dict__ |= values


class LabelStore(MemoryStore):
    """Store in memory whose appends may fail after half of their keys.

    Attributes:
        failing: Number of appends that fail.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failing = 0

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
        marks: Sequence[MarkWrite] = (),
    ) -> None:
        items = list(appends)
        if not self.failing:
            super().append(items, compactions, expire_ms, marks)
            return
        self.failing -= 1
        super().append(items[: len(items) // 2], compactions, expire_ms)
        raise DependencyUnavailableError("the store is away")

    def flush(self) -> None:
        """Lose everything."""
        self.drop([*self._slots])

    def labels(self) -> list[Place]:
        """Positions of all labels, in order, each as often as it is stored."""
        prefix = NAMESPACE.label_prefix("terminal")
        keys = [key for key in self._slots if key.startswith(prefix)]
        held = [np.frombuffer(value or b"", LABEL) for value in self.read(keys)]
        return sorted(
            (int(one["partition"]), int(one["offset"])) for labels in held for one in labels
        )

    def label_ends(self) -> list[int]:
        """Offset up to which each partition is applied; -1 without a mark."""
        (value,) = self.read([TARGET.marks_key])
        return [int(reached) - 1 for reached in read_marks(value, 2)["reached"]]


class LabelsTopic:
    """Labels topic of two partitions.

    Attributes:
        admin: Its brokers.
        records: Value of each record, by position; a record of the label with its number otherwise.
    """

    def __init__(self, *counts: int) -> None:
        self.admin = FakeAdmin(dict(enumerate(counts)))
        self.records: dict[Place, bytes | None] = {}
        self.topic = LabelTopic(cast("Any", self.admin), "in", 5.0)
        self.topic.open()

    def number(self, place: Place) -> int:
        """Number of the label at a position."""
        return 10 * place[1] + place[0]

    def applier(self, store: MemoryStore) -> tuple[LabelApplier, FakeConsumer]:
        """Make an applier that has joined the group, without partitions."""
        fake = FakeConsumer({}, clock=Clock())
        fake.ends = self.admin.ends
        fake.messages = cast("dict[Place, FakeMessage]", _Messages(self))
        consumer = LabelConsumer(cast("Any", fake), "in")
        consumer.subscribe()
        decode = LabelDecoder(FEATURES, _SETTINGS)
        return LabelApplier(consumer, self.topic, decode, FEATURES, store), fake


class _Messages:
    def __init__(self, topic: LabelsTopic) -> None:
        self._topic = topic

    def get(self, place: Place) -> FakeMessage:
        records = self._topic.records
        value = records[place] if place in records else label(self._topic.number(place))
        return FakeMessage(place, value)
