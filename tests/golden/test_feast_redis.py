"""Feast's layout in Redis against what Feast itself wrote."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.compute.enrich import enrich
from features.store.feast import numbers, timestamps
from features.store.feast.keys import KeyType, hash_field, redis_keys, timestamp_field
from features.store.memory import MemoryStore
from schemas.batch import Kind
from tests.support import making

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FRAUD_WORKER_DATA", ROOT.parent / "shared" / "data"))
FILE = DATA / "conformance" / "feast_redis_vectors.json"
NO_NUMBERS = {
    "string_val",
    "bytes_val",
    "int64_list_val",
    "double_list_val",
    "string_list_val",
}

pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not in the data folder")


def vectors() -> Any:
    return json.loads(FILE.read_text())


def typed(value: dict[str, Any]) -> tuple[KeyType, list[bytes]]:
    ((name, found),) = value.items()
    kind = KeyType[name.removesuffix("_val").upper()]
    return kind, [bytes.fromhex(found) if kind is KeyType.BYTES else str(found).encode()]


def test_entity_keys() -> None:
    keys = vectors()["entity_keys"]
    assert keys
    for vector in keys:
        join = {name: typed(value) for name, value in vector["join"].items()}
        serialized, redis_key = (
            bytes.fromhex(vector[f"{n}_hex"]) for n in ("serialized", "redis_key")
        )
        assert redis_keys(join, "") == [serialized], vector
        assert redis_keys(join, vector["project"]) == [redis_key], vector


def test_hash_fields() -> None:
    fields = vectors()["hash_fields"]
    assert fields
    for vector in fields:
        view = vector["feature_view"]
        assert hash_field(view, vector["feature"]).hex() == vector["field_hex"], vector
        assert timestamp_field(view).decode() == vector["ts_field_utf8"], vector


def test_values_alone_and_together() -> None:
    values = vectors()["values"]
    assert values
    messages = [bytes.fromhex(vector["proto_hex"]) for vector in values]
    together = numbers(messages)
    for row, (vector, message) in enumerate(zip(values, messages, strict=True)):
        alone = numbers([message])
        wanted = written(vector)
        assert alone.invalid.tolist() == [wanted is None or math.isinf(wanted)], vector
        assert not alone.absent[0]
        if not alone.invalid[0]:
            np.testing.assert_array_equal(alone.values, [wanted], str(vector))
        np.testing.assert_array_equal(together.values[row], alone.values[0])
        assert together.invalid[row] == alone.invalid[0]


def written(vector: dict[str, str]) -> float | None:
    """What Feast was given, None where it is no number."""
    kind, value = vector["kind"], vector["value"]
    if kind in NO_NUMBERS:
        return None
    if kind.startswith("null"):
        return math.nan
    if kind == "bool_val":
        return float(value == "True")
    return float(np.float32(value)) if kind == "float_val" else float(value)


def test_timestamps_alone_and_together() -> None:
    times = vectors()["timestamps"]
    assert times
    messages = [bytes.fromhex(vector["proto_hex"]) for vector in times]
    wanted = [vector["seconds"] * 1_000_000 + vector["nanos"] // 1000 for vector in times]
    together = timestamps(messages)
    assert together.micros.tolist() == wanted
    assert not together.invalid.any()
    assert [timestamps([message]).micros.tolist() for message in messages] == [[t] for t in wanted]


def test_lookups_read_values_that_feast_wrote(tmp_path: Path) -> None:
    dump = vectors()["redis_dump"]
    store = MemoryStore()
    for key in dump["keys"]:
        fields = {bytes.fromhex(k): bytes.fromhex(v) for k, v in key["hash"].items()}
        store.write_hash(bytes.fromhex(key["key_hex"]), fields)
    made = making.feature_set(
        tmp_path,
        f"""{making.EVENTS}entities: {{customer: shop}}
lookups:
  velocity:
    by: customer
    max_age: 1d
    feast: {{project: fraud, feature_view: customer_velocity, join_key: customer_id}}
    values: {{nb_tx_1d: , avg_amount_7d: }}
  category:
    by: customer
    feast: {{project: fraud, feature_view: customer_velocity, join_key: customer_id}}
    values: {{last_category: {{default: -1}}}}
features:
  - {{name: COUNT, lookup: velocity.nb_tx_1d}}
  - {{name: MEAN, lookup: velocity.avg_amount_7d}}
  - {{name: CATEGORY, lookup: category.last_category}}
""",
    )
    first, second = (dt.datetime.fromisoformat(row["event_ts"]) for row in dump["rows"])
    day = dt.timedelta(days=1)
    tick = dt.timedelta(microseconds=1)
    times = [first, first + day, first + day + tick, second + day, second + day + tick, second]
    micros = [round(time.timestamp() * 1_000_000) for time in times]
    customers = [596, 596, 596, 4961, 4961, 7]
    batch = making.events(made, 6, shop=making.longs(customers), at=making.longs(micros, Kind.TIME))
    found = enrich(made, batch, store)
    np.testing.assert_array_equal(
        found.matrix,
        np.array(
            [
                [3, 57.16, -1],
                [3, 57.16, -1],
                [np.nan, np.nan, -1],
                [0, np.nan, -1],
                [np.nan, np.nan, -1],
                [np.nan, np.nan, -1],
            ],
            np.float32,
        ),
    )
    names = [{*made.flags.decode(flags)} for flags in found.flags.tolist()]
    text = {"lookup_invalid:category"}
    assert names == [
        text,
        text,
        {"lookup_stale:velocity"} | text,
        text,
        {"lookup_stale:velocity"} | text,
        {"lookup_missing:velocity", "lookup_missing:category"},
    ]
