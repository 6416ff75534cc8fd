"""Histories in portions: each has its keys' events, and is computed by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from features.compute.matrix import Writes
from features.windows.engine import (
    Columns,
    EntityWindows,
    Position,
    Request,
    compute_entity,
    pack,
)

MEMBERS_AT_A_TIME = 2**17
"""Bounds the memory that a batch takes, and gives a pool something to share. A column of so many fits
a processor's own cache: more take longer (measured)."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Some histories of one entity, with all of the batch's events of their keys.

    request, found: as ``compute_entity``. events: of the whole batch, as ``member_columns``; at: where
    they stand. columns: to be filled in, by each work of the entity in rows of its own.
    """

    entity: EntityWindows
    request: Request
    found: Sequence[bytes | None]
    events: Mapping[str, npt.NDArray[Any]]
    at: Position
    columns: Columns

    def run(self) -> Writes:
        """Fills in its windows; what its histories have to take."""
        plan, rows = self.entity, self.request.rows
        new, at = pack(plan.layout, self.events, rows), self.at.take(rows)
        return compute_entity(plan, self.request, self.found, new, at, self.columns)


Each = Callable[[Callable[[Work], Writes], Sequence[Work]], Iterable[Writes]]
"""``map``, or that of a pool."""


def portions(whole: Work) -> Iterator[Work]:
    """The work on one entity's histories, cut where there are too many members to do at once."""
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
