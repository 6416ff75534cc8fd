"""Partitions that no worker with these histories reads, applied to shared histories from the log.

While an old and a new version of the windows run side by side, the workers of each write histories
of their own. Windows over entities that partitions share need the events of all partitions. So each
worker applies also the partitions of the others where nobody else does it. Members are named by
their positions and marks only advance, so two workers that apply the same partition do no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, replace

import structlog
from confluent_kafka import KafkaException

from base.errors import HistoriesLostError
from features.history.watermarks import LogState
from worker.fill.fill import STEP_RECORDS, Progress
from worker.fill.source import LogSource
from worker.histories.ahead import Ahead
from worker.histories.alignment import Wait
from worker.histories.filling import HistoryTarget, Restoring

log = structlog.get_logger(__name__)

PATIENCE_S = 5.0
"""Time without a step of its mark after which a partition is taken for one that nobody applies.

A worker that reads it advances the mark with each micro-batch and each step of a fill. The time
covers a rebalance, in which a partition moves from one worker to another.
"""
_CHECKPOINT_S = 1.0
"""Bound on the answer about checkpoints, in seconds: events of the worker's own wait for it."""


@dataclass(slots=True)
class _Neighbour:
    """Partition of another worker.

    Attributes:
        end: Offset up to which the histories have it, as last seen.
        since: Time since when nobody else has moved that offset.
        state: State of the log behind what this worker has applied; None if it applies nothing.
    """

    end: int
    since: float
    state: LogState | None = None


class Neighbours:
    """Partitions of other workers.

    Args:
        source: Reader of the input topic.
    """

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self._ahead = Ahead(source, STEP_RECORDS)
        self._known: dict[int, _Neighbour] = {}

    def restore(
        self, target: HistoryTarget, own: Collection[int], *, fills: bool
    ) -> Generator[Progress | None, None, bool]:
        """Wait until all other partitions are filled, and fill those that nobody else fills.

        Args:
            target: Histories, whose marks were read.
            own: Partitions of this worker, which are filled.
            fills: False if histories begin empty at the checkpoints instead.

        Yields:
            The progress of a fill; None while others fill.

        Returns:
            True if some were not filled at first.

        Raises:
            DependencyUnavailableError: The store or the registry is away.
            KafkaException: The brokers do not answer.
            HistoriesLostError: The store has lost members meanwhile.
        """
        self._observe(target, own)
        partial = target.marks.may_be_partial() if self._known else ()
        others = [partition for partition in self._known if partial[partition]]
        if not others:
            return False
        is_filled = True
        state = self._at_checkpoints(others)
        while left := {p for _, p in target.marks.missing(state.offsets, shared=True)}:
            due = [partition for partition in sorted(left) if self._is_due(partition)]
            is_filled = False
            if not due:
                yield None
            elif fills:
                log.info("filling_partitions_of_others", partitions=due)
                yield from Restoring(target, self._source, _of(state, due), shared=True).run()
            else:
                offsets = {partition: state.offsets[partition] for partition in due}
                begun = target.marks.begin(offsets, shared=True)
                target.store.write_marks(begun, target.expire_ms)
            target.read_marks()
            self._observe(target, own)
        return not is_filled

    def unattended(
        self, target: HistoryTarget, own: Collection[int], waits: Mapping[int, Wait]
    ) -> list[int]:
        """Find partitions to apply now: nobody else does, by the marks as last read.

        Args:
            target: Histories.
            own: Partitions of this worker.
            waits: First event of each partition that waits for others; empty if none does.

        Returns:
            Those that events wait for; without such events, the one that was looked at first.
        """
        self._observe(target, own)
        due = [p for p, at in self._known.items() if at.end >= 0 and self._is_due(p)]
        if waits:
            behind = {wait.behind for wait in waits.values()}
            return [partition for partition in due if partition in behind]
        return due[:1]

    def apply(self, target: HistoryTarget, partitions: Collection[int]) -> None:
        """Apply the next records of partitions that are not applied yet.

        Args:
            target: Histories, whose marks were read.
            partitions: Partitions from `unattended`.

        Raises:
            DependencyUnavailableError: The store or the registry is away.
        """
        for partition in partitions:
            # To the end of the row: without waiting events the partitions take turns.
            neighbour = self._known[partition] = self._known.pop(partition)
            try:
                self._apply(target, partition, neighbour)
            except HistoriesLostError:
                # Its worker has come, and fills it again.
                self._leave(partition, neighbour)
            except KafkaException as error:
                self._leave(partition, neighbour)
                log.warning(
                    "partition_of_another_not_applied", partition=partition, error=str(error)
                )

    def close(self) -> None:
        """End all fills; the marks say how far they have come."""
        self._ahead.close()

    def _apply(self, target: HistoryTarget, partition: int, neighbour: _Neighbour) -> None:
        if self._ahead.position(partition) is None:
            _, end = self._source.bounds(partition)
            if neighbour.end >= end:
                if neighbour.state is None:
                    neighbour.since = self._source.clock()
                return
        if neighbour.state is None:
            neighbour.state = self._state_before(partition, neighbour.end)
            log.info("applying_partition_of_another", partition=partition, offset=neighbour.end)
        state = self._ahead.apply(target, partition, neighbour.state)
        if state is not None:
            neighbour.state = state
        neighbour.end = max(neighbour.end, self._position(partition, neighbour) or 0)

    def _state_before(self, partition: int, offset: int) -> LogState:
        """State of the log at a checkpoint, or at a pair, up to an offset; else at its first."""
        checkpoint = self._source.checkpoints([partition], _CHECKPOINT_S)
        state = checkpoint.before(partition, offset)
        if state is not None:
            return state
        return LogState(offsets={partition: min(self._source.bounds(partition)[0], offset)})

    def _observe(self, target: HistoryTarget, own: Collection[int]) -> None:
        """Note which partitions others have applied further since the last look."""
        if not (target.marks.shared and target.marks.read and own):
            self._known = {}
            self._ahead.close()
            return
        for partition in self._known.keys() & {*own}:
            self._ahead.close(partition)
            del self._known[partition]
        now, positions = self._source.clock(), target.marks.positions().tolist()
        for partition, end in enumerate(positions):
            if partition in own:
                continue
            neighbour = self._known.setdefault(partition, _Neighbour(end, now))
            if neighbour.end != end:
                neighbour.end = end
                self._leave(partition, neighbour)

    def _is_due(self, partition: int) -> bool:
        neighbour = self._known[partition]
        return neighbour.state is not None or self._source.clock() - neighbour.since >= PATIENCE_S

    def _leave(self, partition: int, neighbour: _Neighbour) -> None:
        """Leave a partition to another worker that applies it."""
        self._ahead.close(partition)
        neighbour.state, neighbour.since = None, self._source.clock()

    def _position(self, partition: int, neighbour: _Neighbour) -> int | None:
        """Offset up to which this worker has applied a partition; None if it has not."""
        position = self._ahead.position(partition)
        if position is None and neighbour.state is not None:
            return neighbour.state.offsets[partition]
        return position

    def _at_checkpoints(self, partitions: Collection[int]) -> LogState:
        """State of the log at the checkpoints, or at the first records without one."""
        state = self._source.checkpoints(partitions)
        offsets = dict(state.offsets)
        for partition in partitions:
            low, end = self._source.bounds(partition)
            offsets[partition] = min(offsets.get(partition, low), end)
        return replace(state, offsets=offsets)


def _of(state: LogState, partitions: Collection[int]) -> LogState:
    """The state with the offsets of some partitions only."""
    return replace(state, offsets={p: state.offsets[p] for p in partitions})
