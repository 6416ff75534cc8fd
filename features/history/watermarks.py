"""State of the log before a micro-batch: all that a batch needs besides the stored histories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LogState:
    """State of each partition behind some events; times in microseconds.

    Attributes:
        highest: Highest event times of those events, in descending order, as many as support the
            watermark. A partition without such events has no entry.
        lowest: Event time that histories reach back to, by `Namespace.reach_digest`.
        counted: Number of those events in histories that have too few events for a `lowest`, by
            `Namespace.reach_digest`.
    """

    highest: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    lowest: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    counted: Mapping[int, Mapping[str, int]] = field(default_factory=dict)

    def watermarks(self, support: int) -> dict[int, int]:
        """The ``support``-th highest event time of each partition that has at least that many."""
        reached = ((partition, times[:support]) for partition, times in self.highest.items())
        return {partition: times[-1] for partition, times in reached if len(times) == support}
