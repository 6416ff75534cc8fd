"""``fraud-worker labels send`` to real topics: what is written, and what a refusal ends in."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka.admin import AclOperation, AdminClient, ResourceType

from base.errors import DependencyUnavailableError
from features.loading import LabelFile, LabelRows
from tests.conftest import MakeTopic, SharedKafka
from tests.support.access_rules import BROKER_SETTINGS, allow
from tests.support.event_files import Row, lines
from tests.support.fork_server import run_forked
from tests.support.healthy import edit
from tests.support.transactions import SET, handbook
from tools.embedded.kafka import Kafka
from tools.embedded.topic_admin import create_topics
from tools.topics.label_records import LabelEncoder
from tools.topics.label_sender import LabelSender
from tools.topics.topic_labels import TopicLabels
from tools.topics.topic_log import TopicLog, read_to_end
from worker.schema_sources import framed, label_schema
from worker.settings import load_settings

SCHEMA = SET.parents[2] / "schemas" / "transaction.avsc"
PARTITIONS = 3


def label(number: int, **changes: Any) -> Row:
    return {
        "event_id": f"e{number}",
        "event_time": "2018-05-01T00:00:00Z",
        "entity_keys": {"customer": f"c{number}", "terminal": "t"},
        "fraud": True,
        "label_time": "2018-05-03T00:00:00Z",
        "source": "chargeback",
        **changes,
    }


def pipeline(folder: Path, bootstrap: str, topic: str, **producer: Any) -> Path:
    folder.mkdir()
    (folder / "features.yaml").write_text(
        SET.read_text().replace("../../schemas/transaction.avsc", str(SCHEMA))
    )
    (folder / "worker.yaml").write_text((SET.parent / "worker.yaml").read_text())

    def change(values: dict[str, Any]) -> None:
        values["kafka"] |= {"bootstrap_servers": bootstrap, "labels_topic": topic}
        values["kafka"]["producer"] = producer
        values["delivery"] = {"broker_timeout_s": 5}

    edit(folder / "worker.yaml", change)
    return folder


def send(folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    return run_forked("tools", "labels", "send", *files, "-p", folder, timeout_s=120)


def written(bootstrap: str, topic: str) -> list[tuple[int, int, bytes | None, Row]]:
    """Partition, offset, key and content of each record, by position."""
    schema = fastavro.parse_schema(label_schema())
    found = []
    for records in read_to_end(bootstrap, topic):
        for row, value in enumerate(records.values):
            assert value is not None
            assert value[:5] == framed(3)
            content: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
            position = records.position(row)
            found.append((position.partition, position.offset, records.keys[row], content))
    return sorted(found, key=lambda record: record[:2])


def loaded(folder: Path, topic: str) -> list[LabelRows]:
    """The labels of the topic, as commands read them."""
    settings = load_settings(folder)
    with TopicLog(settings.kafka, "kafka.labels_topic", topic, 30.0) as log:
        parts = list(TopicLabels(handbook(), settings, log))
    assert not any(refused for _, refused in parts)
    return [rows for rows, _ in parts]


def test_labels_of_an_event_are_in_one_partition_in_the_order_of_the_files(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    topic = make_topic("labels", PARTITIONS)
    # A small queue is full again and again.
    folder = pipeline(
        tmp_path / "p", kafka.bootstrap, topic, **{"queue.buffering.max.messages": 20}
    )
    given = [label(number) for number in range(200)]
    back = {"fraud": False, "label_time": "2018-06-01T00:00:00Z"}
    given += [label(number, **back) for number in range(0, 200, 2)]
    files = [
        lines(tmp_path / "a.jsonl", given[:150]),
        lines(tmp_path / "b.jsonl", given[150:]),
    ]
    done = send(folder, *files)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "read": 300,
        "labels": 300,
        "sent": 300,
        "skipped": 0,
        "refused": 0,
    }
    records = written(kafka.bootstrap, topic)
    assert {partition for partition, *_ in records} == set(range(PARTITIONS))
    by_event: dict[bytes | None, list[tuple[int, bool]]] = {}
    for partition, _, key, content in records:
        assert key == content["event_id"].encode()
        by_event.setdefault(key, []).append((partition, content["fraud"]))
    assert len(by_event) == 200
    for number in range(200):
        own = by_event[f"e{number}".encode()]
        assert len({partition for partition, _ in own}) == 1
        assert [fraud for _, fraud in own] == [True, False][: 2 - number % 2]
    assert sum(len(rows) for rows in loaded(folder, topic)) == 300


def test_a_second_run_adds_equal_labels_behind_the_first_ones(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    topic = make_topic("labels", PARTITIONS)
    folder = pipeline(tmp_path / "p", kafka.bootstrap, topic)
    path = lines(tmp_path / "a.jsonl", [label(1), label(1, fraud=False), label(2)])
    for _ in range(2):
        assert send(folder, path).returncode == 0

    def last() -> dict[tuple[Any, Any], bool]:
        """By event and label time, the label that counts: the last one in its partition."""
        return {
            (content["event_id"], content["label_time"]): content["fraud"]
            for *_, content in written(kafka.bootstrap, topic)
        }

    assert len(written(kafka.bootstrap, topic)) == 6
    assert sorted(last().values()) == [False, True]
    assert {event: fraud for (event, _), fraud in last().items()} == {"e1": False, "e2": True}


def test_rows_that_are_refused_do_not_keep_the_others_back(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    topic = make_topic("labels")
    folder = pipeline(tmp_path / "p", kafka.bootstrap, topic)
    path = lines(tmp_path / "a.jsonl", [label(1), label(2, event_id=""), label(3)])
    done = send(folder, path)
    assert done.returncode == 1
    assert f"{path}, row 1: event_id_missing" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["sent"] == 2
    assert [key for *_, key, _ in written(kafka.bootstrap, topic)] == [b"e1", b"e3"]


def test_a_topic_that_refuses_a_label_is_an_error_with_its_row(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    topic = make_topic("labels", settings={"max.message.bytes": "1500"})
    folder = pipeline(tmp_path / "p", kafka.bootstrap, topic, **{"compression.type": "none"})
    path = lines(tmp_path / "a.jsonl", [label(1), label(2, event_id="x" * 1024)])
    done = send(folder, path)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert f"{topic} did not accept" in done.stderr
    assert f"the first from {path}, row 1" in done.stderr
    assert "1 labels were acknowledged" in done.stderr
    assert "too large" in done.stderr
    assert "send the files again" in done.stderr


def test_a_topic_that_is_not_there_is_not_created(tmp_path: Path, kafka: SharedKafka) -> None:
    folder = pipeline(tmp_path / "p", kafka.bootstrap, "no-such-labels")
    done = send(folder, lines(tmp_path / "a.jsonl", [label(1)]))
    assert (done.returncode, done.stdout) == (2, "")
    assert "the brokers have no no-such-labels" in done.stderr
    with AdminClient({"bootstrap.servers": kafka.bootstrap}) as admin:
        assert "no-such-labels" not in admin.list_topics(timeout=30).topics


def test_brokers_that_are_away_are_an_error(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "p", "127.0.0.1:1", "labels")
    done = send(folder, lines(tmp_path / "a.jsonl", [label(1)]))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no answer from 127.0.0.1:1" in done.stderr


def test_labels_that_are_not_acknowledged_are_not_counted_as_sent(
    private_kafka: Callable[..., Kafka], tmp_path: Path
) -> None:
    server = private_kafka()
    create_topics(server.bootstrap, {"labels": 1})
    folder = pipeline(tmp_path / "p", server.bootstrap, "labels")
    file = LabelFile(handbook(), lines(tmp_path / "a.jsonl", [label(1), label(2)]))
    ((rows, _),) = file
    records = LabelEncoder(handbook(), framed(3))(rows, file.describe_row)
    with LabelSender(load_settings(folder).kafka, "labels", 3.0) as sender:
        sender.send(records, file.describe_row)
        sender.finish()
        assert sender.acknowledged == 2
        server.kill()
        sender.send(records, file.describe_row)
        told = r"labels acknowledged no label for 3 s.*, 2 before; .*send the files again"
        with pytest.raises(DependencyUnavailableError, match=told):
            sender.finish()
        assert sender.acknowledged == 2


def test_a_user_without_the_right_to_write_is_told_so(
    private_kafka: Callable[..., Kafka], tmp_path: Path
) -> None:
    server = private_kafka(BROKER_SETTINGS)
    create_topics(server.bootstrap, {"labels": 1})
    with AdminClient({"bootstrap.servers": server.bootstrap}) as admin:
        allow(admin, ResourceType.TOPIC, "labels", AclOperation.DESCRIBE)
    folder = pipeline(tmp_path / "p", server.bootstrap, "labels")
    done = send(folder, lines(tmp_path / "a.jsonl", [label(1)]))
    assert (done.returncode, done.stdout) == (2, "")
    assert "allow Write on it" in done.stderr
