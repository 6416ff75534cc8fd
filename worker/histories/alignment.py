"""Alignment of partitions: an event is scored when its windows can no longer miss a member.

An aligned window of an event at time t with delay d counts members of all partitions up to t - d.
They are complete when every other partition is applied up to a watermark that leaves no room for
another one, or up to its end as read after the event was polled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaException

from base.arrays import Longs
from features.history.watermarks import UNKNOWN
from features.windows.plan import WindowPlan
from features.windows.window import Across

ALL = np.iinfo(np.int64).max
"""Time up to which a partition without further records is complete."""


class Wait(NamedTuple):
    """First event of a partition that cannot be scored yet.

    Attributes:
        offset: Offset of its record.
        time: Event time up to which its windows look, less their delays.
        entity: Entity whose windows are not complete.
        behind: Another partition, which has to be applied further; None for the labels topic.
    """

    offset: int
    time: int
    entity: str
    behind: int | None

    @property
    def reason(self) -> str:
        """Event that ends the wait, in words."""
        applied = (
            "the labels topic is applied to its end"
            if self.behind is None
            else f"partition {self.behind} is applied further"
        )
        return f"{applied} (windows of {self.entity})"


class NotAlignedError(Exception):
    """Some events of a micro-batch cannot be scored yet.

    Attributes:
        waits: Wait of each partition with such an event.
    """

    def __init__(self, waits: Mapping[int, Wait]) -> None:
        super().__init__(f"partitions {sorted(waits)} wait for others")
        self.waits = waits


class Alignment:
    """Comparison of events with the marks of other partitions.

    Args:
        plan: Windows of all entities.
        bounds: Asks the brokers for the begin of a partition and its end, as a reader of committed
            records sees them; raises KafkaException.
    """

    def __init__(self, plan: WindowPlan, bounds: Callable[[int], tuple[int, int]]) -> None:
        self._lateness = plan.rules.allowed_lateness
        self._entities = [entity.entity for entity in plan.entities]
        self._delays = [
            min((w.delay for w in entity.windows if w.across is Across.ALIGNED), default=None)
            for entity in plan.entities
        ]
        self._bounds = bounds
        self._ends: dict[int, int] = {}
        # Offset of the last event of each partition that had to wait, and the ends behind its poll.
        self._behind: dict[int, tuple[int, dict[int, int]]] = {}

    def waits(
        self,
        marks: Sequence[npt.NDArray[Any]],
        times: Longs,
        partitions: npt.NDArray[np.int32],
        offsets: Longs,
    ) -> dict[int, Wait]:
        """Find the first event of each partition that cannot be scored yet.

        Args:
            marks: MARK[P] of each entity, read after the events were polled.
            times: int64[N], event times up to which the events' windows look, less their delays.
            partitions: int32[N], partitions of the events.
            offsets: int64[N], their offsets, rising in each partition.
        """
        waits = self._waits(marks, times, partitions, offsets, {})
        ended = [
            p
            for p, wait in waits.items()
            if self._is_known(p, wait) and not self._known_wait(marks, p, wait)
        ]
        if not ended:
            return waits
        # Events whose wait has ended are scored, although the ends of others have moved since.
        rows = np.ones(len(times), np.bool_)
        for partition in ended:
            rows &= (partitions != partition) | (offsets != waits[partition].offset)
        return self._waits(marks, times[rows], partitions[rows], offsets[rows], {})

    def still_waiting(
        self, marks: Sequence[npt.NDArray[Any]], waits: Mapping[int, Wait]
    ) -> dict[int, Wait]:
        """Find the waiting events that still cannot be scored.

        The ends of other partitions are read once for each of them: where records come all the
        time, the latest end may never be reached.
        """
        for partition, wait in waits.items():
            if not self._is_known(partition, wait):
                self._behind[partition] = wait.offset, {}
        still: dict[int, Wait] = {}
        for partition, wait in waits.items():
            still |= self._known_wait(marks, partition, wait)
        return still

    def forget(self) -> None:
        """Forget the events that have waited."""
        self._behind.clear()

    def _is_known(self, partition: int, wait: Wait) -> bool:
        return partition in self._behind and self._behind[partition][0] == wait.offset

    def _known_wait(
        self, marks: Sequence[npt.NDArray[Any]], partition: int, wait: Wait
    ) -> dict[int, Wait]:
        """Wait of an event that has waited before; empty if it can be scored."""
        times, offsets = np.array([wait.time]), np.array([wait.offset])
        _, ends = self._behind[partition]
        return self._waits(marks, times, np.array([partition], np.int32), offsets, ends)

    def _waits(
        self,
        marks: Sequence[npt.NDArray[Any]],
        times: Longs,
        partitions: npt.NDArray[np.int32],
        offsets: Longs,
        ends: dict[int, int],
    ) -> dict[int, Wait]:
        """Find waiting events, as `waits`.

        Args:
            marks: As of `waits`, like ``times``, ``partitions`` and ``offsets``.
            times: Likewise.
            partitions: Likewise.
            offsets: Likewise.
            ends: Ends of partitions that were read after the events were polled; those that are
                read now are added.
        """
        waits: dict[int, Wait] = {}
        for entity, delay, of_entity in zip(self._entities, self._delays, marks, strict=True):
            if delay is None or len(of_entity) == 1 or not len(times):
                continue
            until = times - delay
            complete = self._complete(of_entity)
            if not (until >= _of_others(complete)[partitions]).any():
                continue
            self._add_ended(of_entity, complete, int(until.max()), ends)
            others = _of_others(complete)
            rows = np.flatnonzero(until >= others[partitions])
            for partition, first in zip(
                *np.unique(partitions[rows], return_index=True), strict=True
            ):
                row, own = int(rows[first]), int(partition)
                if own not in waits or offsets[row] < waits[own].offset:
                    behind = int(
                        np.argmin(np.where(np.arange(len(complete)) == own, ALL, complete))
                    )
                    waits[own] = Wait(int(offsets[row]), int(times[row]), entity, behind)
        return waits

    def lagging(self, marks: Sequence[npt.NDArray[Any]], waits: Mapping[int, Wait]) -> list[int]:
        """Find the waiting partitions whose records others may wait for.

        Of all waiting events the earliest never waits for a partition that is complete up to the
        time of its own waiting event: so not all can wait for each other.
        """
        lagging = []
        for partition, wait in waits.items():
            complete = [
                self._complete(of_entity)[partition]
                for delay, of_entity in zip(self._delays, marks, strict=True)
                if delay is not None
            ]
            if min(complete) < wait.time:
                lagging.append(partition)
        return lagging

    def _complete(self, marks: npt.NDArray[Any]) -> Longs:
        """Time below which each partition is complete, int64[P]."""
        known = (marks["reached"] > 0) & (marks["watermark"] != UNKNOWN)
        return np.where(known, marks["watermark"] - self._lateness, UNKNOWN)

    def _add_ended(
        self, marks: npt.NDArray[Any], complete: Longs, until: int, ends: dict[int, int]
    ) -> None:
        """Add the partitions that are applied to their ends, among those below ``until``."""
        applied = marks["reached"] - 1
        for partition in np.flatnonzero((complete <= until) & (applied >= 0)).tolist():
            # An end only grows: the brokers are asked where the last known one is reached.
            if partition not in ends and applied[partition] >= self._ends.get(partition, 0):
                try:
                    _, end = self._bounds(partition)
                except KafkaException:
                    # The event waits, and is looked at again.
                    continue
                ends[partition] = self._ends[partition] = end
            if applied[partition] >= ends.get(partition, ALL):
                complete[partition] = ALL


def wait_for_labels(
    entity: str, times: Longs, partitions: npt.NDArray[np.int32], offsets: Longs
) -> dict[int, Wait]:
    """Wait of the first event of each partition for the labels topic.

    Args:
        entity: Entity whose windows count frauds.
        times: int64[N], event times.
        partitions: int32[N], partitions of the events.
        offsets: int64[N], their offsets, rising in each partition.
    """
    firsts = np.unique(partitions, return_index=True)[1].tolist()
    return {
        int(partitions[row]): Wait(int(offsets[row]), int(times[row]), entity, None)
        for row in firsts
    }


def _of_others(complete: Longs) -> Longs:
    """For each partition, the lowest value of the others; int64[P], at least two partitions."""
    lowest, second = np.partition(complete, 1)[:2]
    others = np.full(len(complete), lowest)
    others[int(np.argmin(complete))] = second
    return others
