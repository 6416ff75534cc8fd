"""Feed of labels: the ends that events wait for, and the thread with its errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from confluent_kafka import KafkaError

from base.errors import ConfigurationError, DeliveryFatalError, DependencyUnavailableError
from tests.support.fakes import Clock, kafka_error
from tests.support.labels_topic import NAMESPACE, LabelsTopic
from worker.labels import LabelFeed
from worker.labels.label_applier import LabelTarget
from worker.labels.label_topic import LabelEnds
from worker.process.health import Health

PATIENCE_S = 20.0


def reached(*ends: int) -> Any:
    """Marks at these ends."""
    return np.array(ends, np.int64) + 1


@pytest.fixture
def topic() -> LabelsTopic:
    return LabelsTopic(3, 2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ends(topic: LabelsTopic, clock: Clock) -> LabelEnds:
    made = LabelEnds(topic.topic.ends, clock)
    made.refresh()
    return made


@pytest.mark.parametrize(
    ("marks", "complete"),
    [
        (reached(3, 2), True),
        (reached(9, 9, 9), True),
        (reached(3, 1), False),
        (reached(3), False),
        (reached(), False),
        (reached(3, -1), False),
    ],
)
def test_labels_are_complete_where_every_partition_is_applied_to_its_end(
    ends: LabelEnds, marks: Any, complete: bool
) -> None:
    assert ends.are_reached(marks) is complete


def test_a_partition_without_labels_needs_a_mark() -> None:
    empty = LabelEnds(LabelsTopic(0, 0).topic.ends, Clock())
    empty.refresh()
    assert not empty.are_reached(np.array([1, 0]))
    assert empty.are_reached(np.array([1, 1]))


def test_nothing_is_complete_before_the_ends_are_known(topic: LabelsTopic, clock: Clock) -> None:
    assert not LabelEnds(topic.topic.ends, clock).are_reached(reached(9, 9))


def test_brokers_are_asked_three_times_a_second(
    ends: LabelEnds, topic: LabelsTopic, clock: Clock
) -> None:
    for _ in range(1000):
        clock.sleep(0.01)
        ends.refresh()
    assert 30 <= topic.admin.asked <= 34


def test_labels_that_keep_coming_keep_no_event_waiting_but_a_standstill_does(
    ends: LabelEnds, topic: LabelsTopic, clock: Clock
) -> None:
    """The marks follow the ends by a third of a second."""
    applied = 3
    for _ in range(40):
        ends.refresh()
        assert ends.are_reached(reached(applied, 2))
        applied, topic.admin.ends[0] = topic.admin.ends[0], topic.admin.ends[0] + 7
        clock.sleep(0.4)
    for _ in range(2):
        ends.refresh()
        clock.sleep(0.7)
    assert not ends.are_reached(reached(applied, 2))
    assert ends.are_reached(reached(topic.admin.ends[0], 2))


def test_an_answer_serves_for_a_second_where_the_brokers_are_away(
    ends: LabelEnds, topic: LabelsTopic, clock: Clock
) -> None:
    topic.admin.away = kafka_error(KafkaError._TRANSPORT)
    clock.sleep(0.9)
    with pytest.raises(
        DependencyUnavailableError, match=r"kafka\.labels_topic: its ends are unknown"
    ):
        ends.refresh()
    assert ends.are_reached(reached(3, 2))
    clock.sleep(0.2)
    assert not ends.are_reached(reached(3, 2))
    topic.admin.away = None
    ends.refresh()
    assert ends.are_reached(reached(3, 2))


def test_a_topic_that_was_created_again_ends_the_worker(
    ends: LabelEnds, topic: LabelsTopic, clock: Clock
) -> None:
    topic.admin.topic_id = "labels-2"
    clock.sleep(0.5)
    with pytest.raises(DeliveryFatalError, match="deleted and created again"):
        ends.refresh()


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, ConfigurationError, "no topic in; create it"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ConfigurationError, "allow Describe on it"),
        (KafkaError._TRANSPORT, DependencyUnavailableError, "in cannot be described"),
    ],
)
def test_a_topic_that_cannot_be_opened_is_told(
    topic: LabelsTopic, code: int, error: type[Exception], told: str
) -> None:
    topic.admin.away = kafka_error(code)
    with pytest.raises(error, match=rf"kafka\.labels_topic: .*{told}"):
        topic.topic.open()


# --- the thread


class Applier:
    """Applier whose steps a test decides; without more of them it asks for the end."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self.steps = list(steps)
        self.targets: list[LabelTarget] = []
        self.done = threading.Event()
        self.closed = threading.Event()

    def step(self, target: LabelTarget) -> None:
        self.targets.append(target)
        if self.steps:
            self.steps.pop(0)()
        else:
            self.done.set()

    def close(self) -> None:
        self.closed.set()


class Started:
    """A feed that applies labels.

    Attributes:
        health: State that its thread reports to.
        failures: Errors that end the worker.
        failed: Set with the first of them.
    """

    def __init__(self, applier: Applier, topic: LabelsTopic) -> None:
        self.health = Health(60.0)
        self.health.joined()
        self.failures: list[Exception] = []
        self.failed = threading.Event()
        self.feed = LabelFeed(
            topic.topic,
            {"terminal": "terminal"},
            lambda: cast("Any", applier),
            self.health,
            self._fail,
        )
        self.key = self.feed.open(NAMESPACE, [b"marks"], 7)

    def _fail(self, error: Exception) -> None:
        self.failures.append(error)
        self.failed.set()


def raising(error: Exception) -> Callable[[], None]:
    def then() -> None:
        raise error

    return then


def test_an_outage_is_told_until_it_ends(topic: LabelsTopic) -> None:
    told: list[list[str]] = []
    away = DependencyUnavailableError("the store does not answer")
    applier = Applier(
        raising(away),
        lambda: told.append(started.health.ready()),
        lambda: told.append(started.health.ready()),
    )
    started = Started(applier, topic)
    assert applier.done.wait(PATIENCE_S)
    started.feed.close()
    assert applier.closed.is_set()
    assert started.feed.are_applied(reached(3, 2))
    assert told == [["labels is away: the store does not answer"], []]
    assert not started.failures


@pytest.mark.parametrize(
    "error", [ConfigurationError("no right"), DeliveryFatalError("fenced"), KeyError("a bug")]
)
def test_another_error_ends_the_thread_and_the_worker(topic: LabelsTopic, error: Exception) -> None:
    applier = Applier(raising(error))
    started = Started(applier, topic)
    assert started.failed.wait(PATIENCE_S)
    assert started.failures == [error]
    assert applier.closed.is_set()


def test_a_second_opening_gives_the_thread_another_target(topic: LabelsTopic) -> None:
    again = threading.Event()

    def await_the_other() -> None:
        assert again.wait(PATIENCE_S)

    applier = Applier(lambda: None, await_the_other)
    started = Started(applier, topic)
    topic.admin.topic_id = "labels-2"
    key = started.feed.open(NAMESPACE, [b"others"], None)
    again.set()
    assert applier.done.wait(PATIENCE_S)
    started.feed.close()
    first, last = applier.targets[0], applier.targets[-1]
    assert (last.marks_key, last.history_marks, last.expire_ms) == (key, [b"others"], None)
    assert key != started.key
    assert first.namespace is NAMESPACE
