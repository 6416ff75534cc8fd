"""A training table is read as it was written, for a span of time, and refused for what it is not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from base.errors import ConfigurationError
from features.definition import load_feature_set
from features.tables import EventTableReader, build
from models.training.table import METADATA, UNKNOWN, TrainingTable
from tests.support.training_table import DAY, NAMES, START, simulated, write_table

HANDBOOK = Path(__file__).parents[3] / "examples" / "handbook" / "features.yaml"
NOW = START + 100 * DAY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_table(tmp_path / "table.parquet", simulated(days=10))


def test_a_span_is_read_in_order_of_time_whatever_the_order_of_rows(tmp_path: Path) -> None:
    columns = simulated(days=10)
    order = np.random.default_rng(1).permutation(len(columns["times"]))
    shuffled = {name: np.asarray(values)[order] for name, values in columns.items()}
    table = TrainingTable(write_table(tmp_path / "t.parquet", shuffled, group=97))
    events = table.read(START + 2 * DAY, START + 5 * DAY)
    rows = np.flatnonzero(
        (columns["times"] >= START + 2 * DAY) & (columns["times"] < START + 5 * DAY)
    )
    np.testing.assert_array_equal(events.times, columns["times"][rows])
    for place, name in enumerate(NAMES):
        expected = columns[name][rows].astype(np.float32)
        np.testing.assert_array_equal(events.matrix[:, place], expected)
    np.testing.assert_array_equal(events.amounts, columns["amount_minor"][rows])
    np.testing.assert_array_equal(events.labels, columns["label"][rows])
    same = columns["cards"][rows]
    np.testing.assert_array_equal(events.cards[:, None] == events.cards, same[:, None] == same)


def test_cards_are_those_of_the_first_entity_unless_another_is_named(path: Path) -> None:
    assert TrainingTable(path).card == "CUSTOMER"
    assert TrainingTable(path, "TERMINAL").card == "TERMINAL"
    with pytest.raises(
        ConfigurationError, match=r"--card: .*no id or key column SHOP.*CUSTOMER, TERMINAL"
    ):
        TrainingTable(path, "SHOP")


def test_columns_are_known_by_what_the_table_says_of_them_wherever_they_stand(
    path: Path, tmp_path: Path
) -> None:
    whole = pq.read_table(path)
    turned = tmp_path / "turned.parquet"
    pq.write_table(whole.select(whole.column_names[::-1]), turned)
    one, other = TrainingTable(path), TrainingTable(turned)
    assert one.card == other.card
    here, there = one.read(START, NOW), other.read(START, NOW)
    np.testing.assert_array_equal(here.times, there.times)
    np.testing.assert_array_equal(here.cards, there.cards)
    np.testing.assert_array_equal(here.labels, there.labels)
    np.testing.assert_array_equal(here.matrix, there.matrix)


def test_a_built_table_says_who_is_who_in_the_names_of_its_input(tmp_path: Path) -> None:
    feature_set = load_feature_set(HANDBOOK)
    raw = pa.table(
        {
            "TERMINAL_ID": [7, 7, 8],
            "CUSTOMER_ID": [1, 2, 1],
            "TX_AMOUNT": [1.5, 2.5, 3.5],
            "TX_DATETIME": pa.array([START, START + 5_000_000, START + DAY], pa.timestamp("us")),
            "TRANSACTION_ID": [0, 1, 2],
            "TX_FRAUD": pa.array([0, 1, 0], pa.int8()),
        }
    )
    pq.write_table(raw, tmp_path / "raw.parquet")
    build(
        feature_set,
        EventTableReader(feature_set, [tmp_path / "raw.parquet"]),
        tmp_path / "t.parquet",
    )
    table = TrainingTable(tmp_path / "t.parquet")
    assert table.card == "CUSTOMER_ID"
    assert table.times.tolist() == [START, START + 5_000_000, START + DAY]
    assert table.read(START, NOW).labels.tolist() == [0, 1, 0]
    with pytest.raises(ConfigurationError, match="it has TRANSACTION_ID, CUSTOMER_ID, TERMINAL_ID"):
        TrainingTable(table.path, "TX_DATETIME")


def test_a_table_that_does_not_tell_its_columns_has_to_be_written_anew(path: Path) -> None:
    whole = pq.read_table(path)
    told = json.loads(whole.schema.metadata[METADATA])
    del told["columns"]
    pq.write_table(whole.replace_schema_metadata({METADATA: json.dumps(told)}), path)
    with pytest.raises(ConfigurationError, match=r"name the columns .* write it again with"):
        TrainingTable(path)


def test_a_training_table_knows_its_features_and_fingerprints(path: Path) -> None:
    table = TrainingTable(path)
    assert [feature.name for feature in table.features] == [*NAMES]
    assert all(len(feature.fingerprint) == 64 for feature in table.features)
    assert table.fingerprint() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert table.longest_delay() == 2 * DAY


@pytest.mark.parametrize("legit", [False, True])
def test_labels_count_once_they_are_known(tmp_path: Path, legit: bool) -> None:
    columns = simulated(days=1, a_day=4)
    columns |= {"label": [1, 0, 1, None], "label_time": [NOW, NOW, NOW + 1, None]}
    table = TrainingTable(write_table(tmp_path / "t.parquet", columns))
    events = table.read(START, NOW, unlabelled_legit=legit)
    nothing = 0 if legit else UNKNOWN
    assert events.labels_known(NOW).tolist() == [1, 0, nothing, nothing]
    assert events.labels_known(NOW - 1).tolist() == [nothing] * 4


def test_a_table_without_amounts_has_none(tmp_path: Path) -> None:
    columns = simulated(days=1) | {"amount_minor": [None] * 300}
    table = TrainingTable(write_table(tmp_path / "t.parquet", columns))
    assert table.read(START, NOW).amounts is None


def test_a_file_that_is_no_training_table_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    for note in (b"[" * 100_000, b"[]", b"9" * 5000):
        hostile = pa.table({"a": [1]}).replace_schema_metadata({METADATA: note})
        pq.write_table(hostile, tmp_path / "hostile.parquet")
        with pytest.raises(ConfigurationError, match="does not name the columns"):
            TrainingTable(tmp_path / "hostile.parquet")
    with pytest.raises(ConfigurationError, match=r"not a training table.*features build"):
        TrainingTable(other)
    with pytest.raises(ConfigurationError, match=r"absent.parquet cannot be read"):
        TrainingTable(tmp_path / "absent.parquet")
