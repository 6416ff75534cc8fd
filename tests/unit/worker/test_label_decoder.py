"""Labels of records: each by its own schema, whatever records are decoded beside it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import numpy as np

from features.loading import LabelRows
from schemas.batch import Records
from tests.support.labels_topic import FEATURES, START_US, label
from tests.support.transactions import SET
from worker.labels.label_decoder import LabelDecoder
from worker.schema_sources import framed
from worker.settings import load_settings

OTHER: dict[str, Any] = {
    "type": "record",
    "name": "Chargeback",
    "fields": [
        {"name": "TRANSACTION_ID", "type": "long"},
        {"name": "TX_DATETIME", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "TERMINAL_ID", "type": ["null", "long"]},
        {"name": "TX_FRAUD", "type": "int"},
    ],
}
"""Schema of another writer, with the names of the Handbook's files."""


def chargeback(number: int, terminal: int | None = 7) -> bytes:
    body = io.BytesIO()
    values = {"TRANSACTION_ID": number, "TX_DATETIME": START_US, "TERMINAL_ID": terminal}
    fastavro.schemaless_writer(body, fastavro.parse_schema(OTHER), {**values, "TX_FRAUD": 1})
    return framed(9) + body.getvalue()


def decoder(folder: Path) -> LabelDecoder:
    (folder / "writer-schemas").mkdir()
    (folder / "writer-schemas" / "9.avsc").write_text(json.dumps(OTHER))
    (folder / "features.yaml").write_text("name: handbook")
    (folder / "worker.yaml").write_text((SET.parent / "worker.yaml").read_text())
    return LabelDecoder(FEATURES, load_settings(folder))


def records(*values: bytes) -> Records:
    count, none = len(values), np.zeros(len(values), np.int64)
    return Records("in", [None] * count, values, none.astype(np.int32), np.arange(count), none)


def shown(labels: LabelRows) -> list[tuple[Any, ...]]:
    columns = (labels.event_id.to_pylist(), labels.fraud, labels.event_time, labels.label_time)
    return list(zip(*columns, labels.keys("terminal").to_pylist(), labels.offsets, strict=True))


def test_records_of_several_schemas_are_decoded_as_each_of_them_alone(tmp_path: Path) -> None:
    values = [
        label(1),
        chargeback(2),
        label(3, entity_keys={"customer": "c"}),
        b"\x05",
        chargeback(4, None),
        label(5, event_id=""),
        label(6),
    ]
    decode = decoder(tmp_path)
    together, refused = decode(records(*values))
    alone = [decode(records(value)) for value in values]
    assert [row[:-1] for row in shown(together)] == [
        row[:-1] for labels, _ in alone for row in shown(labels)
    ]
    assert together.offsets.tolist() == [0, 1, 2, 4, 6]
    assert refused == {row: errors[0] for row, (_, errors) in enumerate(alone) if errors}
    assert [*refused] == [3, 5]


def test_no_records_are_no_labels(tmp_path: Path) -> None:
    labels, refused = decoder(tmp_path)(records())
    assert (len(labels), refused) == (0, {})
