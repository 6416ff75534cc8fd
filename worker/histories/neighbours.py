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

from base.errors import ConfigurationError, DependencyUnavailableError, HistoriesLostError
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
_TURN_S = 2.0
"""Upper bound on the time between two steps of one that another worker applies in turns, in seconds
for each partition that takes a turn."""
_CHECKPOINT_S = 1.0
"""Bound on the answer about checkpoints, in seconds: events of the worker's own wait for it."""


@dataclass(slots=True)
class _Neighbour:
    """Partition of another worker.

    Attributes:
        end: Offset up to which the histories have it, as last seen.
        since: Time since when nobody else has moved that offset.
        state: State of the log behind what this worker has applied last; None if it has nothing.
        applies: True while this worker applies it.
    """

    end: int
    since: float
    state: LogState | None = None
    applies: bool = False


class Neighbours:
    """Partitions of other workers.

    Args:
        source: Reader of the input topic.
    """

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self._ahead = Ahead(source, STEP_RECORDS)
        self._known: dict[int, _Neighbour] = {}
        self._own = LogState()

    def restore(
        self, target: HistoryTarget, own: LogState, checkpoints: LogState, *, fills: bool
    ) -> Generator[Progress | None, None, LogState | None]:
        """Wait until all other partitions are filled, and fill those that nobody else fills.

        Args:
            target: Histories, whose marks were read.
            own: State of the log at the partitions of this worker, which are filled.
            checkpoints: The result of the last call, so that the checkpoints of partitions that go
                on do not move away; empty at the first one.
            fills: False if histories begin empty at the checkpoints instead.

        Yields:
            The progress of a fill; None while others fill.

        Returns:
            The checkpoints up to which they are filled; None if they were at first.

        Raises:
            DependencyUnavailableError: The store or the registry is away.
            KafkaException: The brokers do not answer.
            HistoriesLostError: The store has lost members meanwhile.
        """
        self._observe(target, own)
        partial = target.marks.may_be_partial() if self._known else ()
        others = [partition for partition in self._known if partial[partition]]
        if not others:
            return None
        state, is_filled = checkpoints, True
        if not state.offsets.keys() >= {*others}:
            state = self._at_checkpoints(others)
            # Others may have moved their marks meanwhile, which must not be set back.
            target.read_marks()
            self._observe(target, own)
        ends = _of(state, others).offsets
        while left := {p for _, p in target.marks.missing(ends, shared=True)}:
            due = [partition for partition in sorted(left) if self._is_due(partition)]
            is_filled = False
            if not due:
                yield None
            elif fills:
                log.info("filling_partitions_of_others", partitions=due)
                restoring = Restoring(target, self._source, _of(state, due), shared=True)
                yield from restoring.run()
                for partition in due:
                    neighbour = self._known[partition]
                    neighbour.end, neighbour.applies = ends[partition], True
                    neighbour.state = _of(restoring.state, [partition])
            else:
                offsets = {partition: ends[partition] for partition in due}
                begun = target.marks.begin(offsets, shared=True)
                target.store.write_marks(begun, target.expire_ms)
            target.read_marks()
            self._observe(target, own)
        return None if is_filled else state

    def unattended(
        self, target: HistoryTarget, own: LogState, waits: Mapping[int, Wait]
    ) -> list[int]:
        """Find partitions to apply now: nobody else does, by the marks as last read.

        Args:
            target: Histories.
            own: State of the log at the partitions of this worker.
            waits: First event of each partition that waits for others; empty if none does.

        Returns:
            Those that events wait for; without such events, one that is begun and one of the rest,
            in turns.

        Raises:
            HistoriesLostError: The store has lost a partition that events wait for, and no worker
                that reads it fills it again.
        """
        self._observe(target, own)
        known = {p: at for p, at in self._known.items() if at.end >= 0}
        if waits:
            behind = {wait.behind for wait in waits.values()}
            due = [p for p in self._known if p in behind and self._is_due(p)]
            if lost := [p for p in due if p not in known]:
                raise HistoriesLostError(
                    f"the online store has lost the marks of partitions {lost}, which no other "
                    "worker with these windows reads"
                )
            return due
        # Another worker takes turns as well.
        patience_s = max(PATIENCE_S, _TURN_S * len(self._known))
        due = [p for p in known if self._is_due(p, patience_s)]
        # While the first step of one waits for the brokers, the one before it gets its records.
        return sorted(due, key=lambda p: not self._ahead.is_filling(p))[:2]

    def apply(self, target: HistoryTarget, partitions: Collection[int]) -> None:
        """Apply the next records of partitions that are not applied yet.

        Args:
            target: Histories, whose marks were read.
            partitions: Partitions from `unattended`.
        """
        for partition in partitions:
            # To the end of the row: without waiting events the partitions take turns.
            neighbour = self._known[partition] = self._known.pop(partition)
            try:
                self._apply(target, partition, neighbour)
            except HistoriesLostError:
                # Its worker has come, and fills it again.
                self._leave(partition, neighbour)
            except (KafkaException, ConfigurationError, DependencyUnavailableError) as error:
                # The worker's own partitions go on, also if only records of this one need a schema,
                # or its metadata are of a later release. Who reads the marks sees a store away.
                self._leave(partition, neighbour)
                log.warning(
                    "partition_of_another_not_applied", partition=partition, error=str(error)
                )

    def close_idle(self) -> None:
        """End the fills that have made no step for some seconds."""
        self._ahead.close_idle()

    def close(self) -> None:
        """End all fills; the marks say how far they have come."""
        self._ahead.close()

    def _apply(self, target: HistoryTarget, partition: int, neighbour: _Neighbour) -> None:
        if not self._ahead.is_filling(partition):
            _, end = self._source.bounds(partition)
            if neighbour.end >= end:
                if not neighbour.applies:
                    neighbour.since = self._source.clock()
                return
        state = neighbour.state
        if state is None or not neighbour.applies:
            state = self._latest_state(partition, neighbour)
            neighbour.applies = True
            log.info("applying_partition_of_another", partition=partition, offset=neighbour.end)
        neighbour.state = state = self._ahead.apply(target, partition, state, 0)
        neighbour.end = max(neighbour.end, state.offsets[partition])

    def _latest_state(self, partition: int, neighbour: _Neighbour) -> LogState:
        """The last known state of the log up to the mark."""
        state, known = self._state_before(partition, neighbour.end), neighbour.state
        if known and state.offsets[partition] <= known.offsets[partition] <= neighbour.end:
            return known
        return state

    def _state_before(self, partition: int, offset: int) -> LogState:
        """State of the log at a checkpoint, or at a pair, up to an offset; else at its first."""
        checkpoint = self._source.checkpoints([partition], _CHECKPOINT_S)
        state = checkpoint.before(partition, offset)
        if state is not None:
            return state
        return LogState(offsets={partition: min(self._source.bounds(partition)[0], offset)})

    def _observe(self, target: HistoryTarget, own: LogState) -> None:
        """Note which partitions others have applied further since the last look."""
        before, self._own = self._own, own
        if not (target.marks.shared and target.marks.read and own.offsets):
            self._known = {}
            self._ahead.close()
            return
        for partition in self._known.keys() & own.offsets.keys():
            self._ahead.close(partition)
            del self._known[partition]
        now, positions = self._source.clock(), target.marks.positions().tolist()
        for partition, end in enumerate(positions):
            if partition in own.offsets:
                continue
            neighbour = self._known.setdefault(partition, _Neighbour(end, now))
            if partition in before.offsets:
                neighbour.state = _of(before, [partition])
            if neighbour.end != end:
                neighbour.end = end
                self._leave(partition, neighbour)

    def _is_due(self, partition: int, patience_s: float = PATIENCE_S) -> bool:
        neighbour = self._known[partition]
        return neighbour.applies or self._source.clock() - neighbour.since >= patience_s

    def _leave(self, partition: int, neighbour: _Neighbour) -> None:
        """Leave a partition to another worker that applies it."""
        self._ahead.close(partition)
        neighbour.applies, neighbour.since = False, self._source.clock()

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
