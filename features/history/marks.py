"""Marks: how far each partition of the log is applied to the histories of an entity.

A mark is written behind the members that it stands for, and read behind the histories. So a store
that has lost members has lost their mark as well, or holds an earlier one. Only the eviction of
single keys leaves the marks: for this they hold the run of the server.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.history.watermarks import UNKNOWN
from features.store.protocol import ServerRun

MARK = np.dtype(
    [
        ("reached", "<i8"),
        ("begin", "<i8"),
        ("watermark", "<i8"),
        ("scored", "<i8"),
        ("lowest", "<i8"),
        ("counted", "<i8"),
        ("evicted", "<i8"),
        ("run_id", "S40"),
    ]
)
"""Dtype of a mark; ``reached`` is one more than the offset ``end``, and 0 where there is no mark."""

NOT_BEGUN = np.iinfo(np.int64).max
"""Time that histories without members reach back to."""


class Mark(NamedTuple):
    """State of one partition in the histories of one entity: how far it is applied.

    Attributes:
        begin: Offset from which on the histories hold its events.
        end: Offset behind the last record that is applied.
        watermark: Watermark behind that record; UNKNOWN without one.
        scored: Watermark behind the last record that was scored before; UNKNOWN without one.
        lowest: Time that the histories reached back to after they were filled; NOT_BEGUN if they
            had too few events for one, UNKNOWN if the offset metadata of the partition says it.
        counted: Number of these events.
    """

    begin: int
    end: int
    watermark: int = UNKNOWN
    scored: int = UNKNOWN
    lowest: int = UNKNOWN
    counted: int = 0

    @classmethod
    def read(cls, held: np.void) -> Mark:
        """Mark in one element of MARK[P] that is not 0."""
        return cls(
            int(held["begin"]),
            int(held["reached"]) - 1,
            int(held["watermark"]),
            int(held["scored"]),
            int(held["lowest"]),
            int(held["counted"]),
        )

    def encode(self, server: ServerRun) -> bytes:
        """Encode the mark for the store; it holds for this run of the server."""
        fields = (
            self.end + 1,
            self.begin,
            self.watermark,
            self.scored,
            self.lowest,
            self.counted,
            server.evicted,
            server.run_id.encode(),
        )
        return np.array([fields], MARK).tobytes()


def read_marks(value: bytes | None, partitions: int) -> npt.NDArray[Any]:
    """Decode the marks of all P partitions.

    Returns:
        MARK[P], zeros where there is no mark.
    """
    marks = np.zeros(partitions, MARK)
    held = np.frombuffer(value or b"", MARK, min(partitions, len(value or b"") // MARK.itemsize))
    marks[: len(held)] = held
    return marks


def valid_marks(marks: npt.NDArray[Any], server: ServerRun) -> npt.NDArray[Any]:
    """The marks since which the server has evicted nothing, MARK[P]; zeros in place of the others.

    A server that has started again holds what it has kept of its writes up to some moment, the
    marks included. It must not have evicted keys since.
    """
    same = marks["run_id"] == server.run_id.encode()
    valid = np.where(same, marks["evicted"] == server.evicted, server.evicted == 0)
    return np.where(valid, marks, np.zeros((), MARK))
