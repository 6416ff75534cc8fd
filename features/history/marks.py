"""Marks: how far each partition of the log is applied to the histories of an entity.

A mark is written behind the members that it stands for, and read behind the histories. So a store
that has lost members has lost the mark as well, or holds an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from features.history.watermarks import UNKNOWN
from features.store.protocol import ServerRun

MARK = np.dtype(
    [
        ("reached", "<i8"),
        ("begin", "<i8"),
        ("watermark", "<i8"),
        ("scored", "<i8"),
        ("evicted", "<i8"),
        ("run_id", "S40"),
    ]
)
"""Dtype of one mark; the marks of all partitions stand end to end in one value."""


class Mark(NamedTuple):
    """State of one partition in the histories of one entity, in one store.

    Attributes:
        begin: Offset from which on the histories hold its events.
        end: Offset behind the last record that is applied.
        watermark: Watermark behind that record, UNKNOWN without one.
        scored: Watermark of the scored events at the checkpoint before, UNKNOWN without one.
    """

    begin: int
    end: int
    watermark: int = UNKNOWN
    scored: int = UNKNOWN

    def encode(self, server: ServerRun) -> bytes:
        """Encode the mark; it is valid in this run of the server."""
        fields = (
            self.end + 1,
            self.begin,
            self.watermark,
            self.scored,
            server.evicted,
            server.run_id.encode(),
        )
        return np.array([fields], MARK).tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """Marks of all partitions in the histories of one entity, as they were read.

    Attributes:
        ends: int64[P], offset behind the last applied record of each partition; -1 without a mark.
        watermarks: int64[P], watermark behind that record; UNKNOWN without one.
        scored: int64[P], watermark of the scored events; UNKNOWN without one.
    """

    marks: np.ndarray
