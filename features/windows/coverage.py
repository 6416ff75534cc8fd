"""Events that are short of history: a window looks back further than the history reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from base.arrays import Longs, Mask
from features.history.namespace import Namespace
from features.history.watermarks import UNKNOWN, LogState, enough_to_begin
from features.windows.entity_windows import EntityWindows
from features.windows.position import WindowPosition, early_for_records
from features.windows.window import HistoryRules
from schemas.batch import EventBatch

_NEVER = np.iinfo(np.int64).max
"""Time that histories reach back to while they have not begun."""


def find_short(
    plans: Sequence[EntityWindows],
    namespace: Namespace,
    batch: EventBatch,
    at: WindowPosition,
    log: LogState,
    after: LogState,
) -> tuple[dict[str, Mask], LogState]:
    """Find the events of a batch that are short of history.

    An event is short if its longest window begins before the time that its entity's histories reach
    back to in the event's own partition. Partitions are independent, as for lateness: the result of
    a partition is then a function of its log.

    Args:
        plans: Windows of all entities, at least one.
        namespace: Namespace of their histories.
        batch: N events.
        at: Positions of the events.
        log: State of the log before them.
        after: State of the log behind them, as far as `locate` knows it.

    Returns:
        bool[N] by entity; ``after`` with the times that histories reach back to.
    """
    rules = plans[0].rules
    digests = {plan.entity: digest_of(plan, namespace) for plan in plans}
    short = {plan.entity: np.empty(len(batch), np.bool_) for plan in plans}
    lowest, counted = dict(log.lowest), dict(log.counted)
    watermarks = after.watermarks(rules.watermark_support)
    early = early_for_records(batch, rules)
    for partition in at.first:
        rows = np.flatnonzero(at.partitions == partition)
        beginning = _Beginning(rows, batch, at, early, log.highest.get(partition, ()), rules)
        watermark = watermarks.get(partition, UNKNOWN)
        known, counts = log.lowest.get(partition, {}), log.counted.get(partition, {})
        reached, waiting = dict[str, int](), dict[str, int]()
        for plan in plans:
            digest = digests[plan.entity]
            count = counts.get(digest, 0)
            since = np.full(len(rows), known[digest]) if digest in known else beginning.after(count)
            short[plan.entity][rows] = since > at.base[rows] - plan.reach
            if since[-1] == _NEVER:
                waiting[digest] = count + len(beginning.places)
            else:
                # Compaction removes older members: a longer window would miss them from here on.
                reached[digest] = max(int(since[-1]), watermark - plan.back)
        lowest[partition], counted[partition] = reached, waiting
    return short, replace(after, lowest=lowest, counted=counted)


def without_histories(log: LogState, batch: EventBatch) -> LogState:
    """State of the log behind a batch whose events join no history: those of its partitions end."""
    if not log.lowest and not log.counted:
        return log
    gone = set(batch.records.partitions.tolist())
    lowest = {p: times for p, times in log.lowest.items() if p not in gone}
    counted = {p: counts for p, counts in log.counted.items() if p not in gone}
    return replace(log, lowest=lowest, counted=counted)


class _Beginning:
    """Beginning of histories within a batch, in one partition.

    Histories begin with their first events that are in time: after `enough_to_begin` of those, they
    reach back to the watermark behind these events. They do not contain earlier events of the
    partition.

    Attributes:
        places: Indexes, in the partition's rows, of the events that count.
    """

    def __init__(
        self,
        rows: Longs,
        batch: EventBatch,
        at: WindowPosition,
        early: Mask | None,
        highest: Sequence[int],
        rules: HistoryRules,
    ) -> None:
        self._support = rules.watermark_support
        self._highest = highest
        times = batch.event_time[rows]
        self._times = times if early is None else np.where(early[rows], UNKNOWN, times)
        self.places = np.flatnonzero(~at.late[rows] & (self._times != UNKNOWN))

    def after(self, count: int) -> Longs:
        """Time that histories reach back to at each row, _NEVER before they have begun.

        Args:
            count: Number of their events before the batch.
        """
        since = np.full(len(self._times), _NEVER)
        missing = max(1, enough_to_begin(self._support) - count)
        if len(self.places) >= missing:
            last = self.places[missing - 1]
            times = sorted([*self._highest, *self._times[: last + 1].tolist()])
            since[last:] = times[-self._support :][0]
        return since


def coverage(
    plans: Sequence[EntityWindows], namespace: Namespace, log: LogState
) -> dict[str, float]:
    """Share of each entity's longest window that its histories reach back, 0 to 1.

    This is the smallest share among the partitions that have had events.
    """
    shares = {}
    for plan in plans:
        digest = digest_of(plan, namespace)
        # times[-1] is the watermark, or the lowest time while too few events support one.
        spans = [
            times[-1] - log.lowest.get(partition, {}).get(digest, times[-1])
            for partition, times in log.highest.items()
        ]
        shares[plan.entity] = min(1.0, max(0.0, min(spans, default=0) / plan.reach))
    return shares


def digest_of(plan: EntityWindows, namespace: Namespace) -> str:
    """Key of an entity's histories in `LogState.lowest`."""
    return namespace.history_digest(plan.entity, plan.layout.digest)
