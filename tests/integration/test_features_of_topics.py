"""Tables, labels and histories from real topics and a real store, by the commands."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from confluent_kafka import Producer

from features.compute.enrich import enrich
from features.history.labels import LABEL
from features.store.redis import RedisStore
from features.tables import EventTableReader, Partitioning, build
from features.tables.event_files import partitions_of
from features.tables.event_records import EventRecordReader
from tests.conftest import MakeTopic, SharedKafka
from tests.support.fork_server import run_forked
from tests.support.transactions import DAY_US, SET, handbook, transactions, write
from worker.consume.topics import InputTopic
from worker.histories.record import label_namespace, read_record
from worker.histories.state import StateRequest, claim, source_of
from worker.schema_sources import framed, label_schema

SCHEMA = SET.parents[2] / "schemas" / "transaction.avsc"
ROWS = 500


@pytest.fixture
def events(tmp_path: Path, seed: int) -> Path:
    ids = pa.array(range(ROWS), pa.int32())
    raw = transactions(ROWS, seed).set_column(0, "TRANSACTION_ID", ids)
    return write(tmp_path / "events.parquet", raw)


def pipeline(folder: Path, bootstrap: str, redis_url: str, **kafka: Any) -> Path:
    folder.mkdir()
    (folder / "features.yaml").write_text(
        SET.read_text().replace("../../schemas/transaction.avsc", str(SCHEMA))
    )
    values = yaml.safe_load((SET.parent / "worker.yaml").read_text())
    values["kafka"] |= {"bootstrap_servers": bootstrap, **kafka}
    values["store"] = {"url": redis_url, "state": "tests"}
    (folder / "worker.yaml").write_text(yaml.safe_dump(values))
    return folder


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A command's output; it has to end with ``code``."""
    done = run_forked("tools", "features", *arguments, timeout_s=120)
    assert done.returncode == code, done.stderr
    return done


def play(bootstrap: str, topic: str, path: Path) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for chunk in EventRecordReader(handbook(), topic, framed(1)).read(path):
        for key, value in zip(chunk.records.keys, chunk.records.values, strict=True):
            producer.produce(topic, value, key)
    assert producer.flush(30) == 0


def test_a_table_over_a_topic_is_that_over_the_file_that_was_played(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic, redis_url: str, events: Path
) -> None:
    topic = make_topic("transactions", partitions=3)
    folder = pipeline(tmp_path / "p", kafka.bootstrap, redis_url, input_topic=topic)
    play(kafka.bootstrap, topic, events)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topic, b"broken", partition=1)
    assert producer.flush(30) == 0

    labels = tmp_path / "labels.parquet"
    pq.write_table(pq.read_table(events), labels)
    done = run(
        "build", "--pipeline", folder, "--labels", labels, "--out", tmp_path / "topic.parquet"
    )

    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["rows"], said["refused"], said["labelled"]) == (ROWS, 1, ROWS)
    assert f"partition 1, offset {_counts(events)[1]}: magic_unknown" in done.stderr
    made = handbook()
    by = Partitioning.by(made, "customer_id", 3)
    build(made, EventTableReader(made, [events], by), tmp_path / "file.parquet", partitions=3)
    ours, theirs = (
        pq.read_table(tmp_path / "topic.parquet"),
        pq.read_table(tmp_path / "file.parquet"),
    )
    assert ours.column_names[-8:-4] == ["transaction_id", "tx_time", "customer_id", "terminal_id"]
    # Partition after partition, each in its own order.
    order = np.argsort(_partitions(events), kind="stable")
    ids = theirs["TRANSACTION_ID"].take(pa.array(order)).cast(pa.string()).to_pylist()
    assert ours["transaction_id"].to_pylist() == ids
    for name in (*made.names, "amount_minor", "label", "label_time", "flags"):
        assert ours[name].to_pylist() == theirs[name].take(pa.array(order)).to_pylist(), name


def _partitions(events: Path) -> np.ndarray[Any, Any]:
    keys = pq.read_table(events)["CUSTOMER_ID"].cast(pa.string()).combine_chunks()
    return partitions_of(keys, 3)


def _counts(events: Path) -> list[int]:
    return [int(count) for count in np.bincount(_partitions(events), minlength=3)]


def test_an_empty_topic_makes_no_table(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic, redis_url: str
) -> None:
    topic = make_topic("transactions")
    folder = pipeline(tmp_path / "p", kafka.bootstrap, redis_url, input_topic=topic)
    done = run("build", "--pipeline", folder, "--out", tmp_path / "table.parquet", code=2)
    assert "nothing is built: the input has no rows" in done.stderr
    assert not (tmp_path / "table.parquet").exists()


def _label(event_id: str, day: int, *, fraud: bool) -> bytes:
    out = io.BytesIO()
    record = {
        "event_id": event_id,
        "event_time": 17_630 * DAY_US,
        "entity_keys": {"terminal": "t", "customer": "c"},
        "fraud": fraud,
        "label_time": (17_630 + day) * DAY_US,
        "source": "chargeback",
    }
    fastavro.schemaless_writer(out, fastavro.parse_schema(label_schema()), record)
    return out.getvalue()


def test_labels_of_a_topic_are_told_to_the_store_once(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic, redis_url: str
) -> None:
    topics = {
        "input_topic": make_topic("transactions"),
        "labels_topic": make_topic("labels", partitions=2),
    }
    folder = pipeline(tmp_path / "p", kafka.bootstrap, redis_url, **topics)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    values = [
        framed(7) + _label("a", 3, fraud=True),
        framed(7) + _label("a", 9, fraud=False),
        framed(7) + b"broken",
        # The ids of events and of scores are not those of labels.
        framed(1) + _label("b", 3, fraud=True),
        None,
    ]
    for number, value in enumerate(values):
        producer.produce(topics["labels_topic"], value, partition=number % 2)
    assert producer.flush(30) == 0

    done = run("load-labels", "--pipeline", folder)
    said = json.loads(done.stdout)
    assert said == {"labels": 2, "frauds": 1, "added": 2, "refused": 3}
    for code in ("body_invalid", "schema_unknown", "null_value"):
        assert code in done.stderr
    assert json.loads(run("load-labels", "--pipeline", folder).stdout)["added"] == 0

    store = RedisStore(redis_url)
    record = read_record(store, "handbook", "tests")
    assert record is not None
    assert record.labelled == {"terminal"}
    key = label_namespace(store, "handbook", "tests").label_prefix("terminal") + b"t"
    (found,) = store.read([key])
    labels = np.frombuffer(found or b"", LABEL)
    assert sorted(labels[["partition", "offset", "fraud"]].tolist()) == [
        (0, 0, True),
        (1, 0, False),
    ]
    store.close()


def test_a_topic_of_labels_has_to_be_named_and_to_be_there(
    tmp_path: Path, kafka: SharedKafka, redis_url: str, make_topic: MakeTopic
) -> None:
    topic = make_topic("transactions")
    for number, (more, told) in enumerate(
        [({}, "name their topic: kafka.labels_topic"), ({"labels_topic": "no-such"}, "no-such")]
    ):
        folder = pipeline(
            tmp_path / str(number), kafka.bootstrap, redis_url, input_topic=topic, **more
        )
        with pytest.raises(AssertionError, match=told):
            run("load-labels", "--pipeline", folder)


def test_a_history_is_shown_as_the_store_holds_it(
    tmp_path: Path, redis_url: str, kafka: SharedKafka, seed: int
) -> None:
    raw = transactions(200, seed, days=5)
    ids = pa.array(range(200), pa.int32())
    events = write(tmp_path / "events.parquet", raw.set_column(0, "TRANSACTION_ID", ids))
    folder = pipeline(tmp_path / "p", kafka.bootstrap, redis_url, input_topic="in")
    with pytest.raises(AssertionError, match="a worker that runs with both creates them"):
        run("state", "customer", "3", "--pipeline", folder)
    store, made = RedisStore(redis_url), handbook()
    topic = InputTopic("in", "topic-id", 1, None)
    plan = made.histories
    wanted = StateRequest(
        source_of(topic, "tests"), plan.layouts, backs=plan.backs, cap=plan.rules.cap
    )
    namespace = claim(store, "handbook", "tests", wanted)
    for chunk in EventTableReader(made, [events]):
        enriched = enrich(made, chunk.batch, store, namespace=namespace)
        store.append(enriched.writes.appends, enriched.writes.compactions)
        # All of it again, as after a crash: it is stored twice, and counts once.
        store.append(enriched.writes.appends)
    store.close()
    run("load-labels", events, "--pipeline", folder)

    done = run("state", "customer", "3", "--pipeline", folder)
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    rows = [row for row, key in enumerate(raw["CUSTOMER_ID"].to_pylist()) if key == 3]
    assert {line["offset"] for line in shown} <= set(rows)
    assert len(shown) > 3
    amounts = raw["TX_AMOUNT"].to_pylist()
    assert [line["kept"]["amount"] for line in shown] == [amounts[line["offset"]] for line in shown]
    assert [line["time"] for line in shown] == sorted(line["time"] for line in shown)
    assert f"{len(shown)} events are stored twice" in done.stderr

    done = run("state", "terminal", "1", "--pipeline", folder)
    frauds = raw["TX_FRAUD"].to_pylist()
    for line in map(json.loads, done.stdout.splitlines()):
        labels = [label["fraud"] for label in line["labels"]]
        assert labels == ([True] if frauds[line["offset"]] else [])
    with pytest.raises(AssertionError, match="did you mean 'customer'"):
        run("state", "costumer", "3", "--pipeline", folder)
