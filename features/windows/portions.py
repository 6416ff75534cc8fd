"""Split the histories of one entity into portions that are computed independently."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from features.store.protocol import Writes
from features.windows.engine import (
    Columns,
    EntityWindows,
    Request,
    WindowPosition,
    compute_entity,
    pack,
)

MEMBERS_AT_A_TIME = 2**17
"""Maximum number of members in a portion, unless one history alone has more.

It bounds the memory of a batch, and gives a thread pool work to share. A column of this length fits
a processor's own cache: longer ones take more time (measured).
"""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Some histories of one entity, with all of the batch's events of their keys.

    Attributes:
        entity: Windows of the entity.
        request: Keys and their events.
        found: Stored values of the request's keys, in order.
        events: Columns of the whole batch, from ``member_columns``.
        at: Positions of the events of the whole batch.
        columns: Columns for the results; each portion of the entity writes rows of its own.
    """

    entity: EntityWindows
    request: Request
    found: Sequence[bytes | None]
    events: Mapping[str, npt.NDArray[Any]]
    at: WindowPosition
    columns: Columns

    def run(self) -> Writes:
        """Compute the windows into the columns, and return the writes to the histories."""
        plan, rows = self.entity, self.request.rows
        new, at = pack(plan.layout, self.events, rows), self.at.take(rows)
        return compute_entity(plan, self.request, self.found, new, at, self.columns)


Each = Callable[[Callable[[Work], Writes], Sequence[Work]], Iterable[Writes]]
"""``map``, or the ``map`` of a thread pool."""


def portions(whole: Work) -> Iterator[Work]:
    """Split the work on one entity's histories where it has too many members."""
    request, found = whole.request, whole.found
    histories = len(request.histories)
    present = [value or b"" for value in found[:histories]]
    stored = np.fromiter(map(len, present), np.int64, histories)
    events = np.cumsum(np.bincount(request.codes, minlength=histories))
    through = np.cumsum(stored // whole.entity.layout.dtype.itemsize) + events
    first = begin = 0
    while first < histories:
        done = through[first - 1] if first else 0
        end = int(np.searchsorted(through, done + MEMBERS_AT_A_TIME, "right"))
        end = max(end, first + 1)
        rows = slice(begin, int(events[end - 1]))
        labels = request.labels[first:end]
        of_labels = found[histories + first : histories + end] if labels else []
        part = Request(
            request.histories[first:end],
            labels,
            request.rows[rows],
            request.codes[rows] - first,
        )
        yield replace(whole, request=part, found=[*present[first:end], *of_labels])
        first, begin = end, rows.stop
