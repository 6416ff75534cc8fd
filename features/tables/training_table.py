"""Training table: a Parquet file that appears only when it is complete."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from base.errors import ConfigurationError
from base.file_path import FilePath, make_folder_for, put_into_place, require_writable
from features.compute.matrix import Enriched
from features.definition import FeatureSet
from features.loading import PastLookup
from features.tables.event_table import EventTable, cast_like, identity_paths

METADATA: Final = b"fraud_worker"
"""Metadata key for the feature set's name, fingerprint and features in order, the files of past
lookup values, and the columns."""
FLAGGED: Final = b"fraud_worker_flagged"
"""Metadata key for the number of rows with each flag."""

_OF_EVENT: Final = {
    "amount_minor": pa.int64(),
    "label": pa.int8(),
    "label_time": pa.timestamp("us", "UTC"),
    "flags": pa.list_(pa.string()),
}
# Features hardly repeat: a dictionary takes three times as long and saves nothing (measured).
# Whole numbers and times as differences: a sixth less to store, and less time (measured).
_OPTIONS: Final[Mapping[str, Any]] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
}


class Table:
    """Table written beside ``path``, or to temporary files for a URL, and put there by ``finish``.

    With ``by_partition`` rows are ordered by partition, then as they are written; else as they are
    written.

    Attributes:
        flagged: Number of rows with each flag.
    """

    def __init__(
        self,
        path: FilePath,
        feature_set: FeatureSet,
        lookups: Mapping[str, PastLookup],
        *,
        by_partition: bool = False,
    ) -> None:
        """Raise ConfigurationError if the file cannot be created, as the methods do."""
        self._path = path
        self._feature_set = feature_set
        self._lookups = lookups
        self._by_partition = by_partition
        self._schema: pa.Schema | None = None
        self._writers: dict[int, pq.ParquetWriter] = {}
        self.flagged: Counter[str] = Counter()
        require_writable(path, "--out")
        with self._writing():
            self._folder = make_folder_for(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.close()
        for part in self._folder.iterdir():
            part.unlink()
        self._folder.rmdir()

    def write(self, events: EventTable, enriched: Enriched, labels: Mapping[str, pa.Array]) -> None:
        """Write N rows.

        Args:
            events: N events.
            enriched: Their features.
            labels: Columns ``label`` and ``label_time``.

        Raises:
            ConfigurationError: A column changes its type, or two columns have one name.
        """
        columns = [pa.array(column) for column in np.ascontiguousarray(enriched.matrix.T)]
        columns += map(self._conforming, range(len(columns), 2**31), events.identity.values())
        amount = events.batch.amount_minor
        columns.append(
            pa.nulls(len(events.batch), pa.int64()) if amount is None else pa.array(amount)
        )
        columns += [labels["label"], labels["label_time"], self._flags(enriched.flags)]
        if self._schema is None:
            self._schema = self._make_schema({n: a.type for n, a in events.identity.items()})
        table = pa.Table.from_arrays(columns, schema=self._schema)
        with self._writing():
            for part, rows in self._parts(events, table):
                self._writer(part).write_table(rows)

    def _flags(self, flags: npt.NDArray[np.uint64]) -> pa.ListArray:
        """Count the flags, and return the names of each row's flags, as in a score."""
        rows = np.flatnonzero(flags)
        masks, codes, counts = np.unique(flags[rows], return_inverse=True, return_counts=True)
        named = [self._feature_set.flags.decode(mask) for mask in masks.tolist()]
        for names, count in zip(named, counts.tolist(), strict=True):
            self.flagged.update(dict.fromkeys(names, count))
        places = np.zeros(len(flags), np.int64)
        places[rows] = codes + 1
        return pa.array([[], *named], _OF_EVENT["flags"]).take(pa.array(places))

    def finish(self) -> None:
        """Move the file into place, replacing an existing one; some rows must have been written."""
        with self._writing():
            self._finish(self._folder / "complete")

    def _finish(self, complete: Path) -> None:
        for writer in self._writers.values():
            writer.add_key_value_metadata({FLAGGED: json.dumps(self.flagged)})
            writer.close()
        if len(self._writers) == 1:
            self._part(next(iter(self._writers))).rename(complete)
        else:
            self._join(complete)
        put_into_place(complete, self._path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigurationError(
                f"--out: {self._path} cannot be written: {error.strerror or error}"
            ) from error

    def _join(self, complete: Path) -> None:
        with self._file(complete) as joined:
            for part in sorted(self._writers):
                with pq.ParquetFile(self._part(part)) as file:
                    for group in range(file.num_row_groups):
                        joined.write_table(file.read_row_group(group))
            joined.add_key_value_metadata({FLAGGED: json.dumps(self.flagged)})

    def _parts(self, events: EventTable, table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        partitions = events.batch.records.partitions
        if not self._by_partition:
            yield 0, table
            return
        for partition in np.unique(partitions).tolist():
            yield partition, table.filter(pa.array(partitions == partition))

    def _part(self, part: int) -> Path:
        return self._folder / str(part)

    def _writer(self, part: int) -> pq.ParquetWriter:
        if part not in self._writers:
            self._writers[part] = self._file(self._part(part))
        return self._writers[part]

    def _file(self, path: Path) -> pq.ParquetWriter:
        assert self._schema is not None  # noqa: S101 - made before the first file
        whole = [field.name for field in self._schema if _is_whole(field.type)]
        encoding = dict.fromkeys(whole, "DELTA_BINARY_PACKED")
        return pq.ParquetWriter(path, self._schema, column_encoding=encoding, **_OPTIONS)

    def _conforming(self, place: int, array: pa.Array) -> pa.Array:
        """Array in the type of the first chunk of the column at ``place``."""
        if self._schema is None:
            return array
        began = self._schema.field(place)
        return cast_like(began.name, array, began.type)

    def _make_schema(self, identity: Mapping[str, pa.DataType]) -> pa.Schema:
        features = {name: pa.float32() for name in self._feature_set.names}
        for name in identity.keys() & (features.keys() | _OF_EVENT.keys()):
            raise ConfigurationError(
                f"column {name} of the events has the name of "
                f"{'a feature' if name in features else 'a column of its own in the table'}: "
                "rename one"
            )
        for name in features.keys() & _OF_EVENT.keys():
            raise ConfigurationError(
                f"feature {name} has the name of a column of its own in the table: rename it"
            )
        described = {
            "feature_set": self._feature_set.name,
            "fingerprint": self._feature_set.fingerprint,
            "features": [
                {"name": feature.name, "fingerprint": feature.fingerprint}
                for feature in self._feature_set.features
            ],
            "categories": {
                feature.name: feature.categories.model_dump(include={"values", "other"})
                for feature in self._feature_set.features
                if feature.categories is not None
            },
            "lookups": self._describe_lookups(),
            "columns": self._columns(list(identity)),
        }
        return pa.schema(
            {**features, **identity, **_OF_EVENT}, metadata={METADATA: json.dumps(described)}
        )

    def _describe_lookups(self) -> dict[str, Any]:
        """File of the past values of each lookup that a feature uses; None for its defaults."""
        used = frozenset().union(*(feature.lookups for feature in self._feature_set.features))
        described: dict[str, Any] = dict.fromkeys(sorted(used))
        for name in used & self._lookups.keys():
            past = self._lookups[name]
            described[name] = {"file": past.file, "sha256": past.sha256, "rows": len(past.history)}
        return described

    def _columns(self, identity: list[str]) -> dict[str, Any]:
        """Meaning of each column that is not a feature.

        A composite entity has the list of the columns with the parts of its key, in their order.

        Args:
            identity: Names of the identity columns, in the order of `identity_paths`.
        """
        bindings = self._feature_set.bindings
        named = dict(zip(identity_paths(bindings), identity, strict=True))
        key = bindings.partition_key
        keys = {e: [named[path] for path in key.paths] for e, key in bindings.entities.items()}
        return {
            "id": named[bindings.event_id.path],
            "time": named[bindings.event_time.path],
            "entities": {e: names if len(names) > 1 else names[0] for e, names in keys.items()},
            "partition_key": None if key is None else named[key.path],
            "amount": "amount_minor",
            "label": "label",
            "label_time": "label_time",
            "flags": "flags",
        }


def _is_whole(kind: pa.DataType) -> bool:
    """True if Parquet stores the type as a 32-bit or 64-bit integer."""
    return bool(pa.types.is_integer(kind) or pa.types.is_timestamp(kind))
