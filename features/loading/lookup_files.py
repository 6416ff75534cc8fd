"""Read values of a lookup from a Parquet file, and load them into the online store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from base.arrays import byte_lengths
from base.errors import ConfigurationError
from base.file_path import FilePath, parquet_source
from base.suggest import unknown
from features.definition.bindings import KeyPart
from features.definition.feature_set import FeatureSet
from features.loading.vector_columns import is_numeric, is_vector, vector_values
from features.lookups.lookup import NEVER, Lookup
from features.store.protocol import OnlineStore
from features.values.key_texts import MAX_KEY_BYTES
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
        self._entity = feature_set.bindings.entities[lookup.entity]
        self._keys_in = self._key_columns(feature_set.aliases)
        for name in lookup.names:
            self._require(self.schema, name, "a number", is_numeric)
        for vector in lookup.vectors:
            self._require(self.schema, vector.name, "a list of numbers", is_vector)
        self._updated_at = "updated_at" in self.schema.names
        self._needs_time = dated or lookup.max_age is not None
        self._reason = "past values are found by it" if dated else "the lookup has a max_age"
        if self._updated_at:
            self._require(self.schema, "updated_at", "a timestamp in UTC", _is_utc)
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
        batches = self._file.iter_batches(columns=self._keys_in)
        keys = pa.chunked_array([self._keys(batch, 1) for batch in batches], pa.string())
        return int(pc.count_distinct(keys).as_py())

    def rows(self) -> Iterator[LookupRows]:
        """Iterate over the rows, ROWS_AT_A_TIME at a time.

        Raises:
            ConfigurationError: A row is invalid.
        """
        columns = [*self._keys_in, *self._lookup.value_names]
        columns += ["updated_at"] if self._updated_at else []
        first = 1
        for batch in self._file.iter_batches(ROWS_AT_A_TIME, columns=columns):
            yield LookupRows(self._keys(batch, first), self._stored(batch, first))
            first += batch.num_rows

    def _stored(self, batch: pa.RecordBatch, first: int) -> npt.NDArray[Any]:
        table = np.empty(batch.num_rows, dtype=self._lookup.layout)
        for place, name in enumerate(self._lookup.names):
            values = pc.cast(plain(batch.column(name)), pa.float64())
            numbers = values.to_numpy(zero_copy_only=False)
            self._refuse_row(np.isinf(numbers), first, f"{name} is infinite")
            table["values"][:, place] = numbers
        for vector in self._lookup.vectors:
            table[f"vector {vector.name}"] = vector_values(
                batch.column(vector.name),
                vector,
                lambda wrong, what: self._refuse_row(wrong, first, what),
            )
        table["updated_at"] = self._times(batch, first)
        return table

    def _keys(self, batch: pa.RecordBatch, first: int) -> pa.StringArray:
        names, entity = self._keys_in, self._entity
        if entity.is_made and names == [self._lookup.entity]:
            keys = self._texts(batch, names[0], first)
            self._refuse_row(~entity.are_keys(keys), first, f"{names[0]} is not {entity.form}")
            return keys
        parts = zip(names, entity.parts, strict=True)
        keys, long = entity.join([self._part(batch, *of, first) for of in parts])
        self._refuse_row(long, first, f"{' and '.join(names)} is longer than {MAX_KEY_BYTES} bytes")
        return keys

    def _part(self, batch: pa.RecordBatch, name: str, part: KeyPart, first: int) -> pa.StringArray:
        texts = self._texts(batch, name, first, nullable=part.nullable)
        return texts if part.tokens is None else part.tokens.tokens(texts)

    def _texts(
        self, batch: pa.RecordBatch, name: str, first: int, *, nullable: bool = False
    ) -> pa.StringArray:
        column, bad = to_column(
            plain(batch.column(name)), Kind.STRING, 0, f"{self._path}: column {name}"
        )
        self._refuse_row(
            bad, first, f"{name} is not a whole number, or one that a float does not hold exactly"
        )
        texts = cast("pa.StringArray", column.values)
        if not nullable:
            self._refuse_row(~column.valid, first, f"{name} is null")
            self._refuse_row(byte_lengths(texts) == 0, first, f"{name} is empty")
        return texts

    def _times(self, batch: pa.RecordBatch, first: int) -> npt.NDArray[np.int64] | int:
        if not self._updated_at:
            return int(NEVER)
        micros = pc.cast(batch.column("updated_at"), pa.timestamp("us", "UTC"), safe=False)
        absent = micros.is_null().to_numpy(zero_copy_only=False)
        if self._needs_time:
            self._refuse_row(absent, first, f"updated_at is null, and {self._reason}")
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

    def _key_columns(self, aliases: Mapping[str, str]) -> list[str]:
        """Names of the columns with the parts of the key, or of the one with the whole key."""
        name, paths, present = self._lookup.entity, self._entity.paths, self.schema.names
        if self._entity.is_made and name in present:
            columns = [self._one_of([name, *paths, *filter(None, map(aliases.get, paths))])]
        elif self._entity.is_made:
            columns = [self._one_of([path, aliases.get(path, path)]) for path in paths]
        else:
            columns = [self._one_of([paths[0], aliases.get(paths[0], paths[0]), name])]
        for column in columns:
            self._require(self.schema, column, "text or a whole number", _is_key)
        return columns

    def _one_of(self, names: Sequence[str]) -> str:
        names = list(dict.fromkeys(names))
        present = [name for name in names if name in self.schema.names]
        if len(present) != 1:
            state = f"has both {' and '.join(present)}" if present else "has no column for the key"
            raise ConfigurationError(
                f"{self._path} {state} of entity {self._lookup.entity}: name exactly one "
                f"{' or '.join(names)}"
            )
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
