"""Labels from files: under whose names, from when on, and what a store is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from base.errors import ConfigurationError, ErrorCode
from features.definition import FeatureSet, load_feature_set
from features.history.labels import LABEL
from features.history.namespace import Namespace
from features.loading import KnownLabels, LabelFile, LabelRows, whole_labels
from features.loading.label_loader import LabelLoader
from features.loading.label_rows import UNKNOWN
from features.store.memory import MemoryStore
from features.values.hash64 import PROCESS_KEY
from schemas.batch import Refusal
from tests.support.event_files import Row, lines
from tests.support.healthy import edit
from tests.support.transactions import DAY_US, SET, handbook, transactions, write

NAMESPACE = Namespace("handbook", "state", "", 0, PROCESS_KEY)

ROOT = Path(__file__).parents[3]
AT = 1_525_132_800_000_000
"""2018-05-01 UTC."""


def read(path: Path, feature_set: FeatureSet | None = None) -> tuple[LabelRows, list[Refusal]]:
    ((rows, refused),) = LabelFile(feature_set or handbook(), path)
    return rows, refused


def plain(rows: LabelRows) -> list[tuple[Any, ...]]:
    keys = [rows.keys(entity).to_pylist() for entity in ("customer", "terminal")]
    return list(
        zip(
            rows.event_id.to_pylist(),
            rows.fraud.tolist(),
            rows.event_time.tolist(),
            rows.label_time.tolist(),
            *keys,
            strict=True,
        )
    )


LABEL_JSON = {
    "event_id": "7",
    "event_time": "2018-05-01T00:00:00Z",
    "entity_keys": {"customer": "c", "terminal": "t"},
    "fraud": True,
    "label_time": "2018-05-03T00:00:00Z",
    "source": "chargeback",
}
EXPECTED = ("7", True, AT, AT + 2 * DAY_US, "c", "t")


def test_the_fields_of_the_schema_in_json_and_avro(tmp_path: Path) -> None:
    rows, refused = read(lines(tmp_path / "labels.jsonl", [LABEL_JSON]))
    assert (plain(rows), refused) == ([EXPECTED], [])
    schema = json.loads((ROOT / "schemas" / "label.avsc").read_text())
    record = {**LABEL_JSON, "event_time": AT, "label_time": AT + 2 * DAY_US}
    with (tmp_path / "labels.avro").open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), [record, record])
    rows, refused = read(tmp_path / "labels.avro")
    assert (plain(rows), refused) == ([EXPECTED, EXPECTED], [])
    assert (rows.partitions.tolist(), rows.offsets.tolist()) == ([-1, -1], [0, 1])


@pytest.mark.parametrize(
    "names",
    [
        ("event_id", "event_time", "fraud", "customer", "terminal"),
        ("transaction_id", "tx_time", "is_fraud", "customer_id", "terminal_id"),
        ("TRANSACTION_ID", "TX_DATETIME", "TX_FRAUD", "CUSTOMER_ID", "TERMINAL_ID"),
    ],
)
def test_names_are_those_of_labels_or_those_of_events(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    values = (pa.array([7]), pa.array([AT], pa.timestamp("us")), pa.array([1]), ["c"], ["t"])
    table = pa.table(dict(zip(names, values, strict=True)))
    rows, _ = read(write(tmp_path / "labels.parquet", table))
    assert plain(rows) == [("7", True, AT, UNKNOWN, "c", "t")]


def test_rows_that_are_no_labels_are_told(tmp_path: Path) -> None:
    bad: list[Row | str] = [
        {**LABEL_JSON, "event_id": ""},
        {**LABEL_JSON, "fraud": None},
        "{",
        {**LABEL_JSON, "event_id": "x" * 1025},
        {**LABEL_JSON, "entity_keys": {"customer": "x" * 1025, "terminal": "t"}},
    ]
    longest = {**LABEL_JSON, "event_id": "x" * 1024, "entity_keys": {"terminal": "x" * 1024}}
    path = lines(tmp_path / "labels.jsonl", [LABEL_JSON, *bad, longest])
    rows, refused = read(path)
    assert rows.offsets.tolist() == [0, 6]
    assert [(told.where, told.code) for told in refused] == [
        (f"{path}, row 1", "event_id_missing"),
        (f"{path}, row 2", "body_invalid"),
        (f"{path}, row 3", "body_invalid"),
        (f"{path}, row 4", "key_too_long"),
        (f"{path}, row 5", "key_too_long"),
    ]


def test_a_file_that_says_nothing_of_frauds_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "labels.jsonl", [{"event_id": "7"}])
    with pytest.raises(ConfigurationError, match=r"'fraud' .*fraud and is_fraud and TX_FRAUD"):
        read(path)


def test_a_label_counts_from_its_time_or_from_the_delay_on(tmp_path: Path) -> None:
    late = {**LABEL_JSON, "label_time": None}
    rows, _ = read(lines(tmp_path / "labels.jsonl", [LABEL_JSON, late]))
    whole = whole_labels(handbook(), rows)
    assert not whole.errors
    assert whole.labels.label_time.tolist() == [AT + 2 * DAY_US, AT + 7 * DAY_US]


def test_without_a_delay_a_label_needs_its_time(tmp_path: Path) -> None:
    (tmp_path / "features.yaml").write_text(SET.read_text())

    def change(values: dict[str, Any]) -> None:
        values["events"]["schema"] = str(ROOT / "schemas" / "transaction.avsc")
        del values["events"]["label"], values["events"]["aliases"]["is_fraud"]

    edit(tmp_path / "features.yaml", change)
    made = load_feature_set(tmp_path / "features.yaml")
    rows, _ = read(lines(tmp_path / "a.jsonl", [LABEL_JSON]), made)
    assert whole_labels(made, rows).labels.label_time.tolist() == [AT + 2 * DAY_US]
    rows, _ = read(lines(tmp_path / "b.jsonl", [{**LABEL_JSON, "label_time": None}]), made)
    with pytest.raises(ConfigurationError, match=r"events.label.*label_time"):
        whole_labels(made, rows)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"event_time": None}, ErrorCode.EVENT_TIME_MISSING),
        ({"event_time": "1987-01-01"}, ErrorCode.EVENT_TIME_OUT_OF_RANGE),
        ({"entity_keys": {"customer": "c"}}, ErrorCode.ENTITY_KEY_MISSING),
    ],
)
def test_a_label_for_a_store_needs_a_time_and_its_keys(
    tmp_path: Path, change: dict[str, Any], code: ErrorCode
) -> None:
    rows, _ = read(lines(tmp_path / "labels.jsonl", [{**LABEL_JSON, **change}, LABEL_JSON]))
    whole = whole_labels(handbook(), rows)
    assert {row: error.code for row, error in whole.errors.items()} == {0: code}
    assert len(whole.labels) == 1


def test_only_the_keys_that_count_frauds_are_needed(tmp_path: Path) -> None:
    only_terminal = {**LABEL_JSON, "entity_keys": {"terminal": "t"}}
    rows, _ = read(lines(tmp_path / "labels.jsonl", [only_terminal]))
    whole = whole_labels(handbook(), rows)
    assert (len(whole.labels), whole.errors) == (1, {})


# into a store


def stored(store: MemoryStore, key: str = "t") -> list[tuple[int, bool]]:
    prefix = NAMESPACE.label_prefix("terminal")
    (value,) = store.read([prefix + key.encode()])
    members = np.frombuffer(value or b"", LABEL)
    return [(int(member["offset"]), bool(member["fraud"])) for member in members]


def load(store: MemoryStore, path: Path) -> LabelLoader:
    loader = LabelLoader(handbook(), store, NAMESPACE, None)
    for rows, refused in LabelFile(handbook(), path):
        loader.load(rows, refused, str(path))
    return loader


def test_labels_are_added_once(tmp_path: Path) -> None:
    store = MemoryStore()
    back = {**LABEL_JSON, "fraud": False, "label_time": "2018-06-03T00:00:00Z"}
    path = lines(tmp_path / "labels.jsonl", [LABEL_JSON, back])
    assert load(store, path).loaded.added == 2
    assert stored(store) == [(0, True), (1, False)]
    again = load(store, path).loaded
    assert (again.labels, again.frauds, again.added) == (2, 1, 0)
    assert stored(store) == [(0, True), (1, False)]
    # At the same position of another file stands another label.
    other = lines(tmp_path / "other.jsonl", [back, {**LABEL_JSON, "event_id": "8"}])
    assert load(store, other).loaded.added == 2
    assert len(stored(store)) == 4


def test_a_label_that_is_taken_back_needs_a_time(tmp_path: Path) -> None:
    store = MemoryStore()
    load(store, lines(tmp_path / "a.jsonl", [LABEL_JSON]))
    back = {**LABEL_JSON, "fraud": False}
    load(store, lines(tmp_path / "b.jsonl", [{**back, "label_time": None}]))
    assert stored(store) == [(0, True)]
    load(store, lines(tmp_path / "c.jsonl", [back]))
    assert stored(store) == [(0, True), (0, False)]


def test_labels_that_are_not_loaded_are_counted_and_shown(tmp_path: Path) -> None:
    bad = {**LABEL_JSON, "event_time": None}
    path = lines(tmp_path / "labels.jsonl", [LABEL_JSON, "{broken", bad])
    loaded = load(MemoryStore(), path).loaded
    assert (loaded.labels, loaded.refused) == (1, 2)
    assert [(told.where, told.code) for told in loaded.examples] == [
        (f"{path}, row 1", "body_invalid"),
        (f"{path}, row 2", "event_time_missing"),
    ]


def test_a_file_of_events_is_a_file_of_labels(tmp_path: Path) -> None:
    raw = transactions(100, 3)
    store = MemoryStore()
    loaded = load(store, write(tmp_path / "events.parquet", raw)).loaded
    assert loaded.labels == 100
    # Who is not labelled is no fraud either: the others need not be told.
    assert loaded.frauds == loaded.added == sum(raw["TX_FRAUD"].to_pylist()) > 0


# known


def test_labels_in_memory_are_found_by_the_events_they_are_of(tmp_path: Path) -> None:
    rows, _ = read(lines(tmp_path / "labels.jsonl", [LABEL_JSON]))
    known = KnownLabels(handbook(), [rows])
    assert known.ahead is not None
    assert len(known) == 1
    incomplete, _ = read(lines(tmp_path / "b.jsonl", [{**LABEL_JSON, "entity_keys": {}}]))
    assert KnownLabels(handbook(), [rows, incomplete]).ahead is None
