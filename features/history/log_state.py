"""What the log before a micro-batch says: all that a batch needs besides the stored histories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

_HIGHEST = "highest_event_time"


@dataclass(frozen=True, slots=True)
class LogState:
    """highest: for each partition the highest event time of the events before, in microseconds.

    A partition without events before has no entry.
    """

    highest: Mapping[int, int] = field(default_factory=dict)

    def note(self, partition: int) -> str:
        """The state of one partition, as the metadata of a committed offset keeps it."""
        found = self.highest.get(partition)
        return "" if found is None else json.dumps({_HIGHEST: found})

    @classmethod
    def of_notes(cls, notes: Mapping[int, str]) -> Self:
        """The state that ``note`` wrote for each partition; what is no note of ours says nothing."""
        found = {partition: _highest(note) for partition, note in notes.items()}
        return cls({partition: value for partition, value in found.items() if value is not None})


def _highest(note: str) -> int | None:
    try:
        found = json.loads(note)[_HIGHEST]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, int) and not isinstance(found, bool) else None
