"""Parquet, Avro containers and JSON lines as chunks of Arrow arrays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import fastavro
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import ErrorCode, RecordError
from schemas.types import MAX_JSON_DEPTH, json_depth

Pick: TypeAlias = Callable[[Iterable[str]], Mapping[str, str]]
"""Given the names that a file has, the name to read for each path; raises ConfigurationError."""

ANY = ".*"
"""Ends the name of a map: it may hold whatever stands behind the dot."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Chunk:
    """Some rows of a file: an array[N] for each path that the file has, and unreadable rows."""

    rows: int
    arrays: dict[str, pa.Array] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    errors: dict[int, RecordError] = field(default_factory=dict)


def parquet_chunks(path: Path, rows: int, pick: Pick) -> Iterator[Chunk]:
    """Chunks of at most ``rows`` rows; fields of structs have dotted names."""
    with pq.ParquetFile(path) as file:
        parts = dict(_leaves(file.schema_arrow))
        names = pick(parts)
        # Without any column a batch would not know its number of rows.
        columns = list(names.values()) or [next(iter(parts))]
        for batch in file.iter_batches(batch_size=rows, columns=columns):
            chunk = Chunk(batch.num_rows, names=names)
            for event_path, name in names.items():
                top, *inner = parts[name]
                array = batch.column(top)
                chunk.arrays[event_path] = pc.struct_field(array, inner) if inner else array
            yield chunk


def count_parquet(path: Path) -> int:
    """Rows, by the file's footer."""
    return int(pq.read_metadata(path).num_rows)


def avro_chunks(path: Path, rows: int, pick: Pick) -> Iterator[Chunk]:
    """Chunks of at most ``rows`` rows; fields of records have dotted names."""
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        named: dict[str, Any] = {}
        schema = fastavro.parse_schema(reader.writer_schema, named_schemas=named, _force=True)
        names = pick(list(_avro_names(schema, named)))
        while events := list(islice(reader, rows)):
            yield from_rows(events, names)


def count_avro(path: Path) -> int:
    """Rows, by the file's block headers."""
    with path.open("rb") as file:
        return sum(block.num_records for block in fastavro.block_reader(file))


def json_chunks(path: Path, rows: int, pick: Pick) -> Iterator[Chunk]:
    """Chunks of at most ``rows`` lines, blank ones not counted; members have dotted names.

    A line that is no JSON object is an error of its row. Names are picked from the lines up to the
    end of the chunk, and a name once picked stays.
    """
    found: dict[str, None] = {}
    names: dict[str, str] = {}
    with path.open("rb") as file:
        lines = (line for line in file if not line.isspace())
        while chunk := list(islice(lines, rows)):
            errors: dict[int, RecordError] = {}
            events = [_parse_line(line, row, errors) for row, line in enumerate(chunk)]
            for event in events:
                add_names(event, "", found)
            if found:
                names = {**pick(found), **names}
            read = from_rows(events, names)
            read.errors.update(errors)
            yield read


def count_json(path: Path) -> int:
    """Lines that are not blank."""
    with path.open("rb") as file:
        return sum(not line.isspace() for line in file)


def _leaves(schema: Iterable[pa.Field], *above: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The dotted name of each column that is no struct, with its parts."""
    for column in schema:
        parts = (*above, column.name)
        if pa.types.is_struct(column.type):
            yield from _leaves(column.type, *parts)
        else:
            yield ".".join(parts), parts


def _avro_names(schema: Any, named: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The dotted name of each field that is no record, through unions."""
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    if isinstance(schema, list):
        for branch in schema:
            yield from _avro_names(branch, named, above)
    elif isinstance(schema, dict) and schema["type"] == "record":
        inner = {name: value for name, value in named.items() if name != schema["name"]}
        for entry in schema["fields"]:
            yield from _avro_names(entry["type"], inner, f"{above}.{entry['name']}".lstrip("."))
    elif isinstance(schema, dict) and schema["type"] == "map":
        yield f"{above}{ANY}"
    elif above and schema != "null":
        yield above


def add_names(event: Any, above: str, found: dict[str, None]) -> None:
    """Adds the dotted name of each value within ``event`` that holds no others."""
    for name, value in event.items():
        if isinstance(value, dict):
            add_names(value, f"{above}{name}.", found)
        else:
            found[above + name] = None


def _parse_line(line: bytes, row: int, errors: dict[int, RecordError]) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        event = None
    # Versions of Python read JSON of other depths; this bound is below all of theirs.
    deep = line.count(b"{") + line.count(b"[") > MAX_JSON_DEPTH
    if deep and json_depth(event) > MAX_JSON_DEPTH:
        event = None
    if not isinstance(event, dict):
        errors[row] = RecordError(ErrorCode.BODY_INVALID, "the line is no JSON object")
        return {}
    return event


def from_rows(events: list[Any], names: Mapping[str, str]) -> Chunk:
    """Nested Python values as arrays, by dotted names."""
    chunk = Chunk(len(events), names=names)
    for path, name in names.items():
        parts = name.split(".")
        values = [_dig(event, parts) for event in events]
        chunk.arrays[path] = _array(values, path, chunk.errors)
    return chunk


def _dig(event: Any, parts: list[str]) -> Any:
    for part in parts:
        if not isinstance(event, dict):
            return None
        event = event.get(part)
    return event


def _array(values: list[Any], path: str, errors: dict[int, RecordError]) -> pa.Array:
    """The values as they come; as text where their types differ."""
    try:
        array = pa.array(values)
    # ValueError: ArrowInvalid is one, and text with a lone surrogate, which UTF-8 cannot hold.
    except (ValueError, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        array = None
    if array is not None and not pa.types.is_nested(array.type):
        return array
    texts: list[str | None] = []
    for row, value in enumerate(values):
        if isinstance(value, dict | list):
            errors[row] = RecordError(ErrorCode.BODY_INVALID, f"{path} is no single value")
            texts.append(None)
        elif isinstance(value, str) and _SURROGATE.search(value):
            errors[row] = RecordError(ErrorCode.BODY_INVALID, f"{path} holds half a character")
            texts.append(None)
        else:
            texts.append(None if value is None else _text(value))
    return pa.array(texts, pa.string())


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
