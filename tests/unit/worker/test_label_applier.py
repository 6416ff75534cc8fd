"""Labels of the labels topic in the store: where they begin, what is lost, what is skipped."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from confluent_kafka import KafkaError
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from base.errors import DeliveryFatalError, DependencyUnavailableError
from features.history.marks import Mark
from features.store.memory import MemoryStore
from features.store.protocol import MarkWrite, ServerRun
from tests.support.fakes import FakeConsumer, kafka_error
from tests.support.labels_topic import START_US, TARGET, LabelsTopic, LabelStore, Place, label
from tests.support.loop_harness import sample
from worker.labels.label_applier import LabelApplier, LabelTarget


def steps(applier: LabelApplier, count: int = 3) -> None:
    for _ in range(count):
        applier.step(TARGET)


def places(*ends: int) -> list[Place]:
    return [(partition, offset) for partition, end in enumerate(ends) for offset in range(end)]


def server(store: MemoryStore) -> ServerRun:
    run = store.read_all([], [], [b"any"]).server
    assert run is not None
    return run


def write_mark(store: MemoryStore, partition: int, end: int) -> None:
    mark = Mark(0, end).encode(server(store))
    store.write_marks([MarkWrite(TARGET.marks_key, partition, None, mark)])


def test_without_a_mark_a_partition_is_read_from_its_first_label_to_its_end() -> None:
    topic, store = LabelsTopic(3, 2), LabelStore()
    topic.admin.lows = {1: 1}
    applier, consumer = topic.applier(store)
    consumer.controls = {0: 2}
    topic.admin.ends = {0: 5, 1: 2}
    consumer.will_assign(0, 1)
    steps(applier)
    assert store.labels() == [(0, 0), (0, 1), (0, 2), (1, 1)]
    assert store.label_ends() == [5, 2]


def test_an_empty_partition_has_a_mark() -> None:
    topic, store = LabelsTopic(0, 0), LabelStore()
    applier, consumer = topic.applier(store)
    consumer.will_assign(0, 1)
    steps(applier)
    assert store.label_ends() == [0, 0]


def test_the_next_owner_goes_on_at_the_mark() -> None:
    topic, store = LabelsTopic(3, 2), LabelStore()
    first, consumer = topic.applier(store)
    consumer.will_assign(0, 1)
    steps(first)
    consumer.will_revoke(0)
    steps(first)
    topic.admin.ends[0] = 5
    second, consumer = topic.applier(store)
    consumer.will_assign(0)
    steps(second)
    assert consumer.starts == [(0, 3)]
    assert store.labels() == places(5, 2)


@pytest.mark.parametrize(("low", "mark"), [(0, 9), (2, 1)], ids=["behind the end", "deleted"])
def test_a_mark_that_is_no_place_in_the_partition_counts_as_missing(low: int, mark: int) -> None:
    topic, store = LabelsTopic(4, 0), LabelStore()
    topic.admin.lows = {0: low}
    write_mark(store, 0, mark)
    applier, consumer = topic.applier(store)
    consumer.will_assign(0)
    steps(applier)
    assert consumer.starts == [(0, low)]
    assert store.label_ends()[0] == 4
    assert store.labels() == [(0, offset) for offset in range(low, 4)]


def test_labels_that_the_store_has_lost_are_read_again() -> None:
    topic, store = LabelsTopic(3, 2), LabelStore()
    applier, consumer = topic.applier(store)
    consumer.will_assign(0, 1)
    steps(applier)
    store.flush()
    topic.admin.ends[1] = 4
    steps(applier, 4)
    assert store.labels() == places(3, 4)
    assert store.label_ends() == [3, 4]


def test_a_changed_target_is_filled_from_its_own_marks() -> None:
    topic, store = LabelsTopic(3, 2), LabelStore()
    applier, consumer = topic.applier(store)
    consumer.will_assign(0, 1)
    steps(applier)
    other = LabelTarget(TARGET.namespace, b"fw:other marks", TARGET.history_marks, None)
    for _ in range(3):
        applier.step(other)
    assert store.read([b"fw:other marks"]) == store.read([TARGET.marks_key])
    # The labels themselves are known by their positions.
    assert store.labels() == places(3, 2)


def test_labels_of_a_failed_append_are_read_again_and_stored_once() -> None:
    topic, store = LabelsTopic(6, 0), LabelStore()
    applier, consumer = topic.applier(store)
    consumer.will_assign(0)
    store.failing = 2
    failures = 0
    for _ in range(8):
        try:
            applier.step(TARGET)
        except DependencyUnavailableError:
            failures += 1
            assert store.label_ends()[0] == 0
    assert failures == 2
    assert store.labels() == places(6)
    assert store.label_ends()[0] == 6


def test_brokers_that_do_not_answer_are_waited_for() -> None:
    topic, store = LabelsTopic(2, 0), LabelStore()
    applier, consumer = topic.applier(store)
    consumer.will_assign(0)
    topic.admin.away = kafka_error(KafkaError._TRANSPORT)
    with pytest.raises(DependencyUnavailableError, match=r"kafka\.labels_topic: .*_TRANSPORT"):
        applier.step(TARGET)
    topic.admin.away = None
    steps(applier)
    assert store.labels() == places(2)


def test_a_topic_that_may_not_be_read_ends_the_worker() -> None:
    applier, consumer = LabelsTopic(2, 0).applier(LabelStore())
    consumer.errors.append(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
    with pytest.raises(DeliveryFatalError, match="topic in cannot be read"):
        applier.step(TARGET)


def test_records_that_are_no_labels_are_counted_and_each_code_is_logged_once() -> None:
    topic, store = LabelsTopic(9, 0), LabelStore()
    topic.records = {
        (0, 1): None,
        (0, 2): b"\x05",
        (0, 3): label(3, event_id=""),
        (0, 4): label(4, entity_keys={"customer": "c"}),
        (0, 5): label(5, event_time=0),
        (0, 6): label(6, entity_keys={}),
        (0, 7): label(7)[:-3],
    }
    codes = {
        "null_value": 1,
        "magic_unknown": 1,
        "event_id_missing": 1,
        "entity_key_missing": 2,
        "event_time_out_of_range": 1,
        "body_invalid": 1,
    }
    before = {code: sample("refused_labels_total", code=code) for code in codes}
    applied = sample("labels_total")
    applier, consumer = topic.applier(store)
    consumer.will_assign(0)
    with capture_logs() as logs:
        steps(applier)
    assert store.labels() == [(0, 0), (0, 8)]
    assert store.label_ends()[0] == 9
    assert sample("labels_total") - applied == 2
    counted = {code: sample("refused_labels_total", code=code) - before[code] for code in codes}
    assert counted == codes
    told = [(entry["code"], entry["offset"]) for entry in logs if entry["event"] == "label_refused"]
    assert told == [
        ("null_value", 1),
        ("magic_unknown", 2),
        ("event_id_missing", 3),
        ("entity_key_missing", 4),
        ("event_time_out_of_range", 5),
        ("body_invalid", 7),
    ]


def test_labels_that_come_behind_the_scored_events_are_late_but_not_those_read_again() -> None:
    topic, store = LabelsTopic(3, 0), LabelStore()
    applier, consumer = topic.applier(store)
    consumer.will_assign(0)
    scored = Mark(0, 7, START_US + 99, START_US + 30).encode(server(store))

    def late() -> float:
        before = sample("late_labels_total")
        steps(applier, 4)
        return sample("late_labels_total") - before

    assert late() == 0
    store.write_marks([MarkWrite(TARGET.history_marks[0], 1, None, scored)])
    topic.admin.ends[0] = 6
    # Those of numbers 30, 40 and 50; an event at 30 has been scored.
    assert late() == 1
    store.flush()
    store.write_marks([MarkWrite(TARGET.history_marks[0], 1, None, scored)])
    assert late() == 0
    assert store.label_ends()[0] == 6


# --- two owners


class Owners:
    """Two members of the group, which may both read a partition."""

    def __init__(self) -> None:
        self.topic, self.store = LabelsTopic(0, 0), LabelStore()
        self.members: list[tuple[LabelApplier, FakeConsumer]] = [
            self.topic.applier(self.store) for _ in range(2)
        ]
        self.owned: list[set[int]] = [set(), set()]

    def play(self, kind: str, member: int, partition: int) -> None:
        applier, consumer = self.members[member]
        owned = self.owned[member]
        if kind == "step":
            with suppress(DependencyUnavailableError):
                applier.step(TARGET)
        elif kind == "label":
            self.topic.admin.ends[partition] += 1 + member
        elif kind == "flush":
            self.store.flush()
        elif kind == "fail":
            self.store.failing += 1
        elif kind == "restart":
            self.members[member], self.owned[member] = self.topic.applier(self.store), set()
        elif partition in owned:
            consumer.will_revoke(partition)
            owned.remove(partition)
        else:
            consumer.will_assign(partition)
            owned.add(partition)

    def finish(self) -> None:
        """Let the second member own everything, and read to the end."""
        self.store.failing = 0
        for partition in range(2):
            if partition not in self.owned[1]:
                self.play("move", 1, partition)
        for _ in range(12):
            self.play("step", 1, 0)


KINDS = ("step", "step", "step", "label", "label", "move", "move", "flush", "fail", "restart")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 1), st.integers(0, 1)), max_size=40)
)
def test_a_mark_stands_for_labels_that_are_there_whoever_reads_and_whatever_fails(
    played: list[tuple[str, int, int]],
) -> None:
    owners = Owners()
    for move in played:
        owners.play(*move)
        stored = set(owners.store.labels())
        promised = [(p, o) for p, end in enumerate(owners.store.label_ends()) for o in range(end)]
        assert stored >= set(promised)
    owners.finish()
    ends = [owners.topic.admin.ends[partition] for partition in range(2)]
    assert owners.store.label_ends() == ends
    assert set(owners.store.labels()) == set(places(*ends))
    assert np.unique(owners.store.labels(), axis=0).shape[0] == sum(ends)
