"""Load a lookup of the online store from a Parquet file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from base.arrays import byte_lengths
from base.errors import ConfigurationError
from base.suggest import unknown
from features.compute.bind import MAX_KEY_BYTES
from features.definition.feature_set import FeatureSet
from features.lookups.lookup import NEVER, Lookup
from features.store.protocol import OnlineStore
from schemas.batch import Kind
from schemas.files.arrow_values import plain
from schemas.files.values import to_column

ROWS_AT_A_TIME = 20_000

Progress = Callable[[int, int], None]
"""Callback with the number of rows done and the number of all rows."""


class Loaded(NamedTuple):
    """Counts of a load.

    Attributes:
        rows: Number of rows read.
        keys: Number of distinct keys that they set.
    """

    rows: int
    keys: int


def load_lookup(
    feature_set: FeatureSet,
    lookup: str,
    path: Path,
    store: OnlineStore,
    progress: Progress = lambda _done, _total: None,
) -> Loaded:
    """Write every row of the Parquet file at ``path`` as a value of ``lookup``.

    Columns: the entity key (by its field, that field's alias, or the entity's name), each value of
    the lookup as a number (null is missing), and ``updated_at``, a timestamp in UTC, which may be
    absent if the lookup has no max_age. Other columns are ignored. Of several rows with one key the
    last counts. The whole file is checked before the first write.

    Args:
        feature_set: The feature set.
        lookup: Name of the lookup.
        path: Path of the file.
        store: The online store.
        progress: Called after each chunk of rows.

    Returns:
        The number of rows and of distinct keys.

    Raises:
        ConfigurationError: A column or row is invalid, or there is none; the message names it.
        DependencyUnavailableError: The store does not answer; the load can be repeated from its
            start.
    """
    if lookup not in feature_set.lookups:
        raise ConfigurationError(unknown("lookup", lookup, feature_set.lookups))
    feast = feature_set.lookups[lookup].feast
    if feast is not None:
        raise ConfigurationError(
            f"lookup {lookup} reads the feature view {feast.feature_view} as Feast keeps it: fill "
            "it with feast materialize, or remove feast: from the lookup to load it from here"
        )
    try:
        with pq.ParquetFile(path) as file:
            source = _LookupFile(feature_set, feature_set.lookups[lookup], path, file)
            total = file.metadata.num_rows
            if not total:
                raise ConfigurationError(
                    f"{path} has no rows, so nothing was written; give a file with a row for each "
                    "key"
                )
            keys = source.check()
            done = 0
            for packed in source.packed():
                store.write(packed)
                done += len(packed)
                progress(done, total)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigurationError(f"{path} cannot be read as Parquet: {error}") from error
    return Loaded(total, keys)


class _LookupFile:
    """A Parquet file as values of one lookup."""

    def __init__(
        self, feature_set: FeatureSet, lookup: Lookup, path: Path, file: pq.ParquetFile
    ) -> None:
        self._lookup = lookup
        self._path = path
        self._file = file
        schema = file.schema_arrow
        self._key = self._key_column(feature_set, schema)
        for name in lookup.names:
            self._require(schema, name, "a number", _is_number)
        self._updated_at = "updated_at" in schema.names
        if self._updated_at:
            self._require(schema, "updated_at", "a timestamp in UTC", _is_utc)
        elif lookup.max_age is not None:
            raise ConfigurationError(
                f"{path} has no column updated_at, and lookup {lookup.name} has a max_age: add the "
                "time (UTC) of each row's values, or remove max_age"
            )

    def check(self) -> int:
        """Validate all rows by packing them; return the number of distinct keys."""
        for _ in self.packed():
            pass
        batches = self._file.iter_batches(columns=[self._key])
        keys = pa.chunked_array([self._keys(batch, 1) for batch in batches], pa.string())
        return int(pc.count_distinct(keys).as_py())

    def packed(self) -> Iterator[list[tuple[bytes, bytes]]]:
        """Keys and values for the store, ROWS_AT_A_TIME rows at a time."""
        columns = [self._key, *self._lookup.names, *(["updated_at"] if self._updated_at else [])]
        first = 1
        for batch in self._file.iter_batches(ROWS_AT_A_TIME, columns=columns):
            yield self._pack(batch, first)
            first += batch.num_rows

    def _pack(self, batch: pa.RecordBatch, first: int) -> list[tuple[bytes, bytes]]:
        table = np.empty(batch.num_rows, dtype=self._lookup.layout)
        for place, name in enumerate(self._lookup.names):
            values = pc.cast(plain(batch.column(name)), pa.float64())
            numbers = values.to_numpy(zero_copy_only=False)
            self._refuse_row(np.isinf(numbers), first, f"{name} is infinite")
            table["values"][:, place] = numbers
        table["updated_at"] = self._times(batch, first)
        width = self._lookup.layout.itemsize
        data = table.tobytes()
        values = [data[i : i + width] for i in range(0, len(data), width)]
        return list(zip(self._lookup.keys(self._keys(batch, first)), values, strict=True))

    def _keys(self, batch: pa.RecordBatch, first: int) -> pa.StringArray:
        column, bad = to_column(
            plain(batch.column(self._key)), Kind.STRING, 0, f"{self._path}: column {self._key}"
        )
        self._refuse_row(
            bad,
            first,
            f"{self._key} is not a whole number, or one that a float does not hold exactly",
        )
        self._refuse_row(~column.valid, first, f"{self._key} is null")
        keys = cast("pa.StringArray", column.values)
        lengths = byte_lengths(keys)
        self._refuse_row(lengths == 0, first, f"{self._key} is empty")
        self._refuse_row(
            lengths > MAX_KEY_BYTES, first, f"{self._key} is longer than {MAX_KEY_BYTES} bytes"
        )
        return keys

    def _times(self, batch: pa.RecordBatch, first: int) -> npt.NDArray[np.int64] | int:
        if not self._updated_at:
            return int(NEVER)
        micros = pc.cast(batch.column("updated_at"), pa.timestamp("us", "UTC"), safe=False)
        absent = micros.is_null().to_numpy(zero_copy_only=False)
        if self._lookup.max_age is not None:
            self._refuse_row(absent, first, "updated_at is null, and the lookup has a max_age")
        times: npt.NDArray[np.int64] = (
            pc.fill_null(pc.cast(micros, pa.int64()), int(NEVER))
            .to_numpy(zero_copy_only=False)
            .astype(np.int64)
        )
        return times

    def _refuse_row(self, wrong: npt.NDArray[np.bool_], first: int, what: str) -> None:
        if wrong.any():
            row = first + int(np.argmax(wrong))
            raise ConfigurationError(
                f"{self._path}: row {row}: {what}; {int(wrong.sum())} such rows near it. Correct "
                "or leave out these rows; nothing was written"
            )

    def _key_column(self, feature_set: FeatureSet, schema: pa.Schema) -> str:
        entity = self._lookup.entity
        field = feature_set.bindings.entities[entity].path
        names = list(dict.fromkeys((field, feature_set.aliases.get(field, field), entity)))
        present = [name for name in names if name in schema.names]
        if len(present) != 1:
            state = f"has both {' and '.join(present)}" if present else "has no column for the key"
            raise ConfigurationError(
                f"{self._path} {state} of entity {entity}: name exactly one {' or '.join(names)}"
            )
        self._require(schema, present[0], "text or a whole number", _is_key)
        return present[0]

    def _require(
        self, schema: pa.Schema, name: str, wanted: str, fits: Callable[[pa.DataType], bool]
    ) -> None:
        if name not in schema.names:
            raise ConfigurationError(
                f"{self._path} has no column {name}, a value of lookup {self._lookup.name}: add it"
            )
        kind = schema.field(name).type
        if not fits(plain(pa.array([], kind)).type):
            raise ConfigurationError(f"{self._path}: column {name} is {kind}, not {wanted}")


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    )


def _is_key(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    )


def _is_utc(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.tz in (None, "UTC", "Etc/UTC", "+00:00", "Z")
