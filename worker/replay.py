"""Replay: event files as records, and records through the stations without Kafka."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import fastavro
import numpy as np
import pyarrow as pa

from features.definition import FeatureSet
from features.store.memory import MemoryStore
from schemas.batch import Column, Decoded, Records
from schemas.encode import RecordEncoder
from schemas.errors import ConfigurationError
from schemas.files import CHUNK_ROWS, read_events
from schemas.targets import PathType, targets
from schemas.text import as_text
from schemas.types import Missing, Type, parse_record_schema
from worker.app import Pipeline, make_decoder, make_stages
from worker.dead_letter import HEADER_PREFIX, DeadLetter
from worker.publish import SizeLimits
from worker.wire import framed, score_schema

_NO_LIMIT = SizeLimits(2**31, 2**31)


@dataclass(frozen=True, slots=True, order=True)
class Refused:
    """A row that cannot be scored."""

    row: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class FileRecords:
    """A chunk of a file as input records, and what of it is no event.

    records: what a producer would have sent, keyed by the partition key; offsets are row numbers.
    columns: the file's values, rows as in ``records``.
    """

    records: Records
    columns: Mapping[str, Column]
    refused: list[Refused]


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """Scores as plain records, and the rows without one, of one chunk."""

    scores: list[dict[str, Any]]
    refused: list[Refused]


class EventFile:
    """Reads event files by the bindings of a feature set, as Avro records of its schema.

    Fields that a file lacks take the schema's default.
    """

    def __init__(self, feature_set: FeatureSet, topic: str, prefix: bytes) -> None:
        self._topic = topic
        self._feature_set = feature_set
        self._encoder = RecordEncoder(feature_set.reader_schema, prefix)
        tree = parse_record_schema(feature_set.reader_schema)
        self._required, self._optional = _leaves(tree, feature_set.paths)

    def read(
        self, path: Path, extra: Mapping[str, PathType] | None = None, chunk: int = CHUNK_ROWS
    ) -> Iterator[FileRecords]:
        """The file in its order. Raises ConfigurationError where it lacks a column in use."""
        row = 0
        optional = {**self._optional, **(extra or {})}
        aliases = self._feature_set.aliases
        for decoded in read_events(path, self._required, aliases, chunk, optional):
            yield self._records(decoded, row, frozenset(extra or ()))
            row += len(next(iter(decoded.columns.values())))

    def _records(self, decoded: Decoded, first: int, extra: frozenset[str]) -> FileRecords:
        n = len(next(iter(decoded.columns.values())))
        good = np.setdiff1d(np.arange(n), list(decoded.errors)).astype(np.intp)
        columns = {path: column.take(good) for path, column in decoded.columns.items()}
        values = self._encoder.encode(
            len(good), {path: c for path, c in columns.items() if path not in extra}
        )
        records = Records(
            self._topic,
            self._keys(columns, len(good)),
            values,
            np.zeros(len(good), np.int32),
            good.astype(np.int64) + first,
            np.full(len(good), -1, np.int64),
        )
        refused = [
            Refused(first + row, error.code.value, error.message)
            for row, error in decoded.errors.items()
        ]
        return FileRecords(records, columns, refused)

    def _keys(self, columns: Mapping[str, Column], rows: int) -> list[bytes | None]:
        """Record keys: the partition key as text, as producers of such topics send it."""
        binding = self._feature_set.bindings.partition_key
        if binding is None:
            return [None] * rows
        text = cast("pa.StringArray", as_text(columns[binding.path]).values)
        return [key.encode() for key in text.to_pylist()]


def replay_file(pipeline: Pipeline, path: Path, limit: int | None) -> Iterator[Replayed]:
    """The scores of a file's events, by the worker's own stations and an in-memory store."""
    wire = pipeline.settings.wire
    if pipeline.settings.registry is not None:
        raise ConfigurationError(
            "registry: a file is scored with the schema of features.yaml alone; leave registry "
            "out of the pipeline folder that you score with"
        )
    stages = make_stages(pipeline, make_decoder(pipeline), MemoryStore(), b"", lambda: _NO_LIMIT)
    schema = fastavro.parse_schema(score_schema())
    source = EventFile(
        pipeline.feature_set,
        pipeline.settings.kafka.input_topic,
        framed(wire.schema_id) if wire.framing == "confluent" else b"",
    )
    left = limit
    for chunk in source.read(path):
        records, refused = chunk.records, chunk.refused
        if left is not None and left <= len(records):
            records = records.take(np.arange(left))
            refused = [row for row in refused if row.row < records.offsets[-1]]
        processed = stages(records)
        yield Replayed(
            [_decoded(schema, value) for value in processed.values],
            sorted([*refused, *(_refused(letter) for letter in processed.dead_letters)]),
        )
        if left is not None:
            left -= len(records)
            if left == 0:
                return


def _decoded(schema: Any, value: bytes) -> dict[str, Any]:
    """A score as JSON can hold it."""
    record = cast("dict[str, Any]", fastavro.schemaless_reader(io.BytesIO(value), schema, None))
    for name in ("event_time", "scored_at"):
        record[name] = record[name].isoformat()
    # JSON has no NaN.
    record["vector"] = {k: None if math.isnan(v) else v for k, v in record["vector"].items()}
    return record


def _refused(letter: DeadLetter) -> Refused:
    message = dict(letter.headers)[f"{HEADER_PREFIX}message"] or b""
    return Refused(letter.position.offset, letter.code.value, message.decode())


def _leaves(tree: Type, in_use: frozenset[str]) -> tuple[dict[str, PathType], dict[str, PathType]]:
    """The readable paths of a schema: those a file must have, and those with a default."""
    required: dict[str, PathType] = {}
    optional: dict[str, PathType] = {}
    for path, defaults in _paths(tree, "", ()):
        has_default = any(default is not Missing.DEFAULT for default in defaults)
        try:
            kind = targets(tree, [path])[0].type
        except ConfigurationError:
            if path in in_use or not has_default:
                raise
            continue
        (optional if has_default else required)[path] = kind
    return required, optional


def _paths(
    record: Type, prefix: str, outer: tuple[object, ...]
) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Every leaf with the defaults of its field and of the records around it."""
    for field in record.fields:
        defaults = (*outer, field.default)
        if field.type.base == "record":
            yield from _paths(field.type, f"{prefix}{field.name}.", defaults)
        else:
            yield prefix + field.name, defaults
