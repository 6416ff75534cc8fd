"""Aggregates of one entity's windows, for all events of a micro-batch at once.

Counts and sums are differences of running sums of whole numbers, so they are exact in any batch.
The other aggregates are computed from the members of each window, concatenated in member order.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.history.layout import MISSING, StoredKind
from features.windows import reduce
from features.windows.frauds import Labels
from features.windows.ragged import Longs, Mask, Pairs, expand, slices
from features.windows.view import VisibleMembers
from features.windows.window import Aggregate, Window

Floats = npt.NDArray[np.float64]
SECOND = 1e6


class Bounds(NamedTuple):
    """Bounds of windows: the members lie within [first, end), the event itself not included.

    Attributes:
        first: int64[Q].
        end: int64[Q].
    """

    first: Longs
    end: Longs


class Aggregates:
    """Computation of windows over one view.

    Args:
        view: The view.
        labels: Labels of its members.
    """

    def __init__(self, view: VisibleMembers, labels: Labels) -> None:
        self._view = view
        self._labels = labels
        self._bounds: dict[tuple[int, int], Bounds] = {}
        self._ends: dict[int, Longs] = {}
        self._counted_in: dict[tuple[_Kept, int, int, bool], Longs] = {}
        self._hidden: dict[tuple[int, int], Pairs] = {}
        self._counting: dict[_Kept, Mask] = {}
        self._running: dict[tuple[_Kept, bool], Longs] = {}

    def compute(self, window: Window) -> Floats:
        """Compute a window's values by query, float64[Q]."""
        match window.aggregate:
            case Aggregate.COUNT:
                count = self._count(window)
                return np.where(count > 0, count.astype(np.float64), window.default)
            case Aggregate.SUM | Aggregate.MEAN:
                return self._sum_or_mean(window)
            case Aggregate.LAST | Aggregate.TIME_SINCE_LAST:
                return self._latest(window)
            case Aggregate.FRAUD_SHARE:
                return self._fraud_share(window)
            case _:
                return self._over_members(window)

    def members(self, window: Window, queries: Longs) -> Pairs:
        """Members that each of ``queries`` (in ascending order) counts, in member order.

        The result holds indexes into ``queries``. It includes the event itself where it counts.
        """
        pairs = expand(*self._stretch(window, queries))
        return pairs.where(self._counted(window, pairs, queries))

    def _stretch(self, window: Window, queries: Longs) -> Bounds:
        """Bounds of some queries, extended to the event itself if the window counts it."""
        bounds, place = self._bound(window), self._view.place[queries]
        first, end = bounds.first[queries], bounds.end[queries]
        itself = self._counts_itself(window)[queries]
        return Bounds(
            np.where(itself, np.minimum(first, place), first),
            np.where(itself, np.maximum(end, place + 1), end),
        )

    def _counted(self, window: Window, pairs: Pairs, queries: Longs) -> Mask:
        """Mark the pairs (index into ``queries``, member of its stretch) that count."""
        itself = self._counts_itself(window)[queries][pairs.query]
        own = itself & (pairs.item == self._view.place[queries][pairs.query])
        within = pairs.item >= self._bound(window).first[queries][pairs.query]
        seen = self._view.seen(pairs, queries) & within
        counted: Mask = (seen | own) & self._counts(window)[pairs.item]
        return counted

    def _bound(self, window: Window) -> Bounds:
        found = self._bounds.get((window.over, window.delay))
        if found is None:
            view = self._view
            first = np.maximum(view.search.behind(view.owner, view.base - window.reach), view.floor)
            found = Bounds(first, np.maximum(self._end(window.delay), first))
            self._bounds[window.over, window.delay] = found
        return found

    def _end(self, delay: int) -> Longs:
        found = self._ends.get(delay)
        if found is None:
            view = self._view
            if delay:
                found = view.search.behind(view.owner, view.time - delay)
            else:
                found = np.where(view.tie_end > view.place + 1, view.tie_end, view.place)
            self._ends[delay] = found
        return found

    def _hides(self, window: Window) -> Pairs:
        """Members within the bounds that a query does not see: later in the log, or the event."""
        found = self._hidden.get((window.over, window.delay))
        if found is None:
            bounds, some = self._bound(window), self._disordered
            pairs = self._view.later(bounds.first[some], bounds.end[some], some)
            found = Pairs(some[pairs.query], pairs.item)
            self._hidden[window.over, window.delay] = found
        return found

    @cached_property
    def _disordered(self) -> Longs:
        return np.flatnonzero(self._view.disordered())

    def _counts_itself(self, window: Window) -> Mask:
        if not window.include_current:
            return np.zeros(len(self._view.row), np.bool_)
        return ~self._view.duplicate

    def _counts(self, window: Window) -> Mask:
        """Mark members that pass the filter and have the value that is aggregated, bool[M]."""
        key = _kept(window)
        found = self._counting.get(key)
        if found is None:
            column = self._view.merged.column
            found = np.ones(len(self._view.alive), np.bool_)
            if window.where is not None:
                found &= column(window.where.key)
            if window.value is not None:
                found &= column(window.value.key) != MISSING
            self._counting[key] = found
        return found

    def _run(self, window: Window, *, values: bool) -> Longs:
        """Running count of the members that count, or running sum of their values, int64[M + 1].

        Element i covers the members before place i.
        """
        key = (_kept(window) if values else self._kept(window), values)
        found = self._running.get(key)
        if found is None:
            counted: npt.NDArray[np.generic] = self._counts(window) & self._view.alive
            if values:
                counted = np.where(counted, self._values(window), 0)
            found = np.zeros(len(counted) + 1, np.int64)
            np.cumsum(counted, out=found[1:])
            self._running[key] = found
        return found

    def _values(self, window: Window) -> Longs:
        assert window.value is not None  # noqa: S101 - the language asks for it
        return self._view.merged.column(window.value.key)

    def _count(self, window: Window) -> Longs:
        key = (self._kept(window), window.over, window.delay, window.include_current)
        found = self._counted_in.get(key)
        if found is None:
            found = self._counted_in[key] = self._count_anew(window)
        return found

    def _kept(self, window: Window) -> _Kept:
        """Cache key: windows with equal keys count the same members. _ALL if all members count."""
        return _ALL if self._counts(window).all() else _kept(window)

    def _count_anew(self, window: Window) -> Longs:
        bounds, run, counts = (
            self._bound(window),
            self._run(window, values=False),
            self._counts(window),
        )
        found = run[bounds.end] - run[bounds.first]
        hidden = self._hides(window)
        if len(hidden.query):
            found -= np.bincount(hidden.query[counts[hidden.item]], minlength=len(found))
        return found + (self._counts_itself(window) & counts[self._view.place])

    def _sum(self, window: Window) -> Longs:
        bounds, run, values = (
            self._bound(window),
            self._run(window, values=True),
            self._values(window),
        )
        found = run[bounds.end] - run[bounds.first]
        counts = self._counts(window)
        hidden = self._hides(window)
        if len(hidden.query):
            hidden = hidden.where(counts[hidden.item])
            np.subtract.at(found, hidden.query, values[hidden.item])
        place = self._view.place
        return found + np.where(self._counts_itself(window) & counts[place], values[place], 0)

    def _sum_or_mean(self, window: Window) -> Floats:
        count, total = self._count(window), self._sum(window)
        unit = _unit(window)
        divisor = unit if window.aggregate is Aggregate.SUM else np.maximum(count, 1) * unit
        return np.where(count > 0, total / divisor, window.default)

    def _latest(self, window: Window) -> Floats:
        """The value of the latest member, or the seconds since its time."""
        bounds = self._bound(window)
        counted = self._counts(window) & self._view.alive
        through = np.maximum.accumulate(np.where(counted, np.arange(len(counted)), -1))
        latest = np.where(bounds.end > bounds.first, through[bounds.end - 1], -1)
        latest[latest < bounds.first] = -1
        itself = self._counts_itself(window) & self._counts(window)[self._view.place]
        latest = np.where(itself, self._view.place, latest)
        if len(self._disordered):
            pairs = self.members(window, self._disordered)
            latest[self._disordered] = reduce.last(pairs, len(self._disordered))
        there = latest >= 0
        if window.aggregate is Aggregate.LAST:
            found = self._values(window)[latest] / _unit(window)
        else:
            found = (self._view.time - self._view.merged.time[latest]) / SECOND
        return np.where(there, found, window.default)

    def frauds_of(self, window: Window, query: int) -> frozenset[int]:
        """Places of the members that one query counts and knows to be frauds."""
        pairs = self._frauds(window, np.array([query]))
        return frozenset(pairs.item.tolist())

    def _frauds(self, window: Window, queries: Longs) -> Pairs:
        """Pairs (index into ``queries``, member) of members that count and are known frauds."""
        view, labels = self._view, self._labels
        first, end = self._stretch(window, queries)
        pairs = expand(labels.before[first], labels.before[end])
        of = Pairs(pairs.query, labels.item[pairs.item])
        known = labels.known(pairs, view.time[queries], (view.base - window.reach)[queries])
        return labels.frauds(pairs.where(known & self._counted(window, of, queries)))

    def _fraud_share(self, window: Window) -> Floats:
        count = self._count(window)
        frauds = np.zeros(len(count), np.int64)
        bounds, before = self._bound(window), self._labels.before
        # Few queries have labels within their bounds. An event that counts itself may have its own.
        some = np.flatnonzero(before[bounds.end] > before[bounds.first])
        if window.include_current and len(self._labels.item):
            some = np.arange(len(count))
        if len(some):
            frauds[some] = np.bincount(self._frauds(window, some).query, minlength=len(some))
        return np.where(count > 0, frauds / np.maximum(count, 1), window.default)

    def _over_members(self, window: Window) -> Floats:
        """Standard deviation, minimum, maximum or number of distinct values."""
        bounds = self._bound(window)
        found = np.full(len(self._view.row), window.default)
        values, unit = self._values(window), _unit(window)
        for part in slices(bounds.first, bounds.end + 1):
            queries = np.arange(part.start, min(part.stop, len(found)))
            pairs = self.members(window, queries)
            result, there = reduce.REDUCERS[window.aggregate](
                pairs.query, values[pairs.item], len(queries)
            )
            found[queries[there]] = result[there] / unit
        return found


_Kept = tuple[str | None, str | None]
_ALL: _Kept = (None, None)


def _kept(window: Window) -> _Kept:
    """Cache key: windows with equal keys have the same value and filter."""
    value, where = window.value, window.where
    return (value.key if value else None, where.key if where else None)


def _unit(window: Window) -> float:
    """Divisor that converts the kept whole numbers to the value's unit."""
    if window.value is None or window.value.kind is not StoredKind.VALUE:
        return 1.0
    return float(10**window.value.scale) if window.aggregate is not Aggregate.DISTINCT else 1.0
