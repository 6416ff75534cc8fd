"""What the log before a micro-batch says: all that a batch needs besides the stored histories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LogState:
    """highest: for each partition the highest event time of the events before, in microseconds.

    A partition without events before has no entry. lowest: for each partition the lowest event time
    that histories have from it, by `Namespace.history_digest`; late events are in none.
    """

    highest: Mapping[int, int] = field(default_factory=dict)
    lowest: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
