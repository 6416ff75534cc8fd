"""The vectors on scores from a worker on real servers are those of the training table, bit for bit."""

from __future__ import annotations

import io
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from confluent_kafka import Producer

from features.definition import FeatureSet, load_feature_set
from features.tables.event_records import EventRecordReader
from models.bundle import write_bundle
from models.training.fit import fit
from tests.conftest import MakeTopic, SharedKafka
from tests.support.fork_server import run_forked
from tests.support.transactions import labels_of
from tests.support.worker_process import read_until, worker
from worker.schema_sources import framed, score_schema

EXAMPLES = Path(__file__).parents[2] / "examples"
HANDBOOK = EXAMPLES / "handbook"
# All windows are full after 37 days. The whole stream: DAYS=183 CUSTOMERS=5000.
DAYS = int(os.environ.get("DAYS", "45"))
CUSTOMERS = int(os.environ.get("CUSTOMERS", "2000"))


@pytest.mark.timeout(1200)
def test_online_is_offline(
    data_dir: Path, tmp_path: Path, kafka: SharedKafka, redis_url: str, make_topic: MakeTopic
) -> None:
    """The first days of the Handbook's stream, in one partition; all labels first."""
    events = _first_days(data_dir / "handbook_raw.parquet", tmp_path / "events.parquet")
    table_file = tmp_path / "table.parquet"
    _run(
        "features",
        "build",
        "--set",
        HANDBOOK / "features.yaml",
        "--events",
        tmp_path / "events.parquet",
        "--out",
        table_file,
    )
    table = pq.read_table(table_file)
    feature_set = load_feature_set(HANDBOOK / "features.yaml")
    built = np.column_stack([table[name].to_numpy() for name in feature_set.names])
    topics = {
        "input_topic": make_topic("transactions"),
        "output_topic": make_topic("scores"),
        "dead_letter_topic": make_topic("dead"),
    }
    pipeline = tmp_path / "pipeline"
    _write_bundle(tmp_path / "model", feature_set, built, table["label"].to_numpy())
    _write_pipeline(pipeline, HANDBOOK, tmp_path / "model", kafka.bootstrap, redis_url, topics)
    pq.write_table(labels_of(events), tmp_path / "labels.parquet")
    _run("features", "load-labels", tmp_path / "labels.parquet", "--pipeline", pipeline)
    _play(kafka.bootstrap, topics["input_topic"], feature_set, tmp_path / "events.parquet")

    with worker(pipeline):
        scores = _scores(kafka.bootstrap, topics["output_topic"], events.num_rows)

    online = np.full_like(built, np.inf)
    for score in scores:
        online[score["source"]["offset"]] = [score["vector"][name] for name in feature_set.names]
    _assert_same(online, built)
    # Full windows and known frauds are among them, or this would prove little.
    assert built[:, feature_set.names.index("CUSTOMER_ID_NB_TX_30DAY_WINDOW")].max() > 60
    assert (built[:, feature_set.names.index("TERMINAL_ID_RISK_30DAY_WINDOW")] > 0).sum() > 1000


@pytest.mark.timeout(600)
def test_online_is_offline_by_keys_of_several_fields(
    data_dir: Path, tmp_path: Path, kafka: SharedKafka, redis_url: str, make_topic: MakeTopic
) -> None:
    """Ten weeks of some of Sparkov's cards, keyed by card, in four partitions; all labels first."""
    example = tmp_path / "sparkov"
    shutil.copytree(EXAMPLES / "sparkov", example)
    wide = (example / "features-wide.yaml").read_text()
    places = "entities:\n  place: [merchant, {field: merch_lat_e4, nullable: true}]\n"
    (example / "features.yaml").write_text(wide.replace("entities:\n", places) + _BY_PLACE)
    feature_set = load_feature_set(example / "features.yaml")
    path = tmp_path / "events.parquet"
    events = _some_cards(data_dir / "sparkov_transactions.parquet", path)
    by_card = ("--partition-by", "card", "--partitions", 4)
    options = ("--set", example / "features.yaml", *by_card)
    _run("features", "build", *options, "--events", path, "--out", tmp_path / "table.parquet")
    table = pq.read_table(tmp_path / "table.parquet")
    built = np.column_stack([table[name].to_numpy() for name in feature_set.names])
    topics = {
        "input_topic": make_topic("transactions", 4),
        "output_topic": make_topic("scores"),
        "dead_letter_topic": make_topic("dead"),
    }
    pipeline = tmp_path / "pipeline"
    _write_bundle(tmp_path / "model", feature_set, built, table["label"].to_numpy())
    _write_pipeline(pipeline, example, tmp_path / "model", kafka.bootstrap, redis_url, topics)
    _run("features", "load-labels", path, "--pipeline", pipeline)
    _play(kafka.bootstrap, topics["input_topic"], feature_set, path)

    with worker(pipeline):
        scores = _scores(kafka.bootstrap, topics["output_topic"], events.num_rows)

    row_of = {str(one): row for row, one in enumerate(table["transaction_id"].to_pylist())}
    online = np.full_like(built, np.inf)
    for score in scores:
        online[row_of[score["event_id"]]] = [score["vector"][name] for name in feature_set.names]
    exact = [name != "MERCHANT_COUNT_1H" for name in feature_set.names]  # the one of best effort
    _assert_same(online[:, exact], built[:, exact])
    assert len({score["source"]["partition"] for score in scores}) == 4
    of = dict(zip(feature_set.names, built.T, strict=True))
    assert of["CARD_MERCHANT_COUNT_90D"].max() >= 5
    assert np.isnan(of["SECONDS_SINCE_FIRST_AT_MERCHANT"]).any()
    lost = table["merch_lat_e4"].is_null().to_numpy()
    assert of["PLACE_COUNT_30D"][lost].max() > of["PLACE_COUNT_30D"][~lost].max() > 2
    assert (of["PLACE_FRAUD_SHARE_30D"] > 0).sum() > 50


_BY_PLACE = """\
  - {name: PLACE_COUNT_30D, window: count, by: place, over: 30d, delay: 1d, across: aligned}
  - {name: PLACE_FRAUD_SHARE_30D, window: fraud_share, by: place, over: 30d, delay: 7d}
"""


def _some_cards(source: Path, path: Path) -> pa.Table:
    """Write the events of some cards; degrees of latitude are whole, and a third is not known."""
    table = pq.read_table(source)
    cards = table["cc_num"].unique()[:90]
    end = pa.scalar(table["event_time"][0].as_py() + timedelta(days=70))
    chosen = pc.and_(pc.less(table["event_time"], end), pc.is_in(table["cc_num"], cards))
    table = table.filter(chosen)
    degrees = table["merch_lat_e4"].to_numpy() // 10_000
    known = pa.array(table["transaction_id"].to_numpy() % 3 > 0)
    places = pc.if_else(known, pa.array(degrees, pa.int32()), pa.scalar(None, pa.int32()))
    table = table.set_column(table.column_names.index("merch_lat_e4"), "merch_lat_e4", places)
    pq.write_table(table, path)
    return table


def _scores(bootstrap: str, topic: str, count: int) -> list[Any]:
    schema = fastavro.parse_schema(score_schema())
    return [
        fastavro.schemaless_reader(io.BytesIO((message.value() or b"")[5:]), schema, None)
        for message in read_until(bootstrap, [topic], count, 900)
    ]


def _assert_same(online: npt.NDArray[np.float32], built: npt.NDArray[np.float32]) -> None:
    online, built = np.ascontiguousarray(online), np.ascontiguousarray(built)
    different = np.flatnonzero((online.view(np.int32) != built.view(np.int32)).any(axis=1))
    assert len(different) == 0, f"{len(different)} rows, the first: {different[:5]}"


def _run(*words: object) -> None:
    done = run_forked("tools", *words, timeout_s=120)
    assert done.returncode == 0, done.stderr


def _first_days(source: Path, path: Path) -> pa.Table:
    table = pq.read_table(source)
    end = table["TX_DATETIME"][0].as_py() + timedelta(days=DAYS)
    chosen = pc.and_(pc.less(table["TX_DATETIME"], end), pc.less(table["CUSTOMER_ID"], CUSTOMERS))
    events = table.filter(chosen)
    pq.write_table(events, path)
    return events


def _write_bundle(
    folder: Path, feature_set: FeatureSet, matrix: npt.NDArray[np.float32], labels: Any
) -> None:
    booster = fit(matrix[-50_000:], labels[-50_000:], threads=1, rounds=5)
    write_bundle(folder, booster, name="m", version="1", features=feature_set.features)


def _write_pipeline(
    folder: Path,
    example: Path,
    model: Path,
    bootstrap: str,
    redis_url: str,
    topics: dict[str, str],
) -> None:
    folder.mkdir()
    settings = {
        "features": str(example / "features.yaml"),
        "policy": str(example / "policy.yaml"),
        "kafka": {
            "bootstrap_servers": bootstrap,
            "group": topics["input_topic"],
            "start_from": "earliest",
            **topics,
        },
        "store": {"url": redis_url},
        "model": {"bundle": str(model), "device": "cpu", "threads": 1},
        "output": {"vector": "all"},
        "http": {"host": "127.0.0.1", "port": 0},
    }
    (folder / "worker.yaml").write_text(yaml.safe_dump(settings))


def _play(bootstrap: str, topic: str, feature_set: FeatureSet, path: Path) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
        }
    )
    for chunk in EventRecordReader(feature_set, topic, framed(1)).read(path):
        messages: Any = [
            {"value": value, "key": key}
            for value, key in zip(chunk.records.values, chunk.records.keys, strict=True)
        ]
        assert producer.produce_batch(topic, messages) == len(messages)
    assert producer.flush(120) == 0
