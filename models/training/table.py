"""Training table as ``fraud-worker features build`` writes it, read for a span of time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from base.errors import ConfigurationError
from models.bundle.manifest import FeatureRef
from schemas.batch import Kind
from schemas.files.values import to_column

Longs = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int8]

METADATA: Final = b"fraud_worker"
UNKNOWN: Final = np.int8(-1)
"""Label of an event that is neither known to be a fraud nor known to be none."""
_NEVER: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class LabelledEvents:
    """N events of a table in order of time; all times in microseconds since 1970 UTC.

    Attributes:
        matrix: float32[N, F].
        times: int64[N], event times.
        cards: int32[N], a number for each card.
        labels: int8[N]: 1 fraud, 0 none, UNKNOWN.
        label_times: int64[N], times when the labels were known.
        amounts: int64[N], minor units; None where they are not known.
        unlabelled_legit: True: events without a label count as no fraud. False: they are left out.
    """

    matrix: npt.NDArray[np.float32]
    times: Longs
    cards: npt.NDArray[np.int32]
    labels: Labels
    label_times: Longs
    amounts: Longs | None
    unlabelled_legit: bool

    def labels_known(self, at: int) -> Labels:
        """Labels as known at a time, int8[N]; UNKNOWN for events to leave out."""
        nothing = np.int8(0) if self.unlabelled_legit else UNKNOWN
        known = (self.label_times <= at) & (self.labels != UNKNOWN)
        return np.where(known, self.labels, nothing)

    def between(self, since: int, until: int) -> npt.NDArray[np.intp]:
        """The rows of events at since <= time < until."""
        first, end = np.searchsorted(self.times, [since, until])
        return np.arange(first, end)


class TrainingTable:
    """Times, cards and labels of all rows; features are read only for a span of time."""

    def __init__(self, path: Path, card: str | None = None) -> None:
        """Read the table, except its features.

        Args:
            path: The file.
            card: Column that identifies the card; by default that of the first entity.

        Raises:
            ConfigurationError: for a file that is no such table.
        """
        self.path = path
        described = _described(path)
        self.feature_set: str = described["feature_set"]
        self.features = tuple(FeatureRef(**feature) for feature in described["features"])
        columns: Mapping[str, Any] = described["columns"]
        self.card = _card(path, columns, card)
        time, label, label_time, amount = (
            columns[what] for what in ("time", "label", "label_time", "amount")
        )
        facts = pq.read_table(path, columns=[*{time, self.card, label, label_time, amount}])
        self.times = _times(facts, time, path)
        self._cards = _codes(facts[self.card])
        self._labels = facts[label].fill_null(int(UNKNOWN)).to_numpy().astype(np.int8)
        known_at = facts[label_time].cast(pa.int64()).fill_null(_NEVER).to_numpy()
        self._label_times = np.where(self._labels == UNKNOWN, _NEVER, known_at)
        amounts = facts[amount]
        self._amounts = None if amounts.null_count else amounts.to_numpy()

    def __len__(self) -> int:
        return len(self.times)

    def longest_delay(self) -> int:
        """Longest delay from an event to its label, in microseconds; 0 without any label."""
        return max(0, int(self._delays().max(initial=0)))

    def usual_delay(self) -> int:
        """Delay within which nine of ten labels are known, in microseconds."""
        delays = self._delays()
        return max(0, int(np.quantile(delays, 0.9, method="higher"))) if len(delays) else 0

    def _delays(self) -> Longs:
        labelled = self._label_times != _NEVER
        delays: Longs = self._label_times[labelled] - self.times[labelled]
        return delays

    def fingerprint(self) -> str:
        """The SHA-256 of the file, as ``sha256sum`` gives it."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, since: int, until: int, *, unlabelled_legit: bool = False) -> LabelledEvents:
        """The events at since <= time < until, with their features."""
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


def _described(path: Path) -> dict[str, Any]:
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigurationError(f"--features: {path} cannot be read: {error}") from error
    told = (schema.metadata or {}).get(METADATA)
    if told is None:
        raise ConfigurationError(
            f"--features: {path} is no training table; write one with fraud-worker features build"
        )
    try:
        described = json.loads(told)
    except (ValueError, RecursionError):
        described = None
    if not isinstance(described, dict) or "columns" not in described:
        raise ConfigurationError(
            f"--features: {path} does not tell which columns are the time, the cards and the "
            "labels, as it is from an earlier version; write it anew with fraud-worker features "
            "build"
        )
    return described


def _card(path: Path, columns: Mapping[str, Any], asked: str | None) -> str:
    """Column that identifies the card; without entities it is the event's id."""
    entities: list[str] = [*columns["entities"].values()]
    if asked is None:
        return str([*entities, columns["id"]][0])
    who = [columns["id"], *entities, columns["partition_key"]]
    named = [*dict.fromkeys(name for name in who if name is not None)]
    if asked not in named:
        raise ConfigurationError(
            f"--card: {path} has no column {asked} of who is who; it has {', '.join(named)}"
        )
    return asked


def _times(facts: pa.Table, name: str, path: Path) -> Longs:
    array = facts[name].combine_chunks()
    column, wrong = to_column(array, Kind.TIME, 0, f"column {name!r} of {path}")
    if wrong.any() or not column.valid.all():
        raise ConfigurationError(f"{path}: column {name} holds what is no time")
    return column.values.astype(np.int64)


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    coded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    codes: npt.NDArray[np.int32] = coded.indices.to_numpy()
    return codes


def _matrix(path: Path, names: list[str], rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """Features float32[N, F] of some rows, in ascending order.

    Only the parts of the file that hold these rows are read.
    """
    matrix = np.empty((len(rows), len(names)), np.float32)
    first = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            low, high = np.searchsorted(rows, [first, end])
            if low < high:
                table = file.read_row_group(group, columns=names)
                for place, name in enumerate(names):
                    matrix[low:high, place] = table[name].to_numpy()[rows[low:high] - first]
            first = end
    return matrix
