"""Topics that are deleted, created again, cut by retention or held up, under a worker that runs."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.conftest import SharedKafka
from tests.support.fleet import Worker
from tests.support.load import Load
from tests.support.rig import Rig, await_that
from tools.embedded.topic_admin import create_topics

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

FAULTS = ("lost", "duplicated", "out_of_order", "scores_different")
FIRST, SECOND = 300, 900
_PARTITIONS = 2
_DEADLINE_S = 60.0
_REPLACED, _CONFIGURATION = 3, 2


class Scene:
    """One pipeline on the shared servers, its topics and a worker of it."""

    def __init__(self, folder: Path, trained: Path, servers: tuple[str, str]) -> None:
        self.bootstrap = servers[0]
        self.rig = Rig(folder, trained, servers, partitions=_PARTITIONS)
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        self.load = Load(self.rig, seed=5, rate=500.0)
        self.worker: Worker | None = None

    def start(self, **environment: str) -> Worker:
        self.worker = Worker(self.rig, "one", environment=environment)
        return self.worker

    def create_input_again(self, events: int) -> None:
        """Delete the input topic, create it again, and let it grow past where the old one ended."""
        self.rig.delete_topics("input")
        self.rig.create_topics("input")
        self.load = Load(self.rig, seed=6, rate=500.0)
        self.load.send(events)

    def judge(self, events: int) -> None:
        """Drain the worker; then the oracle finds exactly one right answer for each event."""
        assert self.worker is not None
        self.rig.await_all_answered(_DEADLINE_S)
        assert self.worker.drain() == 0, self.worker.tail()
        verdict = self.rig.audit()
        assert verdict["events"] == events
        assert {name: verdict[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0), verdict


@pytest.fixture
def scene(
    tmp_path: Path, trained: Path, kafka: SharedKafka, redis_url: str
) -> Iterator[Callable[[str], Scene]]:
    scenes: list[Scene] = []

    def make(name: str) -> Scene:
        # A topic's name is that of the folder: no other run of this test may have it.
        folder = tmp_path / f"{name}-{time.time_ns():x}"
        scenes.append(Scene(folder, trained, (kafka.bootstrap, redis_url)))
        return scenes[-1]

    yield make
    for made in scenes:
        if made.worker is not None and made.worker.status() is None:
            made.worker.kill()


def await_unready(worker: Worker, words: str) -> None:
    await_that(
        lambda: any(words in reason for reason in worker.not_ready()),
        _DEADLINE_S,
        f"not ready: {words}",
        lambda: (worker.not_ready(), worker.tail()),
    )


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_new_topic_is_read_from_its_beginning_once_it_is_accepted(
    scene: Callable[[str], Scene], *, stopped: bool
) -> None:
    made = scene("again")
    worker = made.start()
    made.load.send(FIRST)
    made.rig.await_all_answered(_DEADLINE_S)
    if stopped:
        worker.signal(signal.SIGSTOP)
    made.create_input_again(SECOND)
    worker.signal(signal.SIGCONT)
    assert worker.wait(_DEADLINE_S) == _REPLACED, worker.tail()
    assert "kafka.accept_topic: " in worker.tail()
    assert made.rig.outputs() == FIRST

    for _ in range(2):
        worker = made.start()
        assert worker.wait(_DEADLINE_S) == _CONFIGURATION, worker.tail()
        assert "kafka.accept_topic: " in worker.tail()
    assert made.rig.outputs() == FIRST
    # The oracle knows one input topic: the answers to the old one go.
    made.rig.delete_topics("output", "dead_letter")
    made.rig.create_topics("output", "dead_letter")
    topic_id = worker.tail().rpartition("kafka.accept_topic: ")[2].split()[0]
    made.start(FRAUD_WORKER_KAFKA__ACCEPT_TOPIC=topic_id)
    made.judge(SECOND)
    # From now on the checkpoints are of the new topic: it needs no accepting any more.
    worker = made.start()
    worker.await_ready()
    assert worker.drain() == 0


def test_a_deleted_input_topic_makes_the_worker_unready_until_another_takes_its_name(
    scene: Callable[[str], Scene],
) -> None:
    made = scene("gone")
    worker = made.start()
    made.load.send(FIRST)
    made.rig.await_all_answered(_DEADLINE_S)
    made.rig.delete_topics("input")
    await_unready(worker, "kafka.input_topic is away")
    assert worker.status() is None
    made.rig.create_topics("input")
    assert worker.wait(_DEADLINE_S) == _REPLACED, worker.tail()


def test_output_topics_may_be_created_again(scene: Callable[[str], Scene]) -> None:
    made = scene("outputs")
    worker = made.start()
    worker.await_ready()
    made.rig.delete_topics("output", "dead_letter")
    await_unready(worker, "kafka.output_topic is away")
    await_unready(worker, "kafka.dead_letter_topic is away")
    made.load.send(FIRST)
    made.rig.create_topics("output", "dead_letter")
    await_that(
        lambda: worker.events_logged().count("topic_recreated") == 2,
        _DEADLINE_S,
        "both topics are noticed",
        worker.tail,
    )
    made.judge(FIRST)


def test_offsets_without_records_are_committed_and_retention_of_them_is_no_loss(
    scene: Callable[[str], Scene],
) -> None:
    made = scene("controls")
    topic = made.rig.topics["input"]
    worker = made.start()
    producer = Producer(
        {"bootstrap.servers": made.bootstrap, "transactional.id": topic, "log_level": 0}
    )
    producer.init_transactions()
    made.load.send(FIRST)
    for finish in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for partition in range(_PARTITIONS):
            producer.produce(topic, b"", partition=partition)
        producer.flush()
        finish()
        # Not only with records: the second transaction leaves none that is committed. Its marker
        # may be written a moment after the producer's call returns.
        await_that(
            lambda: made.rig.checkpoints() == made.rig.ends(),
            _DEADLINE_S,
            "the ends are committed",
            lambda: (made.rig.checkpoints(), made.rig.ends()),
        )
    assert worker.drain() == 0, worker.tail()

    ends = {TopicPartition(topic, p, end) for p, end in made.rig.ends().items()}
    for answer in made.admin.delete_records([*ends]).values():
        answer.result(_DEADLINE_S)
    worker = made.start()
    worker.await_ready()
    assert worker.drain() == 0, worker.tail()


def test_retention_that_passes_a_running_worker_ends_it_and_each_that_follows(
    scene: Callable[[str], Scene],
) -> None:
    made = scene("passed")
    topic = made.rig.topics["input"]
    worker = made.start()
    made.load.send(FIRST)
    made.rig.await_all_answered(_DEADLINE_S)
    worker.signal(signal.SIGSTOP)
    made.load.send(FIRST)
    ends = made.rig.ends()
    for answer in made.admin.delete_records(
        [TopicPartition(topic, p, end - 1) for p, end in ends.items()]
    ).values():
        answer.result(_DEADLINE_S)
    worker.signal(signal.SIGCONT)
    assert worker.wait(_DEADLINE_S) == _REPLACED, worker.tail()
    for _ in range(2):
        assert "retention deleted" in worker.tail()
        worker = made.start()
        assert worker.wait(_DEADLINE_S) == _REPLACED, worker.tail()


def test_consumers_of_another_topic_may_share_the_group_if_they_are_cooperative(
    scene: Callable[[str], Scene],
) -> None:
    made = scene("shared")
    other = f"{made.rig.topics['input']}.other"
    create_topics(made.bootstrap, {other: 2})
    with Member(made, other, "cooperative-sticky") as member:
        member.await_assigned()
        made.start()
        made.load.send(FIRST)
        made.judge(FIRST)


def test_a_group_with_eager_members_is_told_and_joined_when_they_have_gone(
    scene: Callable[[str], Scene],
) -> None:
    made = scene("eager")
    with Member(made, made.rig.topics["input"], "range") as member:
        member.await_assigned()
        worker = made.start()
        await_unready(worker, "consumer group is away")
        made.load.send(FIRST)
    made.judge(FIRST)
    # The client tries about every second until the other member has gone.
    assert worker.events_logged().count("unable_to_join") == 1


class Member:
    """A plain consumer in the worker's group, polled from a thread of its own."""

    def __init__(self, made: Scene, topic: str, strategy: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": made.bootstrap,
                "group.id": made.rig.group,
                "partition.assignment.strategy": strategy,
                "session.timeout.ms": 6000,
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        self._consumer.subscribe([topic])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def await_assigned(self) -> None:
        def assigned() -> bool:
            self._consumer.poll(0.1)
            return bool(self._consumer.assignment())

        await_that(assigned, _DEADLINE_S, "the other member has partitions", lambda: "none")
