"""The values of one micro-batch while its features are computed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from base.arrays import Floats, Floats32, Longs, Mask
from features.expression.texts import Text
from features.values import column_values as columns
from features.values.hash64 import PROCESS_KEY
from schemas.batch import EventBatch


class Frame:
    """Columns of a batch in the forms that features read; each is converted once.

    Attributes:
        features: float64[N] of each feature computed so far, NaN where missing.
        lookups: float64[N] of each looked-up number, by "lookup.value".
        vectors: float32[N, width] of each looked-up vector, likewise.
        windows: float64[N] of each window feature, by name.
        failed: bool[N] of each python feature whose function raised for a row.
        key: Key of the hashes of texts that histories store.
    """

    def __init__(self, batch: EventBatch, key: bytes = PROCESS_KEY) -> None:
        self.key = key
        self.features: dict[str, Floats] = {}
        self.lookups: Mapping[str, Floats] = {}
        self.vectors: Mapping[str, Floats32] = {}
        self.windows: Mapping[str, Floats] = {}
        self.failed: dict[str, Mask] = {}
        self._batch = batch
        self._numbers: dict[str, Floats] = {}
        self._amount: Floats | None = None

    def __len__(self) -> int:
        return len(self._batch)

    def number(self, path: str) -> Floats:
        """float64[N], NaN where null."""
        if path not in self._numbers:
            self._numbers[path] = columns.numbers(self._batch.columns[path], path)
        return self._numbers[path]

    def amount(self, scale: int) -> Floats:
        """float64[N] in major units: the same from a double, a decimal or minor units."""
        if self._amount is None:
            self._amount = self.minor_units() / 10.0**scale
        return self._amount

    def whole(self, path: str, missing: int) -> Longs:
        """int64[N] of a LONG, BOOL or DECIMAL (its units), ``missing`` where null."""
        column = self._batch.columns[path]
        values = np.asarray(column.values, np.int64)
        return values if column.valid.all() else np.where(column.valid, values, missing)

    def minor_units(self) -> Longs:
        """int64[N] of the amount."""
        if self._batch.amount_minor is None:
            raise ValueError("the batch was bound without an amount")
        return self._batch.amount_minor

    def text(self, path: str) -> Text:
        column = self._batch.columns[path]
        return Text(columns.text(column, path), column.valid)

    def time(self, path: str) -> Longs:
        """int64[N], microseconds since 1970-01-01 UTC; any time where null."""
        return columns.event_times(self._batch.columns[path], path, None)

    def event_time(self) -> Longs:
        """int64[N], microseconds since 1970-01-01 UTC."""
        return self._batch.event_time

    def known(self, path: str) -> Mask:
        """bool[N], False where null."""
        return self._batch.columns[path].valid
