"""Training table, as `fraud-worker features build` writes it, read for a range of time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from base.arrays import Longs
from base.errors import ConfigurationError
from base.file_path import FilePath, parquet_source
from models.bundle.manifest import Categories, FeatureRef
from schemas.batch import Kind
from schemas.files.values import to_column

Labels = npt.NDArray[np.int8]

METADATA: Final = b"fraud_worker"
UNKNOWN: Final = np.int8(-1)
"""Label of an event that is known neither as fraud nor as legitimate."""
_NEVER: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class LabelledEvents:
    """N events of a table, in order of time; all times are in microseconds since 1970 UTC.

    Attributes:
        matrix: float32[N, F], features.
        times: int64[N], event times.
        cards: int32[N], a number for each card.
        labels: int8[N]: 1 for a fraud, 0 for a legitimate event, or UNKNOWN.
        label_times: int64[N], times when the labels became known.
        amounts: int64[N], in minor units; None if they are not known.
        unlabelled_legit: True: events without a label count as legitimate. False: they are left
            out.
        types: XGBoost's type of each feature; None if all are numbers.
    """

    matrix: npt.NDArray[np.float32]
    times: Longs
    cards: npt.NDArray[np.int32]
    labels: Labels
    label_times: Longs
    amounts: Longs | None
    unlabelled_legit: bool
    types: tuple[str, ...] | None = None

    def labels_known(self, at: int) -> Labels:
        """Labels as known at a time, int8[N]; UNKNOWN for events to leave out."""
        default = np.int8(0) if self.unlabelled_legit else UNKNOWN
        known = (self.label_times <= at) & (self.labels != UNKNOWN)
        return np.where(known, self.labels, default)

    def between(self, since: int, until: int) -> npt.NDArray[np.intp]:
        """Rows of the events with since <= time < until, intp[M]."""
        first, end = np.searchsorted(self.times, [since, until])
        return np.arange(first, end)


class TrainingTable:
    """Times, cards and labels of all rows; features are read for a range of time only.

    Attributes:
        lookups: File, SHA-256 and rows of the past values of each lookup; None for its defaults.
    """

    def __init__(self, path: FilePath, card: str | None = None) -> None:
        """Read the table, except its features.

        Args:
            path: The Parquet file.
            card: Column that identifies the card; by default the key of the first entity.

        Raises:
            ConfigurationError: if the file is not a training table.
        """
        self.path = path
        description = _read_description(path)
        self.feature_set: str = description["feature_set"]
        self.features = _features(description)
        self.lookups: Mapping[str, Any] = description.get("lookups", {})
        columns: Mapping[str, Any] = description["columns"]
        self.card = _card(path, columns, card)
        time, label, label_time, amount = (
            columns[role] for role in ("time", "label", "label_time", "amount")
        )
        rows = pq.read_table(
            parquet_source(path), columns=[*{time, self.card, label, label_time, amount}]
        )
        self.times = _times(rows, time, path)
        self._cards = _codes(rows[self.card])
        self._labels = rows[label].fill_null(int(UNKNOWN)).to_numpy().astype(np.int8)
        known_at = rows[label_time].cast(pa.int64()).fill_null(_NEVER).to_numpy()
        self._label_times = np.where(self._labels == UNKNOWN, _NEVER, known_at)
        amounts = rows[amount]
        self._amounts = None if amounts.null_count else amounts.to_numpy()

    def __len__(self) -> int:
        return len(self.times)

    def longest_delay(self) -> int:
        """Longest delay from an event to its label, in microseconds; 0 without labels."""
        return max(0, int(self._delays().max(initial=0)))

    def usual_delay(self) -> int:
        """Delay within which nine of ten labels become known, in microseconds."""
        delays = self._delays()
        return max(0, int(np.quantile(delays, 0.9, method="higher"))) if len(delays) else 0

    def _delays(self) -> Longs:
        labelled = self._label_times != _NEVER
        delays: Longs = self._label_times[labelled] - self.times[labelled]
        return delays

    def fingerprint(self) -> str:
        """SHA-256 of the file, as `sha256sum` prints it."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, since: int, until: int, *, unlabelled_legit: bool = False) -> LabelledEvents:
        """Read the events with since <= time < until, with their features.

        Args:
            since: Begin, in microseconds since 1970 UTC.
            until: End, in microseconds since 1970 UTC.
            unlabelled_legit: As in `LabelledEvents`.
        """
        rows = np.flatnonzero((self.times >= since) & (self.times < until))
        order = np.argsort(self.times[rows], kind="stable")
        sorted_rows = rows[order]
        return LabelledEvents(
            _matrix(self.path, [feature.name for feature in self.features], rows)[order],
            self.times[sorted_rows],
            self._cards[sorted_rows],
            self._labels[sorted_rows],
            self._label_times[sorted_rows],
            None if self._amounts is None else self._amounts[sorted_rows],
            unlabelled_legit,
        )


def _read_description(path: FilePath) -> dict[str, Any]:
    """Read the description of the columns from the metadata of the file."""
    try:
        schema = pq.read_schema(parquet_source(path))
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigurationError(f"--features: {path} cannot be read: {error}") from error
    text = (schema.metadata or {}).get(METADATA)
    if text is None:
        raise ConfigurationError(
            f"--features: {path} is not a training table; write one with fraud-worker features build"
        )
    try:
        description = json.loads(text)
    except (ValueError, RecursionError):
        description = None
    if not isinstance(description, dict) or "columns" not in description:
        raise ConfigurationError(
            f"--features: {path} does not name the columns of the time, the cards and the labels, "
            "so an earlier version wrote it; write it again with fraud-worker features build"
        )
    return description


def _features(description: Mapping[str, Any]) -> tuple[FeatureRef, ...]:
    """Features of the table; those of `category` features have their categories."""
    categories = {
        name: Categories(values=tuple(given["values"]), other=given["other"])
        for name, given in description.get("categories", {}).items()
    }
    return tuple(
        FeatureRef(**feature, categories=categories.get(feature["name"]))
        for feature in description["features"]
    )


def _card(path: FilePath, columns: Mapping[str, Any], given: str | None) -> str:
    """Column that identifies the card; without an entity of one column it is the event's id."""
    entities: list[str | list[str]] = [*columns["entities"].values()]
    if given is None:
        return next((name for name in entities if isinstance(name, str)), str(columns["id"]))
    parts = chain.from_iterable([key] if isinstance(key, str) else key for key in entities)
    keys = [columns["id"], *parts, columns["partition_key"]]
    names = [*dict.fromkeys(name for name in keys if name is not None)]
    if given not in names:
        raise ConfigurationError(
            f"--card: {path} has no id or key column {given}; it has {', '.join(names)}"
        )
    return given


def _times(rows: pa.Table, name: str, path: FilePath) -> Longs:
    array = rows[name].combine_chunks()
    column, wrong = to_column(array, Kind.TIME, 0, f"column {name!r} of {path}")
    if wrong.any() or not column.valid.all():
        raise ConfigurationError(
            f"--features: column {name} of {path} has values that are not times; build the table "
            "again"
        )
    return column.values.astype(np.int64)


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    coded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    codes: npt.NDArray[np.int32] = coded.indices.to_numpy()
    return codes


def _matrix(
    path: FilePath, names: list[str], rows: npt.NDArray[np.intp]
) -> npt.NDArray[np.float32]:
    """Read features of some rows; only the row groups with these rows are read.

    Args:
        path: The Parquet file.
        names: Names of the features.
        rows: intp[N], ascending.

    Returns:
        float32[N, F].
    """
    matrix = np.empty((len(rows), len(names)), np.float32)
    first = 0
    with pq.ParquetFile(parquet_source(path)) as file:
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            low, high = np.searchsorted(rows, [first, end])
            if low < high:
                table = file.read_row_group(group, columns=names)
                for place, name in enumerate(names):
                    matrix[low:high, place] = table[name].to_numpy()[rows[low:high] - first]
            first = end
    return matrix
