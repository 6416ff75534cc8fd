"""The last records of a partition, and which of them are dead letters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SPAN = 1_000
"""Number of records of a partition that are remembered."""


@dataclass(frozen=True, slots=True)
class RecentRecords:
    """The last records of a partition: which of them are dead letters.

    Attributes:
        count: Number of records, at most SPAN.
        letters: One bit for each record, set for a dead letter; the lowest bit is the last record.
    """

    count: int = 0
    letters: int = 0

    def __bool__(self) -> bool:
        """True if records were counted."""
        return self.count > 0

    def behind(self, records: int, letters: npt.NDArray[np.intp]) -> RecentRecords:
        """The last records after some more.

        Args:
            records: Number of the next records.
            letters: Indexes of those that are dead letters.
        """
        flags = _flags(records, letters)[-SPAN:]
        new = int.from_bytes(np.packbits(flags[::-1], bitorder="little").tobytes(), "little")
        count = min(SPAN, self.count + records)
        bits = self.letters << len(flags) | new
        return RecentRecords(count, bits & ((1 << count) - 1))

    def first_beyond(self, records: int, letters: npt.NDArray[np.intp], allowed: int) -> int | None:
        """Index of the first of the next records at which the last SPAN hold too many dead letters.

        Args:
            records: Number of the next records.
            letters: Indexes of those that are dead letters.
            allowed: Number of dead letters that the last SPAN records may hold.

        Returns:
            The index; None if there is no such record. Records before the SPAN-th are not judged.
        """
        if self.letters.bit_count() + len(letters) <= allowed:
            return None
        flags = np.concatenate((self._flags(), _flags(records, letters)))
        totals = np.concatenate(([0], np.cumsum(flags, dtype=np.int64)))
        ends = np.arange(max(SPAN, self.count + 1), len(totals))
        beyond = ends[totals[ends] - totals[ends - SPAN] > allowed]
        return int(beyond[0]) - 1 - self.count if len(beyond) else None

    def _flags(self) -> npt.NDArray[np.uint8]:
        """1 for each dead letter among the records, in their order."""
        octets = np.frombuffer(self.letters.to_bytes(-(-SPAN // 8), "little"), np.uint8)
        return np.unpackbits(octets, count=self.count, bitorder="little")[::-1]


UNCOUNTED = RecentRecords()
"""No records yet: counting begins with the next one."""


def _flags(records: int, letters: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
    flags = np.zeros(records, np.uint8)
    flags[letters] = 1
    return flags
