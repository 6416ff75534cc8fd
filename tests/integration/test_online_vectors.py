"""Vectors from a file, through real servers: those on scores are those of the training table."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from confluent_kafka import Producer

from features.definition import FeatureSet, load_feature_set
from features.tables.event_records import EventRecordReader
from models.bundle import write_bundle
from models.training.fit import fit
from tests.conftest import MakeTopic, SharedKafka
from tests.support.making import T0
from tests.support.worker_process import read_until, worker
from worker.schema_sources import framed, score_schema

EVENTS, MERCHANTS = 3_000, 200
HOUR = 3_600_000_000
SCHEMA = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "card", "type": "string"},
        {"name": "merchant", "type": "string"},
        {"name": "amount", "type": "double"},
    ],
}
FEATURES = """\
name: vectors
events:
  schema: payment.avsc
  id: id
  time: at
  amount: {field: amount, scale: 2}
  partition_key: card
entities: {card: card, merchant: merchant}
lookups:
  shop:
    by: merchant
    max_age: 60h
    values: {risk: {default: -1}, emb: {vector: 64}, graph: {vector: 16, dtype: float16, default: 0}}
features:
  - {name: AMOUNT, field: amount}
  - {name: emb, lookup: shop.emb}
  - {name: RISK, lookup: shop.risk}
  - {name: graph, lookup: shop.graph}
  - {name: NEAR, expr: emb_0 * graph_3 + RISK}
  - {name: COUNT, window: count, by: card, over: 1d}
"""
POLICY = """\
version: "1"
default: approve
segments:
  - {name: near, where: emb_3 > 0 and graph_2 < 1, bands: {review: 0.2}}
  - {name: default, bands: {review: 0.5}}
reasons:
  max: 2
  catalogue:
    SHOP: {features: [emb_*, graph_*, RISK], text: The shop is unusual}
    OTHER: {features: ["*"], text: Something else}
"""


@pytest.mark.timeout(240)
def test_vectors_on_scores_are_those_of_the_table(
    tmp_path: Path, kafka: SharedKafka, redis_url: str, make_topic: MakeTopic
) -> None:
    """Some merchants have no vector, some an old one, some one with a NaN or none beside a risk."""
    topics = {f"{role}_topic": make_topic(role) for role in ("input", "output", "dead_letter")}
    pipeline = _pipeline(tmp_path / "pipeline", kafka.bootstrap, redis_url, topics)
    feature_set = load_feature_set(pipeline / "features.yaml")
    events, past = _events(tmp_path / "events.parquet"), _vectors(tmp_path / "shops.parquet")
    kept, table_file = tmp_path / "kept.parquet", tmp_path / "table.parquet"
    _run("features", "load", "shop", past, "-p", pipeline, "--keep", kept)
    lookup = ("--lookup", f"shop={kept}")
    _run("features", "build", "-p", pipeline, "--events", events, "--out", table_file, *lookup)
    table = pq.read_table(table_file)
    built = np.column_stack([table[name].to_numpy() for name in feature_set.names])
    labels = (np.nan_to_num(built[:, 1]) > 0.5).astype(np.int8)
    # A model may have some of a vector's columns, and in any order.
    own = [place for place, name in enumerate(feature_set.names[::-1]) if not name.endswith("_5")]
    booster = fit(built[:, ::-1][:, own], labels, threads=1, rounds=5)
    features = [feature_set.features[::-1][place] for place in own]
    write_bundle(tmp_path / "model", booster, name="m", version="1", features=features)

    _play(kafka.bootstrap, topics["input_topic"], feature_set, events)
    with worker(pipeline):
        scores = read_until(kafka.bootstrap, [topics["output_topic"]], EVENTS, 90)

    online, flags = np.full_like(built, np.inf), [[""]] * EVENTS
    schema = fastavro.parse_schema(score_schema())
    for message in scores:
        body = io.BytesIO((message.value() or b"")[5:])
        score: Any = fastavro.schemaless_reader(body, schema, None)
        row = int(score["event_id"][1:])
        online[row] = [score["vector"][name] for name in feature_set.names]
        flags[row] = sorted(score["flags"])
    different = np.flatnonzero((online.view(np.int32) != built.view(np.int32)).any(axis=1))
    assert len(different) == 0, f"{len(different)} rows, the first: {different[:5]}"
    assert flags == [sorted(row) for row in table["flags"].to_pylist()]
    # All that a vector can be is among them, or this would prove little.
    emb = built[:, [feature_set.names.index(f"emb_{element}") for element in range(64)]]
    assert (np.isnan(emb).sum(axis=1) == 1).sum() > 50
    assert {"lookup_missing:shop", "lookup_stale:shop"} <= {flag for row in flags for flag in row}


def _run(*words: object) -> None:
    command = [sys.executable, "-m", "tools", *map(str, words)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _events(path: Path) -> Path:
    random = np.random.default_rng(15)
    columns = {
        "id": [f"e{row}" for row in range(EVENTS)],
        "at": pa.array(T0 + 24 * HOUR + np.arange(EVENTS) * 60_000_000, pa.timestamp("us", "UTC")),
        "card": [f"c{card}" for card in random.integers(0, 300, EVENTS)],
        "merchant": [f"m{merchant}" for merchant in random.integers(0, MERCHANTS + 20, EVENTS)],
        "amount": random.gamma(2.0, 20.0, EVENTS).round(2),
    }
    pq.write_table(pa.table(columns), path)
    return path


def _vectors(path: Path) -> Path:
    random = np.random.default_rng(16)
    emb = random.normal(size=(MERCHANTS, 64)).astype(np.float32)
    emb[::5, 7] = np.nan
    rows = [None if merchant % 11 == 0 else row for merchant, row in enumerate(emb.tolist())]
    columns = {
        "merchant": [f"m{merchant}" for merchant in range(MERCHANTS)],
        "risk": random.random(MERCHANTS),
        "emb": pa.array(rows, pa.list_(pa.float32())),
        "graph": pa.array(random.normal(size=(MERCHANTS, 16)).tolist(), pa.list_(pa.float64(), 16)),
        # Those of every other merchant become stale on the way.
        "updated_at": pa.array(
            [T0 - merchant % 2 * 24 * HOUR for merchant in range(MERCHANTS)],
            pa.timestamp("us", "UTC"),
        ),
    }
    pq.write_table(pa.table(columns), path)
    return path


def _pipeline(folder: Path, bootstrap: str, redis_url: str, topics: dict[str, str]) -> Path:
    folder.mkdir()
    (folder / "payment.avsc").write_text(json.dumps(SCHEMA))
    (folder / "features.yaml").write_text(FEATURES)
    (folder / "policy.yaml").write_text(POLICY)
    settings = {
        "kafka": {
            "bootstrap_servers": bootstrap,
            "group": topics["input_topic"],
            "start_from": "earliest",
            **topics,
        },
        "store": {"url": redis_url},
        "model": {"bundle": str(folder.parent / "model"), "device": "cpu", "threads": 1},
        "output": {"vector": "all"},
        "http": {"host": "127.0.0.1", "port": 0},
    }
    (folder / "worker.yaml").write_text(yaml.safe_dump(settings))
    return folder


def _play(bootstrap: str, topic: str, feature_set: FeatureSet, path: Path) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for chunk in EventRecordReader(feature_set, topic, framed(1)).read(path):
        for value, key in zip(chunk.records.values, chunk.records.keys, strict=True):
            producer.produce(topic, value, key)
    assert producer.flush(60) == 0
