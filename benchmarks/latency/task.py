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
        events: File of the events (``EventFile``).
        due: File for float64[events], seconds after the start at which each event is to be sent.
        sent: File for int64[events], monotonic time in nanoseconds at which each event was sent.
        seen: File for int64[events], monotonic time at which its first score was seen.
        counts: File for int64[events], number of scores of each event.
    """

    bootstrap: str
    topic: str
    events: str
    due: str
    sent: str
    seen: str
    counts: str

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def given(cls) -> Self:
        """Read the task file named on the command line."""
        return cls(**json.loads(Path(sys.argv[1]).read_text()))
