"""Event files as other programs write them: codecs, encodings, types; and files of other kinds."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from base.errors import ConfigurationError
from schemas.batch import Column, Kind
from schemas.files.read import count_rows, read_events
from schemas.files.values import to_column
from tests.unit.schemas import avro_cases as avro

AT = datetime(2018, 4, 1, 0, 0, 31, 250_000, tzinfo=UTC)
AT_MICROS = 1_522_540_831_250_000
IDS = [UUID(int=7), UUID("89791762-2336-4186-9674-299b90a802e2"), None]
SCHEMA = {
    "type": "record",
    "name": "E",
    "fields": [{"name": "v", "type": "string"}, {"name": "n", "type": ["null", "double"]}],
}
OBJECTS: list[dict[str, Any]] = [{"v": "å€😀", "n": 1.5}, {"v": "b", "n": None}, {"v": "", "n": 3}]


def plain(column: Column) -> list[Any]:
    values = column.values.tolist()
    return [value if ok else None for value, ok in zip(values, column.valid.tolist(), strict=True)]


def read(path: Path, kind: Kind = Kind.STRING, **more: Any) -> list[Any]:
    """The values of "v" of a file without errors."""
    (decoded,) = read_events(path, {"v": (kind, 2, True)}, {}, **more)
    assert not decoded.errors
    values = plain(decoded.columns["v"])
    assert count_rows(path) == len(values)
    return values


def parquet(folder: Path, array: pa.Array, **more: Any) -> Path:
    path = folder / "events.parquet"
    pq.write_table(pa.table({"v": array}), path, **more)
    return path


# Avro containers


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "snappy", "zstandard"])
def test_containers_of_every_codec_of_the_specification(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    rows = [{"v": f"value {number}", "n": None} for number in range(500)]
    with path.open("wb") as file:
        fastavro.writer(file, SCHEMA, rows, codec=codec, sync_interval=1_000)
    assert read(path) == [row["v"] for row in rows]


@pytest.mark.parametrize("use", [count_rows, lambda path: list(read_events(path, {}, {}))])
def test_an_unsupported_codec_is_named_with_those_that_are_read(use: Any, tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    with path.open("wb") as file:
        fastavro.writer(file, SCHEMA, OBJECTS)
    path.write_bytes(path.read_bytes().replace(b"\x08null", b"\x06lz4", 1))
    with pytest.raises(ConfigurationError, match=r"codec lz4, .* null, deflate, .*, zstandard$"):
        use(path)


def test_a_uuid_of_avro_is_text(tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    uuid = {"type": "string", "logicalType": "uuid"}
    schema = {"type": "record", "name": "E", "fields": [{"name": "v", "type": ["null", uuid]}]}
    with path.open("wb") as file:
        fastavro.writer(file, schema, [{"v": given} for given in IDS])
    assert read(path) == [None if given is None else str(given) for given in IDS]


# Encodings of JSON lines

ENCODINGS = [
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be",
]  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_json_lines_in_any_unicode_encoding(encoding: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in OBJECTS]
    path.write_bytes((end.join([*lines[:2], "", lines[2]]) + end).encode(encoding))
    assert read(path) == ["å€😀", "b", ""]
    assert read(path, chunk_rows=10) == ["å€😀", "b", ""]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le"])
def test_bad_lines_are_errors_of_their_rows_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    text = '{"v": "a"}\n{"v": \n{"v": "\ud83d"}\n[1]\n{"v": "\\ud83d"}\n{"v": "b"}\n'
    path.write_bytes(text.encode(encoding, "surrogatepass"))
    (decoded,) = read_events(path, {"v": (Kind.STRING, 0, True)}, {})
    assert plain(decoded.columns["v"]) == ["a", None, None, None, None, "b"]
    assert decoded.errors.keys() == {1, 2, 3, 4}


def test_a_file_that_ends_within_a_character_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes('{"v": "a"}\n'.encode("utf-16")[:-1])
    with pytest.raises(ConfigurationError, match="cannot be read as jsonl: UnicodeDecodeError"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xef\xbb\xbf\n"])
def test_a_file_of_nothing_but_a_mark_has_no_rows(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    assert count_rows(path) == 0
    assert list(read_events(path, {}, {})) == []


# Files of other kinds


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("events.jsonl", data)
    return out.getvalue()


def columnar(_: bytes) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"v": ["a"]}), out)
    return out.getvalue()


def container(_: bytes) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, SCHEMA, OBJECTS)
    return out.getvalue()


LINES = b'{"v": "a"}\n{"v": "b"}\n'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"v": "a"}]', r"is a JSON array: write one object on each line: jq -c '\.\[\]'"),
        (b'\n [\n  {"v": "a"},\n  {"v": "b"}\n]\n', "is a JSON array"),
        ('[\n{"v": "a"}]'.encode("utf-16"), "is a JSON array"),
        (b'{\n  "v": "a"\n}\n{\n  "v": "b"\n}', r"is JSON over several lines: .* jq -c \. FILE"),
        (b"v,n\na,1\nb,2\n", r"is a text table \(such as CSV\): convert it to Parquet"),
        (b'"v";"n"\r\n"a";"1"\r\n', "is a text table"),
        (b"v\tn\na\t1\n", "is a text table"),
        (gzip.compress(LINES, mtime=0), "is compressed with gzip: unpack it first"),
        (bz2.compress(LINES), "is compressed with bzip2: unpack"),
        (lzma.compress(LINES), "is compressed with xz: unpack"),
        (pa.Codec("zstd").compress(LINES, asbytes=True), "is compressed with zstandard: unpack"),
        (zipped(LINES), "is a ZIP archive or a workbook"),
        (columnar(LINES), "is a Parquet file: name it .parquet"),
        (container(LINES), "is an Avro container: name it .avro"),
    ],
)
def test_a_file_that_is_something_else_says_what_to_do(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    for use in (
        count_rows,
        lambda path: list(read_events(path, {"v": (Kind.STRING, 0, True)}, {})),
    ):
        with pytest.raises(ConfigurationError, match=f"event file {path} {reason}"):
            use(path)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        # Bad lines at the start are errors of their rows.
        (b'oops\n{"v": "a"}', 2),
        (b'[1]\n{"v": "a"}', 2),
        (b'[1, 2]\n{"v": "a", "n": 2}', 2),
        (b'oops, a\n{"v": "a", "n": 2}', 2),
        (b'{"v": "a",\n"n": 2}\n', 2),
    ],
)
def test_a_bad_first_line_does_not_make_a_file_something_else(
    content: bytes, rows: int, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    assert count_rows(path) == rows


@pytest.mark.parametrize(
    ("name", "hint"),
    [("e.csv", "to_parquet"), ("e.json", "jq"), ("e.jsonl.gz", "unpack"), ("e.zip", "unpack")],
)
def test_a_suffix_that_is_not_read_says_what_to_do(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"end. in .parquet, .avro.*\(.*{hint}"):
        count_rows(tmp_path / name)


# Types of Parquet


def test_a_uuid_of_parquet_is_text(tmp_path: Path) -> None:
    array = pa.array([None if given is None else given.bytes for given in IDS], pa.uuid())
    texts = [None if given is None else str(given) for given in IDS]
    assert read(parquet(tmp_path, array)) == texts
    assert read(parquet(tmp_path, array, store_schema=False)) == texts
    nested = pa.table({"card": pa.StructArray.from_arrays([array], ["v"])})
    pq.write_table(nested, tmp_path / "nested.parquet")
    (decoded,) = read_events(
        tmp_path / "nested.parquet", {"v": (Kind.STRING, 0, True)}, {"v": "card.v"}
    )
    assert plain(decoded.columns["v"]) == texts


@pytest.mark.parametrize("store_schema", [True, False])
def test_int96_times_far_away_do_not_wrap_around(store_schema: bool, tmp_path: Path) -> None:
    """In nanoseconds 64 bits end in 2262; behind that a time came back in another century."""
    days = ["2018-04-01", "9999-12-31", "2584-01-01", "1600-01-01"]
    array = pa.array(np.array(days, "datetime64[s]"))
    path = parquet(tmp_path, array, use_deprecated_int96_timestamps=True, store_schema=store_schema)
    wanted = np.array(days, "datetime64[us]").astype(np.int64).tolist()
    assert read(path, Kind.TIME) == wanted


NAN = float("nan")


@pytest.mark.parametrize(
    ("array", "kind", "wanted"),
    [
        (pa.array(["1", None], pa.string_view()), Kind.STRING, ["1", None]),
        (pa.array(["2018-04-01T00:00:31.25"], pa.string_view()), Kind.TIME, [AT_MICROS]),
        (pa.array(["2018-04-01T00:00:31.25"], pa.large_string()), Kind.TIME, [AT_MICROS]),
        (pa.array([b"x", None], pa.binary_view()), Kind.STRING, ["x", None]),
        (pa.array(["a", None], pa.large_string()).dictionary_encode(), Kind.STRING, ["a", None]),
        (pa.array([12, None]).dictionary_encode(), Kind.STRING, ["12", None]),
        (pa.array([Decimal("1.50")], pa.decimal256(50, 2)), Kind.DECIMAL, [150]),
        (pa.array([Decimal("1.50")], pa.decimal32(5, 2)), Kind.DOUBLE, [1.5]),
        (pa.array([Decimal(0), Decimal(1), None], pa.decimal128(1, 0)), Kind.BOOL,
         [False, True, None]),
        (pa.array([1.0, 0.5], pa.float16()), Kind.DOUBLE, [1.0, 0.5]),
        (pa.array([1], pa.bool8()), Kind.BOOL, [True]),
        (pa.array(["{}"], pa.json_()), Kind.STRING, ["{}"]),
        (pa.array([1.0, NAN, None]), Kind.BOOL, [True, None, None]),
        (pa.array([1.0, NAN], pa.float32()), Kind.LONG, [1, None]),
        (pa.array([1.5, NAN]), Kind.DECIMAL, [150, None]),
        (pa.array([AT.timestamp(), NAN]), Kind.TIME, [AT_MICROS, None]),
        (pa.array([NAN, None]), Kind.STRING, [None, None]),
        (pa.array([AT, None], pa.timestamp("ns", "Asia/Tokyo")), Kind.TIME, [AT_MICROS, None]),
        (pa.array([date(2018, 4, 1)], pa.date64()), Kind.TIME, [1_522_540_800_000_000]),
    ],
)  # fmt: skip
def test_types_that_other_programs_write(
    array: pa.Array, kind: Kind, wanted: list[Any], tmp_path: Path
) -> None:
    assert read(parquet(tmp_path, array), kind) == wanted


def test_nan_stays_in_a_double(tmp_path: Path) -> None:
    values = read(parquet(tmp_path, pa.array([1.0, NAN, None])), Kind.DOUBLE)
    assert repr(values) == "[1.0, nan, None]"


@pytest.mark.parametrize(
    "array",
    [
        pa.array([[1]]),
        pa.array([1], pa.duration("ms")),
        pa.array([1], pa.time32("ms")),
        pa.array([b"x" * 16], pa.binary(16)),
    ],
)
def test_types_that_are_no_single_value_are_refused_by_name(
    array: pa.Array, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"column 'v' of event file .* is of type "):
        read(parquet(tmp_path, array))


# Times as whole numbers of a unit

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def ticks(array: pa.Array, unit: str) -> tuple[list[Any], list[bool]]:
    column, bad = to_column(array, Kind.LONG, 0, "v", unit)
    return plain(column), bad.tolist()


@given(
    st.integers(946_684_800_000_000, 4_102_444_799_999_999),
    st.sampled_from(list(PER_SECOND)),
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.sampled_from([None, "UTC", "America/New_York"]),
)
def test_timestamps_become_numbers_of_the_unit(
    micros: int, unit: str, resolution: str, zone: str | None
) -> None:
    held = micros * PER_SECOND[resolution] // 10**6
    array = pa.array([held, None], pa.timestamp(resolution, zone))
    wanted = held * PER_SECOND[unit] // PER_SECOND[resolution]
    if PER_SECOND[unit] > 10**6:  # columns hold microseconds on the way
        wanted -= wanted % 1_000
    assert ticks(array, unit) == ([wanted, None], [False, False])


def test_texts_and_numbers_become_numbers_of_the_unit() -> None:
    texts = ["2018-04-01T02:00:31.250+02:00", "1522540831250", None, "soon", "2018-04-01", "1.5"]
    assert ticks(pa.array(texts), "ms") == (
        [AT_MICROS // 1_000, AT_MICROS // 1_000, None, None, 1_522_540_800_000, None],
        [False, False, False, True, False, True],
    )
    assert ticks(pa.array([17, None]), "s") == ([17, None], [False, False])
    assert ticks(pa.array([17.0, 17.5, NAN]), "s") == ([17, None, None], [False, True, False])
    assert ticks(pa.array([date(2018, 4, 1)]), "s") == ([1_522_540_800], [False])
    # Out of what 64 bits hold.
    far = pa.array([2**62, 10**12], pa.timestamp("s"))
    assert ticks(far, "ns") == ([None, None], [True, True])
    with pytest.raises(ConfigurationError, match="is of type list"):
        ticks(pa.array([[1]]), "s")


# Containers whose schema or values fastavro does not take


def container_of(schema: Any, *rows: dict[str, Any], written: Any = None) -> bytes:
    """A container of the records ``rows``, as another writer makes it. written: its schema."""
    out = io.BytesIO()
    fastavro.writer(out, schema, rows)
    data, header = out.getvalue(), io.BytesIO()
    read = fastavro.schemaless_reader(io.BytesIO(data), HEADER, None)
    read["meta"]["avro.schema"] = json.dumps(written).encode()  # type: ignore[index,call-overload]
    fastavro.schemaless_writer(header, HEADER, read)
    begin = data.index(read["sync"]) + 16  # type: ignore[index,call-overload,arg-type]
    return header.getvalue() + data[begin:]


HEADER = fastavro.parse_schema(
    {"type": "record", "name": "H", "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "M", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "S", "size": 16}},
    ]}
)  # fmt: skip


def record(declared: Any, **more: Any) -> dict[str, Any]:
    fields = [{"name": "v", "type": declared, **more}, {"name": "w", "type": "string"}]
    return {"type": "record", "name": "E", "fields": fields}


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
ENUM = {"type": "enum", "name": "N", "symbols": ["AB", "C"]}


@pytest.mark.parametrize(
    ("plain_type", "written", "value", "kind", "wanted"),
    [
        (["null", "string"], record(["null", "string"], default="null"), "x", Kind.STRING, "x"),
        ("int", record("int", default="x", aliases=7), 5, Kind.LONG, 5),
        (ENUM, record(["null", {**ENUM, "symbols": ["a-b", "c"]}]), None, None, None),
        (ENUM, record({**ENUM, "symbols": ["a-b", "c"], "default": "-"}), "AB", Kind.STRING, "a-b"),
        ("bytes", record({"type": "bytes", "logicalType": "decimal", "precision": 0, "scale": 1}),
         b"\x19", Kind.DECIMAL, 250),
        ("int", record({"type": "int", "logicalType": "uuid"}), 5, Kind.LONG, 5),
        ("string", record({"type": "string", "logicalType": "uuid"}), "no id", Kind.STRING, "no id"),
        ("int", record({"type": "int", "logicalType": "date"}), 17_622, Kind.TIME,
         1_522_540_800_000_000),
        ("long", record(MILLIS), AT_MICROS // 1_000, Kind.TIME, AT_MICROS),
        ("long", record(["null", MILLIS]), None, None, None),
        ("int", [record("int"), "null"], None, None, None),
    ],
)  # fmt: skip
def test_a_container_may_have_faults_that_reading_does_not_meet(
    plain_type: Any, written: Any, value: Any, kind: Kind | None, wanted: Any, tmp_path: Path
) -> None:
    if kind is None:  # the schema alone: nothing to read
        data = container_of(record(plain_type), written=written)
        kind, values = Kind.STRING, []
    else:
        data = container_of(record(plain_type), {"v": value, "w": "x"}, written=written)
        values = [wanted]
    path = tmp_path / "events.avro"
    path.write_bytes(data)
    found = [plain(d.columns["v"]) for d in read_events(path, {"v": (kind, 2, True)}, {})]
    assert found == ([values] if values else [])
    assert count_rows(path) == len(values)


@pytest.mark.parametrize(
    ("plain_type", "declared", "values", "kind", "wanted"),
    [
        ("bytes", "string", [b"\xff", b"ok"], Kind.STRING, [None, "ok"]),
        ("long", MILLIS, [2**62, AT_MICROS // 1_000], Kind.TIME, [None, AT_MICROS]),
        ("long", {**MILLIS, "logicalType": "local-timestamp-micros"}, [AT_MICROS, 2**62],
         Kind.TIME, [AT_MICROS, 2**62]),
        ("int", {"type": "int", "logicalType": "date"}, [2**30, 10**8], Kind.TIME,
         [None, 86_400 * 10**14]),
    ],
)  # fmt: skip
def test_a_value_that_no_python_type_holds_does_not_end_a_container(
    plain_type: Any, declared: Any, values: list[Any], kind: Kind, wanted: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "events.avro"
    rows = [{"v": value, "w": "x"} for value in values]
    path.write_bytes(container_of(record(plain_type), *rows, written=record(declared)))
    (decoded,) = read_events(path, {"v": (kind, 0, True)}, {})
    assert plain(decoded.columns["v"]) == wanted
    assert list(decoded.errors) == [row for row, value in enumerate(wanted) if value is None]


def test_a_type_defined_twice_and_a_record_in_itself_in_a_container(tmp_path: Path) -> None:
    fixed = {"type": "fixed", "name": "F", "size": 1}
    link = {"name": "next", "type": ["null", "E"]}

    def schema(second: Any) -> Any:
        fields = [{"name": "a", "type": fixed}, {"name": "b", "type": second}, link]
        return {"type": "record", "name": "E", "fields": [*fields, {"name": "v", "type": "string"}]}

    inner = {"a": b"1", "b": b"2", "next": None, "v": "inner"}
    path = tmp_path / "events.avro"
    rows: list[dict[str, Any]] = [{**inner, "v": "x"}, {**inner, "next": inner, "v": "y"}]
    path.write_bytes(container_of(schema("F"), *rows, written=schema({**fixed, "doc": "again"})))
    assert read(path) == ["x", "y"]


@given(avro.schemas(), st.integers(0, 2**32))
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_containers_hold_what_fastavro_reads(
    tmp_path_factory: pytest.TempPathFactory, schema: Any, seed: int
) -> None:
    rng = random.Random(seed)
    raw = avro.raw(schema)
    rows = [avro.value_of(schema, rng) for _ in range(5)]
    path = tmp_path_factory.mktemp("avro") / "events.avro"
    path.write_bytes(container_of(raw, *rows, written=avro.careless(schema)))
    leaves = {
        name: leaf
        for name, leaf in avro.leaves(schema).items()
        if leaf in ("string", "boolean", "int", "long", "double")
    }
    kinds = {"string": Kind.STRING, "boolean": Kind.BOOL, "double": Kind.DOUBLE}
    types = {name: (kinds.get(leaf, Kind.LONG), 0, True) for name, leaf in leaves.items()}
    (decoded,) = read_events(path, types, {})
    assert not decoded.errors
    for number, row in enumerate(
        fastavro.reader(io.BytesIO(container_of(raw, *rows, written=raw)))
    ):
        assert avro.same(avro.row(decoded, number), avro.expected(schema, row, leaves))
