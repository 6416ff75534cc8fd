"""Flag across_late: events that came to their partition after others were scored past them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from features.compute.bind import bind
from features.definition import FeatureSet
from features.history.marks import Mark
from features.history.namespace import Namespace
from features.history.watermarks import LogState, PassedEnd
from features.store.memory import MemoryStore
from features.store.protocol import MarkWrite
from features.values.hash64 import KEY_BYTES
from features.windows.plan import ACROSS_LATE, WindowPlan
from features.windows.position import late_across
from features.windows.window import Across, Aggregate, HistoryRules, Window
from schemas.batch import Decoded, EventBatch, Kind, Records
from tests.support.checkpoints import Guards
from tests.support.fakes import Clock, kafka_error
from tests.support.making import T0, columns, feature_set, longs, strings
from worker.consume.topics import InputTopic
from worker.fill.source import LogSource
from worker.histories import StoredHistories
from worker.histories.location import StateLocation
from worker.histories.passed_ends import PassedEnds
from worker.stages.stages import Enrich

LATENESS, DELAY = 2, 10
SECOND = 1_000_000
FEATURES = """\
name: test
events: {schema: event.avsc, id: id, time: at, partition_key: card}
entities: {card: card, shop: shop}
history: {allowed_lateness: 2s, watermark_support: 1}
features:
  - {name: OWN, window: count, by: card, over: 60s}
  - {name: SOON, window: count, by: shop, over: 60s, delay: 10s, across: aligned}
  - {name: LATER, window: count, by: shop, over: 60s, delay: 20s, across: aligned}
"""
NAMESPACE = Namespace("test", "fraud", "id-1", 2, bytes(KEY_BYTES))
TOPIC = InputTopic("payments", "id-1", 2, 604_800_000)


def plan_of(across: Across, *delays: int) -> WindowPlan:
    windows = [
        Window(
            f"n{delay}", Aggregate.COUNT, "shop", 60, delay, None, None, False, across, 0.0,
            frozenset(),
        )
        for delay in delays
    ]  # fmt: skip
    return WindowPlan(windows, HistoryRules(LATENESS, 60, 1_000, 1, None))


PLAN = plan_of(Across.ALIGNED, 2 * DELAY, DELAY)


class Brokers:
    """Brokers that know the ends of partitions.

    Attributes:
        ends: End of each partition; None while the brokers do not answer.
        asked: Partitions whose ends were asked for.
    """

    def __init__(self, ends: Sequence[int | None]) -> None:
        self.ends = [*ends]
        self.asked: list[int] = []

    def bounds(self, partition: int) -> tuple[int, int]:
        self.asked.append(partition)
        end = self.ends[partition]
        if end is None:
            raise kafka_error(KafkaError._TRANSPORT)
        return 0, end


def ticking() -> Callable[[], float]:
    """A clock that goes on by minutes at each look."""
    ticks = count(step=60)
    return lambda: next(ticks)


def log_at(offsets: Mapping[int, int], watermarks: Mapping[int, int]) -> LogState:
    return LogState({p: (time,) for p, time in watermarks.items()}, offsets=offsets)


# ends


def test_an_end_is_asked_for_where_an_event_in_time_may_have_been_missed() -> None:
    brokers = Brokers([5, 6, 7])
    passed = PassedEnds(PLAN, brokers.bounds, ticking())
    # The earliest event of partition 0 that is not late is at 98.
    log = log_at({0: 5}, {0: 100})
    passed.look(log, {0: 100, 1: 107, 2: 50})
    assert brokers.asked == []
    passed.look(log, {0: 100, 1: 108, 2: 50})
    assert (brokers.asked, passed.ends) == ([0], {0: PassedEnd(5, 108)})
    # Nothing new is known while others are not scored further.
    passed.look(log, {0: 100, 1: 108, 2: 70})
    assert brokers.asked == [0]
    passed.look(log, {0: 100, 1: 108, 2: 120})
    assert passed.ends == {0: PassedEnd(5, 120)}


def test_a_partition_without_a_watermark_may_get_events_of_any_time() -> None:
    brokers = Brokers([0, 6])
    passed = PassedEnds(PLAN, brokers.bounds, ticking())
    passed.look(log_at({0: 0, 1: 6}, {1: 100}), {1: 100})
    assert passed.ends == {0: PassedEnd(0, 100)}


def test_the_partition_that_is_furthest_is_compared_with_the_next() -> None:
    brokers = Brokers([5, 6, 7])
    passed = PassedEnds(PLAN, brokers.bounds, ticking())
    passed.look(log_at({0: 5, 1: 6}, {0: 10, 1: 200}), {0: 10, 1: 200, 2: 50})
    assert passed.ends == {0: PassedEnd(5, 200)}
    passed.look(log_at({1: 6}, {}), {0: 10, 1: 300, 2: 50})
    assert passed.ends == {0: PassedEnd(5, 200), 1: PassedEnd(6, 50)}


def test_an_end_holds_until_the_events_behind_it_are_read() -> None:
    brokers = Brokers([5, 6])
    passed = PassedEnds(PLAN, brokers.bounds, ticking())
    passed.look(log_at({0: 5}, {0: 10}), {0: 10, 1: 100})
    brokers.ends[0] = 9
    passed.look(log_at({0: 7}, {0: 20}), {0: 20, 1: 110})
    assert passed.ends == {0: PassedEnd(5, 100)}
    passed.look(log_at({0: 9}, {0: 20}), {0: 20, 1: 111})
    assert passed.ends == {0: PassedEnd(9, 111)}


def test_brokers_that_do_not_answer_are_asked_once_until_others_go_on() -> None:
    brokers = Brokers([None, None])
    passed = PassedEnds(PLAN, brokers.bounds, ticking())
    log = log_at({0: 0, 1: 0}, {})
    for _ in range(2):
        passed.look(log, {0: 100, 1: 99})
    assert (brokers.asked, passed.ends) == ([0, 1], {})
    brokers.ends = [0, 0]
    passed.look(log, {0: 101, 1: 100})
    assert passed.ends == {0: PassedEnd(0, 100), 1: PassedEnd(0, 101)}


def test_an_idle_partition_is_asked_about_once_a_second() -> None:
    brokers, clock = Brokers([0, 0]), Clock()
    passed = PassedEnds(PLAN, brokers.bounds, clock)
    for time in range(100, 150):
        passed.look(log_at({0: 0}, {}), {1: time})
        clock.sleep(0.1)
    assert len(brokers.asked) == 5


def test_without_aligned_windows_or_other_partitions_nothing_is_asked_for() -> None:
    brokers = Brokers([0, 0])
    PassedEnds(plan_of(Across.BEST_EFFORT, DELAY), brokers.bounds, ticking()).look(
        log_at({0: 0}, {}), {1: 100}
    )
    PassedEnds(PLAN, brokers.bounds, ticking()).look(log_at({0: 0}, {}), {})
    PassedEnds(PLAN, brokers.bounds, ticking()).look(log_at({0: 0}, {}), {0: 100})
    assert brokers.asked == []


# events


def plain_batch(events: Sequence[tuple[int, int, int]]) -> EventBatch:
    """Events by partition, offset and time."""
    of, offsets, times = np.array(events, np.int64).reshape(-1, 3).T
    records = Records(
        "payments", [], [], of.astype(np.int32), offsets, np.zeros(len(events), np.int64)
    )
    return EventBatch(records, {}, None, times, None, {})


small = st.integers(0, 6)


@given(
    st.lists(st.tuples(st.integers(0, 2), small, small, st.booleans()), max_size=12),
    st.dictionaries(st.integers(0, 2), st.builds(PassedEnd, small, st.integers(0, 12))),
    st.integers(0, 3) | st.none(),
)
def test_events_behind_an_end_are_missed_by_what_was_scored_past_them(
    events: Sequence[tuple[int, int, int, bool]],
    ends: Mapping[int, PassedEnd],
    delay: int | None,
) -> None:
    def is_missed(partition: int, offset: int, time: int, *, is_late: bool) -> bool:
        if delay is None or partition not in ends or is_late:
            return False
        # The window of an event at t ends at t - delay, and includes it.
        return offset >= ends[partition].offset and time <= ends[partition].time - delay

    batch = plain_batch([event[:3] for event in events])
    late = np.array([event[3] for event in events], np.bool_)
    missed = late_across(batch, LogState(passed=ends), late, delay)
    assert missed.tolist() == [is_missed(*event[:3], is_late=event[3]) for event in events]


# workers


class Worker:
    """Scoring of one partition, with the histories of a worker.

    Attributes:
        log: State of the log before its next event.
    """

    def __init__(
        self, features: FeatureSet, store: MemoryStore, brokers: Brokers, partition: int
    ) -> None:
        log_source = SimpleNamespace(
            bounds=brokers.bounds, clock=ticking(), checkpoints=lambda _: LogState()
        )
        source = cast("LogSource", log_source)
        self._features, self._partition, self._brokers = features, partition, brokers
        self.histories = StoredHistories(
            store,
            features.histories,
            lambda _: StateLocation(NAMESPACE, None),
            Guards(),
            source,
            fills=False,
        )
        self.histories.open(TOPIC)
        self.log = LogState(offsets={partition: 0})
        for _ in self.histories.restore(self.log):
            pass
        self._enrich = Enrich(features, store, self.histories)

    def score(self, *times: int) -> list[tuple[list[str], float]]:
        """Score events at these times in seconds; return flags, and shops' events of before."""
        batch = self._batch(times)
        enriched = self._enrich(batch, self.log)
        end = self.log.offsets[self._partition] + len(times)
        after = replace(enriched.after, offsets={self._partition: end})
        self.histories.write(
            self.histories.announce(enriched.writes, self.log, after, {self._partition: end})
        )
        self.log = after
        named = map(self._features.flags.decode, enriched.flags.tolist())
        flags = [[name for name in names if "history" not in name] for names in named]
        return list(zip(flags, enriched.matrix[:, 1].tolist(), strict=True))

    def look(self) -> None:
        """Look at the marks, as an idle worker does once a second."""
        self.histories.require(self.log)

    def _batch(self, times: Sequence[int]) -> EventBatch:
        rows, begin = len(times), self.log.offsets[self._partition]
        offsets = np.arange(begin, begin + rows)
        records = Records(
            "payments",
            [b""] * rows,
            [b""] * rows,
            np.full(rows, self._partition, np.int32),
            offsets,
            np.zeros(rows, np.int64),
        )
        values = columns(
            rows,
            id=strings([f"{self._partition}-{offset}" for offset in offsets]),
            at=longs([T0 + time * SECOND for time in times], Kind.TIME),
            card=strings([f"c{self._partition}"] * rows),
            shop=longs([1] * rows),
        )
        batch, errors = bind(self._features, records, Decoded(values, {}))
        assert not errors
        return batch


@pytest.fixture
def features(tmp_path: Path) -> FeatureSet:
    return feature_set(tmp_path, FEATURES)


def test_events_after_an_outage_of_their_producer_are_flagged(features: FeatureSet) -> None:
    store, brokers = MemoryStore(), Brokers([2, 0])
    idle, other = (Worker(features, store, brokers, p) for p in (0, 1))
    assert idle.score(0, 1) == [([], 0), ([], 0)]
    # The producer of partition 0 is away, and its end is reached: the other one goes on.
    assert other.score(20) == [([], 2)]
    assert other.score(30) == [([], 3)]
    assert other.score(40) == [([], 4)]
    idle.look()
    brokers.ends = [5, 3]
    # Up to 30 s were scored and committed before: the last micro-batch may still have failed.
    flagged = idle.score(19, 20, 21)
    assert flagged == [([ACROSS_LATE], 2), ([ACROSS_LATE], 2), ([], 2)]
    # What is scored from now on sees all of them.
    assert other.score(41) == [([], 7)]


def test_events_that_were_in_the_topic_are_not_flagged_however_far_others_are(
    features: FeatureSet,
) -> None:
    store, brokers = MemoryStore(), Brokers([4, 0])
    behind, ahead = (Worker(features, store, brokers, p) for p in (0, 1))
    # Partition 0 is applied to the store ahead of its scores: the other one need not wait for it.
    key = NAMESPACE.marks_key("shop", features.histories.layouts["shop"])
    server = store.read_all([], [], [key]).server
    assert server is not None
    applied = Mark(0, 4, T0 + 90 * SECOND).encode(server)
    store.write_marks([MarkWrite(key, 0, None, applied)])
    for time in (50, 60, 70):
        ahead.score(time)
        behind.look()
    brokers.ends = [5, 3]
    assert [flags for flags, _ in behind.score(0, 10, 20, 30)] == [[]] * 4
    # One that came after that, and is in time, is flagged.
    behind.look()
    assert [flags for flags, _ in behind.score(35)] == [[ACROSS_LATE]]
