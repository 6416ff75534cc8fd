"""Fill: put events of the log into histories without scoring them.

`ranges` reads parts of the input topic with a consumer of its own, `members` finds out which of
their events are members of which histories, and `fill` appends these.
"""

from __future__ import annotations

from worker.fill.fill import Fill, FilledHistories, Progress
from worker.fill.ranges import FillRange, RangeReader

__all__ = ["Fill", "FillRange", "FilledHistories", "Progress", "RangeReader"]
