"""What the log before a micro-batch says: all that a batch needs besides the stored histories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LogState:
    """highest: for each partition the highest event times of the events before, from the highest.

    In microseconds; as many as support the watermark. A partition without such events has no entry.
    lowest: for each partition the lowest event time that histories have from it, by
    `Namespace.history_digest`; late events are in none.
    """

    highest: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    lowest: Mapping[int, Mapping[str, int]] = field(default_factory=dict)

    def watermarks(self, support: int) -> dict[int, int]:
        """The ``support``-th highest event time of each partition that has had so many events."""
        reached = ((partition, times[:support]) for partition, times in self.highest.items())
        return {partition: times[-1] for partition, times in reached if len(times) == support}
