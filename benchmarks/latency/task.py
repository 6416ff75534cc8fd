"""Task file of the player and the watcher."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class LatencyTask:
    """Task of the player or the watcher.

    Attributes:
        bootstrap: Bootstrap address of Kafka.
        topic: Topic to write or read.
        first: Number of the first event.
        events: Number of events.
        rate: Events per second.
        sent: File for int64[events], monotonic time in nanoseconds at which each event was sent.
        seen: File for int64[events], monotonic time at which its first score was seen.
        counts: File for int64[events], number of scores of each event.
    """

    bootstrap: str
    topic: str
    first: int
    events: int
    rate: float
    sent: str
    seen: str
    counts: str

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def given(cls) -> Self:
        """Read the task file named on the command line."""
        return cls(**json.loads(Path(sys.argv[1]).read_text()))
