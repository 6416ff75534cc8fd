"""``fraud-worker init --sample``: a pipeline that fits a file, guessed from its values."""

from __future__ import annotations

import datetime as dt
import json
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from base.errors import ConfigurationError
from features.definition import FeatureSet, load_feature_set
from features.tables import EventTableReader
from models.policy import load_policy
from tests.support.public_sets import handbook, ieee_cis, sparkov
from tools.cli.commands import app
from tools.init.first_rows import read_sample
from tools.init.guess_file import SampleGuesses, guess_file
from tools.init.pipeline_folder import write_sampled_pipeline
from tools.init.yaml_text import OPEN
from worker.settings import load_settings

START = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
ROWS = 400


def columns(**other: Any) -> dict[str, Any]:
    """Columns of plain events; those of ``other`` replace or follow them, None removes one."""
    rng = np.random.default_rng(0)
    plain = {
        "payment_id": [f"p{row}" for row in range(ROWS)],
        "created": [START + dt.timedelta(minutes=row) for row in range(ROWS)],
        "card": [f"c{key}" for key in rng.integers(0, 40, ROWS)],
        "amount": np.round(rng.gamma(2, 30, ROWS), 2).tolist(),
        "is_fraud": [row % 20 == 0 for row in range(ROWS)],
    }
    return {name: values for name, values in {**plain, **other}.items() if values is not None}


def parquet(folder: Path, columns: dict[str, Any]) -> Path:
    path = folder / "sample.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def lines(folder: Path, rows: list[Any]) -> Path:
    path = folder / "sample.jsonl"
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
    return path


def rows_of(columns: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def guessed(folder: Path, **other: Any) -> SampleGuesses:
    return guess_file(parquet(folder, columns(**other)))


def written(folder: Path, path: Path) -> tuple[FeatureSet, str]:
    """The feature set of a new folder, and the text of its features.yaml."""
    files, _ = write_sampled_pipeline(folder / "pipeline", path, force=False)
    assert files.still_open == ()
    features = folder / "pipeline" / "features.yaml"
    return load_feature_set(features), features.read_text()


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def require_events(made: FeatureSet, path: Path, rows: int) -> None:
    """Fail if the feature set cannot read all rows of the file as labelled events."""
    tables = list(EventTableReader(made, [path]))
    assert sum(len(table.batch) for table in tables) == rows
    assert [refusal for table in tables for refusal in table.refused] == []
    assert all(table.fraud is not None for table in tables)


def test_columns_like_those_of_the_handbook(tmp_path: Path) -> None:
    path = handbook(tmp_path / "handbook.parquet")
    made, text = written(tmp_path, path)
    bindings = made.bindings
    assert bindings.event_id.path == "TRANSACTION_ID"
    assert bindings.event_time.path == "TX_DATETIME"
    assert bindings.amount is not None
    assert (bindings.amount.source.path, bindings.amount.scale) == ("TX_AMOUNT", 2)
    assert bindings.partition_key is not None
    assert bindings.partition_key.path == "CUSTOMER_ID"
    assert {name: key.paths for name, key in bindings.entities.items()} == {
        "customer": ("CUSTOMER_ID",),
        "terminal": ("TERMINAL_ID",),
    }
    assert bindings.label is not None
    assert bindings.label.field == "TX_FRAUD"
    assert made.names == (
        *("TX_AMOUNT", "hour", "weekday", "customer_count_1d", "customer_count_7d"),
        *("customer_since_last", "customer_mean_30d", "amount_to_customer_mean"),
        "terminal_fraud_share_30d",
    )
    fields = {field["name"] for field in made.reader_schema["fields"]}
    assert fields.isdisjoint({"TX_FRAUD", "TX_FRAUD_SCENARIO"}), "no record of a topic has these"
    assert "TX_TIME_SECONDS" in fields
    assert line_of(text, "#   TX_FRAUD_SCENARIO").endswith("# named like a label")
    assert "like a time or a counter" in line_of(text, "#   TX_TIME_SECONDS")
    assert line_of(text, "id:").endswith("# guessed: unique in 3,000 rows")
    require_events(made, path, 3_000)


def test_columns_like_those_of_sparkov(tmp_path: Path) -> None:
    path = sparkov(tmp_path / "sparkov.parquet")
    made, text = written(tmp_path, path)
    bindings = made.bindings
    assert bindings.event_id.path == "trans_num", "a column of row numbers is unique too"
    assert bindings.event_time.path == "trans_date_trans_time"
    time = line_of(text, "time:")
    assert "text in the file, and a timestamp in the schema; it could also be unix_time" in time
    assert {name: key.paths for name, key in bindings.entities.items()} == {
        "card": ("cc_num",),
        "merchant": ("merchant",),
    }
    assert bindings.partition_key is not None
    assert bindings.partition_key.path == "cc_num"
    assert made.aliases == {"Unnamed_0": "Unnamed: 0"}
    assert {"category_code", "gender_code", "lat", "city_pop", "merch_long"} <= set(made.names)
    assert {"unix_time", "Unnamed_0", "dob", "cc_num"}.isdisjoint(made.names)
    require_events(made, path, 3_000)


def test_columns_like_those_of_ieee_cis(tmp_path: Path) -> None:
    """Its times count from a day that the file does not say, so they are left to the user."""
    files, found = write_sampled_pipeline(
        tmp_path / "p", ieee_cis(tmp_path / "ieee.parquet"), force=False
    )
    assert files.still_open == ("events.time",)
    guesses = found.guesses
    assert "TransactionDT rises from" in guesses.time.why
    assert "TransactionID" not in guesses.time.why
    assert guesses.event_id.leaf is not None
    assert guesses.event_id.leaf.path == "TransactionID"
    assert guesses.amount_scale == 3
    assert [*guesses.entities] == ["card"]
    names = [leaf.path for leaf in guesses.features]
    assert names[-339:] == [f"V{number}" for number in range(1, 340)]
    types = {field["name"]: field["type"] for field in found.schema["fields"]}
    assert types["V1"] == ["null", "double"]
    assert types["TransactionID"] == "long"
    text = (tmp_path / "p" / "features.yaml").read_text()
    assert "time: <open>" in text
    features = tmp_path / "p" / "features.yaml"
    features.write_text(text.replace("time: <open>", "time: {field: TransactionDT, unit: s}"))
    assert len(load_feature_set(features).names) > 339


def test_the_folder_has_a_store_for_its_windows_and_a_policy(tmp_path: Path) -> None:
    made, _ = written(tmp_path, parquet(tmp_path, columns()))
    settings = load_settings(tmp_path / "pipeline")
    assert settings.store is not None
    assert settings.store.url == "redis://localhost:6379"
    catalogue = load_policy(tmp_path / "pipeline" / "policy.yaml").catalogue
    assert catalogue is not None
    catalogue.check(made.names)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([True, False] * (ROWS // 2)), "boolean"),
        (pa.array([1, 2] * (ROWS // 2), pa.int8()), "int"),
        (pa.array([1, 2] * (ROWS // 2), pa.uint32()), "long"),
        (pa.array([1, 2] * (ROWS // 2), pa.uint64()), "long"),
        (pa.array([1, 2**63] * (ROWS // 2), pa.uint64()), "string"),
        (pa.array([0.5, 2] * (ROWS // 2), pa.float32()), "float"),
        (pa.array([0.5, None] * (ROWS // 2)), ["null", "double"]),
        (
            pa.array([Decimal("1.5"), Decimal(2)] * (ROWS // 2), pa.decimal128(12, 3)),
            {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3},
        ),
        (pa.array(["a", "b"] * (ROWS // 2)).dictionary_encode(), "string"),
        (pa.array(["a", None] * (ROWS // 2), pa.large_string()), ["null", "string"]),
        (
            pa.array([START] * ROWS, pa.timestamp("ns", "UTC")),
            {"type": "long", "logicalType": "timestamp-micros"},
        ),
        (pa.array([START.date()] * ROWS), {"type": "int", "logicalType": "date"}),
        (pa.array(["2024-05-01"] * ROWS), {"type": "int", "logicalType": "date"}),
        (
            pa.array(["2024-05-01T10:00:00+02:00"] * ROWS),
            {"type": "long", "logicalType": "timestamp-micros"},
        ),
        (pa.array(["2024-05-01", "2024-13-01"] * (ROWS // 2)), "string"),
    ],
)
def test_types_of_the_schema(values: pa.Array, kind: Any, tmp_path: Path) -> None:
    found = guessed(tmp_path, extra=values)
    types = {field["name"]: field["type"] for field in found.schema["fields"]}
    assert types["extra"] == kind


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_keys_that_a_data_frame_has_made_floats_are_whole_numbers(
    missing: float | None, tmp_path: Path
) -> None:
    found = guessed(tmp_path, device_id=pa.array([7.0, missing] * (ROWS // 2)))
    types = {field["name"]: field["type"] for field in found.schema["fields"]}
    assert types["device_id"] == ["null", "long"]
    assert found.guesses.left_out["device"].why == "it is null in 50.0% of the rows"


def test_names_that_avro_does_not_allow_have_an_alias(tmp_path: Path) -> None:
    other = {"is fraud?": columns()["is_fraud"], "1st.seen at": [1.5, 2] * (ROWS // 2)}
    path = parquet(tmp_path, columns(is_fraud=None, **other, is_fraud_=[1.5, 2] * (ROWS // 2)))
    made, text = written(tmp_path, path)
    assert made.bindings.label is not None
    assert made.bindings.label.field == "is_fraud__2", "is_fraud_ is another column of the file"
    assert made.aliases["is_fraud__2"] == "is fraud?"
    assert made.aliases["_1st.seen_at"] == "1st.seen at"
    assert '    is_fraud__2: "is fraud?"' in text
    require_events(made, path, ROWS)


def test_a_text_beyond_16_bits_is_a_category(tmp_path: Path) -> None:
    made, _ = written(tmp_path, parquet(tmp_path, columns(mood=["\U0001f600", "no"] * (ROWS // 2))))
    code = next(feature for feature in made.features if feature.name == "mood_code")
    assert code.categories is not None
    assert code.categories.values == ["\U0001f600", "no"]


def test_nested_values_are_nested_fields(tmp_path: Path) -> None:
    rows = [
        {**row, "shop": {"name": f"s{at % 99}", "risk": at % 9 / 4}, "tags": ["a"]}
        for at, row in enumerate(rows_of(columns()))
    ]
    for path in (lines(tmp_path, rows), tmp_path / "sample.parquet"):
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        found = guess_file(path)
        shop = next(field for field in found.schema["fields"] if field["name"] == "shop")
        assert [field["name"] for field in shop["type"]["fields"]] == ["name", "risk"]
        assert [leaf.path for leaf in found.guesses.features] == ["shop.risk"]
        assert "list" in found.guesses.excluded["tags"]


def test_an_avro_container_keeps_its_own_schema(tmp_path: Path) -> None:
    schema = {
        "type": "record",
        "name": "Payment",
        "fields": [
            {"name": "payment_id", "type": "string"},
            {"name": "created", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "card", "type": ["null", "string"]},
            {
                "name": "amount",
                "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3},
            },
            {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B", "C"]}},
            {"name": "is_fraud", "type": "boolean"},
        ],
    }
    rows = [
        {**row, "amount": Decimal(str(row["amount"])), "kind": "AB"[at % 2]}
        for at, row in enumerate(rows_of(columns()))
    ]
    path = tmp_path / "sample.avro"
    with path.open("wb") as file:
        fastavro.writer(file, schema, rows)
    made, text = written(tmp_path, path)
    assert made.reader_schema == schema
    assert made.bindings.amount is not None
    assert made.bindings.amount.scale == 3
    assert "values: [A, B, C]" in text, "the enum's symbols, and not those of the sample"
    assert "an event in which it is null becomes a dead letter" in line_of(text, "card:")
    require_events(made, path, ROWS)


@pytest.mark.parametrize(
    ("values", "binding"),
    [
        ([1_714_521_600 + row for row in range(ROWS)], "{field: created_at, unit: s}"),
        ([1_714_521_600_000 + row for row in range(ROWS)], "{field: created_at, unit: ms}"),
        ([1_714_521_600_000_000_000 + row for row in range(ROWS)], "{field: created_at, unit: ns}"),
        ([1_714_521_600.25 + row for row in range(ROWS)], "created_at "),
    ],
)
def test_the_unit_of_plain_times_comes_from_their_size(
    values: list[float], binding: str, tmp_path: Path
) -> None:
    path = parquet(tmp_path, columns(created=None, created_at=values))
    made, text = written(tmp_path, path)
    assert f"time: {binding}" in line_of(text, "time:")
    require_events(made, path, ROWS)


def test_rows_out_of_order_are_told(tmp_path: Path) -> None:
    times = columns()["created"]
    found = guessed(tmp_path, created=times[::2] + times[1::2][::-1])
    assert not found.in_order
    assert "out of order: build with --sort" in found.guesses.time.why


@pytest.mark.parametrize(
    "values",
    [
        [3 if row % 20 == 0 else 0 for row in range(ROWS)],
        ["stolen" if row % 20 == 0 else None for row in range(ROWS)],
        [row + 0.5 if row % 20 == 0 else 0.0 for row in range(ROWS)],
        [row + 0.5 if row % 20 == 0 else None for row in range(ROWS)],
    ],
    ids=["values", "null unless fraud", "zero unless fraud", "number if fraud"],
)
def test_a_column_that_gives_the_label_away_is_left_out(values: Any, tmp_path: Path) -> None:
    found = guessed(tmp_path, outcome_note=values, useful=[row % 7 for row in range(ROWS)])
    assert "outcome_note" in found.guesses.excluded
    assert [leaf.path for leaf in found.guesses.features] == ["useful"]
    assert "outcome_note" not in {field["name"] for field in found.schema["fields"]}


def test_a_column_that_only_tells_much_of_the_label_stays(tmp_path: Path) -> None:
    found = guessed(tmp_path, much=[int(row % 20 == 0 or row % 50 == 1) for row in range(ROWS)])
    assert [leaf.path for leaf in found.guesses.features] == ["much"]


def test_the_label_is_0_or_1(tmp_path: Path) -> None:
    found = guessed(tmp_path, is_fraud=None, fraud_score=[row / 7 for row in range(ROWS)])
    assert found.guesses.label.leaf is None
    assert "fraud_score" in found.guesses.excluded
    found = guessed(tmp_path, is_fraud=None, Class=["0", "1"] * (ROWS // 2))
    assert found.guesses.label.leaf is not None
    assert found.guesses.label.leaf.path == "Class"


def test_of_two_labels_the_shorter_name_is_the_label(tmp_path: Path) -> None:
    path = parquet(tmp_path, {"is_fraud_reported": [0, 1] * (ROWS // 2), **columns()})
    guesses = guess_file(path).guesses
    assert guesses.label.leaf is not None
    assert guesses.label.leaf.path == "is_fraud"
    assert guesses.excluded == {"is_fraud_reported": "named like a label"}


def test_row_numbers_are_the_last_choice_of_an_id(tmp_path: Path) -> None:
    other = {"row": [*range(ROWS)], **columns(blob=[f"{row * 7919:x}" for row in range(ROWS)])}
    del other["payment_id"]
    guesses = guess_file(parquet(tmp_path, other)).guesses
    assert guesses.event_id.leaf is not None
    assert guesses.event_id.leaf.path == "blob"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seen_at", columns()["created"][::-1]),
        ("settled_at", columns()["created"]),
        ("batch", [START] * ROWS),
    ],
)
def test_times_of_something_else_are_not_the_event_time(
    name: str, values: Any, tmp_path: Path
) -> None:
    guesses = guess_file(parquet(tmp_path, {name: values, **columns()})).guesses
    assert guesses.time.leaf is not None
    assert guesses.time.leaf.path == "created"


def test_a_time_of_something_else_is_not_taken_for_want_of_another(tmp_path: Path) -> None:
    found = guessed(tmp_path, created=None, settled_at=columns()["created"])
    assert found.guesses.time.leaf is None
    assert "no column has times in 2000 to 2099; add one to the file" in found.guesses.time.why


def test_a_time_that_is_a_plain_number_is_no_feature(tmp_path: Path) -> None:
    login = np.random.default_rng(2).permutation(ROWS) + 1_714_521_600
    found = guessed(tmp_path, login=login)
    assert found.guesses.others["login (long)"] == "a time in s"


def test_an_id_needs_no_name(tmp_path: Path) -> None:
    found = guessed(tmp_path, payment_id=None, blob=[f"{row * 7919:x}" for row in range(ROWS)])
    assert found.guesses.event_id.leaf is not None
    assert found.guesses.event_id.leaf.path == "blob"


def test_two_ids_are_both_named(tmp_path: Path) -> None:
    found = guessed(tmp_path, payment_ref=[f"r{row}" for row in range(ROWS)])
    assert "it could also be payment_ref" in found.guesses.event_id.why


def test_without_an_id_the_file_says_what_to_do(tmp_path: Path) -> None:
    path = parquet(tmp_path, columns(payment_id=["a", "b"] * (ROWS // 2)))
    files, _ = write_sampled_pipeline(tmp_path / "p", path, force=False)
    assert files.still_open == ("events.id",)
    text = (tmp_path / "p" / "features.yaml").read_text()
    assert "no column of text or whole numbers is unique in 400 rows; add one" in text


def test_keys_without_a_name_are_those_with_most_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    found = guessed(
        tmp_path,
        card=None,
        nameOrig=[f"o{key}" for key in rng.integers(0, 90, ROWS)],
        nameDest=[f"d{key}" for key in rng.integers(0, 60, ROWS)],
        quantity=rng.integers(0, 150, ROWS),
    )
    assert found.guesses.partition_key.leaf is not None
    assert found.guesses.partition_key.leaf.path == "nameOrig"
    assert "it could also be nameDest" in found.guesses.entities["name_orig"].why


def test_keys_that_are_never_repeated_are_no_entity(tmp_path: Path) -> None:
    found = guessed(tmp_path, device_id=[f"d{row}" for row in range(ROWS)])
    assert [*found.guesses.entities] == ["card"]
    assert "hardly any value is repeated" in found.guesses.left_out["device"].why


def test_one_row_proves_nothing_and_is_told_so(tmp_path: Path) -> None:
    path = lines(tmp_path, rows_of(columns())[:1])
    result = run(tmp_path / "p", "--sample", path)
    assert result.exit_code == 0, result.output
    assert "guesses from 1 row prove little; give a file of some thousand events" in result.output
    load_feature_set(tmp_path / "p" / "features.yaml")


def test_mixed_types_are_text_and_lines_without_events_are_skipped(tmp_path: Path) -> None:
    rows: list[Any] = [
        {**row, "code": at if at % 2 else f"x{at % 4}"} for at, row in enumerate(rows_of(columns()))
    ]
    found = guess_file(lines(tmp_path, [[], *rows, 5]))
    types = {field["name"]: field["type"] for field in found.schema["fields"]}
    assert types["code"] == "string"
    assert types["card"] == "string", "not nullable because of lines that are no events"
    assert found.extent == "400 rows"


def test_a_column_of_nulls_is_left_out(tmp_path: Path) -> None:
    found = guessed(tmp_path, nothing=pa.nulls(ROWS, pa.string()))
    assert "all its values are null" in found.guesses.excluded["nothing"]


def test_a_long_file_is_read_in_part(tmp_path: Path) -> None:
    path = tmp_path / "sample.parquet"
    pq.write_table(pa.table(columns()), path, row_group_size=90)
    sample = read_sample(path, 150)
    assert (sample.rows, sample.extent) == (150, "the first 150 rows")
    assert {len(array) for array in sample.columns.values()} == {150}
    assert read_sample(path, ROWS).extent == "400 rows"


@pytest.mark.parametrize("name", ["empty.parquet", "empty.jsonl", "nulls.jsonl"])
def test_a_file_without_rows_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"a": pa.array([], pa.string())}), path)
    else:
        path.write_text("null\n[]\n" if name == "nulls.jsonl" else "")
    with pytest.raises(ConfigurationError, match="has no rows with values to guess from"):
        write_sampled_pipeline(tmp_path / "p", path, force=False)
    assert not (tmp_path / "p").exists()


COLUMN_NAMES = st.one_of(
    st.sampled_from(
        [
            *("id", "transaction_id", "event_time", "ts", "amount", "customer_id", "card", "class"),
            *("from", "null", "no", "hour", "weekday", "hour_code", "is_fraud", "a b", "a_b", "ü"),
            *(
                "y",
                "1",
                "",
                "a.b",
                "a.c",
                "a",
                "x" * 300,
                "new\nline",
                "merchant",
                "amount_to_card",
            ),
        ]
    ),
    st.text(max_size=5),
)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of columns of any types and names, with few or with many distinct values."""
    rows = draw(st.sampled_from([1, 2, 99, 150]))
    values = st.one_of(
        *(st.integers(0, 3), st.booleans(), st.text(max_size=3), st.floats(allow_nan=True)),
        *(st.integers(-(2**63), 2**63 - 1), st.decimals(-99, 99, places=2)),
        *(st.datetimes(), st.dates(), st.binary(max_size=2), st.lists(st.integers(), max_size=1)),
        *(st.just(None), st.times(), st.fixed_dictionaries({"n": st.integers(0, 9)})),
    )
    columns = {}
    for name in draw(st.lists(COLUMN_NAMES, min_size=1, max_size=6, unique=True)):
        match draw(st.integers(0, 3)):
            case 0:
                columns[name] = pa.array([f"{row}" for row in range(rows)])
            case 1:
                columns[name] = pa.array([1_714_521_600 + row for row in range(rows)])
            case 2:
                columns[name] = pa.array([row % 60 for row in range(rows)])
            case _:
                value = draw(values)
                columns[name] = pa.array([value, *[None] * draw(st.integers(0, 1))] * rows)[:rows]
    return pa.table(columns)


@settings(max_examples=40, deadline=None)
@given(tables())
def test_a_folder_from_any_sample_loads_or_names_what_is_open(table: pa.Table) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(table, folder / "sample.parquet")
        try:
            files, _ = write_sampled_pipeline(folder / "p", folder / "sample.parquet", force=False)
        except ConfigurationError as error:
            if "--sample: " not in str(error):
                raise
            return
        catalogue = load_policy(folder / "p" / "policy.yaml").catalogue
        if files.still_open:
            with pytest.raises(ConfigurationError, match=re.escape(OPEN)):
                load_feature_set(folder / "p" / "features.yaml")
        else:
            made = load_feature_set(folder / "p" / "features.yaml")
            assert catalogue is not None
            catalogue.check(made.names)
            list(EventTableReader(made, [folder / "sample.parquet"]))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


def test_either_a_schema_or_a_sample(tmp_path: Path) -> None:
    for options in ((), ("--schema", "a.avsc", "--sample", "b.parquet")):
        result = run(tmp_path, *options)
        assert isinstance(result.exception, ConfigurationError)
        assert "give either --schema FILE.avsc or --sample FILE" in str(result.exception)


def test_the_command_names_the_next_commands_with_their_options(tmp_path: Path) -> None:
    times = columns()["created"]
    amounts = [row / 1000 for row in range(ROWS)]
    path = parquet(tmp_path, columns(created=times[::2] + times[1::2], amount=amounts))
    result = run(tmp_path / "p", "--sample", path)
    assert result.exit_code == 0, result.output
    assert f"--events {path} --sort --out {tmp_path}/p/table.parquet" in result.output
    assert f"--out {tmp_path}/p/model --scale 3 " in result.output
