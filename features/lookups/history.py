"""Past values of a lookup, by key and time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import Longs, Mask
from features.lookups.decoded import DecodedLookups, blank
from features.values.hash64 import PROCESS_KEY, Hashes64, hash_ids


class LookupHistory:
    """R past values of a lookup in memory: 8 bytes for each value, and up to 40 for each row.

    Args:
        hashes: uint64[R], the hashes of the keys under PROCESS_KEY.
        stored: [R], values in the layout of the lookup, with their times.
        defaults: One default for each value.

    Attributes:
        times: int64[R], microseconds since 1970-01-01 UTC.
        counting: bool[R], True for the last row of each key and time.
    """

    def __init__(
        self, hashes: Hashes64, stored: npt.NDArray[Any], defaults: tuple[float, ...]
    ) -> None:
        self._bits = _bits(stored)
        self._defaults = blank(defaults)
        self.times = self._bits[:, 0]
        self._keys, codes = np.unique(hashes, return_inverse=True)
        self._moments, moments = np.unique(self.times, return_inverse=True)
        places = codes * len(self._moments) + moments
        order = np.argsort(places, kind="stable")
        # A place before all others stands for no row.
        self._places = np.concatenate(([-1], places[order]))
        self._rows = np.concatenate(([len(stored)], order))
        self.counting: Mask = np.ones(len(stored), np.bool_)
        self.counting[self._rows[:-1][self._places[:-1] == self._places[1:]]] = False

    def __len__(self) -> int:
        return len(self._bits)

    def rows(self, keys: pa.StringArray, times: Longs) -> Longs:
        """int64[N], the row of each key's newest value at a time; R where there is none."""
        hashes = hash_ids(keys, PROCESS_KEY)
        codes = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        moments = np.searchsorted(self._moments, times, "right") - 1
        newest = codes * len(self._moments) + moments
        found = np.searchsorted(self._places, newest, "right") - 1
        of_key = self._places[found] // len(self._moments) == codes
        return self._rows[np.where(of_key & (self._keys[codes] == hashes), found, 0)]

    def at(self, keys: pa.StringArray, times: Longs) -> DecodedLookups:
        """Values of N keys, each at a time of its own, as `decode` gives those of a store."""
        rows = self.rows(keys, times)
        missing = rows == len(self)
        bits = np.ascontiguousarray(self._bits[np.minimum(rows, len(self) - 1)].T)
        bits[:, missing] = self._defaults[:, np.newaxis]
        return DecodedLookups(bits[1:], bits[0], missing, np.zeros(len(rows), np.bool_))

    def same(self, rows: Longs, stored: npt.NDArray[Any]) -> Mask:
        """bool[N], True where a row has the time and the values of the stored one, bit by bit."""
        return np.asarray((self._bits[rows] == _bits(stored)).all(axis=1))


def _bits(stored: npt.NDArray[Any]) -> Longs:
    """int64[R, V + 1], the time and the bits of the values."""
    return stored.view(np.int64).reshape(len(stored), stored.itemsize // 8)
