"""Event files of every format become the columns that the topic would give."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from base.errors import ConfigurationError, ErrorCode
from schemas.batch import Column, Decoded, Kind
from schemas.files.read import count_rows, decode_rows, read_chunks, read_events
from schemas.files.values import to_column

AT = datetime(2018, 4, 1, 0, 0, 31, 250_000, tzinfo=UTC)
AT_MICROS = 1_522_540_831_250_000
TYPES = {
    "id": (Kind.STRING, 0, False),
    "time": (Kind.TIME, 0, False),
    "amount": (Kind.DECIMAL, 2, False),
    "card.number": (Kind.STRING, 0, False),
    "card.limit": (Kind.DOUBLE, 0, True),
    "count": (Kind.LONG, 0, True),
    "online": (Kind.BOOL, 0, True),
}
ROWS: list[dict[str, Any]] = [
    {"TX_ID": 596, "time": AT, "amount": Decimal("12.34"), "count": 7, "online": True,
     "card": {"number": "4000", "limit": 99.5}, "TX_FRAUD": 1},
    {"TX_ID": 597, "time": AT, "amount": Decimal("-0.05"), "count": None, "online": None,
     "card": {"number": "4001", "limit": None}, "TX_FRAUD": 0},
    {"TX_ID": 598, "time": AT, "amount": Decimal("7.00"), "count": -3, "online": False,
     "card": {"number": "4002", "limit": 0.25}, "TX_FRAUD": 0},
]  # fmt: skip
AVRO = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "TX_ID", "type": "long"},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount",
         "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "count", "type": ["null", "int"]},
        {"name": "online", "type": ["null", "boolean"]},
        {"name": "card", "type": ["null", {"type": "record", "name": "Card", "fields": [
            {"name": "number", "type": "string"}, {"name": "limit", "type": ["null", "double"]}]}]},
        {"name": "TX_FRAUD", "type": "int"},
    ],
}  # fmt: skip


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_avro(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("wb") as file:
        fastavro.writer(file, AVRO, rows, sync_interval=1)


def write_json(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    lines = [json.dumps(row, default=_json) for row in rows]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else float(value)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    "parquet": write_parquet,
    "avro": write_avro,
    "jsonl": write_json,
    "ndjson": write_json,
}


def plain(column: Column) -> list[Any]:
    """The values as Python's, None where null."""
    values = column.values.tolist()
    return [value if ok else None for value, ok in zip(values, column.valid.tolist(), strict=True)]


def json_file(folder: Path, *values: Any) -> Path:
    """A file of lines that hold one value each, under "v"."""
    path = folder / "values.jsonl"
    write_json(path, [{"v": value} for value in values])
    return path


def read_one(path: Path, kind: Kind, scale: int = 0) -> Decoded:
    (decoded,) = read_events(path, {"v": (kind, scale, True)}, {})
    return decoded


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_columns_in_chunks(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"events.{suffix}"
    WRITERS[suffix](path, ROWS)

    label = {"is_fraud": (Kind.BOOL, 0, True), "scenario": (Kind.LONG, 0, True)}
    aliases = {"id": "TX_ID", "is_fraud": "TX_FRAUD"}
    chunks = list(read_events(path, TYPES, aliases, chunk_rows=2, optional=label))

    assert [len(chunk.columns["id"]) for chunk in chunks] == [2, 1]
    assert all(not chunk.errors for chunk in chunks)
    assert chunks[0].columns.keys() == {*TYPES, "is_fraud"}
    first, second = (
        {name: plain(column) for name, column in chunk.columns.items()} for chunk in chunks
    )
    read = {name: first[name] + second[name] for name in first}
    assert read == {
        "id": ["596", "597", "598"],
        "time": [AT_MICROS] * 3,
        "amount": [1234, -5, 700],
        "card.number": ["4000", "4001", "4002"],
        "card.limit": [99.5, None, 0.25],
        "count": [7, None, -3],
        "online": [True, None, False],
        "is_fraud": [True, False, False],
    }
    assert count_rows(path) == 3


@pytest.mark.parametrize("suffix", ["parquet", "avro", "jsonl"])
def test_a_null_record_makes_its_fields_null(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"events.{suffix}"
    WRITERS[suffix](path, [ROWS[0], {**ROWS[1], "card": None}])

    (decoded,) = read_events(path, TYPES, {"id": "TX_ID"})

    assert plain(decoded.columns["card.limit"]) == [99.5, None]
    assert decoded.errors.keys() == {1}
    assert decoded.errors[1].message == "card.number is null, and its schema allows none"
    assert plain(decoded.columns["id"]) == ["596", None]


def test_parquet_types_as_data_frames_write_them(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    table = pa.table(
        {
            "TRANSACTION_ID": pa.array([1, 2], pa.int32()),
            "TX_DATETIME": pa.array([AT, AT], pa.timestamp("ns")),
            "merchant": pa.array(["a", "b"]).dictionary_encode(),
            "amount": pa.array([12.34, 0.1 + 0.2]),
            "customer": pa.array([596.0, None]),
        }
    )
    pq.write_table(table, path)
    wanted = {
        "id": (Kind.STRING, 0, False),
        "at": (Kind.TIME, 0, False),
        "merchant": (Kind.STRING, 0, False),
        "amount": (Kind.DECIMAL, 2, False),
        "customer": (Kind.LONG, 0, True),
    }

    (decoded,) = read_events(path, wanted, {"id": "TRANSACTION_ID", "at": "TX_DATETIME"})

    assert {name: plain(column) for name, column in decoded.columns.items()} == {
        "id": ["1", "2"],
        "at": [AT_MICROS] * 2,
        "merchant": ["a", "b"],
        "amount": [1234, 30],
        "customer": [596, None],
    }


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Oslo"])
def test_timestamps_of_every_unit_and_zone_are_instants(
    unit: str, zone: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "events.parquet"
    instant = AT.replace(microsecond=0)
    pq.write_table(pa.table({"v": pa.array([instant, None], pa.timestamp(unit, zone))}), path)
    assert plain(read_one(path, Kind.TIME).columns["v"]) == [1_522_540_831_000_000, None]


@pytest.mark.parametrize(
    "values",
    [
        ["2018-04-01T00:00:31.250Z", "2018-04-01T02:00:31.250+02:00"],
        ["2018-04-01T00:00:31.250", "2018-04-01 00:00:31.250000"],
        ["2018-04-01T00:00:31.250", "2018-04-01T02:00:31.250+02:00"],
        [1_522_540_831.25, 1_522_540_831_250],
        [1_522_540_831_250, 1_522_540_831_250_000, 1_522_540_831_250_000_000],
        ["1522540831.25", "1522540831250", "2018-04-01T00:00:31.250Z", 1_522_540_831_250],
    ],
)
def test_json_times_are_text_or_numbers(values: list[Any], tmp_path: Path) -> None:
    decoded = read_one(json_file(tmp_path, *values), Kind.TIME)
    assert not decoded.errors
    assert plain(decoded.columns["v"]) == [AT_MICROS] * len(values)


BAD: list[tuple[Kind, Any, list[Any]]] = [
    (Kind.TIME, "2018-04-01T00:00:31.250Z",
     ["yesterday", 12, "12", "2018-13-01", -1, 5_000_000_000, 10**12 * 5, True, 1e300, ["x"]]),
    (Kind.LONG, 5, ["five", 5.5, 2**64, "1e400", {"a": 1}, [5]]),
    (Kind.DOUBLE, 5, ["five", {"a": 1}]),
    (Kind.BOOL, True, ["maybe", 2, [True]]),
    (Kind.DECIMAL, 5, ["five", 12.345, 1e300, 2**63, "NaN", "12.345", False, "Infinity"]),
    (Kind.STRING, "five", [["five"], {"a": 1}]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "good", "bad"), [(kind, good, bad) for kind, good, bads in BAD for bad in bads]
)
def test_a_value_that_cannot_be_read_is_the_error_of_its_row(
    kind: Kind, good: Any, bad: Any, tmp_path: Path
) -> None:
    alone = read_one(json_file(tmp_path, good), kind, 2).columns["v"]
    for values in ([good, bad, good, None], [bad, good]):
        decoded = read_one(json_file(tmp_path, *values), kind, 2)
        assert decoded.errors.keys() == {values.index(bad)}
        assert decoded.errors[values.index(bad)].code is ErrorCode.BODY_INVALID
        expected = [plain(alone)[0] if value is good else None for value in values]
        assert plain(decoded.columns["v"]) == expected


def test_lists_in_every_line_are_errors_of_their_rows(tmp_path: Path) -> None:
    decoded = read_one(json_file(tmp_path, [1], [2, 3]), Kind.LONG)
    message = "v is a list or an object, not a single value"
    assert [error.message for error in decoded.errors.values()] == [message] * 2


def test_half_a_character_is_an_error_of_its_row(tmp_path: Path) -> None:
    """JSON can spell a lone surrogate, UTF-8 cannot."""
    path = tmp_path / "events.jsonl"
    path.write_text('{"v": "a"}\n{"v": "\\ud800"}\n{"v": "b"}\n')
    decoded = read_one(path, Kind.STRING)
    assert plain(decoded.columns["v"]) == ["a", None, "b"]
    assert {row: error.message for row, error in decoded.errors.items()} == {
        1: "v contains half a character (a lone UTF-16 surrogate)"
    }


def test_a_value_that_cannot_be_read_is_null_in_its_column() -> None:
    column, bad = to_column(pa.array([1.0, 1.5, None]), Kind.LONG, 0, "column 'v'")
    assert plain(column) == [1, None, None]
    assert bad.tolist() == [False, True, False]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_column_of_nulls_has_no_errors(kind: Kind, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"events.{suffix}"
    WRITERS[suffix](path, [{"v": None}, {"v": None}])
    decoded = read_one(path, kind)
    assert not decoded.errors
    assert plain(decoded.columns["v"]) == [None, None]
    assert decoded.columns["v"].kind is kind


def test_lines_that_are_no_objects_are_errors_of_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = [b'{"v": 1', b'{"v": 2}', b"\xff\xfe", b"[1]", b"[" * 100_000, b'{"v": 3}', b"{}"]
    path.write_bytes(b"\n".join(lines))

    (decoded,) = read_events(path, {"v": (Kind.LONG, 0, False)}, {})

    assert plain(decoded.columns["v"]) == [None, 2, None, None, None, 3, None]
    assert decoded.errors.keys() == {0, 2, 3, 4, 6}
    assert decoded.errors[0].message == "the line is not a JSON object"
    assert count_rows(path) == len(lines)


@pytest.mark.parametrize("depth", [300, 900, 1_500, 5_000, 20_000])
@pytest.mark.parametrize(("start", "end"), [(b'{"v":', b"}"), (b"[", b"]")])
def test_lines_nested_deeply_are_errors_of_their_rows(
    tmp_path: Path, start: bytes, end: bytes, depth: int
) -> None:
    """Versions of Python read JSON of other depths, and some deeper than they can follow it."""
    path = tmp_path / "events.jsonl"
    line = b'{"w": ' + start * depth + b"1" + end * depth + b"}"
    path.write_bytes(b"\n".join([b'{"v": 1}', line, b'{"v": 3}']))

    (decoded,) = read_events(path, {"v": (Kind.LONG, 0, False)}, {})

    assert plain(decoded.columns["v"]) == [1, None, 3]
    assert decoded.errors.keys() == {1}


def test_many_brackets_side_by_side_are_no_depth(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"v": 1, "w": [' + b"[{}]," * 500 + b"0]}")

    (decoded,) = read_events(path, {"v": (Kind.LONG, 0, False)}, {})

    assert plain(decoded.columns["v"]) == [1]
    assert not decoded.errors


def test_json_lines_may_lack_a_field_after_the_first_chunk(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('nonsense\n{"old": 1}\n{}\n{"v": 2}\n{"old": 3, "v": 4}\n', encoding="utf-8")

    chunks = read_events(path, {"v": (Kind.LONG, 0, True)}, {"v": "old"}, chunk_rows=1)

    assert [plain(chunk.columns["v"]) for chunk in chunks] == [[None], [1], [None], [None], [3]]


def test_nullable_columns_may_be_absent_and_required_ones_not(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    write_parquet(path, [{"a": 1, "s": {"b": 2}}])

    (decoded,) = read_events(path, {"x": (Kind.STRING, 0, True)}, {})
    assert plain(decoded.columns["x"]) == [None]
    with pytest.raises(
        ConfigurationError,
        match=r"events.parquet has no column for 'x' \(looked for x and TX_X\); it has a, s.b",
    ):
        next(read_events(path, {"x": (Kind.STRING, 0, False)}, {"x": "TX_X"}))


@pytest.mark.parametrize("suffix", ["parquet", "avro", "jsonl", "ndjson"])
def test_a_missing_column_is_refused_in_every_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"events.{suffix}"
    WRITERS[suffix](path, ROWS)
    with pytest.raises(ConfigurationError, match=r"'x' .*; it has .*card.number"):
        next(read_events(path, {"x": (Kind.STRING, 0, False)}, {}))


def test_a_type_that_can_never_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"V": pa.array([AT], pa.timestamp("ms"))}), path)
    with pytest.raises(ConfigurationError, match=r"column 'V' of .*parquet is of type timestamp"):
        next(read_events(path, {"v": (Kind.DECIMAL, 2, False)}, {"v": "V"}))


@pytest.mark.parametrize("suffix", ["parquet", "avro"])
def test_a_broken_or_absent_file_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"events.{suffix}"
    for use in (count_rows, lambda path: list(read_events(path, TYPES, {"id": "TX_ID"}))):
        path.unlink(missing_ok=True)
        with pytest.raises(ConfigurationError, match="does not exist"):
            use(path)
        WRITERS[suffix](path, ROWS)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(ConfigurationError, match=f"cannot be read as {suffix}"):
            use(path)


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'.csv': give a file that ends in .parquet, "):
        count_rows(tmp_path / "events.csv")


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("\n", encoding="utf-8")
    assert list(read_events(path, TYPES, {})) == []
    assert count_rows(path) == 0


def test_errors_blank_the_whole_row(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_json(path, [{"a": "x", "b": 1}, {"a": "y", "b": "one"}])

    (decoded,) = read_events(path, {"a": (Kind.STRING, 0, False), "b": (Kind.LONG, 0, False)}, {})

    assert decoded.columns["a"].values.tolist() == ["x", ""]
    assert decoded.columns["b"].values.tolist() == [1, 0]
    assert not np.any([column.valid[1] for column in decoded.columns.values()])


def test_chunks_have_the_files_own_arrays_too(tmp_path: Path) -> None:
    table = pa.table({"TX_ID": pa.array([1, 2], pa.int16()), "fraud": [0, 7], "other": ["a", "b"]})
    pq.write_table(table, tmp_path / "events.parquet")
    wanted = {"id": (Kind.STRING, 0, False)}
    (chunk,) = read_chunks(tmp_path / "events.parquet", wanted, {"id": "TX_ID"}, raw=["fraud"])
    assert chunk.rows == 2
    assert dict(chunk.names) == {"id": "TX_ID", "fraud": "fraud"}
    assert chunk.arrays["id"].type == pa.int16()
    assert chunk.arrays["fraud"].to_pylist() == [0, 7]
    # What is only asked for as it is does not have to be of any kind.
    assert list(chunk.decoded.columns) == ["id"]
    (without,) = read_chunks(tmp_path / "events.parquet", wanted, {"id": "TX_ID"}, raw=["absent"])
    assert list(without.arrays) == ["id"]


def test_a_path_may_have_several_other_names(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"second": "x"}\n')
    wanted = {"id": (Kind.STRING, 0, False)}
    (decoded,) = read_events(path, wanted, {"id": ("first", "second")})
    assert decoded.columns["id"].values.to_pylist() == ["x"]  # type: ignore[union-attr]
    with pytest.raises(ConfigurationError, match="looked for id and first and third"):
        list(read_events(path, wanted, {"id": ("first", "third")}))


def test_a_map_holds_whatever_is_asked_for(tmp_path: Path) -> None:
    schema = {
        "type": "record",
        "name": "E",
        "fields": [{"name": "keys", "type": {"type": "map", "values": "string"}}],
    }
    with (tmp_path / "events.avro").open("wb") as file:
        fastavro.writer(file, schema, [{"keys": {"card": "c"}}, {"keys": {}}])
    (decoded,) = read_events(
        tmp_path / "events.avro", {"k": (Kind.STRING, 0, True)}, {"k": "keys.card"}
    )
    assert decoded.columns["k"].valid.tolist() == [True, False]


def test_rows_at_hand_are_read_as_those_of_a_file() -> None:
    paths = {"id": (Kind.STRING, 0, False), "at": (Kind.TIME, 0, True)}
    rows = [{"a": {"b": 7}, "at": AT}, {"a": {"b": [1]}}, {}]
    decoded = decode_rows(rows, paths, {"id": "a.b"}, "topic t")
    assert decoded.columns["id"].valid.tolist() == [True, False, False]
    assert decoded.columns["at"].values.tolist() == [AT_MICROS, 0, 0]
    assert sorted(decoded.errors) == [1, 2]
    # A column that no row has is none.
    assert list(decode_rows([{"x": 1}], paths, {}, "topic t").columns) == []


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "events.parquet"
    folder.mkdir()
    for path in (tmp_path, folder):
        with pytest.raises(ConfigurationError, match="is a folder: name the files in it"):
            count_rows(path)


@pytest.mark.parametrize(
    ("kind", "unit", "numbers"),
    [
        (Kind.TIME, None, "numbers (s, ms, us or ns, in the years 2000 to 2099)"),
        (Kind.LONG, "ms", "whole numbers (ms)"),
    ],
)
def test_text_that_is_no_time_is_refused_with_the_forms_that_are_read(
    kind: Kind, unit: str | None, numbers: str, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"at": "2026-05-01T12:00:00Z"}\n{"at": "May 1st"}\n')
    wanted = {"at": (kind, 0, False)}
    (decoded,) = read_events(path, wanted, {}, units={} if unit is None else {"at": unit})
    assert {row: error.message for row, error in decoded.errors.items()} == {
        1: "at is not a time: allowed are timestamps, dates, ISO 8601 text such as "
        f"2026-05-01T12:00:00Z, and {numbers} since 1970-01-01 UTC"
    }


def test_a_number_that_is_no_time_is_not_called_one(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"count": "many"}\n')
    (decoded,) = read_events(path, {"count": (Kind.LONG, 0, False)}, {})
    assert decoded.errors[0].message.startswith("count cannot be read as a long (of floats, only")


@pytest.mark.parametrize(
    "event",
    [
        {"card": {"n": "c", "lim": 3.5}},
        {"card": {"n": "c"}, "card.lim": 3.5},
        {"card.n": "c", "card.lim": 3.5},
        {"card.n": "c", "card": {"lim": 3.5}},
        {"card.n": "c", "card": {"n": "other", "lim": 3.5}},
    ],
)
def test_a_member_may_have_the_whole_dotted_name(event: Any, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(event) + "\n")
    types = {"card.n": (Kind.STRING, 0, False), "card.lim": (Kind.DOUBLE, 0, True)}
    (decoded,) = read_events(path, types, {})
    assert not decoded.errors
    assert decoded.columns["card.n"].values.tolist() == ["c"]
    assert decoded.columns["card.lim"].values.tolist() == [3.5]


def test_a_member_may_have_the_beginning_of_a_dotted_name(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    rows = [{"a.b": {"c": "x"}}, {"a": {"b.c": "y"}}, {"a.b": {"d": 1}, "a": {"b": {"c": "z"}}}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (decoded,) = read_events(path, {"a.b.c": (Kind.STRING, 0, False)}, {})
    assert decoded.columns["a.b.c"].values.tolist() == ["x", "y", "z"]
