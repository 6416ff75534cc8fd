"""The vectors on scores from a worker on real servers are those of the training table, bit for bit."""

from __future__ import annotations

import io
import os
import subprocess
import sys
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
from tests.support.transactions import labels_of
from tests.support.worker_process import read_until, worker
from worker.schema_sources import framed, score_schema

HANDBOOK = Path(__file__).parents[2] / "examples" / "handbook"
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
    _write_pipeline(pipeline, tmp_path / "model", kafka.bootstrap, redis_url, topics)
    pq.write_table(labels_of(events), tmp_path / "labels.parquet")
    _run("features", "load-labels", tmp_path / "labels.parquet", "--pipeline", pipeline)
    _play(kafka.bootstrap, topics["input_topic"], feature_set, tmp_path / "events.parquet")

    with worker(pipeline):
        scores = read_until(kafka.bootstrap, [topics["output_topic"]], events.num_rows, 900)

    online = np.full_like(built, np.inf)
    schema = fastavro.parse_schema(score_schema())
    for message in scores:
        score: Any = fastavro.schemaless_reader(
            io.BytesIO((message.value() or b"")[5:]), schema, None
        )
        online[score["source"]["offset"]] = [score["vector"][name] for name in feature_set.names]
    different = np.flatnonzero((online.view(np.int32) != built.view(np.int32)).any(axis=1))
    assert len(different) == 0, f"{len(different)} rows, the first: {different[:5]}"
    # Full windows and known frauds are among them, or this would prove little.
    assert built[:, feature_set.names.index("CUSTOMER_ID_NB_TX_30DAY_WINDOW")].max() > 60
    assert (built[:, feature_set.names.index("TERMINAL_ID_RISK_30DAY_WINDOW")] > 0).sum() > 1000


def _run(*words: object) -> None:
    command = [sys.executable, "-m", "tools", *map(str, words)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


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
    folder: Path, model: Path, bootstrap: str, redis_url: str, topics: dict[str, str]
) -> None:
    folder.mkdir()
    settings = {
        "features": str(HANDBOOK / "features.yaml"),
        "policy": str(HANDBOOK / "policy.yaml"),
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
