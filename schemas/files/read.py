"""Read event files (Parquet, Avro containers, JSON lines) to the same columns as records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa

from base.arrays import RowErrors
from base.errors import ConfigurationError, DependencyUnavailableError, ErrorCode
from base.file_path import FilePath
from schemas.batch import Column, Decoded, Kind
from schemas.files.avro_container import ANY
from schemas.files.formats import (
    Chunk,
    Pick,
    add_names,
    avro_chunks,
    count_avro,
    count_json,
    count_parquet,
    from_rows,
    json_chunks,
    parquet_chunks,
)
from schemas.files.json_text import MAGIC_BYTES, detect_format
from schemas.files.values import to_column

PathTypes: TypeAlias = Mapping[str, tuple[Kind, int, bool]]
"""Kind, scale (for a decimal) and nullability of each path."""

Units: TypeAlias = Mapping[str, str]
"""Unit of each path whose whole numbers are times: s, ms, us or ns."""

Aliases: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""Other names that a file may use for a path, by path."""

CHUNK_ROWS = 50_000

_NO_DIGITS = dict.fromkeys(
    (Kind.STRING, Kind.LONG), " (of floats, only whole numbers up to 2**53 have digits)"
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class FileChunk:
    """Consecutive rows of a file, decoded and as stored.

    Attributes:
        rows: Number of rows, N.
        decoded: The decoded rows.
        arrays: array[N] of the stored values, for each path that the file has.
        names: Name of the column in the file, by path.
    """

    rows: int
    decoded: Decoded
    arrays: Mapping[str, pa.Array]
    names: Mapping[str, str]


class _Format(NamedTuple):
    chunks: Callable[[FilePath, int, Pick], Iterator[Chunk]]
    count: Callable[[FilePath], int]


_TO_PARQUET = " (such as pandas.read_csv(FILE).to_parquet(OTHER): Parquet keeps the column types)"
_HINTS = {
    ".csv": _TO_PARQUET,
    ".tsv": _TO_PARQUET,
    ".json": " (one JSON object on each line; jq -c '.[]' FILE converts an array to lines)",
    **dict.fromkeys((".gz", ".zst", ".bz2", ".xz", ".zip"), " (unpack it first)"),
}

_JSON_LINES = _Format(json_chunks, count_json)
_FORMATS = {
    ".parquet": _Format(parquet_chunks, count_parquet),
    ".avro": _Format(avro_chunks, count_avro),
    ".jsonl": _JSON_LINES,
    ".ndjson": _JSON_LINES,
}


def read_events(
    path: FilePath,
    wanted: PathTypes,
    aliases: Aliases,
    chunk_rows: int = CHUNK_ROWS,
    optional: PathTypes | None = None,
    units: Units = MappingProxyType({}),
) -> Iterator[Decoded]:
    """Read the events of a file in chunks, in the order of the file.

    ``schemas.files.values.to_column`` converts the values. A row is in ``errors`` if one of its
    values cannot be read, or is null although its path may not be null.

    Args:
        path: File; its suffix determines the format.
        wanted: Types of the paths to read. A path that the file lacks is null in every row if it
            may be null.
        aliases: Other names of the paths; a path is looked up by its own name first.
        chunk_rows: Maximum number of rows in a chunk.
        optional: Types of paths that are left out of the columns if the file lacks them.
        units: Units of the whole numbers that are times, by path.

    Raises:
        ConfigurationError: The file is missing, broken or has an unknown suffix; a column is
            missing, or has a type that cannot be read.
    """
    for chunk in read_chunks(path, wanted, aliases, chunk_rows, optional, units=units):
        yield chunk.decoded


def read_chunks(
    path: FilePath,
    wanted: PathTypes,
    aliases: Aliases,
    chunk_rows: int = CHUNK_ROWS,
    optional: PathTypes | None = None,
    raw: Collection[str] = (),
    units: Units = MappingProxyType({}),
) -> Iterator[FileChunk]:
    """Read the events of a file in chunks like ``read_events``, with the stored arrays.

    Args:
        path: File; its suffix determines the format.
        wanted: Types of the paths to read.
        aliases: Other names of the paths.
        chunk_rows: Maximum number of rows in a chunk.
        optional: Types of paths that are left out of the columns if the file lacks them.
        raw: Paths that are returned as stored arrays if the file has them, but are not decoded.
        units: Units of the whole numbers that are times, by path.

    Raises:
        ConfigurationError: The same as for ``read_events``.
    """
    extra = optional or {}
    types = {**wanted, **extra}
    needed = [
        name for name, (_, _, nullable) in wanted.items() if not nullable and name not in extra
    ]

    def pick(names: Iterable[str]) -> dict[str, str]:
        return _pick(f"event file {path}", list(names), [*types, *raw], aliases, needed)

    chunks = _format(path).chunks(path, chunk_rows, pick)
    while (chunk := _attempt(path, lambda: next(chunks, None))) is not None:
        decoded = _decoded(f"event file {path}", chunk, types, extra, units)
        yield FileChunk(chunk.rows, decoded, chunk.arrays, chunk.names)


def read_stored(path: FilePath, chunk_rows: int = CHUNK_ROWS) -> Generator[Chunk]:
    """Read all columns of a file in chunks, as stored, by their dotted names in the file.

    Values of maps, which have no fixed names, are left out.

    Raises:
        ConfigurationError: The file is missing, broken or has an unknown suffix.
    """

    def pick(names: Iterable[str]) -> dict[str, str]:
        return {name: name for name in names if not name.endswith(ANY)}

    chunks = _format(path).chunks(path, chunk_rows, pick)
    while (chunk := _attempt(path, lambda: next(chunks, None))) is not None:
        yield chunk


def decode_rows(events: list[Any], paths: PathTypes, aliases: Aliases, where: str) -> Decoded:
    """Decode nested Python values like the rows of a file.

    Args:
        events: One value for each row.
        paths: Types of the paths; all are optional.
        aliases: Other names of the paths.
        where: Name of the source, for messages.
    """
    names: dict[str, None] = {}
    for event in events:
        add_names(event, "", names)
    chunk = from_rows(events, _pick(where, list(names), paths, aliases, ()))
    return _decoded(where, chunk, paths, paths, {})


def count_rows(path: FilePath) -> int:
    """Count the rows that ``read_events`` returns, without decoding them.

    Raises:
        ConfigurationError: The same as for ``read_events``.
    """
    count = _format(path).count
    return _attempt(path, lambda: count(path))


def _format(path: FilePath) -> _Format:
    is_file = path.is_file()
    # Who may read an object may not be allowed to list a bucket.
    if not is_file and path.is_dir():
        raise ConfigurationError(
            f"event file {path} is a folder: name the files in it, such as {path}/*.parquet if "
            "several files are allowed"
        )
    file_format = _FORMATS.get(path.suffix.lower())
    if file_format is None:
        hint = _HINTS.get(path.suffix.lower(), "")
        raise ConfigurationError(
            f"event file {path} has the suffix {path.suffix!r}: give a file that ends in "
            f"{', '.join(_FORMATS)}{hint}"
        )
    if not is_file:
        raise ConfigurationError(f"event file {path} does not exist or is not a file")
    with path.open("rb") as file:
        detected = detect_format(file.read(MAGIC_BYTES))
    if detected and path.suffix.lower() not in detected.suffixes:
        raise ConfigurationError(f"event file {path} is {detected.name}: {detected.remedy}")
    return file_format


def _attempt(path: FilePath, read: Callable[[], T]) -> T:
    try:
        return read()
    except (ConfigurationError, DependencyUnavailableError):
        raise
    except Exception as error:  # readers raise exceptions of any type for broken bytes
        raise ConfigurationError(
            f"event file {path} cannot be read as {path.suffix[1:]}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _pick(
    where: str, names: list[str], paths: Iterable[str], aliases: Aliases, needed: Collection[str]
) -> dict[str, str]:
    """Return the name in the file of each path that the file has."""
    picked: dict[str, str] = {}
    for event_path in paths:
        others = aliases.get(event_path, ())
        candidates = [event_path, *([others] if isinstance(others, str) else others)]
        present = next((name for name in candidates if _has(names, name)), None)
        if present is not None:
            picked[event_path] = present
        elif event_path in needed:
            raise ConfigurationError(
                f"{where} has no column for {event_path!r} (looked for "
                f"{' and '.join(candidates)}); it has {', '.join(names)}: name the column in "
                "events.aliases of features.yaml"
            )
    return picked


def _has(names: Collection[str], name: str) -> bool:
    return name in names or name.rpartition(".")[0] + ANY in names


def _decoded(
    source: str, chunk: Chunk, types: PathTypes, optional: PathTypes, units: Units
) -> Decoded:
    columns: dict[str, Column] = {}
    errors = RowErrors(chunk.errors)
    for event_path, (kind, scale, nullable) in types.items():
        array = chunk.arrays.get(event_path)
        if array is None:
            if event_path not in optional:
                columns[event_path], _ = to_column(pa.nulls(chunk.rows), kind, scale, event_path)
            continue
        where = f"column {chunk.names[event_path]!r} of {source}"
        unit = units.get(event_path)
        column, bad = to_column(array, kind, scale, where, unit)
        if kind is Kind.STRING:
            bad[chunk.inexact.get(event_path, [])] = True
        message = f"{event_path} {_unreadable(kind, unit)}"
        errors.add(bad, ErrorCode.BODY_INVALID, message)
        if not nullable:
            message = f"{event_path} is null, and its schema allows none"
            errors.add(~column.valid & ~bad, ErrorCode.BODY_INVALID, message)
        columns[event_path] = column
    if errors.by_row:
        good = np.ones(chunk.rows, np.bool_)
        good[list(errors.by_row)] = False
        columns = {name: column.where(good) for name, column in columns.items()}
    return Decoded(columns, errors.by_row)


def _unreadable(kind: Kind, unit: str | None) -> str:
    """Return the end of the message about a value that cannot be read.

    Args:
        kind: Kind of the column.
        unit: Unit of a whole number that is a time; None for any other value.
    """
    if kind is not Kind.TIME and unit is None:
        return f"cannot be read as a {kind}{_NO_DIGITS.get(kind, '')}"
    numbers = "numbers (s, ms, us or ns, in the years 2000 to 2099)"
    if unit is not None:
        numbers = f"whole numbers ({unit})"
    return (
        "is not a time: allowed are timestamps, dates, ISO 8601 text such as "
        f"2026-05-01T12:00:00Z, and {numbers} since 1970-01-01 UTC"
    )
