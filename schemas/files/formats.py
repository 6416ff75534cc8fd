"""Read Parquet, Avro containers and JSON lines as chunks of Arrow arrays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from base.errors import ErrorCode, RecordError
from base.file_path import FilePath, parquet_source
from schemas.avro.definitions import MAX_JSON_DEPTH, json_depth
from schemas.files.arrow_values import plain, uuid_texts
from schemas.files.avro_container import open_container
from schemas.files.json_text import json_lines
from schemas.files.values import exact_digits

Pick: TypeAlias = Callable[[Iterable[str]], Mapping[str, str]]
"""Given the names in a file, returns the name to read for each path; raises ConfigurationError."""

_TIMES = {
    "timestamp-millis": (pa.int64(), pa.timestamp("ms", "UTC")),
    "timestamp-micros": (pa.int64(), pa.timestamp("us", "UTC")),
    "timestamp-nanos": (pa.int64(), pa.timestamp("ns", "UTC")),
    "local-timestamp-millis": (pa.int64(), pa.timestamp("ms")),
    "local-timestamp-micros": (pa.int64(), pa.timestamp("us")),
    "local-timestamp-nanos": (pa.int64(), pa.timestamp("ns")),
    "date": (pa.int32(), pa.date32()),
}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Chunk:
    """Consecutive rows of a file.

    Attributes:
        rows: Number of rows, N.
        arrays: array[N] of each path that the file has.
        names: Name of the column in the file, by path.
        errors: Error of each row that cannot be read.
        inexact: Rows with a float that has no exact decimal digits, by path; only for paths with
            both numbers and text.
    """

    rows: int
    arrays: dict[str, pa.Array] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    errors: dict[int, RecordError] = field(default_factory=dict)
    inexact: dict[str, list[int]] = field(default_factory=dict)


def parquet_chunks(path: FilePath, rows: int, pick: Pick) -> Iterator[Chunk]:
    """Read chunks of at most ``rows`` rows; fields of structs have dotted names."""
    # In nanoseconds, Arrow's default for INT96, dates such as 9999-12-31 overflow.
    with pq.ParquetFile(parquet_source(path), coerce_int96_timestamp_unit="us") as file:
        parts = dict(_leaves(file.schema_arrow))
        names = pick(parts)
        # Without any column, a batch would have no number of rows.
        columns = list(names.values()) or [next(iter(parts))]
        for batch in file.iter_batches(batch_size=rows, columns=columns):
            chunk = Chunk(batch.num_rows, names=names)
            for event_path, name in names.items():
                top, *inner = parts[name]
                array = batch.column(top)
                array = pc.struct_field(array, inner) if inner else array
                chunk.arrays[event_path] = plain(array)
            yield chunk


def count_parquet(path: FilePath) -> int:
    """Count the rows by the footer of the file."""
    return int(pq.read_metadata(parquet_source(path)).num_rows)


def avro_chunks(path: FilePath, rows: int, pick: Pick) -> Iterator[Chunk]:
    """Read chunks of at most ``rows`` rows; fields of records have dotted names."""
    with open_container(path) as container:
        logical = container.leaves()
        names = pick(logical)
        records = container.records(set(names.values()))
        while events := list(islice(records, rows)):
            chunk = from_rows(events, names)
            for event_path, name in names.items():
                array = chunk.arrays[event_path]
                chunk.arrays[event_path] = _as_logical(array, logical.get(name, ""))
            refused = {r: event for r, event in enumerate(events) if isinstance(event, RecordError)}
            chunk.errors.update(refused)
            yield chunk


def count_avro(path: FilePath) -> int:
    """Count the rows by the headers of the blocks."""
    with open_container(path) as container:
        return container.count()


def json_chunks(path: FilePath, rows: int, pick: Pick) -> Iterator[Chunk]:
    """Read chunks of at most ``rows`` lines without blank ones; members have dotted names.

    A line that is not a JSON object is an error of its row. Each chunk may add names, and a name
    that was picked for a path does not change.
    """
    seen: dict[str, None] = {}
    names: dict[str, str] = {}
    with json_lines(path) as lines:
        while chunk := list(islice(lines, rows)):
            errors: dict[int, RecordError] = {}
            events = [_parse_line(line, row, errors) for row, line in enumerate(chunk)]
            for event in events:
                add_names(event, "", seen)
            if seen:
                names = {**pick(seen), **names}
            read = from_rows(events, names)
            read.errors.update(errors)
            yield read


def count_json(path: FilePath) -> int:
    """Count the lines that are not blank."""
    with json_lines(path) as lines:
        return sum(1 for _ in lines)


def _leaves(schema: Iterable[pa.Field], *above: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Dotted name of each column that is not a struct, with its parts."""
    for column in schema:
        parts = (*above, column.name)
        if pa.types.is_struct(column.type):
            yield from _leaves(column.type, *parts)
        else:
            yield ".".join(parts), parts


def _as_logical(array: pa.Array, logical: str) -> pa.Array:
    """Convert numbers to times, in microseconds where possible, and the bytes of UUIDs to text."""
    if logical == "uuid" and pa.types.is_binary(array.type):
        return uuid_texts(array)
    times = _TIMES.get(logical)
    if times is None or not pa.types.is_integer(array.type):
        return array
    stored, kind = times
    array = array.cast(stored).cast(kind)
    if pa.types.is_date(kind) or kind.unit == "ns":
        return array
    try:
        return array.cast(pa.timestamp("us", kind.tz))
    except pa.ArrowInvalid:
        return array


def add_names(event: Any, above: str, names: dict[str, None]) -> None:
    """Add the dotted name of each value inside ``event`` that is not an object.

    Args:
        event: JSON object.
        above: Prefix of the names, with its dot.
        names: Takes the names, in the order of their first occurrence.
    """
    for name, value in event.items():
        if isinstance(value, dict):
            add_names(value, f"{above}{name}.", names)
        else:
            names[above + name] = None


def _brackets(line: str | bytes) -> int:
    if isinstance(line, str):
        return line.count("{") + line.count("[")
    return line.count(b"{") + line.count(b"[")


def _parse_line(line: str | bytes, row: int, errors: dict[int, RecordError]) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        event = None
    # The maximum depth differs between versions of Python; this bound is below all of them.
    if _brackets(line) > MAX_JSON_DEPTH and json_depth(event) > MAX_JSON_DEPTH:
        event = None
    if not isinstance(event, dict):
        errors[row] = RecordError(ErrorCode.BODY_INVALID, "the line is not a JSON object")
        return {}
    return event


def from_rows(events: list[Any], names: Mapping[str, str]) -> Chunk:
    """Convert nested Python values to a chunk with an array for each path.

    Args:
        events: JSON object or RecordError of each row.
        names: Dotted name in the events, by path.
    """
    chunk = Chunk(len(events), names=names)
    for path, name in names.items():
        values = _values(events, name)
        chunk.arrays[path] = _array(values, path, chunk)
    return chunk


def _values(events: list[Any], name: str) -> list[Any]:
    """Value of a dotted name in each event; None where the event lacks it."""
    if "." in name:
        return [_dig(event, name) for event in events]
    return [event.get(name) if isinstance(event, dict) else None for event in events]


def _dig(event: Any, name: str) -> Any:
    """Value of a dotted name: the member with that name, or one inside the member of a prefix.

    An object may have members of both forms: {"card": {"n": 1}, "card.limit": 2}.
    """
    if not isinstance(event, dict):
        return None
    if name in event:
        return event[name]
    end = name.rfind(".")
    while end >= 0:
        value = _dig(event.get(name[:end]), name[end + 1 :])
        if value is not None:
            return value
        end = name.rfind(".", 0, end)
    return None


def _array(values: list[Any], path: str, chunk: Chunk) -> pa.Array:
    """Convert values to an array; if their types differ, to an array of text.

    A list, an object, or text with a lone surrogate becomes an error of its row in ``chunk``.
    """
    try:
        array = pa.array(values)
    # ValueError includes ArrowInvalid, and the error for a lone surrogate, which is not UTF-8.
    except (ValueError, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        array = None
    if array is not None and not pa.types.is_nested(array.type):
        return plain(array)
    texts: list[str | None] = []
    for row, value in enumerate(values):
        if isinstance(value, dict | list):
            message = f"{path} is a list or an object, not a single value"
            chunk.errors[row] = RecordError(ErrorCode.BODY_INVALID, message)
            texts.append(None)
        elif isinstance(value, str) and _SURROGATE.search(value):
            message = f"{path} contains half a character (a lone UTF-16 surrogate)"
            chunk.errors[row] = RecordError(ErrorCode.BODY_INVALID, message)
            texts.append(None)
        else:
            if isinstance(value, float) and exact_digits(value) is None:
                chunk.inexact.setdefault(path, []).append(row)
            texts.append(None if value is None else _text(value))
    return pa.array(texts, pa.string())


def _text(value: Any) -> str:
    if isinstance(value, float):
        return exact_digits(value) or str(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
