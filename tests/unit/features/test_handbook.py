"""The example on the wire and on the Handbook's own files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import fastavro
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.compute.bind import bind
from features.compute.enrich import enrich
from features.definition import FeatureSet, load_feature_set
from features.store.memory import MemoryStore
from schemas.avro.decoder import Decoder
from schemas.batch import Decoded, EventBatch, Kind
from schemas.files.read import read_events
from schemas.registry.source import FileSchemaSource
from tests.support.making import T0, records

EXAMPLE = Path(__file__).parents[3] / "examples" / "handbook" / "features.yaml"


@pytest.fixture(scope="module")
def made() -> FeatureSet:
    return load_feature_set(EXAMPLE)


def test_events_from_the_wire_become_vectors(made: FeatureSet) -> None:
    decoder = Decoder(
        FileSchemaSource({}, default=made.schema_path),
        made.reader_schema,
        made.paths,
        max_record_bytes=100_000,
        max_collection_items=100,
    )
    bodies = [body(made, amount=amount) for amount in (12.34, float("nan"), -5.0)]
    batch, errors = bind(made, records(4), decoder.decode([*bodies, b"\x00"], None))
    assert sorted(errors) == [1, 3]
    assert batch.amount_minor is not None
    assert batch.amount_minor.tolist() == [1234, -500]
    matrix = enrich(made, batch, MemoryStore()).matrix
    np.testing.assert_array_equal(
        matrix[:, :3], np.array([[12.34, 0, 1], [-5.0, 0, 1]], np.float32)
    )


def body(made: FeatureSet, amount: float) -> bytes:
    event = {
        "transaction_id": "1",
        "tx_time": T0 // 1000,
        "customer_id": "7",
        "terminal_id": "9",
        "amount": amount,
    }
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(made.reader_schema), event)
    return out.getvalue()


def batches(made: FeatureSet, path: Path) -> Iterator[EventBatch]:
    types = {
        "transaction_id": (Kind.STRING, 0, False),
        "tx_time": (Kind.TIME, 0, False),
        "customer_id": (Kind.STRING, 0, False),
        "terminal_id": (Kind.STRING, 0, False),
        "amount": (Kind.DOUBLE, 0, False),
    }
    assert types.keys() == made.paths
    for decoded in read_events(path, types, made.aliases):
        batch, errors = bind(made, records(_rows(decoded)), decoded)
        assert errors == {}
        yield batch


def _rows(decoded: Decoded) -> int:
    return len(decoded.columns["amount"])


def test_request_features_are_those_that_the_handbook_published(
    made: FeatureSet, data_dir: Path, tmp_path: Path
) -> None:
    names = ["TX_DURING_WEEKEND", "TX_DURING_NIGHT"]
    published = pq.read_table(
        data_dir / "handbook_features_20180725_0814.parquet", columns=["TRANSACTION_ID", *names]
    ).sort_by("TRANSACTION_ID")
    raw = pq.read_table(data_dir / "handbook_raw.parquet")
    wanted = pc.is_in(raw["TRANSACTION_ID"], value_set=published["TRANSACTION_ID"])
    raw = raw.filter(wanted).sort_by("TRANSACTION_ID")
    path = tmp_path / "raw.parquet"
    pq.write_table(raw, path)
    ours = np.concatenate(
        [enrich(made, batch, MemoryStore()).matrix[:, :3] for batch in batches(made, path)]
    )
    theirs = np.column_stack(
        [raw["TX_AMOUNT"].to_numpy(), *(published[name].to_numpy() for name in names)]
    )
    assert len(ours) == 201_295
    np.testing.assert_array_equal(ours, theirs.astype(np.float32))
