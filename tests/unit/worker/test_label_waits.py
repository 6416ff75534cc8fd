"""Events that wait for labels: judged by marks that were read before the labels."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from base.times import DAY
from features.history.marks import Mark
from features.store.memory import MemoryStore
from features.store.protocol import MarkWrite
from features.windows.plan import WindowPlan
from features.windows.window import Across, Aggregate, HistoryRules, Window
from schemas.batch import Records
from tests.support.checkpoints import Guards
from tests.support.transactions import SET, handbook
from tests.unit.worker.test_histories import NAMESPACE, NO_SOURCE, TOPIC, log_at, restore
from worker.histories import NotAlignedError, StoredHistories, Wait
from worker.histories.location import StateLocation, state_request
from worker.settings import load_settings

KEY = b"fw:label marks"
PLAN = WindowPlan(
    [
        Window(
            "share",
            Aggregate.FRAUD_SHARE,
            "card",
            DAY,
            DAY,
            None,
            None,
            False,
            Across.OWN,
            0.0,
            frozenset(),
        )
    ],
    HistoryRules(0, DAY, 1_000, 3, None),
)


class Feed:
    """Feed of a labels topic of one partition.

    Attributes:
        end: End of the topic.
        judged: Marks by which labels were judged.
    """

    entities = ("card",)

    def __init__(self) -> None:
        self.end = 5
        self.judged: list[list[int]] = []
        self.closed = False

    def open(self, *_: object) -> bytes:
        return KEY

    def are_applied(self, reached: Any) -> bool:
        self.judged.append(reached.tolist())
        return len(reached) > 0 and reached[0] > self.end

    def close(self) -> None:
        self.closed = True


class Store(MemoryStore):
    """Store that counts reads, and whose labels may advance between labels and marks of a read.

    Attributes:
        advance: Offset up to which labels are applied while the next read is under way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.advance: int | None = None

    def read_all(self, *asked: Any) -> Any:
        self.reads += 1
        if self.advance is not None:
            apply_labels(self, self.advance)
        return super().read_all(*asked)


def apply_labels(store: MemoryStore, end: int) -> None:
    server = MemoryStore.read_all(store, [], [], [KEY]).server
    assert server is not None
    store.write_marks([MarkWrite(KEY, 0, None, Mark(0, end).encode(server))])


def opened(store: MemoryStore, feed: Feed) -> StoredHistories:
    histories = StoredHistories(
        store,
        PLAN,
        lambda _: StateLocation(NAMESPACE, 5),
        Guards(),
        NO_SOURCE,
        fills=False,
        labels=cast("Any", feed),
    )
    histories.open(TOPIC)
    restore(histories, log_at({0: 0, 1: 0}))
    return histories


RECORDS = Records(
    "payments",
    [None] * 4,
    [None] * 4,
    np.array([1, 0, 1, 0], np.int32),
    np.array([7, 3, 8, 4]),
    np.zeros(4, np.int64),
)
UNTIL = np.array([70, 30, 80, 40])
LOG = log_at({0: 0, 1: 0})
WAITS = {0: Wait(3, 30, "card", None), 1: Wait(7, 70, "card", None)}


def test_the_first_event_of_each_partition_waits_until_labels_are_applied() -> None:
    store, feed = Store(), Feed()
    apply_labels(store, 4)
    histories = opened(store, feed)
    with pytest.raises(NotAlignedError) as waiting:
        histories.checked(store, RECORDS, UNTIL, LOG).read_all([])
    assert waiting.value.waits == WAITS
    assert histories.still_waiting(WAITS) == WAITS
    assert histories.lagging(WAITS) == []
    apply_labels(store, 5)
    assert histories.still_waiting(WAITS) == {}
    before = store.reads
    histories.checked(store, RECORDS, UNTIL, LOG).read_all([])
    assert store.reads == before + 1


def test_labels_are_read_again_where_only_the_marks_behind_them_say_that_they_are_there() -> None:
    store, feed = Store(), Feed()
    apply_labels(store, 4)
    histories = opened(store, feed)
    store.advance, before = 5, store.reads
    feed.judged.clear()
    histories.checked(store, RECORDS, UNTIL, LOG).read_all([])
    assert feed.judged == [[6], [5], [6], [6]]
    assert store.reads == before + 2


def test_a_micro_batch_without_events_waits_for_nothing() -> None:
    store, feed = Store(), Feed()
    histories = opened(store, feed)
    none = RECORDS.take(np.empty(0, np.intp))
    histories.checked(store, none, UNTIL[:0], LOG).read_all([])
    assert feed.judged == []


def test_the_wait_names_the_labels_topic() -> None:
    assert Wait(3, 30, "card", None).reason == (
        "the labels topic is applied to its end (windows of card)"
    )


def test_the_feed_ends_with_the_histories() -> None:
    feed = Feed()
    opened(Store(), feed).close()
    assert feed.closed


def test_with_a_labels_topic_no_load_of_labels_is_missed() -> None:
    settings = load_settings(SET.parent)
    kafka = settings.kafka.model_copy(update={"labels_topic": "labels"})
    with_topic = settings.model_copy(update={"kafka": kafka})
    assert state_request(settings, handbook(), TOPIC).labelled == {"terminal"}
    assert state_request(with_topic, handbook(), TOPIC).labelled == frozenset()
