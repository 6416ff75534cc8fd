"""Event files as the records that a producer would have sent."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
import yaml

from base.errors import ConfigurationError
from features.definition import load_feature_set
from features.tables.event_records import EventRecordReader, EventRecords
from schemas.avro.paths import PathType
from schemas.batch import Kind
from tests.support.event_files import Make, Row, lines, row
from tests.support.healthy import edit, healthy_pipeline
from worker.schema_sources import framed

ROOT = Path(__file__).parents[3]
HANDBOOK = ROOT / "examples" / "handbook"
TRANSACTION = json.loads((ROOT / "schemas" / "transaction.avsc").read_text())


@pytest.fixture
def file(tmp_path: Path) -> Make:
    def make(*rows: Row | str) -> Path:
        return lines(tmp_path / "events.jsonl", rows)

    return make


def handbook(prefix: bytes = b"") -> EventRecordReader:
    return EventRecordReader(load_feature_set(HANDBOOK / "features.yaml"), "in", prefix)


def bodies(chunk: EventRecords, prefix: bytes = b"", schema: Any = TRANSACTION) -> list[Any]:
    parsed = fastavro.parse_schema(schema)
    found = []
    for value in chunk.records.values:
        assert value is not None
        assert value.startswith(prefix)
        stream = io.BytesIO(value[len(prefix) :])
        found.append(fastavro.schemaless_reader(stream, parsed, None))
    return found


def test_rows_become_framed_records_keyed_by_the_partition_key(file: Make) -> None:
    (chunk,) = handbook(framed(1)).read(file(row(0), row(1, country="FR")))
    records = chunk.records
    assert records.topic == "in"
    assert records.keys == [b"c-0", b"c-1"]
    assert records.offsets.tolist() == [0, 1]
    assert records.timestamps.tolist() == [-1, -1]
    first, second = bodies(chunk, framed(1))
    assert (first["transaction_id"], first["amount"]) == ("t-0", 10.0)
    # Fields that the file lacks take the schema's defaults.
    assert (first["currency"], first["channel"], first["country"]) == ("EUR", "other", None)
    assert (second["channel"], second["country"]) == ("other", "FR")
    (chunk,) = handbook().read(file(row(0, channel="ecom", currency="SEK")))
    assert [(event["channel"], event["currency"]) for event in bodies(chunk)] == [("ecom", "SEK")]


def test_columns_may_have_the_names_that_aliases_give_them(file: Make) -> None:
    names = yaml.safe_load((HANDBOOK / "features.yaml").read_text())["events"]["aliases"]
    renamed = {names.get(name, name): value for name, value in row(0).items()}
    (chunk,) = handbook().read(file(renamed))
    assert [event["transaction_id"] for event in bodies(chunk)] == ["t-0"]


def test_offsets_are_row_numbers_across_chunks_and_what_is_no_event_is_told(file: Make) -> None:
    rows = [row(0), "{broken", row(2), row(3, amount="much"), row(4), row(5, customer_id=None)]
    chunks = list(handbook().read(file(*rows), chunk=2))
    assert [chunk.records.offsets.tolist() for chunk in chunks] == [[0], [2], [4]]
    errors = {row: error for chunk in chunks for row, error in chunk.errors.items()}
    assert list(errors) == [1, 3, 5]
    assert "amount" in errors[3].message
    assert all(len(chunk.columns["amount"]) == 1 for chunk in chunks)


def test_values_that_no_record_can_hold_are_refused_and_unknown_symbols_take_the_default(
    file: Make, tmp_path: Path
) -> None:
    folder = healthy_pipeline(tmp_path / "pipeline")
    schema = json.loads(json.dumps(TRANSACTION))
    schema["fields"].append({"name": "tries", "type": "int", "default": 0})
    (folder / "transaction.avsc").write_text(json.dumps(schema))
    source = EventRecordReader(load_feature_set(folder / "features.yaml"), "in", b"")
    rows = [row(i, tries=2**31 if i == 1 else i, channel="fax") for i in range(3)]
    (chunk,) = source.read(file(*rows))
    assert {row: error.code for row, error in chunk.errors.items()} == {1: "body_invalid"}
    assert "tries" in chunk.errors[1].message
    assert chunk.records.offsets.tolist() == [0, 2]
    assert [event["channel"] for event in bodies(chunk, schema=schema)] == ["other", "other"]


def test_columns_that_are_asked_for_come_along_and_stay_out_of_the_records(file: Make) -> None:
    label = {"is_fraud": PathType(Kind.LONG, scale=0, nullable=True)}
    (chunk,) = handbook().read(file(row(0, TX_FRAUD=1), row(1, TX_FRAUD=0)), label)
    assert chunk.columns["is_fraud"].values.tolist() == [1, 0]
    assert "is_fraud" not in bodies(chunk)[0]
    (without,) = handbook().read(file(row(0)), label)
    assert "is_fraud" not in without.columns


def test_a_column_in_use_that_is_missing_is_named(file: Make) -> None:
    given = row(0)
    del given["amount"]
    with pytest.raises(ConfigurationError, match=r"'amount' .*amount and TX_AMOUNT.*aliases"):
        list(handbook().read(file(given)))


def test_without_a_partition_key_records_have_no_key(file: Make, tmp_path: Path) -> None:
    folder = healthy_pipeline(tmp_path / "pipeline")
    edit(folder / "features.yaml", lambda values: values["events"].pop("partition_key"))
    source = EventRecordReader(load_feature_set(folder / "features.yaml"), "in", b"")
    (chunk,) = source.read(file(row(0), row(1)))
    assert chunk.records.keys == [None, None]


@pytest.mark.parametrize("kind", ["array", "map", "union"])
def test_fields_of_the_schema_that_no_file_can_give_take_their_defaults_or_are_refused(
    kind: str, file: Make, tmp_path: Path
) -> None:
    folder = healthy_pipeline(tmp_path / "pipeline")
    types: dict[str, tuple[Any, Any]] = {
        "array": ({"type": "array", "items": "string"}, []),
        "map": ({"type": "map", "values": "long"}, {}),
        "union": (["null", "string", "long"], None),
    }
    odd, default = types[kind]
    schema = json.loads(json.dumps(TRANSACTION))
    schema["fields"].append({"name": "odd", "type": odd, "default": default})
    (folder / "transaction.avsc").write_text(json.dumps(schema))
    source = EventRecordReader(load_feature_set(folder / "features.yaml"), "in", b"")
    (chunk,) = source.read(file(row(0)))
    assert len(chunk.records) == 1

    del schema["fields"][-1]["default"]
    (folder / "transaction.avsc").write_text(json.dumps(schema))
    with pytest.raises(ConfigurationError, match="odd"):
        EventRecordReader(load_feature_set(folder / "features.yaml"), "in", b"")
