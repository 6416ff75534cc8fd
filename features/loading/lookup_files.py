"""Read values of a lookup from a Parquet file, and load them into the online store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from base.errors import ConfigurationError
from base.file_path import FilePath, parquet_source
from base.suggest import unknown
from features.definition.feature_set import FeatureSet
from features.loading.lookup_keys import KeyColumns, refuse_row, require_type
from features.loading.vector_columns import is_numeric, is_vector, vector_values
from features.lookups.lookup import NEVER, Lookup
from features.store.protocol import OnlineStore
from schemas.files.arrow_values import plain

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
    path: FilePath,
    store: OnlineStore,
    progress: Progress = lambda _done, _total: None,
) -> Loaded:
    """Write every row of the Parquet file at ``path`` as a value of ``lookup``.

    Columns: the entity key (by its field, that field's alias, or the entity's name; a composite key
    by its fields, or as one text by the entity's name), each value of the lookup as a number (null
    is missing), and ``updated_at``, a timestamp in UTC, which may be absent if the lookup has no
    max_age. Other columns are ignored. Of several rows with one key the last counts. The whole file
    is checked before the first write.

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
    target = find_lookup(feature_set, lookup)
    if target.feast is not None:
        raise ConfigurationError(
            f"lookup {lookup} reads the feature view {target.feast.feature_view} as Feast keeps "
            "it: fill it with feast materialize, or remove feast: from the lookup to load it from "
            "here"
        )
    with open_lookup_file(feature_set, target, path) as file:
        keys = file.check()
        done = 0
        for rows in file.rows():
            store.write(_packed(target, rows))
            done += len(rows.keys)
            progress(done, len(file))
    return Loaded(done, keys)


def find_lookup(feature_set: FeatureSet, name: str) -> Lookup:
    """The lookup of that name. Raises ConfigurationError if there is none."""
    if name not in feature_set.lookups:
        raise ConfigurationError(unknown("lookup", name, feature_set.lookups))
    return feature_set.lookups[name]


def _packed(lookup: Lookup, rows: LookupRows) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values for the store."""
    width, data = lookup.layout.itemsize, rows.stored.tobytes()
    values = (data[i : i + width] for i in range(0, len(data), width))
    return zip(lookup.keys(rows.keys), values, strict=True)


class LookupRows(NamedTuple):
    """N rows of a file.

    Attributes:
        keys: StringArray[N].
        stored: [N], values in the layout of the lookup, with their times.
    """

    keys: pa.StringArray
    stored: npt.NDArray[Any]


@contextmanager
def open_lookup_file(
    feature_set: FeatureSet, lookup: Lookup, path: FilePath, *, dated: bool = False
) -> Iterator[LookupFile]:
    """Open a Parquet file with values of ``lookup``.

    Args:
        feature_set: The feature set.
        lookup: The lookup.
        path: Path of the file.
        dated: True if each row must have a time, also without a max_age.

    Raises:
        ConfigurationError: A column is invalid, or there are no rows.
    """
    try:
        with pq.ParquetFile(parquet_source(path)) as file:
            if not file.metadata.num_rows:
                raise ConfigurationError(
                    f"{path} has no rows, so nothing was written; give a file with a row for each "
                    "key"
                )
            yield LookupFile(feature_set, lookup, path, file, dated=dated)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigurationError(f"{path} cannot be read as Parquet: {error}") from error


class LookupFile:
    """A Parquet file as values of one lookup.

    Attributes:
        schema: Schema of the file.
    """

    def __init__(
        self,
        feature_set: FeatureSet,
        lookup: Lookup,
        path: FilePath,
        file: pq.ParquetFile,
        *,
        dated: bool,
    ) -> None:
        self._lookup = lookup
        self._path = path
        self._file = file
        self.schema: pa.Schema = file.schema_arrow
        self._keys = KeyColumns(feature_set, lookup.entity, path, self.schema)
        for name in lookup.names:
            self._require(name, "a number", is_numeric)
        for vector in lookup.vectors:
            self._require(vector.name, "a list of numbers", is_vector)
        self._updated_at = "updated_at" in self.schema.names
        self._needs_time = dated or lookup.max_age is not None
        self._reason = "past values are found by it" if dated else "the lookup has a max_age"
        if self._updated_at:
            self._require("updated_at", "a timestamp in UTC", _is_utc)
        elif self._needs_time:
            remedy = "" if dated else ", or remove max_age"
            raise ConfigurationError(
                f"{path} has no column updated_at, and {self._reason}: add the time (UTC) of each "
                f"row's values{remedy}"
            )

    def __len__(self) -> int:
        """Number of rows."""
        return int(self._file.metadata.num_rows)

    def check(self) -> int:
        """Validate all rows; return the number of distinct keys."""
        for _ in self.rows():
            pass
        batches = self._file.iter_batches(columns=self._keys.names)
        keys = pa.chunked_array([self._keys.read(batch, 1) for batch in batches], pa.string())
        return int(pc.count_distinct(keys).as_py())

    def rows(self) -> Iterator[LookupRows]:
        """Iterate over the rows, ROWS_AT_A_TIME at a time.

        Raises:
            ConfigurationError: A row is invalid.
        """
        columns = [*self._keys.names, *self._lookup.value_names]
        columns += ["updated_at"] if self._updated_at else []
        first = 1
        for batch in self._file.iter_batches(ROWS_AT_A_TIME, columns=columns):
            yield LookupRows(self._keys.read(batch, first), self._stored(batch, first))
            first += batch.num_rows

    def _stored(self, batch: pa.RecordBatch, first: int) -> npt.NDArray[Any]:
        table = np.empty(batch.num_rows, dtype=self._lookup.layout)
        for place, name in enumerate(self._lookup.names):
            values = pc.cast(plain(batch.column(name)), pa.float64())
            numbers = values.to_numpy(zero_copy_only=False)
            refuse_row(self._path, np.isinf(numbers), first, f"{name} is infinite")
            table["values"][:, place] = numbers
        for vector in self._lookup.vectors:
            table[f"vector {vector.name}"] = vector_values(
                batch.column(vector.name),
                vector,
                lambda wrong, what: refuse_row(self._path, wrong, first, what),
            )
        table["updated_at"] = self._times(batch, first)
        return table

    def _times(self, batch: pa.RecordBatch, first: int) -> npt.NDArray[np.int64] | int:
        if not self._updated_at:
            return int(NEVER)
        micros = pc.cast(batch.column("updated_at"), pa.timestamp("us", "UTC"), safe=False)
        absent = micros.is_null().to_numpy(zero_copy_only=False)
        if self._needs_time:
            refuse_row(self._path, absent, first, f"updated_at is null, and {self._reason}")
        times: npt.NDArray[np.int64] = (
            pc.fill_null(pc.cast(micros, pa.int64()), int(NEVER))
            .to_numpy(zero_copy_only=False)
            .astype(np.int64)
        )
        return times

    def _require(self, name: str, wanted: str, fits: Callable[[pa.DataType], bool]) -> None:
        if name not in self.schema.names:
            raise ConfigurationError(
                f"{self._path} has no column {name}, a value of lookup {self._lookup.name}: add it"
            )
        require_type(self._path, self.schema, name, wanted, fits)


def _is_utc(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.tz in (None, "UTC", "Etc/UTC", "+00:00", "Z")
