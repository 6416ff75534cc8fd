"""Event files: the same columns as from the topic, from Parquet, Avro containers or JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.batch import Column, Decoded, Kind
from schemas.errors import ConfigurationError, ErrorCode, RecordError
from schemas.file_formats import (
    Chunk,
    Pick,
    avro_chunks,
    count_avro,
    count_json,
    count_parquet,
    json_chunks,
    parquet_chunks,
)
from schemas.file_values import Mask, to_column

PathTypes: TypeAlias = Mapping[str, tuple[Kind, int, bool]]
"""For each path its kind, its scale (of a decimal) and whether it may be null."""

CHUNK_ROWS = 50_000

T = TypeVar("T")


class _Format(NamedTuple):
    chunks: Callable[[Path, int, Pick], Iterator[Chunk]]
    count: Callable[[Path], int]


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
    aliases: Mapping[str, str],
    chunk_rows: int = CHUNK_ROWS,
    optional: PathTypes | None = None,
) -> Iterator[Decoded]:
    """The events of a file in its order, in chunks of at most ``chunk_rows`` rows.

    A path is looked for under its own name, then under its alias. One of ``wanted`` that the file
    lacks is all null where it may be null; one of ``optional`` is left out of the columns. How
    values are read: ``file_values.to_column``. A row with a value that cannot be read, or with a
    null that may not be, is in ``errors``.

    Raises ConfigurationError for a file that is absent, broken or of an unknown suffix, for a
    column that is missing, and for one of a type that cannot be read.
    """
    extra = optional or {}
    types = {**wanted, **extra}

    def pick(names: Iterable[str]) -> dict[str, str]:
        return _pick(path, list(names), types, aliases, extra)

    chunks = _format(path).chunks(path, chunk_rows, pick)
    while (chunk := _attempt(path, lambda: next(chunks, None))) is not None:
        yield _decoded(path, chunk, types, extra)


def count_rows(path: Path) -> int:
    """How many rows ``read_events`` gives, without decoding them.

    Raises ConfigurationError as ``read_events`` does.
    """
    count = _format(path).count
    return _attempt(path, lambda: count(path))


def _format(path: Path) -> _Format:
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        raise ConfigurationError(
            f"event file {path} has the suffix {path.suffix!r}: give a file that ends in "
            f"{', '.join(_FORMATS)}"
        )
    if not path.is_file():
        raise ConfigurationError(f"event file {path} does not exist or is no file")
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
    path: Path,
    names: list[str],
    types: PathTypes,
    aliases: Mapping[str, str],
    optional: PathTypes,
) -> dict[str, str]:
    """The name in the file for each path that it has."""
    picked: dict[str, str] = {}
    for event_path, (_, _, nullable) in types.items():
        candidates = [event_path, *filter(None, [aliases.get(event_path)])]
        found = next((name for name in candidates if name in names), None)
        if found is not None:
            picked[event_path] = found
        elif not nullable and event_path not in optional:
            raise ConfigurationError(
                f"event file {path} has no column for {event_path!r} (looked for "
                f"{' and '.join(candidates)}); it has {', '.join(names)}: name the column in "
                "events.aliases of features.yaml"
            )
    return picked


def _decoded(path: Path, chunk: Chunk, types: PathTypes, optional: PathTypes) -> Decoded:
    columns: dict[str, Column] = {}
    errors = dict(chunk.errors)
    for event_path, (kind, scale, nullable) in types.items():
        array = chunk.arrays.get(event_path)
        if array is None:
            if event_path not in optional:
                columns[event_path], _ = to_column(pa.nulls(chunk.rows), kind, scale, event_path)
            continue
        where = f"column {chunk.names[event_path]!r} of event file {path}"
        column, bad = to_column(array, kind, scale, where)
        _note(errors, bad, f"{event_path} cannot be read as a {kind}")
        if not nullable:
            _note(errors, ~column.valid & ~bad, f"{event_path} is null, and its schema allows none")
        columns[event_path] = column
    if errors:
        good = np.ones(chunk.rows, np.bool_)
        good[list(errors)] = False
        columns = {name: _blanked(column, good) for name, column in columns.items()}
    return Decoded(columns, errors)


def _note(errors: dict[int, RecordError], rows: Mask, message: str) -> None:
    """Adds the error to the rows that have none yet."""
    for row in np.flatnonzero(rows).tolist():
        errors.setdefault(row, RecordError(ErrorCode.BODY_INVALID, message))


def _blanked(column: Column, good: Mask) -> Column:
    """The same column, null where not good."""
    if column.kind is Kind.STRING:
        values = pc.if_else(pa.array(good), column.values, "")
    else:
        values = np.where(good, column.values, column.values.dtype.type(0))
    return Column(column.kind, values, column.valid & good, column.scale)
