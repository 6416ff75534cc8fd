"""What player and watcher are to do: the file that each is started with."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class LatencyTask:
    """events: how many, at ``rate`` a second; first: the number of the first.

    sent, seen: files of int64[events], nanoseconds of the monotonic clock at which the event of
    that number was handed to the producer, and its score first seen. counts: of int64[events],
    how often it was seen.
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
        """The task named on the command line."""
        return cls(**json.loads(Path(sys.argv[1]).read_text()))
