"""Read event files (Parquet, Avro containers, JSON lines) to the same columns as from the topic."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa

from base.errors import ConfigurationError, ErrorCode, RecordError
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
from schemas.files.json_text import MAGIC_BYTES, described
from schemas.files.value_conversion import Mask, to_column

PathTypes: TypeAlias = Mapping[str, tuple[Kind, int, bool]]
"""Kind, scale (for a decimal) and nullability of each path."""

Units: TypeAlias = Mapping[str, str]
"""Unit of each path whose whole numbers are times: s, ms, us or ns."""

Aliases: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""Other names that a file may use, by path."""

CHUNK_ROWS = 50_000
# As a path, s3://bucket/file has one slash.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

_NO_DIGITS = dict.fromkeys(
    (Kind.STRING, Kind.LONG), " (of floats, only whole numbers up to 2**53 have digits)"
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class FileChunk:
    """Some rows of a file, decoded and as the file holds them.

    Attributes:
        rows: Number of rows, N.
        decoded: The decoded rows.
        arrays: array[N] of the file's own values, for each path that the file has.
        names: The column's name in the file, by path.
    """

    rows: int
    decoded: Decoded
    arrays: Mapping[str, pa.Array]
    names: Mapping[str, str]


class _Format(NamedTuple):
    chunks: Callable[[Path, int, Pick], Iterator[Chunk]]
    count: Callable[[Path], int]


_TO_PARQUET = " (pandas.read_csv(FILE).to_parquet(OTHER), say: Parquet keeps the types of columns)"
_HINTS = {
    ".csv": _TO_PARQUET,
    ".tsv": _TO_PARQUET,
    ".json": " (one JSON object on each line; jq -c '.[]' FILE makes lines of an array)",
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
    path: Path,
    wanted: PathTypes,
    aliases: Aliases,
    chunk_rows: int = CHUNK_ROWS,
    optional: PathTypes | None = None,
    units: Units = MappingProxyType({}),
) -> Iterator[Decoded]:
    """The events of a file, in its order and in chunks.

    ``schemas.files.value_conversion.to_column`` says how values are read. A row is in ``errors`` if
    a value cannot be read, or is null where the path may not be null.

    Args:
        path: File; its suffix names its format.
        wanted: Types of the paths to read. A path that the file lacks is all null if it may be
            null.
        aliases: Other names of the paths; a path is looked up by its own name first.
        chunk_rows: Maximum rows of a chunk.
        optional: Types of paths that are left out of the columns if the file lacks them.
        units: Units of whole numbers that are times.

    Raises:
        ConfigurationError: The file is absent, broken or of an unknown suffix; a column is missing,
            or has a type that cannot be read.
    """
    for chunk in read_chunks(path, wanted, aliases, chunk_rows, optional, units=units):
        yield chunk.decoded


def read_chunks(
    path: Path,
    wanted: PathTypes,
    aliases: Aliases,
    chunk_rows: int = CHUNK_ROWS,
    optional: PathTypes | None = None,
    raw: Collection[str] = (),
    units: Units = MappingProxyType({}),
) -> Iterator[FileChunk]:
    """The events of a file in chunks, as ``read_events`` gives them, with the file's own arrays.

    The arrays of the paths in ``raw`` are included if the file has them, and are not decoded.
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


def decode_rows(events: list[Any], paths: PathTypes, aliases: Aliases, where: str) -> Decoded:
    """Decode nested Python values like the rows of a file.

    Args:
        events: One value for each row.
        paths: Types of the paths; all are optional.
        aliases: Other names of the paths.
        where: Name of the source, for messages.
    """
    found: dict[str, None] = {}
    for event in events:
        add_names(event, "", found)
    chunk = from_rows(events, _pick(where, list(found), paths, aliases, ()))
    return _decoded(where, chunk, paths, paths, {})


def count_rows(path: Path) -> int:
    """Number of rows that ``read_events`` gives, counted without decoding them.

    Raises:
        ConfigurationError: The same as for ``read_events``.
    """
    count = _format(path).count
    return _attempt(path, lambda: count(path))


def _format(path: Path) -> _Format:
    if path.is_dir():
        raise ConfigurationError(
            f"event file {path} is a folder: name the files in it, such as {path}/*.parquet where "
            "several are taken"
        )
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        hint = _HINTS.get(path.suffix.lower(), "")
        raise ConfigurationError(
            f"event file {path} has the suffix {path.suffix!r}: give a file that ends in "
            f"{', '.join(_FORMATS)}{hint}"
        )
    if not path.is_file():
        at = " (files are read from this machine: download it)" if _ADDRESS.match(str(path)) else ""
        raise ConfigurationError(f"event file {path} does not exist or is no file{at}")
    with path.open("rb") as file:
        looks = described(file.read(MAGIC_BYTES))
    if looks and path.suffix.lower() not in looks.suffixes:
        raise ConfigurationError(f"event file {path} is {looks.found}: {looks.remedy}")
    return found


def _attempt(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except ConfigurationError:
        raise
    except Exception as error:  # broken bytes surface as whatever the reader stumbles over
        raise ConfigurationError(
            f"event file {path} cannot be read as {path.suffix[1:]}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _pick(
    where: str, names: list[str], paths: Iterable[str], aliases: Aliases, needed: Collection[str]
) -> dict[str, str]:
    """The name in the file for each path that it has."""
    picked: dict[str, str] = {}
    for event_path in paths:
        others = aliases.get(event_path, ())
        candidates = [event_path, *([others] if isinstance(others, str) else others)]
        found = next((name for name in candidates if _has(names, name)), None)
        if found is not None:
            picked[event_path] = found
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
    errors = dict(chunk.errors)
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
        _note(errors, bad, f"{event_path} {_unreadable(kind, unit)}")
        if not nullable:
            _note(errors, ~column.valid & ~bad, f"{event_path} is null, and its schema allows none")
        columns[event_path] = column
    if errors:
        good = np.ones(chunk.rows, np.bool_)
        good[list(errors)] = False
        columns = {name: column.where(good) for name, column in columns.items()}
    return Decoded(columns, errors)


def _unreadable(kind: Kind, unit: str | None) -> str:
    """The end of a sentence about a value that cannot be read.

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
        "is no time: timestamps, dates, ISO 8601 text such as 2026-05-01T12:00:00Z, and "
        f"{numbers} since 1970-01-01 UTC are read"
    )


def _note(errors: dict[int, RecordError], rows: Mask, message: str) -> None:
    """Add the error to the rows that have none yet."""
    for row in np.flatnonzero(rows).tolist():
        errors.setdefault(row, RecordError(ErrorCode.BODY_INVALID, message))
