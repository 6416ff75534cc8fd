"""Histories of a worker on real Kafka and a real store: what a restart knows, and what it refuses."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from features.history.namespace import Namespace, record_key
from features.store.redis import RedisStore
from tests.conftest import MakeTopic, SharedKafka
from tests.support.fork_server import run_forked
from tests.support.healthy import edit
from tests.support.payments import TIME_MS, good_record
from tests.support.stored_state import find_namespace
from tests.support.windowed import NUMBER, windowed_pipeline
from tests.support.worker_process import read_until, worker
from tools.checks.examine import examine
from tools.checks.finding import State
from tools.embedded.topic_admin import committed_offsets, create_topics
from worker.consume.offset_metadata import OffsetMetadata
from worker.schema_sources import score_schema

BOUND_S = 30
_MINUTE_MS = 60_000
_RETENTION_MS = 604_800_000
_SHORT = "history_short:customer"
# Horizon and lateness: an hour (a day, for duplicates) and ten minutes.
_HORIZON_MS = 24 * 60 * _MINUTE_MS + 10 * _MINUTE_MS


@dataclass(frozen=True, slots=True)
class Ground:
    """A pipeline with windows whose topics and store are really there."""

    folder: Path
    bootstrap: str
    topics: dict[str, str]
    store: str

    def command(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a command of ``fraud-worker`` on this pipeline."""
        return run_forked("tools", *words, "--pipeline", self.folder, timeout_s=BOUND_S)

    def set(self, section: str, **values: Any) -> None:
        edit(
            self.folder / "worker.yaml",
            lambda settings: settings.setdefault(section, {}).update(values),
        )

    def send(self, *numbers: int, partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for number in numbers:
            producer.produce(
                self.topics["input_topic"], good_record(number), b"key", partition=partition
            )
        assert producer.flush(BOUND_S) == 0

    def scores(self, count: int) -> list[dict[str, Any]]:
        """All ``count`` scores so far, in their order."""
        messages = read_until(self.bootstrap, [self.topics["output_topic"]], count)
        return [_score(message.value()) for message in messages]

    def checkpoint(self) -> tuple[int, str | None]:
        """The committed offset of partition 0, and its metadata."""
        topic = self.topics["input_topic"]
        (found,) = committed_offsets(self.bootstrap, topic, {topic: 1})
        return found.offset, found.metadata

    def namespace(self) -> Namespace | None:
        store = RedisStore(self.store)
        try:
            return find_namespace(store, "payments", self.topics["input_topic"])
        finally:
            store.close()

    def refusal(self) -> str:
        """What a start that is refused says."""
        done = self.command("run")
        assert done.returncode == 2, done
        return done.stderr.splitlines()[-1]

    def fill(self, *files: Path) -> dict[str, Any]:
        """The result of ``features fill``."""
        done = self.command("features", "fill", "--events", *files)
        assert done.returncode == 0, done
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


MakeGround = Callable[..., Ground]


@pytest.fixture
def make_ground(
    kafka: SharedKafka, make_topic: MakeTopic, redis_url: str, tmp_path: Path
) -> MakeGround:
    def make(*more: dict[str, Any], partitions: int = 1) -> Ground:
        topics = {
            "input_topic": make_topic("in", partitions, {"retention.ms": str(_RETENTION_MS)}),
            "output_topic": make_topic("out"),
            "dead_letter_topic": make_topic("dead"),
        }
        folder = windowed_pipeline(
            tmp_path / "pipeline",
            *more,
            bootstrap_servers=kafka.bootstrap,
            group=topics["input_topic"],
            **topics,
        )
        ground = Ground(folder, kafka.bootstrap, topics, redis_url)
        ground.set("store", url=redis_url)
        return ground

    return make


def _score(value: bytes | None) -> dict[str, Any]:
    record = fastavro.schemaless_reader(io.BytesIO((value or b"")[5:]), score_schema(), None)
    assert isinstance(record, dict)
    return record


def numbers(scores: list[dict[str, Any]]) -> list[float]:
    return [score["vector"][NUMBER] for score in scores]


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_a_restart_knows_the_histories_and_how_far_event_time_had_come(
    make_ground: MakeGround, guarantee: str
) -> None:
    ground = make_ground()
    ground.set("delivery", guarantee=guarantee)
    # One customer's events, seven minutes apart.
    ground.send(0, 7, 14, 21, 28)
    with worker(ground.folder):
        assert numbers(ground.scores(5)) == [1.0, 2.0, 3.0, 4.0, 5.0]
    highest = [(TIME_MS + i * _MINUTE_MS) * 1000 for i in (28, 21, 14)]
    offset, note = ground.checkpoint()
    assert offset >= 5
    told = OffsetMetadata.decode(note or "")
    assert list(told.highest_event_times) == highest
    # The third of the first five.
    assert set(told.lowest_event_time.values()) == {(TIME_MS + 14 * _MINUTE_MS) * 1000}
    # A customer's event of 14 minutes before the watermark, and another one's of just before.
    ground.send(0, 27, 35)
    with worker(ground.folder):
        scores = ground.scores(8)[5:]
    flags = [sorted({*score["flags"]} - {_SHORT}) for score in scores]
    assert flags == [["duplicate", "late"], [], []]
    # An hour is the longest window.
    assert all(_SHORT in score["flags"] for score in scores)
    ground.send(74)
    with worker(ground.folder):
        assert ground.scores(9)[8]["flags"] == []
    assert numbers(scores)[1:] == [1.0, 6.0]


def test_the_state_in_the_store_is_named_recorded_and_expires(make_ground: MakeGround) -> None:
    ground = make_ground()
    assert ground.namespace() is None
    ground.send(0)
    with worker(ground.folder):
        ground.scores(1)
    namespace = ground.namespace()
    assert namespace is not None
    assert (namespace.state, namespace.partitions) == (ground.topics["input_topic"], 1)
    with redis.Redis.from_url(ground.store) as client:
        key = record_key("payments", namespace.state)
        record = json.loads(client.get(key) or b"")
        (expiry_ms,) = [client.pttl(key) for key in client.scan_iter("*:history:*")]
        assert client.pttl(key) == -1
    assert record == {
        "topic": ground.topics["input_topic"],
        "topic_id": namespace.topic_id,
        "partitions": 1,
        "group": ground.topics["input_topic"],
        "key": namespace.key.hex(),
        "histories": record["histories"],
        "labelled": [],
    }
    longest = _HORIZON_MS + _RETENTION_MS
    assert longest - 2 * _MINUTE_MS < expiry_ms <= longest
    found = {finding.check: finding for finding in examine(ground.folder)}
    assert found["history state"].state is State.OK
    assert "matches" in found["history state"].found
    assert found["history coverage"].state is State.WARNING
    assert found["history coverage"].found.startswith("customer 0 % of 1 h")


def test_lost_histories_are_filled_by_a_worker_of_another_group_that_reads_the_topic_again(
    make_ground: MakeGround, make_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One group takes over the histories of another."""
    ground = make_ground()
    ground.send(*range(0, 49, 7))
    with worker(ground.folder):
        ground.scores(7)
    with redis.Redis.from_url(ground.store) as client:
        client.flushdb()
    aside = make_topic("aside")
    with monkeypatch.context() as patch:
        patch.setenv("FRAUD_WORKER_KAFKA__GROUP", aside)
        patch.setenv("FRAUD_WORKER_KAFKA__OUTPUT_TOPIC", aside)
        patch.setenv("FRAUD_WORKER_STORE__STATE", ground.topics["input_topic"])
        # One that the first worker has not read yet: the future, to its next event.
        ground.send(56)
        with worker(ground.folder):
            read_until(ground.bootstrap, [aside], 8)
    ground.send(49)
    assert f"store.accept_group: {aside}" in ground.refusal()
    ground.set("store", accept_group=aside)
    with worker(ground.folder):
        assert numbers(ground.scores(9)) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 8.0]
    # What the other has filled counts as filled.
    _, note = ground.checkpoint()
    (lowest,) = OffsetMetadata.decode(note or "").lowest_event_time.values()
    assert lowest == (TIME_MS + 14 * _MINUTE_MS) * 1000


@pytest.mark.parametrize(
    ("window", "number"),
    [
        ({"name": "LAST", "window": "last", "of": "amount", "by": "customer", "over": "7d"}, 77.25),
        ({"name": "NB_7D", "window": "count", "by": "customer", "over": "7d"}, 7.0),
    ],
    ids=["another value", "a longer window"],
)
def test_histories_that_begin_anew_are_filled_from_the_topic(
    make_ground: MakeGround, window: dict[str, Any], number: float
) -> None:
    ground = make_ground()
    ground.send(0, 7, 14, 21, 28, 77)
    with worker(ground.folder):
        assert _SHORT not in ground.scores(6)[5]["flags"]
    edit(ground.folder / "features.yaml", lambda values: values["features"].append(window))
    found = {finding.check: finding for finding in examine(ground.folder)}
    assert found["history state"].state is State.OK
    ground.send(84)
    with worker(ground.folder):
        (after,) = ground.scores(7)[6:]
    # The topic began less than seven days ago.
    assert (after["vector"][window["name"]], _SHORT in after["flags"]) == (number, True)


def test_histories_that_files_filled_reach_back_before_the_topic(make_ground: MakeGround) -> None:
    ground = make_ground()
    ground.send(98, 105)
    rows = [_row(number) for number in range(0, 106, 7)]
    file = ground.folder / "history.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _ in range(2):
        filled = ground.fill(file)
        # Those of the topic are skipped.
        assert (filled["rows"], filled["filled"], filled["skipped"]) == (16, 14, 2)
    with worker(ground.folder):
        first, second = ground.scores(2)
    # An hour, and an event each seven minutes.
    assert (first["vector"][NUMBER], second["vector"][NUMBER]) == (9.0, 9.0)
    assert first["flags"] == second["flags"] == []
    # Another worker takes over what was filled; a state that is served begins anew.
    before = ground.namespace()
    ground.fill(file)
    assert ground.namespace() != before
    ground.send(112)
    with worker(ground.folder):
        (third,) = ground.scores(3)[2:]
    assert (third["vector"][NUMBER], third["flags"]) == (9.0, [])


def _row(number: int) -> dict[str, Any]:
    """The event of ``good_record`` as a row of a file."""
    return {
        "id": f"p-{number}",
        "at": TIME_MS + number * _MINUTE_MS,
        "customer": f"c-{number % 7}",
        "card": "k-1",
        "amount": number % 300 + 0.25,
        "present": bool(number % 2),
        "channel": "b",
        "fee": 0.05,
    }


def test_a_topic_that_was_made_anew_is_refused(make_ground: MakeGround) -> None:
    ground = make_ground()
    ground.send(0)
    with worker(ground.folder):
        ground.scores(1)
    before = ground.namespace()
    topic = ground.topics["input_topic"]
    with AdminClient({"bootstrap.servers": ground.bootstrap}) as admin:
        admin.delete_topics([topic])[topic].result(BOUND_S)
    create_topics(ground.bootstrap, {topic: 1})
    message = ground.refusal()
    assert "the topic was created again" in message
    assert (
        "name another store.state, whose histories are filled from the topic, or set kafka.accept_topic"
        in message
    )
    found = {finding.check: finding for finding in examine(ground.folder)}
    assert found["history state"].state is State.FAILED
    assert ground.namespace() == before


def test_partitions_that_come_are_refused_until_histories_are_filled_from_all_of_them(
    make_ground: MakeGround,
) -> None:
    ground = make_ground()
    ground.set("kafka", consumer={"topic.metadata.refresh.interval.ms": 500})
    ground.send(0)
    topic = ground.topics["input_topic"]
    with worker(ground.folder, status=2) as process:
        ground.scores(1)
        with AdminClient({"bootstrap.servers": ground.bootstrap}) as admin:
            admin.create_partitions([NewPartitions(topic, 2)])[topic].result(BOUND_S)
        process.wait(BOUND_S)
    said = (ground.folder / "worker.log").read_text()
    assert "partition 1 is new" in said.splitlines()[-1]
    message = ground.refusal()
    assert "its partitions changed" in message
    assert "features fill --from-topic" in message
    done = ground.command("features", "fill", "--from-topic")
    assert done.returncode == 0, done
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["partitions"], result["filled"], result["offsets"]["1"]) == (2, 1, 0)
    # The same customer, whose events are in the other partition from now on.
    ground.send(7, partition=1)
    with worker(ground.folder):
        assert numbers(ground.scores(2)) == [1.0, 2.0]
