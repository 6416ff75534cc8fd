"""Topics of a real broker that refuse scores and dead letters: every position has one answer."""

from __future__ import annotations

import io
import random
import signal
import string
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import fastavro
import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.conftest import MakeTopic, SharedKafka
from tests.support.access_rules import BROKER_SETTINGS, allow
from tests.support.payments import body, framed, good_record, text, write_pipeline
from tests.support.rig import await_that
from tests.support.worker_process import read_until, worker
from tools.embedded.kafka import Kafka
from tools.embedded.topic_admin import create_topics
from worker.schema_sources import score_schema

GUARANTEES = ["exactly_once", "at_least_once"]
DEADLINE_S = 120.0


@dataclass(frozen=True, slots=True)
class Ground:
    """A pipeline on topics of its own."""

    kafka: str
    topics: dict[str, str]
    pipeline: Path

    def produce(self, *records: tuple[bytes, bytes | None]) -> None:
        """Values and keys into the input topic."""
        producer = Producer({"bootstrap.servers": self.kafka})
        for value, key in records:
            producer.produce(self.topics["input_topic"], value, key)
        assert producer.flush(30) == 0

    def alter(self, topic: str, **settings: str) -> None:
        """Change a topic's settings while the worker runs."""
        entries = [
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in settings.items()
        ]
        resource = ConfigResource(
            ResourceType.TOPIC, self.topics[topic], incremental_configs=entries
        )
        with AdminClient({"bootstrap.servers": self.kafka}) as admin:
            for done in admin.incremental_alter_configs([resource]).values():
                done.result(30)
            resource = ConfigResource(ResourceType.TOPIC, self.topics[topic])

            def told() -> bool:
                found = admin.describe_configs([resource])[resource].result(30)
                return all(
                    found[name.replace("_", ".")].value == settings[name] for name in settings
                )

            await_that(told, 30.0, f"the broker knows {settings}", lambda: None)

    def await_refusals(self, topic: str) -> None:
        """Wait until the partitions of a topic refuse a large record without a key.

        They hear of a changed setting after the broker describes it. The record is written in a
        transaction that is aborted, so that no reader sees it.
        """
        name = self.topics[topic]
        producer = Producer({"bootstrap.servers": self.kafka, "transactional.id": f"probe/{name}"})
        producer.init_transactions(30)
        errors: list[KafkaError | None] = []

        def refused() -> bool:
            producer.begin_transaction()
            producer.produce(name, bytes(4000), on_delivery=lambda error, _: errors.append(error))
            producer.flush(30)
            producer.abort_transaction(30)
            return errors[-1] is not None

        await_that(refused, 30.0, f"{topic} refuses records", lambda: None)

    def allow(self, topic: str, *operations: AclOperation) -> None:
        """Allow these operations on a topic to everyone, and no others but those allowed before."""
        with AdminClient({"bootstrap.servers": self.kafka}) as admin:
            allow(admin, ResourceType.TOPIC, self.topics[topic], *operations)

    def scores(self, count: int) -> list[Message]:
        return read_until(self.kafka, [self.topics["output_topic"]], count)

    def answers(self, count: int) -> tuple[Counter[int], dict[int, str]]:
        """Answers by offset of the input topic, of ``count``; and the codes of dead letters."""
        topics = [self.topics["output_topic"], self.topics["dead_letter_topic"]]
        offsets, codes = list[int](), dict[int, str]()
        for message in read_until(self.kafka, topics, count):
            if message.topic() == topics[0]:
                offsets.append(_score(message.value())["source"]["offset"])
            else:
                headers = headers_of(message)
                offset = int(headers["__worker.errors.offset"])
                offsets.append(offset)
                codes[offset] = headers["__worker.errors.code"].decode()
        return Counter(offsets), codes

    def log(self) -> str:
        return (self.pipeline / "worker.log").read_text()

    def await_log(self, words: str) -> None:
        until = time.monotonic() + DEADLINE_S
        while words not in self.log():
            assert time.monotonic() < until, f"no {words!r} in: {self.log()[-4000:]}"
            time.sleep(0.05)


Lay = Callable[..., Ground]


@pytest.fixture
def lay(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> Lay:
    def make(
        guarantee: str,
        output: dict[str, str] | None = None,
        dead_letters: dict[str, str] | None = None,
        **delivery: str,
    ) -> Ground:
        topics = {
            "input_topic": make_topic("payments"),
            "output_topic": make_topic("scores", settings=output),
            "dead_letter_topic": make_topic("dead", settings=dead_letters),
        }
        for name, value in {"guarantee": guarantee, **delivery}.items():
            monkeypatch.setenv(f"FRAUD_WORKER_DELIVERY__{name.upper()}", value)
        pipeline = write_pipeline(
            tmp_path / "p",
            {"bootstrap_servers": kafka.bootstrap, "group": topics["input_topic"], **topics},
        )
        return Ground(kafka.bootstrap, topics, pipeline)

    return make


def headers_of(message: Message) -> dict[str, bytes]:
    return dict(cast("list[tuple[str, bytes]]", message.headers()))


def _score(value: Any) -> dict[str, Any]:
    record = fastavro.schemaless_reader(io.BytesIO(value[5:]), score_schema(), None)
    assert isinstance(record, dict)
    return record


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_scores_without_a_key_in_a_topic_that_becomes_compacted(guarantee: str, lay: Lay) -> None:
    ground = lay(guarantee)
    keyless = {10, 400, 401, 402, 777}
    with worker(ground.pipeline):
        ground.produce((good_record(0), b"k0"))
        ground.scores(1)
        ground.alter("output_topic", cleanup_policy="compact")
        ground.await_refusals("output_topic")
        # One refused record of many, and several: the client tells of them in different ways.
        ground.produce(
            *((good_record(i), None if i in keyless else b"k%d" % i) for i in range(1, 51))
        )
        ground.answers(51)
        ground.produce(
            *((good_record(i), None if i in keyless else b"k%d" % i) for i in range(51, 1000))
        )
        answers, codes = ground.answers(1000)
    assert answers == Counter(range(1000))
    assert codes == dict.fromkeys(keyless, "output_refused")
    assert "not_committed" not in ground.log()


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_scores_too_large_for_a_topic_whose_limit_was_lowered(guarantee: str, lay: Lay) -> None:
    ground = lay(guarantee)
    # The brokers measure compressed batches: random letters stay as long as they are.
    note = "".join(random.Random(7).choices(string.ascii_letters, k=3000))
    large = framed(body(id=b"\x02" + text("p-large"), note=text(note)))
    with worker(ground.pipeline):
        ground.produce((good_record(0), b"k"))
        ground.scores(1)
        ground.alter("output_topic", max_message_bytes="3000")
        ground.await_refusals("output_topic")
        ground.produce(
            *((large if i in (7, 200) else good_record(i), b"k%d" % i) for i in range(1, 300))
        )
        answers, codes = ground.answers(300)
    assert answers == Counter(range(300))
    assert codes == dict.fromkeys((7, 200), "output_too_large")


def test_scores_in_a_topic_whose_bound_of_timestamps_leaves_them_a_millisecond(lay: Lay) -> None:
    """All scores of a batch are refused, or those that waited longest.

    At least once: a marker that ends a transaction may be refused too, and then Kafka 4.3 never
    ends it (decision 16).
    """
    ground = lay("at_least_once", output={"message.timestamp.before.max.ms": "1"})
    ground.produce(*((good_record(i), b"k%d" % i) for i in range(200)))
    with worker(ground.pipeline):
        answers, codes = ground.answers(200)
    assert answers == Counter(range(200))
    assert set(codes.values()) <= {"output_refused"}


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_dead_letter_topic_that_refuses_is_waited_for_until_it_is_mended(
    guarantee: str, lay: Lay
) -> None:
    ground = lay(guarantee, dead_letters={"cleanup.policy": "compact"})
    ground.produce((good_record(0), b"k"), (b"bad", None), (good_record(2), b"k"))
    with worker(ground.pipeline):
        ground.await_log("dead_letter_topic_away")
        ground.alter("dead_letter_topic", cleanup_policy="delete")
        answers, codes = ground.answers(3)
        ground.await_log("dead_letter_topic_back")
    assert answers == Counter(range(3))
    assert codes == {1: "magic_unknown"}


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_dead_letter_topic_that_refuses_for_too_long_ends_the_worker(
    guarantee: str, lay: Lay
) -> None:
    ground = lay(guarantee, dead_letters={"cleanup.policy": "compact"}, refused_s="2")
    ground.produce((b"bad", None))
    with worker(ground.pipeline, status=3) as process:
        process.wait(DEADLINE_S)
    assert "delivery.refused_s is 2" in ground.log()
    assert f"{ground.topics['dead_letter_topic']} refuses it (INVALID_RECORD" in ground.log()


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_dead_letters_of_old_records_outlive_the_retention_of_their_topic(
    guarantee: str, lay: Lay
) -> None:
    """The bound of timestamps refuses what retention would delete at once: the same test, sooner."""
    ground = lay(guarantee, dead_letters={"message.timestamp.before.max.ms": "3600000"})
    producer = Producer({"bootstrap.servers": ground.kafka})
    producer.produce(ground.topics["input_topic"], b"bad", timestamp=1_600_000_000_000)
    assert producer.flush(30) == 0
    before = int(time.time() * 1000)
    with worker(ground.pipeline):
        (letter,) = read_until(ground.kafka, [ground.topics["dead_letter_topic"]], 1)
    assert letter.timestamp()[1] >= before
    assert headers_of(letter)["__worker.errors.timestamp"] == b"1600000000000"


def test_a_stop_ends_the_wait_for_a_dead_letter_topic(lay: Lay) -> None:
    ground = lay("exactly_once", dead_letters={"cleanup.policy": "compact"})
    ground.produce((b"bad", None))
    with worker(ground.pipeline) as process:
        ground.await_log("dead_letter_topic_away")
        process.send_signal(signal.SIGTERM)
        # Without it, the wait goes on for delivery.refused_s.
        process.wait(DEADLINE_S)
    assert '"drained"' in ground.log()


def test_where_writing_is_forbidden_the_worker_waits_unready_until_it_is_allowed(
    private_kafka: Callable[..., Kafka], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = private_kafka(BROKER_SETTINGS)
    for guarantee in GUARANTEES:
        monkeypatch.setenv("FRAUD_WORKER_DELIVERY__GUARANTEE", guarantee)
        roles = ("input_topic", "output_topic", "dead_letter_topic")
        topics = {role: f"{guarantee}.{role}" for role in roles}
        create_topics(server.bootstrap, dict.fromkeys(topics.values(), 1))
        kafka = {"bootstrap_servers": server.bootstrap, "group": guarantee, **topics}
        pipeline = write_pipeline(tmp_path / guarantee, kafka)
        ground = Ground(server.bootstrap, topics, pipeline)
        ground.allow(
            "output_topic", AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS, AclOperation.READ
        )
        ground.produce(*((good_record(i), b"k") for i in range(3)))
        with worker(pipeline):
            ground.await_log("delivery_away")
            ground.allow("output_topic", AclOperation.WRITE)
            answers, codes = ground.answers(3)
            ground.await_log("delivery_back")
        assert (answers, codes) == (Counter(range(3)), {})
        assert "allow this worker's user to write its topics" in ground.log()
        # It backs off: each try is a line.
        assert ground.log().count("not_committed") < 60
