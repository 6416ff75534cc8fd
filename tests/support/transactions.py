"""Small tables of random transactions in the Handbook's format, and the example's feature set."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.compute.bind import bind
from features.compute.enrich import enrich
from features.definition import FeatureSet, load_feature_set
from features.history.labels import LabelBatch, label_appends
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.tables.event_records import EventRecordReader
from schemas.avro.decoder import Decoder
from schemas.registry.source import FileSchemaSource

SET = Path(__file__).parents[2] / "examples" / "handbook" / "features.yaml"
START_MS = 1_522_540_800_000
"""2018-04-01 UTC."""
DAY_US = 86_400_000_000
_LABEL_DELAY = timedelta(days=7)


def handbook() -> FeatureSet:
    return load_feature_set(SET)


def transactions(rows: int, seed: int, days: int = 60, lateness_s: int = 7_200) -> pa.Table:
    """Random transactions with frauds, by time; some are up to ``lateness_s`` seconds late."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, days * 86_400, rows))
    late = random.random(rows) < 0.05
    times = np.maximum(times - late * random.integers(0, lateness_s, rows), 0)
    ids = np.arange(rows)
    again = random.random(rows) < 0.02
    ids[again] = np.maximum(ids[again] - random.integers(1, 5, int(again.sum())), 0)
    return pa.table(
        {
            "TRANSACTION_ID": pa.array(ids, pa.int32()),
            "TX_DATETIME": pa.array(START_MS + 1_000 * times, pa.timestamp("ms")),
            "CUSTOMER_ID": pa.array(random.integers(0, 8, rows), pa.int32()),
            "TERMINAL_ID": pa.array(random.integers(0, 5, rows), pa.int32()),
            "TX_AMOUNT": random.integers(0, 20_000, rows) / 100,
            "TX_FRAUD": pa.array((random.random(rows) < 0.1).astype(np.int8), pa.int8()),
        }
    )


def labels_of(events: pa.Table) -> pa.Table:
    """A label for every transaction, known a week later."""
    return pa.table(
        {
            "event_id": events["TRANSACTION_ID"].cast(pa.string()),
            "event_time": events["TX_DATETIME"],
            "customer_id": events["CUSTOMER_ID"].cast(pa.string()),
            "terminal_id": events["TERMINAL_ID"].cast(pa.string()),
            "fraud": pc.equal(events["TX_FRAUD"], 1),
            "label_time": pc.add(events["TX_DATETIME"], pa.scalar(_LABEL_DELAY)),
        }
    )


def write(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path)
    return path


def served(feature_set: FeatureSet, path: Path, batch: int) -> np.ndarray[Any, Any]:
    """Compute the matrix of a file like the worker: decoded records, in small batches.

    All frauds of the file are in the store before the first event.
    """
    decoder = Decoder(
        FileSchemaSource({}, default=feature_set.schema_path),
        feature_set.reader_schema,
        feature_set.paths,
        max_record_bytes=10_000,
        max_collection_items=10,
    )
    store, log, matrices = MemoryStore(), LogState(), []
    labels, namespace = _frauds(feature_set, path), Namespace.local(feature_set.name)
    store.append(label_appends(labels, feature_set.labelled_entities, namespace))
    for chunk in EventRecordReader(feature_set, "in", b"").read(path, chunk=batch):
        events, _ = bind(feature_set, chunk.records, decoder.decode(chunk.records.values))
        enriched = enrich(feature_set, events, store, log)
        store.append(enriched.writes.appends, enriched.writes.compactions)
        log = enriched.after
        matrices.append(enriched.matrix)
    return np.concatenate(matrices)


def _frauds(feature_set: FeatureSet, path: Path) -> LabelBatch:
    table = pq.read_table(path)
    rows = np.flatnonzero(table["TX_FRAUD"].to_numpy())
    table = table.take(pa.array(rows))
    time = table["TX_DATETIME"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    assert feature_set.bindings.label is not None

    def text(name: str) -> pa.StringArray:
        return table[name].cast(pa.string()).combine_chunks()

    return LabelBatch(
        text("TRANSACTION_ID"),
        time,
        {"customer": text("CUSTOMER_ID"), "terminal": text("TERMINAL_ID")},
        np.ones(len(rows), np.bool_),
        time + feature_set.bindings.label.delay,
        np.full(len(rows), -1, np.int32),
        rows.astype(np.int64),
    )
