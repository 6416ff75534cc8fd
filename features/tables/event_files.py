"""Read event files as tables of events, with the same values as from records of these events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import Longs, RowErrors
from base.errors import ConfigurationError, ErrorCode
from base.file_path import FilePath
from base.suggest import unknown
from features.compute.bind import bind
from features.definition import FeatureSet
from features.tables.event_table import EventTable, as_array, identity_paths, record_times
from schemas.avro.paths import targets
from schemas.avro.round_trip import RoundTrip
from schemas.avro.text import as_text
from schemas.avro.types import Missing, Type, parse_record_schema
from schemas.batch import Decoded, EventBatch, Kind, Records, refusals
from schemas.files.read import FileChunk, count_rows, read_chunks
from schemas.files.values import to_column

CHUNK_ROWS = 150_000
"""Rows of a chunk: with fewer each history is read more often (measured), more need more memory."""

Hashes32 = npt.NDArray[np.uint32]

_SEED = np.uint32(0x9747B28C)
_MULTIPLIER = np.uint32(0x5BD1E995)
_WORD_BYTES = 4
_SIGN_CLEARED = np.uint32(0x7FFFFFFF)


@dataclass(frozen=True, slots=True)
class Partitioning:
    """Assignment of rows to ``partitions`` partitions, by the field at ``path`` as record key."""

    path: str
    partitions: int

    @classmethod
    def by(cls, feature_set: FeatureSet, field: str, partitions: int) -> Partitioning:
        """Partitioning by a field.

        Args:
            feature_set: The feature set.
            field: Path of a field of the schema, or its alias.
            partitions: Number of partitions.

        Raises:
            ConfigurationError: There is no such field.
        """
        tree = parse_record_schema(feature_set.reader_schema)
        names = {alias: path for path, alias in feature_set.aliases.items()}
        path = names.get(field, field)
        try:
            targets(tree, [path])
        except ConfigurationError as error:
            known = [*names, *(item.name for item in tree.fields)]
            hint = str(error) if field in known else unknown("field", field, known)
            raise ConfigurationError(f"--partition-by: {hint}") from error
        return cls(path, partitions)


class EventTableReader:
    """Reader of event files as tables of events; Parquet, Avro containers or JSON lines.

    The files are read one after the other.

    Without partitioning a row is a record of partition 0, and its offset is its row number; the
    numbers continue from file to file. With partitioning, each partition has its own offsets.

    Attributes:
        advance: Called with the number of rows that have been read and processed.
    """

    def __init__(
        self,
        feature_set: FeatureSet,
        files: Sequence[FilePath],
        partitioning: Partitioning | None = None,
        chunk_rows: int = CHUNK_ROWS,
        record_time: str | None = None,
    ) -> None:
        """Take ``record_time`` as the column that holds the timestamps of the records."""
        self._feature_set = feature_set
        self._files = files
        self._partitioning = partitioning
        self._chunk_rows = chunk_rows
        self._record_time = record_time
        label = feature_set.bindings.label
        self._label = None if label is None else label.field
        extra = [partitioning.path] if partitioning else []
        self.advance: Callable[[int], None] = lambda _rows: None
        self._round_trip = RoundTrip(feature_set.reader_schema, {*feature_set.paths, *extra})
        tree = parse_record_schema(feature_set.reader_schema)
        types = {item.path: item.type for item in targets(tree, self._round_trip.reads)}
        self._optional = {path: kind for path, kind in types.items() if _has_default(tree, path)}
        self._required = {p: kind for p, kind in types.items() if p not in self._optional}

    @property
    def partitions(self) -> int:
        return self._partitioning.partitions if self._partitioning else 1

    def count(self) -> int:
        """Number of rows in all files. Raises ConfigurationError for a file that cannot be read."""
        return sum(map(count_rows, self._files))

    def __iter__(self) -> Iterator[EventTable]:
        """Iterate over the events in chunks. Raises ConfigurationError if a file lacks a column."""
        rows = Places(self.partitions)
        for path in self._files:
            first = 0
            for chunk in read_chunks(
                path,
                self._required,
                self._feature_set.aliases,
                self._chunk_rows,
                self._optional,
                [name for name in (self._label, self._record_time) if name is not None],
                self._feature_set.bindings.event_time.units,
            ):
                yield self._events(path, first, chunk, rows)
                first += chunk.rows
                self.advance(rows.count)

    def _events(self, path: FilePath, first: int, chunk: FileChunk, rows: Places) -> EventTable:
        decoded = self._decoded(chunk)
        where = f"event file {path}"
        times = record_times(self._record_time, chunk.arrays, chunk.rows, where, first)
        records = rows.take(chunk.rows, self._partitions(chunk.rows, decoded), times)
        batch, errors = bind(self._feature_set, records, decoded)
        kept = None
        if errors:
            kept = pa.array(RowErrors(errors).valid_rows(chunk.rows))
        numbers = rows.count - chunk.rows + np.arange(chunk.rows)
        return EventTable(
            batch,
            self._identity(chunk, decoded, batch, kept),
            numbers if kept is None else numbers[kept],
            _take(self._fraud(path, first, chunk), kept),
            refusals(errors, lambda row: f"{path}, row {first + row}"),
            chunk.rows,
        )

    def _decoded(self, chunk: FileChunk) -> Decoded:
        held = self._round_trip(chunk.rows, chunk.decoded.columns)
        errors = RowErrors(held.errors, chunk.decoded.errors)
        if self._partitioning:
            path = self._partitioning.path
            invalid = ~held.columns[path].valid
            errors.add(invalid, ErrorCode.PARTITION_KEY_MISSING, f"{path} is null")
        return Decoded(held.columns, errors.by_row)

    def _partitions(self, rows: int, decoded: Decoded) -> npt.NDArray[np.int32]:
        if self._partitioning is None:
            return np.zeros(rows, np.int32)
        text = as_text(decoded.columns[self._partitioning.path]).values
        return partitions_of(cast("pa.StringArray", text), self._partitioning.partitions)

    def _identity(
        self, chunk: FileChunk, decoded: Decoded, batch: EventBatch, kept: pa.Array | None
    ) -> dict[str, pa.Array]:
        bindings = self._feature_set.bindings
        columns: dict[str, pa.Array] = {}
        for path in identity_paths(bindings):
            if path in bindings.tokens:
                columns[bindings.tokens[path]] = as_array(batch.columns[path])
            elif path in chunk.arrays:
                columns[chunk.names[path]] = _take(chunk.arrays[path], kept)
            else:
                columns[path] = _take(as_array(decoded.columns[path]), kept)
        return columns

    def _fraud(self, path: FilePath, first: int, chunk: FileChunk) -> pa.BooleanArray | None:
        array = chunk.arrays.get(self._label or "")
        if array is None:
            return None
        name = chunk.names[self._label or ""]
        column, wrong = to_column(array, Kind.BOOL, 0, f"column {name!r} of event file {path}")
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ConfigurationError(
                f"event file {path}, row {first + row}: label {name} is {array[row].as_py()!r}; "
                "a label is 0 or 1, or null where it is not known"
            )
        return as_array(column)


class Places:
    """Positions of the next rows in P partitions, and the number of rows so far."""

    def __init__(self, partitions: int) -> None:
        self._next = np.zeros(partitions, np.int64)
        self.count = 0

    def take(self, rows: int, partitions: npt.NDArray[np.int32], timestamps: Longs) -> Records:
        """Make the next rows into records without content."""
        counts = np.bincount(partitions, minlength=len(self._next))
        order = np.argsort(partitions, kind="stable")
        offsets: Longs = np.empty(rows, np.int64)
        starts = np.cumsum(counts) - counts
        offsets[order] = np.arange(rows) + np.repeat(self._next - starts, counts)
        self._next += counts
        self.count += rows
        nothing = [None] * rows
        return Records("", nothing, nothing, partitions, offsets, timestamps)


def _take(array: pa.Array | None, kept: pa.Array | None) -> pa.Array | None:
    return array if array is None or kept is None else array.take(kept)


def _has_default(tree: Type, path: str) -> bool:
    """True if the schema has a default for the field at ``path``, or for a record around it."""
    here = tree
    for name in path.split("."):
        records = [here, *here.branches]
        field = next(f for record in records for f in record.fields if f.name == name)
        if field.default is not Missing.DEFAULT:
            return True
        here = field.type
    return False


def partitions_of(keys: pa.StringArray, partitions: int) -> npt.NDArray[np.int32]:
    """Partition of each key by Kafka's default partitioner, int32[N].

    Args:
        keys: StringArray[N] without nulls.
        partitions: Number of partitions of the topic.
    """
    return ((murmur2(keys) & _SIGN_CLEARED) % np.uint32(partitions)).astype(np.int32)


def murmur2(values: pa.StringArray) -> Hashes32:
    """MurmurHash2 with Kafka's seed over the UTF-8 bytes of each value, uint32[N].

    The bits are those of the int that Kafka's own ``Utils.murmur2`` returns.
    """
    if not len(values):
        return np.empty(0, np.uint32)
    bounds = np.frombuffer(values.buffers()[1], np.int32)
    bounds = bounds[values.offset : values.offset + len(values) + 1]
    data = values.buffers()[2]
    # Three bytes of padding: the last bytes of a value are read as a whole word.
    text = (b"" if data is None else bytes(data[bounds[0] : bounds[-1]])) + bytes(_WORD_BYTES - 1)
    words: Hashes32 = np.ndarray((len(text) - _WORD_BYTES + 1,), "<u4", text, strides=(1,))
    begins, lengths = bounds[:-1] - bounds[0], np.diff(bounds)
    hashes = _SEED ^ lengths.astype(np.uint32)
    for done in range(0, int(lengths.max()) - _WORD_BYTES + 1, _WORD_BYTES):
        rows = np.flatnonzero(lengths >= done + _WORD_BYTES)
        hashes[rows] = (hashes[rows] * _MULTIPLIER) ^ _mixed(words[begins[rows] + done])
    rest = lengths % _WORD_BYTES
    rows = np.flatnonzero(rest)
    used = (np.uint32(1) << (rest[rows].astype(np.uint32) * np.uint32(8))) - np.uint32(1)
    tails = words[begins[rows] + lengths[rows] - rest[rows]] & used
    hashes[rows] = (hashes[rows] ^ tails) * _MULTIPLIER
    hashes ^= hashes >> np.uint32(13)
    hashes *= _MULTIPLIER
    hashes ^= hashes >> np.uint32(15)
    return hashes


def _mixed(words: Hashes32) -> Hashes32:
    mixed = words * _MULTIPLIER
    mixed ^= mixed >> np.uint32(24)
    return mixed * _MULTIPLIER
