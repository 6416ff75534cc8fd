"""Past values of a lookup, by key and time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import Longs, Mask
from features.lookups.decoded import DecodedLookups, Vector, blank, blank_elements
from features.values.hash64 import PROCESS_KEY, Hashes64, hash_ids


class LookupHistory:
    """R past values of a lookup in memory: as in the store, and up to 40 bytes for each row.

    Args:
        hashes: uint64[R], the hashes of the keys under PROCESS_KEY.
        stored: [R], values in the layout of the lookup, with their times.
        defaults: One default for each number.
        vectors: The vectors of the lookup.

    Attributes:
        times: int64[R], microseconds since 1970-01-01 UTC.
        counting: bool[R], True for the last row of each key and time.
    """

    def __init__(
        self,
        hashes: Hashes64,
        stored: npt.NDArray[Any],
        defaults: tuple[float, ...],
        vectors: tuple[Vector, ...] = (),
    ) -> None:
        self._bits = _bits(stored)
        self._vectors = _vectors(stored)
        self._defaults = blank(defaults)
        self._elements = blank_elements(vectors)
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
        missing, own = rows == len(self), np.minimum(rows, len(self) - 1)
        bits = np.ascontiguousarray(self._bits[own].T)
        bits[:, missing] = self._defaults[:, np.newaxis]
        # A float16 is widened without a change of its value.
        floats = [vector[own].astype(np.float32) for vector in self._vectors]
        elements = np.hstack([np.empty((len(rows), 0), np.float32), *floats]).view(np.int32)
        elements[missing] = self._elements
        return DecodedLookups(bits[1:], bits[0], missing, np.zeros(len(rows), np.bool_), elements)

    def same(self, rows: Longs, stored: npt.NDArray[Any]) -> Mask:
        """bool[N], True where a row has the time and the values of the stored one, bit by bit."""
        same = (self._bits[rows] == _bits(stored)).all(axis=1)
        for own, other in zip(self._vectors, _vectors(stored), strict=True):
            bits = np.dtype(f"i{own.itemsize}")
            same &= (own[rows].view(bits) == other.view(bits)).all(axis=1)
        return np.asarray(same)


def _bits(stored: npt.NDArray[Any]) -> Longs:
    """int64[R, V + 1], the time and the bits of the numbers."""
    head = stored.dtype["values"].itemsize + stored.dtype["updated_at"].itemsize
    if head == stored.itemsize:
        return stored.view(np.int64).reshape(len(stored), head // 8)
    data = stored.view(np.uint8).reshape(len(stored), stored.itemsize)
    return np.ascontiguousarray(data[:, :head]).view(np.int64)


def _vectors(stored: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """[R, width] of each vector, in the type in which it is stored."""
    _, _, *names = stored.dtype.names or ()
    return [np.ascontiguousarray(stored[name]) for name in names]
