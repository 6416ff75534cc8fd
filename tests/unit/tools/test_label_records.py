"""Records of the labels topic: keys and values of complete labels, and what is left out."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from base.errors import ConfigurationError
from features.definition import load_feature_set
from features.loading import LabelFile
from tests.support.event_files import Row, lines
from tests.support.healthy import edit
from tests.support.transactions import SET, handbook, transactions, write
from tools.topics.label_records import LabelEncoder, LabelRecords
from worker.schema_sources import framed

SCHEMAS = Path(__file__).parents[3] / "schemas"
SCHEMA = fastavro.parse_schema(json.loads((SCHEMAS / "label.avsc").read_text()))
LABEL: Row = {
    "event_id": "7",
    "event_time": "2018-05-01T00:00:00Z",
    "entity_keys": {"customer": "c", "terminal": "t"},
    "fraud": True,
    "label_time": "2018-05-03T00:00:00.000001Z",
    "source": "chargeback",
}
EXPECTED = {
    **LABEL,
    "event_time": datetime(2018, 5, 1, tzinfo=UTC),
    "label_time": datetime(2018, 5, 3, 0, 0, 0, 1, tzinfo=UTC),
}


def encode(path: Path, prefix: bytes = b"") -> LabelRecords:
    file = LabelFile(handbook(), path, source=True)
    ((rows, _),) = file
    return LabelEncoder(handbook(), prefix)(rows, file.describe_row)


def decode(value: bytes) -> Any:
    body = io.BytesIO(value)
    record = fastavro.schemaless_reader(body, SCHEMA, None)
    assert not body.read()
    return record


def test_records_are_decoded_by_fastavro_to_the_labels_of_the_file(tmp_path: Path) -> None:
    given: list[Row] = [
        LABEL,
        {**LABEL, "event_id": "ä€😀", "fraud": False},
        {**LABEL, "source": None, "entity_keys": {"terminal": "t2"}},
        {**LABEL, "event_id": "x" * 1024, "entity_keys": {"terminal": "y" * 1024}},
    ]
    records = encode(lines(tmp_path / "labels.jsonl", given), framed(3))
    assert {value[:5] for value in records.values} == {framed(3)}
    assert [decode(value[5:]) for value in records.values] == [
        EXPECTED,
        {**EXPECTED, "event_id": "ä€😀", "fraud": False},
        {**EXPECTED, "source": "", "entity_keys": {"terminal": "t2"}},
        {**EXPECTED, "event_id": "x" * 1024, "entity_keys": {"terminal": "y" * 1024}},
    ]
    assert records.keys == [row["event_id"].encode() for row in given]
    assert (records.rows, records.skipped, records.refused) == ([0, 1, 2, 3], 0, [])


def test_a_label_without_a_time_is_known_after_the_delay_and_says_nothing_without_fraud(
    tmp_path: Path,
) -> None:
    untimed = {**LABEL, "label_time": None}
    path = lines(tmp_path / "labels.jsonl", [{**untimed, "fraud": False}, untimed])
    records = encode(path)
    (record,) = map(decode, records.values)
    assert record == {**EXPECTED, "label_time": datetime(2018, 5, 8, tzinfo=UTC)}
    assert (records.rows, records.skipped) == ([1], 1)


def test_incomplete_labels_are_refused_at_their_rows(tmp_path: Path) -> None:
    bad: list[Row | str] = [
        "{broken",
        {**LABEL, "event_time": None},
        {**LABEL, "entity_keys": {"customer": "c"}},
    ]
    path = lines(tmp_path / "labels.jsonl", [*bad, LABEL])
    records = encode(path)
    assert records.rows == [3]
    assert [(refused.where, refused.code) for refused in records.refused] == [
        (f"{path}, row 1", "event_time_missing"),
        (f"{path}, row 2", "entity_key_missing"),
    ]


def test_a_file_of_events_gives_records_with_all_keys_of_its_frauds(tmp_path: Path) -> None:
    raw = transactions(300, 7)
    records = encode(write(tmp_path / "events.parquet", raw))
    frauds = [event for event in raw.to_pylist() if event["TX_FRAUD"]]
    assert len(frauds) > 3
    assert records.skipped == 300 - len(frauds)
    for value, event in zip(records.values, frauds, strict=True):
        record = decode(value)
        assert record["event_id"] == str(event["TRANSACTION_ID"])
        assert record["entity_keys"] == {
            "customer": str(event["CUSTOMER_ID"]),
            "terminal": str(event["TERMINAL_ID"]),
        }
        assert record["source"] == ""


def test_without_a_delay_a_label_needs_its_time(tmp_path: Path) -> None:
    (tmp_path / "features.yaml").write_text(SET.read_text())

    def change(values: dict[str, Any]) -> None:
        values["events"]["schema"] = str(SCHEMAS / "transaction.avsc")
        del values["events"]["label"], values["events"]["aliases"]["is_fraud"]

    edit(tmp_path / "features.yaml", change)
    made = load_feature_set(tmp_path / "features.yaml")
    file = LabelFile(made, lines(tmp_path / "a.jsonl", [{**LABEL, "label_time": None}]))
    ((rows, _),) = file
    with pytest.raises(ConfigurationError, match=r"events\.label.*label_time"):
        LabelEncoder(made, b"")(rows, file.describe_row)


def test_no_label_makes_no_record(tmp_path: Path) -> None:
    table = pa.table({"event_id": ["a"], "fraud": pa.array([None], pa.bool_())})
    records = encode(write(tmp_path / "labels.parquet", table))
    assert (records.keys, records.values, records.rows) == ([], [], [])
