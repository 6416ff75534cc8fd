"""Histories in portions: each has its keys' events, and is computed by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from features.history.keys import order_of
from features.history.layout import Members
from features.windows.engine import Computed, EntityWindows, Position, Request, compute_entity
from features.windows.ragged import Longs

MEMBERS_AT_A_TIME = 2**18
"""Bounds the memory that a batch takes, and gives a pool something to share; more gain nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Some histories of one entity, with all of the batch's events of their keys.

    rows: int64[n], rising, these events' places in the batch. found, new: as ``compute_entity``.
    """

    entity: EntityWindows
    rows: Longs
    request: Request
    found: Sequence[bytes | None]
    new: Members
    at: Position

    def run(self) -> Computed:
        """Its windows."""
        return compute_entity(self.entity, self.request, self.found, self.new, self.at)


Each = Callable[[Callable[[Work], Computed], Sequence[Work]], Iterable[Computed]]
"""``map``, or that of a pool."""


def portions(
    entity: EntityWindows,
    request: Request,
    found: Sequence[bytes | None],
    new: Members,
    at: Position,
) -> Iterator[Work]:
    """The work on one entity's histories, cut where there are too many members to do at once."""
    histories = len(request.histories)
    present = [value or b"" for value in found[:histories]]
    stored = np.fromiter(map(len, present), np.int64, histories)
    events = np.bincount(request.codes, minlength=histories)
    through = np.cumsum(stored // entity.layout.dtype.itemsize + events)
    if through[-1] <= MEMBERS_AT_A_TIME:
        yield Work(entity, np.arange(len(new)), request, found, new, at)
        return
    order, ends = order_of(request.codes, histories), np.cumsum(events)
    first = 0
    while first < histories:
        done = through[first - 1] if first else 0
        end = int(np.searchsorted(through, done + MEMBERS_AT_A_TIME, "right"))
        end = max(end, first + 1)
        rows = np.sort(order[ends[first - 1] if first else 0 : ends[end - 1]])
        labels = request.labels[first:end]
        part = Request(request.histories[first:end], labels, request.codes[rows] - first)
        of_labels = found[histories + first : histories + end] if labels else []
        yield Work(
            entity, rows, part, [*found[first:end], *of_labels], new.take(rows), at.take(rows)
        )
        first = end


def joined(works: Sequence[Work], computed: Iterable[Computed], rows: int) -> list[Computed]:
    """What the works of each entity come to, for all N events of the batch."""
    parts: dict[str, list[tuple[Longs, Computed]]] = {}
    for work, one in zip(works, computed, strict=True):
        parts.setdefault(work.entity.entity, []).append((work.rows, one))
    return [found[0][1] if len(found) == 1 else _joined(found, rows) for found in parts.values()]


def _joined(parts: Sequence[tuple[Longs, Computed]], rows: int) -> Computed:
    whole = Computed(
        {name: np.empty(rows) for name in parts[0][1].values},
        np.empty(rows, np.bool_),
        np.empty(rows, np.bool_),
        [item for _, part in parts for item in part.appends],
        [item for _, part in parts for item in part.compactions],
    )
    for places, part in parts:
        whole.duplicate[places] = part.duplicate
        whole.capped[places] = part.capped
        for name, column in whole.values.items():
            column[places] = part.values[name]
    return whole
