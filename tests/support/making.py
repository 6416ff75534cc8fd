"""Feature sets and decoded events, made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from features.compute.bind import bind
from features.compute.enrich import enrich
from features.definition import FeatureSet, load_feature_set
from features.store.memory import MemoryStore
from features.store.protocol import Hashes, OnlineStore, Row
from features.values.keys import Keys
from schemas.batch import Column, Decoded, EventBatch, Kind, Records

T0 = 1_533_081_600_000_000
"""2018-08-01 00:00:00 UTC, a Wednesday, in microseconds."""

SCHEMA = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "seconds", "type": "long"},
        {"name": "card", "type": "string"},
        {"name": "shop", "type": "long"},
        {"name": "amount", "type": "double"},
        {"name": "cents", "type": "long"},
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4},
        },
        {"name": "x", "type": ["null", "double"]},
        {"name": "y", "type": ["null", "double"]},
        {"name": "z", "type": "double"},
        {"name": "online", "type": ["null", "boolean"]},
        {"name": "channel", "type": ["null", "string"]},
        {"name": "country", "type": ["null", "string"]},
        {"name": "later", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
        {
            "name": "merchant",
            "type": {
                "type": "record",
                "name": "Merchant",
                "fields": [
                    {"name": "code", "type": ["null", "string"]},
                    {"name": "risk", "type": "float"},
                ],
            },
        },
        {"name": "tags", "type": {"type": "array", "items": "string"}},
    ],
}

EVENTS = """\
name: test
events:
  schema: event.avsc
  id: id
  time: at
"""


def write_pipeline(folder: Path, text: str) -> Path:
    """features.yaml with ``text``, beside the schema."""
    (folder / "event.avsc").write_text(json.dumps(SCHEMA), encoding="utf-8")
    path = folder / "features.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def feature_set(folder: Path, text: str) -> FeatureSet:
    return load_feature_set(write_pipeline(folder, text))


def strings(values: Sequence[str | None]) -> Column:
    valid = np.array([value is not None for value in values], dtype=np.bool_)
    return Column(Kind.STRING, pa.array([value or "" for value in values], pa.string()), valid)


def doubles(values: Sequence[float | None]) -> Column:
    valid = np.array([value is not None for value in values], dtype=np.bool_)
    filled = [0.0 if value is None else value for value in values]
    return Column(Kind.DOUBLE, np.array(filled, dtype=np.float64), valid)


def longs(values: Sequence[int | None], kind: Kind = Kind.LONG, scale: int = 0) -> Column:
    valid = np.array([value is not None for value in values], dtype=np.bool_)
    filled = [0 if value is None else value for value in values]
    return Column(kind, np.array(filled, dtype=np.int64), valid, scale)


def booleans(values: Sequence[bool | None]) -> Column:
    valid = np.array([value is not None for value in values], dtype=np.bool_)
    return Column(Kind.BOOL, np.array([bool(value) for value in values]), valid)


def columns(rows: int, **given: Column) -> dict[str, Column]:
    """A column for every field that a test uses; ``merchant__code`` stands for merchant.code."""
    made = {
        "id": strings([f"e{row}" for row in range(rows)]),
        "at": longs([T0 + row for row in range(rows)], Kind.TIME),
        "card": strings([f"c{row}" for row in range(rows)]),
        "amount": doubles([1.0 + row for row in range(rows)]),
    }
    return made | {name.replace("__", "."): column for name, column in given.items()}


def records(rows: int) -> Records:
    return Records(
        "events",
        [b"k%d" % row for row in range(rows)],
        [b"v%d" % row for row in range(rows)],
        np.zeros(rows, np.int32),
        np.arange(rows, dtype=np.int64),
        np.full(rows, -1, np.int64),
    )


def events(made: FeatureSet, rows: int, **given: Column) -> EventBatch:
    """The batch of ``rows`` events, all of them good."""
    batch, errors = bind(made, records(rows), Decoded(columns(rows, **given), {}))
    assert errors == {}
    return batch


def matrix(made: FeatureSet, rows: int, **given: Column) -> Any:
    """float32[rows, F] of events with the given columns and an empty store."""
    return enrich(made, events(made, rows, **given), MemoryStore()).matrix


def take(batch: Mapping[str, Column], rows: Sequence[int]) -> dict[str, Column]:
    places = np.array(rows, dtype=np.intp)
    return {name: column.take(places) for name, column in batch.items()}


def read_all(
    store: OnlineStore, keys: Sequence[bytes], hashes: Sequence[Hashes] = ()
) -> tuple[list[bytes | None], list[list[Row | None]]]:
    """Values and rows as a store answers them, in one round trip."""
    result = store.read_all([Keys.of(keys)], hashes)
    return result.values.to_list(), result.hashes
