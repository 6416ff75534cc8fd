"""Training tables: the values that are served, with the labels and the names of the input."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from base.errors import ConfigurationError
from features.definition import FeatureSet, load_feature_set
from features.loading import KnownLabels, LabelFile
from features.tables import Built, EventTable, EventTableReader, Partitioning, build
from features.tables.event_files import partitions_of
from features.tables.history_run import SweptStore
from features.tables.training_table import METADATA
from tests.support.event_files import Row, lines, row
from tests.support.healthy import edit
from tests.support.making import EVENTS, feature_set
from tests.support.transactions import DAY_US, SET, handbook, served, transactions, write


def built(
    out: Path,
    files: Sequence[Path],
    *,
    feature_set: FeatureSet | None = None,
    labels: KnownLabels | None = None,
    by: Partitioning | None = None,
    chunk_rows: int = 1_000,
) -> tuple[pa.Table, Built]:
    made = feature_set or handbook()
    source = EventTableReader(made, files, by, chunk_rows)
    result = build(made, source, out, labels, partitions=source.partitions)
    return pq.read_table(out), result


def matrix(table: pa.Table) -> np.ndarray[Any, Any]:
    return np.column_stack([table[name].to_numpy() for name in handbook().names])


@pytest.fixture
def file(tmp_path: Path, seed: int) -> Path:
    return write(tmp_path / "events.parquet", transactions(600, seed, lateness_s=100_000))


@pytest.mark.parametrize("chunk_rows", [7, 100, 10_000])
def test_values_are_those_that_are_served(file: Path, tmp_path: Path, chunk_rows: int) -> None:
    table, result = built(tmp_path / "out.parquet", [file], chunk_rows=chunk_rows)
    assert result.rows == table.num_rows == 600
    ours, theirs = matrix(table), served(handbook(), file, 23)
    np.testing.assert_array_equal(ours, theirs)
    # The windows do count something.
    assert (ours[:, 3:].max(axis=0) > 0).all()


def test_columns_are_features_then_identity_then_labels(file: Path, tmp_path: Path) -> None:
    made, raw = handbook(), pq.read_table(file)
    table, _ = built(tmp_path / "out.parquet", [file])
    identity = ["TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID"]
    assert table.column_names == [
        *made.names,
        *identity,
        "amount_minor",
        "label",
        "label_time",
        "flags",
    ]
    assert all(table.schema.field(name).type == pa.float32() for name in made.names)
    for name in identity:
        assert table[name].type == raw[name].type
        assert table[name].to_pylist() == raw[name].to_pylist()
    assert table["amount_minor"].to_pylist() == np.rint(raw["TX_AMOUNT"].to_numpy() * 100).tolist()
    assert table["label"].cast(pa.int8()).to_pylist() == raw["TX_FRAUD"].to_pylist()
    known = raw["TX_DATETIME"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy() + 7 * DAY_US
    assert table["label_time"].type == pa.timestamp("us", "UTC")
    assert table["label_time"].cast(pa.int64()).to_pylist() == known.tolist()


def test_the_file_says_of_which_features_it_is(file: Path, tmp_path: Path) -> None:
    made = handbook()
    table, _ = built(tmp_path / "out.parquet", [file])
    said = json.loads(table.schema.metadata[METADATA])
    assert (said["feature_set"], said["fingerprint"]) == ("handbook", made.fingerprint)
    assert [(f["name"], f["fingerprint"]) for f in said["features"]] == [
        (f.name, f.fingerprint) for f in made.features
    ]


def test_the_file_names_the_categories_of_its_features(tmp_path: Path) -> None:
    values = yaml.safe_load(SET.read_text())
    values["events"]["schema"] = str(SET.parent / values["events"]["schema"])
    listed = {"values": ["7", "3"], "other": True}
    values["features"].append({"name": "TERMINAL", "category": {"field": "terminal_id", **listed}})
    (tmp_path / "features.yaml").write_text(yaml.safe_dump(values))
    made = load_feature_set(tmp_path / "features.yaml")
    path = lines(tmp_path / "events.jsonl", [row(0)])
    table, _ = built(tmp_path / "out.parquet", [path], feature_set=made)
    assert json.loads(table.schema.metadata[METADATA])["categories"] == {"TERMINAL": listed}


def test_several_files_are_one_input(file: Path, tmp_path: Path) -> None:
    whole, _ = built(tmp_path / "whole.parquet", [file])
    raw = pq.read_table(file)
    parts = [
        write(tmp_path / "a.parquet", raw.slice(0, 250)),
        # The names of the schema, and other types.
        write(
            tmp_path / "b.parquet",
            raw.slice(250).rename_columns(
                ["transaction_id", "tx_time", "customer_id", "terminal_id", "amount", "is_fraud"]
            ),
        ),
    ]
    table, _ = built(tmp_path / "out.parquet", parts, chunk_rows=90)
    np.testing.assert_array_equal(matrix(table), matrix(whole))
    # Names and types are those of the first.
    assert table["TRANSACTION_ID"].to_pylist() == raw["TRANSACTION_ID"].to_pylist()


def test_a_column_that_changes_its_type_for_good_is_named(file: Path, tmp_path: Path) -> None:
    raw = pq.read_table(file)
    ids = pa.array([f"t-{i}" for i in range(raw.num_rows)])
    other = write(tmp_path / "b.parquet", raw.set_column(0, "TRANSACTION_ID", ids))
    with pytest.raises(ConfigurationError, match=r"TRANSACTION_ID is int32 .* string further on"):
        built(tmp_path / "out.parquet", [file, other])


def test_floats_in_a_column_that_began_as_text_are_their_digits(tmp_path: Path) -> None:
    rows: list[Row | str] = [row(0, customer_id="c"), row(1, customer_id=4_275_982_953_449_306.0)]
    path = lines(tmp_path / "events.jsonl", rows)
    table, _ = built(tmp_path / "out.parquet", [path], chunk_rows=1)
    assert table["customer_id"].to_pylist() == ["c", "4275982953449306"]


@pytest.mark.parametrize("field", ["CUSTOMER_ID", "customer_id"])
def test_rows_can_be_records_of_several_partitions(file: Path, tmp_path: Path, field: str) -> None:
    made, raw = handbook(), pq.read_table(file)
    by = Partitioning.by(made, field, 3)
    chunks = list(EventTableReader(made, [file], by, 100))
    partitions = np.concatenate([chunk.batch.records.partitions for chunk in chunks])
    offsets = np.concatenate([chunk.batch.records.offsets for chunk in chunks])
    keys = raw["CUSTOMER_ID"].cast(pa.string()).combine_chunks()
    assert partitions.tolist() == partitions_of(keys, 3).tolist()
    assert len(set(partitions.tolist())) > 1
    for partition in range(3):
        own = offsets[partitions == partition]
        assert own.tolist() == list(range(len(own)))


def test_a_customer_has_the_same_features_in_one_partition_and_in_several(
    tmp_path: Path, seed: int
) -> None:
    raw = transactions(600, seed)
    # In order of time: who is late depends on who else is in the partition.
    file = write(tmp_path / "events.parquet", raw.sort_by("TX_DATETIME"))
    one, _ = built(tmp_path / "one.parquet", [file])
    several, _ = built(
        tmp_path / "several.parquet",
        [file],
        by=Partitioning.by(handbook(), "CUSTOMER_ID", 4),
        chunk_rows=100,
    )
    np.testing.assert_array_equal(matrix(several)[:, :9], matrix(one)[:, :9])
    assert several["TRANSACTION_ID"].to_pylist() == one["TRANSACTION_ID"].to_pylist()


def test_rows_can_be_put_in_the_order_of_partitions(file: Path, tmp_path: Path) -> None:
    made = handbook()
    by = Partitioning.by(made, "CUSTOMER_ID", 3)
    events = list(EventTableReader(made, [file], by, 100))
    for wanted in ({0, 1, 2}, {2}):
        chosen = []
        for chunk in events:
            rows = np.flatnonzero(np.isin(chunk.batch.records.partitions, list(wanted)))
            identity = {name: array.take(rows) for name, array in chunk.identity.items()}
            chosen.append(
                replace(chunk, batch=chunk.batch.take(rows), identity=identity, fraud=None)
            )
        out = tmp_path / "out.parquet"
        build(made, chosen, out, partitions=3, by_partition=True)
        places = [
            (partition, offset, event)
            for chunk in chosen
            for partition, offset, event in zip(
                chunk.batch.records.partitions.tolist(),
                chunk.batch.records.offsets.tolist(),
                chunk.batch.event_id.to_pylist(),
                strict=True,
            )
        ]
        ids = pq.read_table(out)["TRANSACTION_ID"].cast(pa.string()).to_pylist()
        assert ids == [event for _, _, event in sorted(places)]


def test_a_field_to_partition_by_has_to_be_there() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'CUSTOMER_ID'"):
        Partitioning.by(handbook(), "CUSTOMERID", 3)


def test_a_list_to_partition_by_is_not_called_unknown(tmp_path: Path) -> None:
    made = feature_set(tmp_path, f"{EVENTS}features:\n  - {{name: A, field: amount}}\n")
    with pytest.raises(ConfigurationError, match=r"--partition-by: .*'tags': array is not a value"):
        Partitioning.by(made, "tags", 3)


def test_rows_that_are_no_events_are_left_out_and_told(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        row(0),
        "{broken",
        row(2, transaction_id=""),
        row(3, tx_time="1987-01-01"),
        row(4, channel="fax"),
        row(5),
    ]
    for place in (0, 2, 3, 5):
        rows[place]["channel"] = "pos"  # type: ignore[index]
    path = lines(tmp_path / "events.jsonl", rows)
    table, result = built(tmp_path / "out.parquet", [path], chunk_rows=4)
    # What is no symbol of an enum with a default is the default, as for a reader of the topic.
    assert table["transaction_id"].to_pylist() == ["t-0", "t-4", "t-5"]
    assert result.refused == {
        "body_invalid": 1,
        "event_id_missing": 1,
        "event_time_out_of_range": 1,
    }
    assert [refusal.where for refusal in result.examples] == [f"{path}, row {i}" for i in (1, 2, 3)]
    assert table["label"].null_count == 3


def test_a_row_without_the_key_of_its_partition_is_no_event(tmp_path: Path) -> None:
    path = lines(tmp_path / "events.jsonl", [row(0, merchant_id="m"), row(1)])
    by = Partitioning.by(handbook(), "merchant_id", 2)
    table, result = built(tmp_path / "out.parquet", [path], by=by)
    assert table["transaction_id"].to_pylist() == ["t-0"]
    assert result.refused == {"partition_key_missing": 1}


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_file_without_rows_makes_no_table(suffix: str, tmp_path: Path) -> None:
    path, out = tmp_path / f"events.{suffix}", tmp_path / "out.parquet"
    if suffix == "parquet":
        write(path, transactions(5, 1).slice(0, 0))
    else:
        path.write_text("\n")
    with pytest.raises(ConfigurationError, match="nothing is built: the input has no rows"):
        built(out, [path])
    assert not out.exists()


def test_a_file_without_events_makes_no_table_and_says_why(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    out.write_bytes(b"before")
    path = lines(tmp_path / "events.jsonl", ["{broken", row(1, transaction_id=""), "{"])
    with pytest.raises(ConfigurationError) as caught:
        built(out, [path], chunk_rows=1)
    assert str(caught.value) == (
        "nothing is built: of 3 rows none is an event (2 body_invalid, 1 event_id_missing); the "
        f"first is {path}, row 0: body_invalid: the line is not a JSON object. Correct the input, or "
        "name its columns under events of features.yaml"
    )
    assert out.read_bytes() == b"before"
    # One event is enough, in whichever file it is.
    more = lines(tmp_path / "more.jsonl", [row(0)])
    table, result = built(out, [path, more])
    assert (table.num_rows, result.refused.total()) == (1, 3)


def unit_set(folder: Path, unit: str) -> FeatureSet:
    """The handbook's set with a plain number as its time."""
    values = yaml.safe_load(SET.read_text())
    schema = json.loads((SET.parent / values["events"]["schema"]).read_text())
    for field in schema["fields"]:
        if field["name"] == "tx_time":
            field["type"] = "long"
    (folder / "tx.avsc").write_text(json.dumps(schema))
    values["events"] |= {"schema": "tx.avsc", "time": {"field": "tx_time", "unit": unit}}
    (folder / "features.yaml").write_text(yaml.safe_dump(values))
    return load_feature_set(folder / "features.yaml")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("form", ["timestamp", "text", "number"])
def test_a_time_of_a_unit_may_be_a_timestamp_or_text(
    unit: str, form: str, tmp_path: Path, seed: int
) -> None:
    made = unit_set(tmp_path, unit)
    table = transactions(50, seed)
    times = table["TX_DATETIME"].cast(pa.timestamp("us"))
    if form == "number":
        times = times.cast(pa.timestamp(unit)).cast(pa.int64())
    elif form == "text":
        times = pc.strftime(times, "%Y-%m-%dT%H:%M:%S")
    at = table.column_names.index("TX_DATETIME")
    path = write(tmp_path / "events.parquet", table.set_column(at, "TX_DATETIME", times))
    plain = write(tmp_path / "plain.parquet", table)
    wanted, _ = built(tmp_path / "wanted.parquet", [plain])
    found, result = built(tmp_path / "out.parquet", [path], feature_set=made)
    assert result.refused == {}
    np.testing.assert_array_equal(matrix(found), matrix(wanted))
    if form != "number":  # whose unit `served` does not know
        np.testing.assert_array_equal(served(made, path, 23), matrix(wanted))


def test_an_id_that_is_a_uuid_is_text(tmp_path: Path) -> None:
    table = transactions(3, 1)
    ids = pa.array([bytes([n] * 16) for n in range(3)], pa.uuid())
    at = table.column_names.index("TRANSACTION_ID")
    path = write(tmp_path / "events.parquet", table.set_column(at, "TRANSACTION_ID", ids))
    found, _ = built(tmp_path / "out.parquet", [path])
    assert found["TRANSACTION_ID"].to_pylist() == [
        str(UUID(int=n * (2**128 // 255))) for n in range(3)
    ]


# labels


def labels_of(path: Path, feature_set: FeatureSet | None = None) -> KnownLabels:
    made = feature_set or handbook()
    return KnownLabels(made, [labels for labels, _ in LabelFile(made, path)])


def without_labels(path: Path, raw: pa.Table) -> Path:
    return write(path, raw.drop_columns(["TX_FRAUD"]))


def unique(raw: pa.Table) -> pa.Table:
    """Without repeated ids: a label is of all events with its id."""
    return raw.set_column(0, "TRANSACTION_ID", pa.array(range(raw.num_rows), pa.int32()))


@pytest.mark.parametrize("whole", [True, False])
def test_labels_of_a_file_are_as_good_as_a_column(tmp_path: Path, seed: int, whole: bool) -> None:
    raw = unique(transactions(600, seed, lateness_s=100_000))
    expected, _ = built(tmp_path / "a.parquet", [write(tmp_path / "with.parquet", raw)])
    columns = ["TRANSACTION_ID", "TX_FRAUD"]
    if whole:
        columns += ["TX_DATETIME", "TERMINAL_ID"]
    order = np.random.default_rng(seed).permutation(raw.num_rows)
    labels = labels_of(write(tmp_path / "labels.parquet", raw.select(columns).take(order)))
    # Without times and keys they are taken from the events.
    assert (labels.ahead is not None) is whole
    events = without_labels(tmp_path / "without.parquet", raw)
    table, _ = built(tmp_path / "b.parquet", [events], labels=labels, chunk_rows=50)
    for name in table.column_names:
        assert table[name].to_pylist() == expected[name].to_pylist(), name


def test_without_labels_nobody_is_a_fraud_and_no_label_is_given(tmp_path: Path, seed: int) -> None:
    path = without_labels(tmp_path / "events.parquet", transactions(300, seed))
    table, result = built(tmp_path / "out.parquet", [path])
    assert result.labelled == 0
    assert table["label"].null_count == table["label_time"].null_count == 300
    assert pc.max(table["TERMINAL_ID_RISK_30DAY_WINDOW"]).as_py() == 0


def test_a_row_that_is_not_labelled_has_no_label(tmp_path: Path) -> None:
    raw = transactions(20, 1)
    marks = pa.array([None if i % 3 else i % 2 for i in range(20)], pa.int8())
    path = write(tmp_path / "e.parquet", raw.set_column(5, "TX_FRAUD", marks))
    table, result = built(tmp_path / "out.parquet", [path])
    assert table["label"].to_pylist() == marks.to_pylist()
    assert result.labelled == 7


def test_the_latest_label_is_the_one_in_the_table(tmp_path: Path) -> None:
    events = without_labels(tmp_path / "events.parquet", unique(transactions(5, 1)))
    at = [f"2018-06-{day:02}T00:00:00Z" for day in range(1, 5)]
    labels = [
        {"event_id": "1", "fraud": False, "label_time": at[2]},
        {"event_id": "1", "fraud": True, "label_time": at[0]},
        {"event_id": "2", "fraud": True, "label_time": at[3]},
        {"event_id": "2", "fraud": False, "label_time": at[3]},
        {"event_id": "9", "fraud": True, "label_time": at[0]},
    ]
    known = labels_of(lines(tmp_path / "labels.jsonl", labels))
    table, _ = built(tmp_path / "out.parquet", [events], labels=known)
    # Of labels of one time the one further on in the file counts.
    assert table["label"].to_pylist() == [None, 0, 0, None, None]
    times = table["label_time"].cast(pa.int64()).to_pylist()
    assert [time and time // DAY_US - 17_683 for time in times] == [None, 2, 3, None, None]


def test_features_build_takes_an_empty_label_file(tmp_path: Path) -> None:
    events = without_labels(tmp_path / "events.parquet", transactions(5, 1))
    table, _ = built(tmp_path / "out.parquet", [events], labels=KnownLabels(handbook(), []))
    assert table["label"].null_count == 5


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16(), pa.decimal128(3, 1)])
def test_nan_is_no_label_and_numbers_of_any_type_are(kind: pa.DataType, tmp_path: Path) -> None:
    marks: list[Any] = [0, 1, None, None]
    if pa.types.is_floating(kind):
        marks[2] = float("nan")
    column = pa.array(marks, pa.float64()).cast(kind)
    path = write(tmp_path / "e.parquet", transactions(4, 1).set_column(5, "TX_FRAUD", column))
    table, result = built(tmp_path / "out.parquet", [path])
    assert table["label"].to_pylist() == [0, 1, None, None]
    assert result.labelled == 2


def test_a_label_that_is_neither_0_nor_1_is_shown(tmp_path: Path) -> None:
    marks = pa.array([0, 1, 2, 0], pa.int8())
    path = write(tmp_path / "e.parquet", transactions(4, 1).set_column(5, "TX_FRAUD", marks))
    with pytest.raises(ConfigurationError, match=r"e.parquet, row 2: label TX_FRAUD is 2;"):
        built(tmp_path / "out.parquet", [path])


# what may go wrong


class FailingError(Exception):
    pass


def test_features_build_keeps_the_old_table_until_the_new_one_is_complete(
    file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tables" / "out.parquet"
    out.parent.mkdir()
    out.write_text("the old one")
    made = handbook()

    def breaking() -> Iterator[EventTable]:
        yield from EventTableReader(made, [file], chunk_rows=200)
        raise FailingError

    with pytest.raises(FailingError):
        build(made, breaking(), out)
    assert [path.name for path in out.parent.iterdir()] == ["out.parquet"]
    assert out.read_text() == "the old one"
    build(made, EventTableReader(made, [file]), out)
    assert pq.read_metadata(out).num_rows == 600
    assert [path.name for path in out.parent.iterdir()] == ["out.parquet"]


def test_a_table_that_cannot_be_made_is_told(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--out: .* No such file"):
        built(tmp_path / "absent" / "out.parquet", [file])
    with pytest.raises(ConfigurationError, match=r"--out: .* a folder"):
        built(tmp_path, [file])


@pytest.mark.parametrize(
    ("name", "told"),
    [("CUSTOMER_ID", "CUSTOMER_ID of the events has the name of a feature"), ("label", "label")],
)
def test_two_columns_of_one_name_are_refused(
    file: Path, tmp_path: Path, name: str, told: str
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "features.yaml").write_text(SET.read_text())
    schema = SET.parents[2] / "schemas" / "transaction.avsc"

    def change(values: dict[str, Any]) -> None:
        values["events"]["schema"] = str(schema)
        values["features"][0]["name"] = name

    edit(folder / "features.yaml", change)
    made = load_feature_set(folder / "features.yaml")
    with pytest.raises(ConfigurationError, match=told):
        built(tmp_path / "out.parquet", [file], feature_set=made)


# memory


def test_histories_that_no_event_can_see_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.tables.history_run._MIN_KEYS_TO_SWEEP", 4)
    store = SweptStore()
    store._due = 4
    for time in range(20):
        store.now = time
        store.append([(b"k%d" % time, b"x"), (b"always", b"y")])
        store.sweep(time - 5)
        assert len(store._slots) <= 14
    store.now = 20
    store._due = 0
    store.sweep(14)
    assert sorted(store._slots) == [b"always", *(b"k%d" % time for time in range(15, 20))]


def test_features_build_keeps_members_of_the_last_horizon_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 3_000
    raw = transactions(rows, 7, days=600)
    # Every customer comes once, so no history is ever read again.
    raw = raw.set_column(2, "CUSTOMER_ID", pa.array(np.arange(rows), pa.int32()))
    path = write(tmp_path / "events.parquet", raw)
    monkeypatch.setattr("features.tables.history_run._MIN_KEYS_TO_SWEEP", 10)
    stores: list[SweptStore] = []

    def make() -> SweptStore:
        stores.append(SweptStore())
        return stores[-1]

    monkeypatch.setattr("features.tables.history_run.SweptStore", make)
    built(tmp_path / "out.parquet", [path], chunk_rows=100)
    # 37 days of 600, and what has come since the last look.
    assert len(stores[0]._slots) < rows / 4
