"""Histories in portions: each has its keys' events, and is computed by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from features.history.layout import Members
from features.matrix import Writes
from features.windows.engine import Columns, EntityWindows, Position, Request, compute_entity

MEMBERS_AT_A_TIME = 2**17
"""Bounds the memory that a batch takes, and gives a pool something to share. A column of so many fits
a processor's own cache: more take longer (measured)."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Some histories of one entity, with all of the batch's events of their keys.

    As ``compute_entity`` takes it. columns: of all works of the entity, each of which has rows of
    its own in them.
    """

    entity: EntityWindows
    request: Request
    found: Sequence[bytes | None]
    new: Members
    at: Position
    columns: Columns

    def run(self) -> Writes:
        """Fills in its windows; what its histories have to take."""
        return compute_entity(
            self.entity, self.request, self.found, self.new, self.at, self.columns
        )


Each = Callable[[Callable[[Work], Writes], Sequence[Work]], Iterable[Writes]]
"""``map``, or that of a pool."""


def portions(whole: Work) -> Iterator[Work]:
    """The work on one entity's histories, cut where there are too many members to do at once."""
    request, found = whole.request, whole.found
    histories = len(request.histories)
    stored = np.fromiter((len(value or b"") for value in found[:histories]), np.int64, histories)
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
        yield Work(
            whole.entity,
            Request(
                request.histories[first:end],
                labels,
                request.rows[rows],
                request.codes[rows] - first,
            ),
            [*found[first:end], *of_labels],
            whole.new[rows],
            whole.at.take(rows),
            whole.columns,
        )
        first, begin = end, rows.stop
