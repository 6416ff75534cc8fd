"""Values of an online store, as places in one buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from base.arrays import Bytes, Longs, Rows
from features.store.kernel.resp import ABSENT


@dataclass(frozen=True, slots=True, eq=False)
class StoredValues:
    """U values, as they lie in the answers of a server.

    Attributes:
        data: uint8[B].
        begins: int64[U], place of each value in ``data``.
        lengths: int64[U], ABSENT where there is no value.
    """

    data: Bytes
    begins: Longs
    lengths: Longs

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> Self:
        """Values in a buffer of their own."""
        present = [value or b"" for value in values]
        lengths = np.fromiter(map(len, present), np.int64, len(values))
        begins = lengths.cumsum() - lengths
        if None in values:
            lengths[[value is None for value in values]] = ABSENT
        return cls(np.frombuffer(b"".join(present), np.uint8), begins, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, some: slice) -> Self:
        return type(self)(self.data, self.begins[some], self.lengths[some])

    def take(self, rows: Rows) -> Self:
        """The values at ``rows``."""
        return type(self)(self.data, self.begins[rows], self.lengths[rows])

    def value(self, index: int) -> bytes | None:
        """The value at ``index``, None where there is none."""
        begin, length = int(self.begins[index]), int(self.lengths[index])
        return None if length == ABSENT else self.data[begin : begin + length].tobytes()

    def to_list(self) -> list[bytes | None]:
        """Each value, None where there is none."""
        view, ranges = self.data.data, zip(self.begins.tolist(), self.lengths.tolist(), strict=True)
        return [None if n == ABSENT else bytes(view[at : at + n]) for at, n in ranges]
