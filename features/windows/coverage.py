"""How far back histories reach: an event is short of history where a window looks back further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from features.history.log_state import LogState
from features.history.namespace import Namespace
from features.windows.engine import EntityWindows, Position
from features.windows.ragged import Mask

_NONE = np.iinfo(np.int64).max
"""The lowest event time of histories that have no event."""


def find_short(
    plans: Sequence[EntityWindows], namespace: Namespace, log: LogState, at: Position
) -> tuple[dict[str, Mask], dict[int, Mapping[str, int]]]:
    """The events of a batch that are short of history, and the lowest event times behind it.

    Short is an event whose longest window begins before the lowest event time that the histories of
    its entity have from its own partition; its own counts. Partitions are apart, as with lateness:
    what a partition gives is then a function of its log.

    Returns:
        bool[N] by entity; `LogState.lowest` behind the batch.
    """
    digests = {plan.entity: digest_of(plan, namespace) for plan in plans}
    short = {plan.entity: np.empty(len(at.partitions), np.bool_) for plan in plans}
    behind: dict[int, Mapping[str, int]] = dict(log.lowest)
    applied = np.where(at.events.late, _NONE, at.events.time)
    for partition in at.first:
        rows = np.flatnonzero(at.partitions == partition)
        running = np.minimum.accumulate(applied[rows])
        known = log.lowest.get(partition, {})
        reached: dict[str, int] = {}
        for plan in plans:
            digest = digests[plan.entity]
            lowest = np.minimum(running, known.get(digest, _NONE))
            short[plan.entity][rows] = lowest > at.events.base[rows] - plan.reach
            if lowest[-1] != _NONE:
                reached[digest] = int(lowest[-1])
        behind[partition] = reached
    return short, behind


def coverage(
    plans: Sequence[EntityWindows], namespace: Namespace, log: LogState
) -> dict[str, float]:
    """For each entity the share of its longest window that histories reach back, 0 to 1.

    Of the partitions that have had events, the least.
    """
    shares = {}
    for plan in plans:
        digest = digest_of(plan, namespace)
        # The last of the times is the watermark, or the lowest of fewer than support one.
        spans = [
            times[-1] - log.lowest.get(partition, {}).get(digest, times[-1])
            for partition, times in log.highest.items()
        ]
        shares[plan.entity] = min(1.0, max(0.0, min(spans, default=0) / plan.reach))
    return shares


def digest_of(plan: EntityWindows, namespace: Namespace) -> str:
    """The name of an entity's histories in `LogState.lowest`."""
    return namespace.history_digest(plan.entity, plan.layout.digest)
