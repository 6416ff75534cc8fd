"""Filling of a worker's histories ahead of scoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from features.history.marks import Mark
from features.history.watermarks import UNKNOWN, LogState
from features.store.writes import Appends
from worker.fill.fill import WAIT_S, Fill
from worker.fill.ranges import FillRange
from worker.fill.source import LogSource
from worker.histories.filling import HistoryTarget

_IDLE_S = 5.0
"""Time without a step after which an unfinished fill ends: its consumer would fetch what comes."""


class Ahead:
    """Fill of shared histories with records that nobody has scored.

    These are records of partitions whose next event has to wait, or of partitions that no worker
    with these histories reads.

    Args:
        source: Reader of the input topic.
        records: Maximum number of records of a step.
    """

    def __init__(self, source: LogSource, records: int) -> None:
        self._source = source
        self._records = records
        self._fills: dict[int, Fill] = {}
        self._stepped: dict[int, float] = {}

    def apply(
        self, target: HistoryTarget, partition: int, state: LogState, wait_s: float = WAIT_S
    ) -> LogState:
        """Apply the next records of a partition that are not applied yet.

        Args:
            target: Histories, whose marks were read.
            partition: The partition.
            state: State of the log at the next record to score, or at any offset before the mark.
            wait_s: Longest wait for records, in seconds.

        Returns:
            The state behind the last record that was applied.

        Raises:
            DependencyUnavailableError: The store or the registry is away.
            KafkaException: The brokers do not answer.
            HistoriesLostError: The store has lost members.
        """
        fill = self._fills.get(partition)
        if fill is None:
            fill = self._begin(target, partition, state)
        if fill is None:
            return state
        self._fills[partition] = fill
        self._stepped[partition] = self._source.clock()
        if fill.step(wait_s).done:
            self.close(partition)
        return replace(fill.log_state, offsets={partition: fill.applied[partition]})

    def is_filling(self, partition: int) -> bool:
        """True if there is an unfinished fill of a partition."""
        return partition in self._fills

    def close(self, *partitions: int) -> None:
        """End the fills of some partitions, or all; the marks say how far they have come."""
        for partition in partitions or [*self._fills]:
            fill = self._fills.pop(partition, None)
            if fill is not None:
                fill.close()

    def close_idle(self) -> None:
        """End the fills that have made no step for some seconds."""
        since = self._source.clock() - _IDLE_S
        if idle := [p for p in self._fills if self._stepped[p] < since]:
            self.close(*idle)

    def _begin(self, target: HistoryTarget, partition: int, state: LogState) -> Fill | None:
        """Begin a fill; None if the partition is applied to its end."""
        begin = state.offsets[partition]
        histories = target.marks.shared
        _, end = self._source.bounds(partition)
        held = [Mark.read(target.marks.of(one)[partition]) for one in histories]
        at = min(mark.end for mark in held)
        if at >= end:
            return None
        support = target.plan.rules.watermark_support

        def append(members: Appends, reached: Mapping[int, int], after: LogState) -> None:
            nonlocal at
            watermark = after.watermarks(support).get(partition, UNKNOWN)
            new = {
                one: mark._replace(end=reached[partition], watermark=watermark)
                for one, mark in zip(histories, held, strict=True)
            }
            target.append(members, {one: {partition: (at, mark)} for one, mark in new.items()})
            at = reached[partition]

        alone = LogState(
            {partition: state.highest[partition]} if partition in state.highest else {},
            early={partition: state.early[partition]} if partition in state.early else {},
        )
        return self._source.begin(
            target.namespace,
            append,
            {partition: FillRange(begin, end)},
            alone,
            {partition: at},
            self._records,
        )
