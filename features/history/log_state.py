"""What the log before a micro-batch says: all that a batch needs besides the stored histories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LogState:
    """highest: for each partition the highest event time of the events before, in microseconds.

    A partition without events before has no entry.
    """

    highest: Mapping[int, int] = field(default_factory=dict)
