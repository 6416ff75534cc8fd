"""``fraud-worker check`` against real brokers and a real store: each thing that can be wrong, once."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AclOperation, AdminClient, ResourceType

from features.store.redis import RedisStore
from tests.conftest import MakeTopic, SharedKafka
from tests.support.access_rules import BROKER_SETTINGS, allow
from tests.support.fork_server import run_forked
from tests.support.healthy import edit, healthy_pipeline
from tests.support.replay import LOOKUP, fill, load_records
from tools.checks.examine import examine
from tools.checks.finding import Finding, State
from tools.embedded.kafka import Kafka
from tools.embedded.topic_admin import create_topics
from tools.embedded.valkey import Valkey

BOUND_S = 20


@dataclass(frozen=True, slots=True)
class Ground:
    """A pipeline whose topics and store are really there."""

    folder: Path
    bootstrap: str
    topics: tuple[str, str, str]
    store: str

    def set(self, section: str, **values: Any) -> None:
        edit(
            self.folder / "worker.yaml",
            lambda settings: settings.setdefault(section, {}).update(values),
        )

    def examine(self) -> dict[str, Finding]:
        """The finding of each check; of several, the one that is not ok."""
        found: dict[str, Finding] = {}
        for finding in examine(self.folder):
            if finding.check not in found or found[finding.check].state is State.OK:
                found[finding.check] = finding
        return found

    def write(self, key: Callable[[int], bytes | None] | None = None) -> None:
        """The golden records that are good, keyed as they were recorded or by ``key``."""
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random", "log_level": 0}
        )
        records = load_records()
        for row, value in enumerate(records.values):
            # The first ones are good, the bad ones are between those that follow.
            if row < 40:
                own = records.keys[row] if key is None else key(row)
                producer.produce(self.topics[0], value, own)
        assert producer.flush(BOUND_S) == 0


@pytest.fixture
def ground(kafka: SharedKafka, make_topic: MakeTopic, redis_url: str, tmp_path: Path) -> Ground:
    topics = (make_topic("in", 2), make_topic("out", 2), make_topic("dead", 2))
    return stand_on(tmp_path, kafka.bootstrap, topics, redis_url)


def stand_on(tmp_path: Path, bootstrap: str, topics: tuple[str, str, str], store: str) -> Ground:
    folder = healthy_pipeline(tmp_path / "pipeline")
    ground = Ground(folder, bootstrap, topics, store)
    names = ("input_topic", "output_topic", "dead_letter_topic")
    ground.set(
        "kafka",
        bootstrap_servers=bootstrap,
        group=f"group-{topics[0]}",
        **dict(zip(names, topics, strict=True)),
    )
    ground.set("store", url=store, timeout_s=5)
    ground.set("delivery", broker_timeout_s=BOUND_S)
    return ground


def fill_store(ground: Ground) -> None:
    store = RedisStore(ground.store)
    fill(store)
    store.close()


def says(finding: Finding, state: State, found: str, remedy: str = "") -> None:
    assert finding.state is state, finding
    assert found in finding.found, finding
    assert remedy in finding.remedy, finding


def test_a_pipeline_in_which_all_holds(ground: Ground) -> None:
    ground.write()
    fill_store(ground)
    found = ground.examine()
    not_ok = {f.check for f in found.values() if f.state is not State.OK}
    assert not_ok == {"store durability", "reasons"}, found  # the policy gives none
    says(found["input topic"], State.OK, "2 partitions")
    says(found["start"], State.OK, "40 records are unread")
    says(found["offset expiry"], State.OK, "offsets do not expire")
    says(found["last records"], State.OK, "all of the last 40 can be scored")
    says(found["record key"], State.OK, "the key of all 40 records is the text of customer_id")
    says(found[f"lookup {LOOKUP}"], State.OK, "of the last 40 events find a value")


def test_the_command_exits_with_what_it_found(ground: Ground) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        return run_forked("tools", "check", "--json", "-p", ground.folder, timeout_s=60)

    good = run()
    assert (good.returncode, json.loads(good.stdout)["ok"]) == (0, True), good
    ground.set("kafka", output_topic="not-there")
    bad = run()
    assert (bad.returncode, json.loads(bad.stdout)["ok"]) == (2, False), bad


def test_an_empty_topic_is_nothing_wrong(ground: Ground) -> None:
    found = ground.examine()
    says(found["start"], State.OK, "2 of 2 partitions have no checkpoint")
    for check in ("last records", "record key", f"lookup {LOOKUP}"):
        says(found[check], State.SKIPPED, "holds no records")


def test_topics_that_are_not_there(ground: Ground) -> None:
    ground.set(
        "kafka", input_topic="not-there", dead_letter_topic="neither", labels_topic="no-labels"
    )
    found = ground.examine()
    says(found["input topic"], State.FAILED, "not-there does not exist", "--topic not-there")
    says(found["dead-letter topic"], State.FAILED, "neither does not exist", "create it")
    says(found["labels topic"], State.FAILED, "no-labels does not exist", "create it")
    says(found["output topic"], State.OK, "2 partitions")
    for check in ("start", "last records", "record key"):
        says(found[check], State.SKIPPED, "the input topic")
    says(found["consumer group"], State.OK, "new")


def test_topics_that_do_not_fit_each_other(ground: Ground, make_topic: MakeTopic) -> None:
    ground.set(
        "kafka",
        input_topic=make_topic("in", 2, {"cleanup.policy": "compact", "retention.ms": "60000"}),
        output_topic=make_topic("out", 3),
        dead_letter_topic=make_topic("dead", 1, {"max.message.bytes": "10000"}),
    )
    found = ground.examine()
    says(found["input topic"], State.WARNING, "cleanup.policy is compact", "delete")
    says(found["output topic"], State.WARNING, "has 3 partitions", "the same number")
    says(found["dead-letter topic"], State.WARNING, "up to 10,000 bytes", "max.message.bytes")


def test_an_input_that_outlives_the_offsets(
    private_kafka: Callable[..., Kafka], redis_url: str, tmp_path: Path
) -> None:
    server = private_kafka({"offsets.retention.minutes": "1440"})
    topics = ("transactions", "scores", "dead")
    create_topics(server.bootstrap, dict.fromkeys(topics, 1))
    ground = stand_on(tmp_path, server.bootstrap, topics, redis_url)
    found = ground.examine()["offset expiry"]
    says(
        found,
        State.WARNING,
        "24 h after the group was left; records are kept for ever: then",
        "to 2147483647",
    )
    ground.set("kafka", start_from="error")
    says(ground.examine()["offset expiry"], State.OK, "does not start")


def test_topics_that_take_records_of_any_size(ground: Ground, make_topic: MakeTopic) -> None:
    any_size = {"max.message.bytes": str(2**31 - 1)}
    names = ("input_topic", "output_topic", "dead_letter_topic")
    ground.set("kafka", **{name: make_topic(name[:3], 2, any_size) for name in names})
    found = ground.examine()
    says(found["input topic"], State.WARNING, "100,000,000", "receive.message.max.bytes")
    says(found["output topic"], State.OK, "2 partitions")


def commit(ground: Ground, group: str, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": ground.bootstrap, "group.id": group})
    consumer.commit(offsets=[TopicPartition(ground.topics[0], 0, offset)], asynchronous=False)
    consumer.close()


def test_checkpoints_that_the_topic_does_not_hold(ground: Ground) -> None:
    ground.write()
    ground.set("kafka", start_from="error")
    says(ground.examine()["start"], State.FAILED, "partitions 0, 1 have no checkpoint", "earliest")

    group = f"group-{ground.topics[0]}"
    commit(ground, group, 10_000)
    ground.set("kafka", start_from="earliest")
    says(ground.examine()["start"], State.FAILED, "partitions 0 are beyond the end", "kafka.group")

    commit(ground, group, 1)
    with AdminClient({"bootstrap.servers": ground.bootstrap}) as admin:
        for deleted in admin.delete_records([TopicPartition(ground.topics[0], 0, 3)]).values():
            deleted.result(BOUND_S)
    says(ground.examine()["start"], State.FAILED, "deleted 2 unread records", "retention")


def test_a_group_that_others_use(ground: Ground) -> None:
    member = Consumer(
        {
            "bootstrap.servers": ground.bootstrap,
            "group.id": f"group-{ground.topics[0]}",
            "partition.assignment.strategy": "range",
        }
    )
    joined: list[int] = []
    member.subscribe([ground.topics[0]], on_assign=lambda *_: joined.append(1))
    for _ in range(BOUND_S * 10):
        member.poll(0.1)
        if joined:
            break
    assert joined
    found = ground.examine()
    member.close()
    says(found["consumer group"], State.FAILED, "1 member assigned by 'range'", "kafka.group")
    says(found["transactions"], State.OK, "allowed for ids")


def test_records_that_are_keyed_otherwise(ground: Ground) -> None:
    ground.write(key=lambda row: None if row % 2 else f"k{row}".encode())
    found = ground.examine()["record key"]
    assert found.state is State.WARNING
    assert "customer_id" in found.found + found.remedy


def test_records_of_another_framing(ground: Ground) -> None:
    ground.write()
    ground.set("wire", schema_id=7)
    found = ground.examine()
    says(found["last records"], State.FAILED, "schema_unknown 40", "the sections wire and registry")
    says(found["record key"], State.SKIPPED, "no record is a valid event")
    says(found[f"lookup {LOOKUP}"], State.SKIPPED, "no record is a valid event")


def test_lookups_that_nobody_filled(ground: Ground) -> None:
    ground.write()
    found = ground.examine()[f"lookup {LOOKUP}"]
    says(found, State.WARNING, "0 of the last 40 events", f"fraud-worker features load {LOOKUP}")


def test_a_store_that_evicts(ground: Ground, private_valkey: Callable[..., Valkey]) -> None:
    server = private_valkey(append_only=True)
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    ground.set("store", url=server.url)
    found = ground.examine()
    says(found["store eviction"], State.FAILED, "allkeys-lru", "noeviction")
    says(found["store durability"], State.OK, "append-only")
    with redis.Redis.from_url(server.url) as client:
        client.acl_setuser("reader", enabled=True, nopass=True, keys="*", commands=["+@read"])
        client.acl_setuser("reader", enabled=True, nopass=True, commands=["+ping", "+hello"])
    password = ground.folder / "password"
    password.write_text("any")
    ground.set("store", username="reader", password_file="password")  # noqa: S106 - a file's name
    says(ground.examine()["store eviction"], State.WARNING, "info", "maxmemory-policy")


def test_a_store_that_is_away(ground: Ground) -> None:
    ground.write()
    ground.set("store", url="redis://127.0.0.1:1")
    found = ground.examine()
    says(found["online store"], State.FAILED, "cannot be reached", "it is up")
    says(found["record key"], State.OK, "the key of all 40 records")
    says(found[f"lookup {LOOKUP}"], State.SKIPPED, "a check of the online store failed")


def test_bounds_that_the_brokers_do_not_allow(ground: Ground) -> None:
    ground.set("kafka", producer={"transaction.timeout.ms": 2_000_000})
    found = ground.examine()
    says(found["time bounds"], State.FAILED, "transaction.max.timeout.ms", "within the brokers'")
    assert found["transactions"].state is State.FAILED


def test_rights_that_are_missing(
    private_kafka: Callable[..., Kafka], redis_url: str, tmp_path: Path
) -> None:
    server = private_kafka(BROKER_SETTINGS)
    topics = ("transactions", "scores", "dead")
    create_topics(server.bootstrap, dict.fromkeys(topics, 1))
    ground = stand_on(tmp_path, server.bootstrap, topics, redis_url)
    edit(ground.folder / "worker.yaml", lambda settings: settings.update(replica="r1"))
    group = f"group-{topics[0]}"
    describe = AclOperation.DESCRIBE
    with AdminClient({"bootstrap.servers": server.bootstrap}) as admin:
        allow(admin, ResourceType.TOPIC, "transactions", describe, AclOperation.DESCRIBE_CONFIGS)
        allow(admin, ResourceType.TOPIC, "scores", describe)
        allow(admin, ResourceType.TOPIC, "dead", describe, AclOperation.WRITE)
        allow(admin, ResourceType.GROUP, group, describe)
        # Each id is tried: the first is allowed.
        allow(admin, ResourceType.TRANSACTIONAL_ID, f"{group}/r1/1/check", describe)
        # The rules are in force when the broker acts on the last of them.
        deadline = time.monotonic() + BOUND_S
        while (found := ground.examine())["transactions"].state is not State.FAILED:
            assert time.monotonic() < deadline, found
    says(found["input topic"], State.FAILED, "may not read", "allow Read")
    says(found["output topic"], State.FAILED, "may not write", "allow Write")
    says(found["dead-letter topic"], State.OK, "writable")
    says(found["consumer group"], State.FAILED, "may not join", "allow Read on the group")
    says(found["transactions"], State.FAILED, f"{group}/r1/1/check", f"begin with {group}/")
    assert found["last records"].state in (State.FAILED, State.SKIPPED)
