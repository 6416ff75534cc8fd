"""Filling of a worker's histories: at an assignment, after a loss, and ahead of scoring.

A fill reads the input topic and appends members without scoring. It begins at an offset from which
on the log has every member that a later event may need, and ends at the checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from features.history.marks import NOT_BEGUN, Mark
from features.history.namespace import Namespace
from features.history.watermarks import UNKNOWN, LogState
from features.store.protocol import OnlineStore
from features.windows.plan import WindowPlan
from worker.fill.fill import STEP_RECORDS, Fill, Progress
from worker.fill.ranges import FillRange
from worker.fill.source import LogSource
from worker.histories.marks import MarkedHistories, Marks

log = structlog.get_logger(__name__)

T = TypeVar("T")

_AHEAD_RECORDS = 2_000
"""Records of a step ahead of scoring: in between, events that need not wait are scored."""


@dataclass(frozen=True, slots=True, eq=False)
class HistoryTarget:
    """Histories that fills write to.

    Attributes:
        store: Online store.
        plan: Windows that read the histories.
        namespace: Namespace of the histories.
        marks: Their marks.
        expire_ms: TTL of a history, in milliseconds; None: it never expires.
    """

    store: OnlineStore
    plan: WindowPlan
    namespace: Namespace
    marks: Marks
    expire_ms: int | None

    def read_marks(self) -> None:
        self.marks.take(self.store.read_all([], [], self.marks.keys))

    def append(
        self,
        members: Collection[tuple[bytes, bytes]],
        histories: Collection[MarkedHistories],
        marks: Mapping[int, tuple[int, Mark]],
    ) -> None:
        """Append members to some of the histories, and advance their marks.

        Args:
            members: Pairs of a key and bytes, of any histories.
            histories: Histories whose members are appended.
            marks: For each partition, the offset that its marks must have reached, and the new mark.
        """
        prefixes = tuple(one.prefix for one in histories)
        kept = [item for item in members if item[0].startswith(prefixes)]
        if kept:
            self.store.append(kept, (), self.expire_ms)
        writes = [
            self.marks.write(one, partition, at_least + 1, mark)
            for partition, (at_least, mark) in marks.items()
            for one in histories
        ]
        if writes:
            self.store.write_marks(writes, self.expire_ms)


class Restoring:
    """Fill of the histories that lack members before the checkpoints.

    Args:
        target: Histories, whose marks were read.
        source: Reader of the input topic.
        state: State of the log at the checkpoints.
    """

    def __init__(self, target: HistoryTarget, source: LogSource, state: LogState) -> None:
        self._target = target
        self._source = source
        self._state = state
        missing = target.marks.missing(state.offsets)
        self._histories = list(dict.fromkeys(histories for histories, _ in missing))
        self._partitions = sorted({partition for _, partition in missing})
        self._begins: dict[int, int] = {}
        self._at: dict[int, int] = {}

    def run(self) -> Iterator[Progress]:
        """Fill in steps.

        Raises:
            DependencyUnavailableError: The store or the registry is away.
            KafkaException: The brokers do not answer.
            HistoriesLostError: The store has lost members meanwhile.
        """
        target, source = self._target, self._source
        needed, states = self._needed(), []
        for partition in self._partitions:
            found = self._state.replay_from(partition, needed.get(partition, UNKNOWN))
            if found is None:
                needed.pop(partition, None)
                found = source.bounds(partition)[0], LogState()
            begin, state = found
            self._begins[partition] = min(begin, self._state.offsets[partition])
            states.append(state)
        present = self._present()
        self._at = {p: max(begin, present.get(p, 0)) for p, begin in self._begins.items()}
        self._write_begins(present)
        ranges = {
            partition: FillRange(begin, self._state.offsets[partition])
            for partition, begin in self._begins.items()
        }
        fill = source.begin(
            target.namespace, self._append, ranges, _joined(states), present, STEP_RECORDS
        )
        with closing(fill):
            while not (progress := fill.step()).done:
                yield progress
        for partition in fill.truncated:
            needed.pop(partition, None)
        self.state = self._finish(fill.log_state, needed)

    def _needed(self) -> dict[int, int]:
        """Event time from which on members are needed, of each partition where it is known.

        Members of histories that partitions share are needed for the events of all of them.
        """
        plan, support = self._target.plan, self._target.plan.rules.watermark_support
        if all(histories.is_own for histories in self._histories):
            watermarks = self._state.watermarks(support)
            return {p: watermarks[p] - plan.span for p in self._partitions if p in watermarks}
        watermarks = self._source.checkpoints().watermarks(support)
        if len(watermarks) < self._target.namespace.partitions:
            return {}
        return dict.fromkeys(self._partitions, min(watermarks.values()) - plan.span)

    def _present(self) -> dict[int, int]:
        """Offsets before which an interrupted fill has appended all members."""
        held = [self._target.marks.of(histories) for histories in self._histories]
        return {
            partition: min(int(marks["reached"][partition]) - 1 for marks in held)
            for partition, begin in self._begins.items()
            if all(
                marks["reached"][partition] > 0 and marks["begin"][partition] <= begin
                for marks in held
            )
        }

    def _write_begins(self, present: Mapping[int, int]) -> None:
        """Begin the marks of the partitions that are not filled up to somewhere."""
        target = self._target
        writes = [
            target.marks.write(one, p, None, Mark(begin, begin, lowest=NOT_BEGUN))
            for p, begin in self._begins.items()
            if p not in present
            for one in self._histories
        ]
        if writes:
            target.store.write_marks(writes, target.expire_ms)

    def _append(
        self, members: Collection[tuple[bytes, bytes]], reached: Mapping[int, int], _: LogState
    ) -> None:
        # Without a watermark: other partitions must not take these for complete before the end.
        marks = {p: (self._at[p], self._mark(p, end)) for p, end in reached.items()}
        self._target.append(members, self._histories, marks)
        self._at |= reached

    def _mark(self, partition: int, end: int, **known: int) -> Mark:
        return Mark(self._begins[partition], end, **{"lowest": NOT_BEGUN, **known})

    def _finish(self, filled: LogState, needed: Mapping[int, int]) -> LogState:
        """Write the marks of the filled histories; return the state of the log at the checkpoints.

        Histories reach back to the time from which on they hold all members, or to the first events
        of the log, or of the files before it.
        """
        target, state = self._target, _with_missing(self._state, filled, self._partitions)
        watermarks = state.watermarks(target.plan.rules.watermark_support)
        reaches, short = target.plan.reaches, set[str]()
        for histories in self._histories:
            marks = {}
            for partition in self._partitions:
                watermark, end = watermarks.get(partition, UNKNOWN), state.offsets[partition]
                reached = filled.lowest.get(partition, {}).get(histories.digest, NOT_BEGUN)
                if reached == NOT_BEGUN and histories.digest in state.lowest.get(partition, {}):
                    # The log has lost events since: the metadata would say that they are there.
                    reached = watermark
                first = watermark if reached == NOT_BEGUN else reached
                before = target.marks.lowest_of_files(histories, first)
                lowest = needed.get(partition, min(reached, before))
                if watermark != UNKNOWN and watermark - lowest < reaches[histories.entity]:
                    short.add(histories.entity)
                mark = self._mark(
                    partition, end, watermark=watermark, scored=watermark, lowest=lowest
                )
                marks[partition] = end, mark
            target.append((), [histories], marks)
        if short:
            log.warning(
                "histories_short",
                entities=sorted(short),
                meaning="topic and files hold no earlier events; events are flagged history_short "
                "until histories reach back as far as the longest window",
            )
        return state


class Ahead:
    """Fill of shared histories ahead of scoring, for partitions whose next event has to wait.

    Args:
        target: Histories.
        source: Reader of the input topic.
    """

    def __init__(self, target: HistoryTarget, source: LogSource) -> None:
        self._target = target
        self._source = source
        self._fills: dict[int, Fill] = {}

    def apply(self, partition: int, state: LogState) -> None:
        """Apply the next records of a partition that are not applied yet.

        Args:
            partition: Partition that waits.
            state: State of the log at its next record to score.

        Raises:
            DependencyUnavailableError: The store or the registry is away.
            KafkaException: The brokers do not answer.
            HistoriesLostError: The store has lost members.
        """
        fill = self._fills.get(partition)
        if fill is None:
            fill = self._fills[partition] = self._begin(partition, state)
        if fill.step().done:
            del self._fills[partition]
            fill.close()

    def close(self) -> None:
        """End all fills; the marks say how far they have come."""
        for fill in self._fills.values():
            fill.close()
        self._fills.clear()

    def _begin(self, partition: int, state: LogState) -> Fill:
        target, begin = self._target, state.offsets[partition]
        histories = [one for one in target.marks.histories if not one.is_own]
        _, end = self._source.bounds(partition)
        held = [target.marks.of(one)[partition] for one in histories]
        at = min(int(mark["reached"]) - 1 for mark in held)
        support = target.plan.rules.watermark_support

        def append(
            members: Collection[tuple[bytes, bytes]], reached: Mapping[int, int], after: LogState
        ) -> None:
            nonlocal at
            watermark = after.watermarks(support).get(partition, UNKNOWN)
            for one, mark in zip(histories, held, strict=True):
                new = Mark(
                    int(mark["begin"]),
                    reached[partition],
                    watermark,
                    int(mark["scored"]),
                    int(mark["lowest"]),
                )
                target.append(members, [one], {partition: (at, new)})
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
            _AHEAD_RECORDS,
        )


def _joined(states: Sequence[LogState]) -> LogState:
    """One state of the log, of the states of one partition each."""
    return LogState(
        {p: times for state in states for p, times in state.highest.items()},
        early={p: time for state in states for p, time in state.early.items()},
        pairs={p: pairs for state in states for p, pairs in state.pairs.items()},
    )


def _with_missing(state: LogState, filled: LogState, partitions: Sequence[int]) -> LogState:
    """The state at the checkpoints; from the fill where the metadata of the offset has none."""
    unknown = [p for p in partitions if p not in state.highest]

    def taken(own: Mapping[int, T], other: Mapping[int, T]) -> dict[int, T]:
        return {**own, **{p: other[p] for p in unknown if p in other}}

    return replace(
        state,
        highest=taken(state.highest, filled.highest),
        early=taken(state.early, filled.early),
        pairs=taken(state.pairs, filled.pairs),
        counted=taken(state.counted, filled.counted),
    )
