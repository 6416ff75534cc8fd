"""Files of past lookup values: read one for a training table, or append what a load writes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from base.arrays import Mask
from base.errors import ConfigurationError
from base.file_path import FilePath
from base.output_file import move_into_place, require_file_or_nothing
from features.definition.feature_set import FeatureSet
from features.loading.lookup_files import LookupFile, LookupRows, find_lookup, open_lookup_file
from features.lookups.history import LookupHistory
from features.lookups.lookup import Lookup
from features.values.hash64 import PROCESS_KEY, hash_ids

_GROUP_ROWS: Final = 500_000


class PastLookup(NamedTuple):
    """Past values of a lookup, and the file that they come from.

    Attributes:
        history: The values.
        file: Name of the file, without its folder.
        sha256: SHA-256 of the file, as `sha256sum` prints it.
    """

    history: LookupHistory
    file: str
    sha256: str


NO_PAST_LOOKUPS: Final[Mapping[str, PastLookup]] = {}


def read_past_lookup(feature_set: FeatureSet, lookup: str, path: FilePath) -> PastLookup:
    """Read all values of ``lookup`` from a Parquet file with the columns of `load_lookup`.

    Raises:
        ConfigurationError: A column or row is invalid, a row has no time, or there are no rows.
    """
    target = find_lookup(feature_set, lookup)
    with open_lookup_file(feature_set, target, path, dated=True) as file:
        history = _read(file, target)
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return PastLookup(history, path.name, digest)


@contextmanager
def keep_rows(feature_set: FeatureSet, lookup: str, path: FilePath, kept: Path) -> Iterator[int]:
    """Append the rows of a lookup file to ``kept`` once the block has succeeded.

    A row is left out if ``kept`` says the same already: if its last row of that key and time has
    these values. ``kept`` is replaced as a whole, or stays as it was.

    Args:
        feature_set: The feature set.
        lookup: Name of the lookup.
        path: File with the columns of `load_lookup`.
        kept: File that an earlier call wrote; it need not exist.

    Yields:
        The number of rows to append.

    Raises:
        ConfigurationError: A file or row is invalid, a row has no time, or ``kept`` cannot be
            written.
    """
    require_file_or_nothing(kept, "--keep")
    with _writing(kept):
        folder = tempfile.TemporaryDirectory(prefix=f".{kept.name}.", dir=kept.parent)
    with folder as name:
        complete = Path(name) / "complete"
        count = _write(feature_set, lookup, path, kept, complete)
        yield count
        if count:
            with _writing(kept):
                move_into_place(complete, kept)


def _write(feature_set: FeatureSet, name: str, path: FilePath, kept: Path, complete: Path) -> int:
    """Write the rows of ``kept`` and the new ones to ``complete``; return the number of new ones.

    Without new ones nothing is written.
    """
    lookup = find_lookup(feature_set, name)
    with open_lookup_file(feature_set, lookup, path, dated=True) as file:
        history = _read(file, lookup)
        new = history.counting & ~_known(feature_set, lookup, history, kept)
        if new.any():
            with _writing(kept), pq.ParquetWriter(complete, _schema(lookup)) as writer:
                if kept.exists():
                    _copy(kept, writer)
                _append(lookup, file, new, writer)
        return int(np.count_nonzero(new))


def _read(file: LookupFile, lookup: Lookup) -> LookupHistory:
    hashes, stored = np.empty(len(file), np.uint64), np.empty(len(file), lookup.layout)
    for first, rows in _numbered(file):
        part = slice(first, first + len(rows.keys))
        hashes[part], stored[part] = hash_ids(rows.keys, PROCESS_KEY), rows.stored
    return LookupHistory(hashes, stored, lookup.defaults, lookup.vectors)


def _numbered(file: LookupFile) -> Iterator[tuple[int, LookupRows]]:
    """The rows of a file in parts, each with the number of rows before it."""
    first = 0
    for rows in file.rows():
        yield first, rows
        first += len(rows.keys)


def _known(feature_set: FeatureSet, lookup: Lookup, history: LookupHistory, kept: Path) -> Mask:
    """bool[R], True for the rows of ``history`` whose values ``kept`` has for their key and time.

    Raises:
        ConfigurationError: ``kept`` has other columns than those that `keep_rows` writes.
    """
    known = np.zeros(len(history), np.bool_)
    if not kept.exists():
        return known
    try:
        with open_lookup_file(feature_set, lookup, kept, dated=True) as file:
            if not file.schema.equals(_schema(lookup)):
                raise ConfigurationError(
                    f"{kept} has the columns {_columns(file.schema)}, and --keep writes "
                    f"{_columns(_schema(lookup))}: name another file, and load this one with "
                    "--keep if its rows should be in it"
                )
            for rows in file.rows():
                times = np.ascontiguousarray(rows.stored["updated_at"])
                places = history.rows(rows.keys, times)
                there = np.flatnonzero(places < len(history))
                there = there[history.times[places[there]] == times[there]]
                # Of several rows of one key and time the last is assigned last, and stands.
                known[places[there]] = history.same(places[there], rows.stored[there])
    except ConfigurationError as error:
        raise ConfigurationError(f"--keep: {error}") from error
    return known


def _copy(kept: Path, writer: pq.ParquetWriter) -> None:
    with pq.ParquetFile(kept) as file:
        for batch in file.iter_batches(_GROUP_ROWS):
            writer.write_batch(batch)


def _append(lookup: Lookup, file: LookupFile, new: Mask, writer: pq.ParquetWriter) -> None:
    for first, rows in _numbered(file):
        chosen = np.flatnonzero(new[first : first + len(rows.keys)])
        if len(chosen):
            stored = rows.stored[chosen]
            columns = [rows.keys.take(pa.array(chosen)), *map(pa.array, stored["values"].T)]
            columns.insert(1, pa.array(stored["updated_at"], pa.timestamp("us", "UTC")))
            columns += [_lists(stored[f"vector {v.name}"]) for v in lookup.vectors]
            writer.write_table(pa.Table.from_arrays(columns, schema=writer.schema))


def _schema(lookup: Lookup) -> pa.Schema:
    values = dict.fromkeys(lookup.names, pa.float64())
    vectors = {vector.name: pa.list_(pa.float32(), vector.width) for vector in lookup.vectors}
    times = {"updated_at": pa.timestamp("us", "UTC")}
    return pa.schema({lookup.entity: pa.string(), **times, **values, **vectors})


def _lists(vectors: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """Vectors of N rows; a float16 as the float32 that is equal to it."""
    return pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.astype(np.float32).ravel()), vectors.shape[1]
    )


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{column.name} ({column.type})" for column in schema)


@contextmanager
def _writing(kept: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"--keep: {kept} cannot be written: {error.strerror or error}"
        ) from error
