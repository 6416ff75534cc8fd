"""Filling of a worker's histories at an assignment, and after a loss.

A fill reads the input topic and appends members without scoring. It begins at an offset from which
on the log has every member that a later event may need, and ends at the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

import structlog

from features.history.marks import NOT_BEGUN, Mark
from features.history.namespace import Namespace
from features.history.watermarks import UNKNOWN, LogState
from features.store.protocol import OnlineStore
from features.store.writes import Appends
from features.windows.plan import WindowPlan
from worker.fill.fill import STEP_RECORDS, Progress
from worker.fill.ranges import FillRange
from worker.fill.source import LogSource
from worker.histories.marks import MarkedHistories, Marks

log = structlog.get_logger(__name__)

T = TypeVar("T")

MarkSteps = Mapping[MarkedHistories, Mapping[int, tuple[int | None, Mark]]]
"""For each partition of some histories, the offset that its mark must have reached, None for any
mark, and the new mark."""


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

    def append(self, members: Appends, marks: MarkSteps) -> None:
        """Append members to some of the histories, and advance their marks.

        Args:
            members: Members of any histories.
            marks: Steps of the histories whose members are appended.
        """
        kept = members.where({one.prefix for one in marks}.__contains__)
        writes = [
            self.marks.write(one, partition, None if at_least is None else at_least + 1, mark)
            for one, steps in marks.items()
            for partition, (at_least, mark) in steps.items()
        ]
        if kept or writes:
            self.store.append(kept, (), self.expire_ms, writes)


class Restoring:
    """Fill of the histories that lack members before the checkpoints.

    Args:
        target: Histories, whose marks were read.
        source: Reader of the input topic.
        state: State of the log at the checkpoints.
        shared: True to fill only the histories that partitions share: no other ones are read for
            events of other partitions.

    Attributes:
        state: State of the log at the checkpoints, with the times that histories reach back to.
        events: Number of events that were read.
    """

    def __init__(
        self, target: HistoryTarget, source: LogSource, state: LogState, *, shared: bool = False
    ) -> None:
        self._target = target
        self._source = source
        self._state = state
        missing = target.marks.missing(state.offsets, shared=shared)
        if not shared:
            missing += target.marks.of_unknown_reach(state)
        self._histories = list(dict.fromkeys(histories for histories, _ in missing))
        self._partitions = sorted({partition for _, partition in missing})
        self._begins: dict[int, int] = {}
        self._needed: dict[int, int] = {}
        self._truncated: Mapping[int, int] = {}
        self._short: set[str] = set()
        self._at: dict[int, int] = {}

    def run(self) -> Iterator[Progress]:
        """Fill in steps.

        Raises:
            DependencyUnavailableError: The store or the registry is away.
            KafkaException: The brokers do not answer.
            HistoriesLostError: The store has lost members meanwhile.
        """
        target, source = self._target, self._source
        self._needed, states = self._needed_times(), []
        for partition in self._partitions:
            found = self._state.replay_from(partition, self._needed.get(partition, UNKNOWN))
            if found is None:
                self._needed.pop(partition, None)
                found = source.bounds(partition)[0], LogState()
            begin, state = found
            self._begins[partition] = min(begin, self._state.offsets[partition])
            states.append(state)
        # Other workers may have filled them meanwhile: their marks must not be set back.
        target.read_marks()
        present = self._present()
        begins = {p: begin for p, begin in self._begins.items() if p not in present}
        target.append(Appends([]), self._steps(dict.fromkeys(begins), begins, LogState()))
        self._at = {**self._begins, **present}
        ranges = {
            partition: FillRange(begin, self._state.offsets[partition])
            for partition, begin in self._begins.items()
        }
        fill = source.begin(
            target.namespace, self._append, ranges, _joined(states), present, STEP_RECORDS
        )
        self._truncated = fill.truncated
        with closing(fill):
            while not (progress := fill.step()).done:
                yield progress
        self.events = progress.events
        if self._short:
            log.warning(
                "histories_short",
                entities=sorted(self._short),
                meaning="topic and files hold no earlier events; events are flagged history_short "
                "until histories reach back as far as the longest window",
            )
        known = _with_missing(self._state, fill.log_state, self._partitions)
        self.state = self._reaching(known, fill.log_state)

    def _needed_times(self) -> dict[int, int]:
        """Event time from which on members are needed, of each partition where it is known.

        Members of histories that partitions share are needed for the events of all of them.
        """
        plan, support = self._target.plan, self._target.plan.rules.watermark_support
        if all(histories.is_own for histories in self._histories):
            watermarks = self._state.watermarks(support)
            return {p: watermarks[p] - plan.span for p in self._partitions if p in watermarks}
        watermarks = self._source.checkpoints(range(self._target.namespace.partitions)).watermarks(
            support
        )
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

    def _append(self, members: Appends, reached: Mapping[int, int], log: LogState) -> None:
        self._target.append(members, self._steps(self._at, reached, log))
        self._at |= reached

    def _steps(
        self, at: Mapping[int, int | None], reached: Mapping[int, int], log: LogState
    ) -> MarkSteps:
        """Steps of the marks from ``at`` to ``reached``, where the log has the state ``log``."""
        return {
            histories: {
                p: (at[p], self._mark(histories, p, end, log)) for p, end in reached.items()
            }
            for histories in self._histories
        }

    def _mark(self, histories: MarkedHistories, partition: int, end: int, log: LogState) -> Mark:
        """Mark of histories that are filled up to an offset.

        At the checkpoint they reach back to the time from which on they hold all members, or to the
        first events of the log, or of the files before it.
        """
        begin, digest = self._begins[partition], histories.digest
        if end < self._state.offsets[partition]:
            # Without a watermark: other partitions must not take these for complete.
            return Mark(begin, end, lowest=NOT_BEGUN)
        watermark, lowest = self._reach(histories, partition, log)
        return Mark(
            begin,
            end,
            watermark,
            watermark,
            lowest,
            log.counted.get(partition, {}).get(digest, 0),
        )

    def _reaching(self, state: LogState, log: LogState) -> LogState:
        """The state at the checkpoints, with the times that the filled histories reach back to.

        Marks cannot tell them where they are ahead of the checkpoint.
        """
        lowest = {p: dict(times) for p, times in state.lowest.items()}
        counted = {p: dict(counts) for p, counts in state.counted.items()}
        for histories, partition in product(self._histories, self._partitions):
            times, digest = lowest.setdefault(partition, {}), histories.digest
            _, time = self._reach(histories, partition, log)
            if time != NOT_BEGUN:
                times[digest] = max(time, times.get(digest, time))
            elif digest not in times:
                number = log.counted.get(partition, {}).get(digest, 0)
                counted.setdefault(partition, {})[digest] = number
        return replace(state, lowest=lowest, counted=counted)

    def _reach(self, histories: MarkedHistories, partition: int, log: LogState) -> tuple[int, int]:
        """Watermark at the checkpoint, and the time that filled histories reach back to there."""
        digest = histories.digest
        support = self._target.plan.rules.watermark_support
        watermarks = {**log.watermarks(support), **self._state.watermarks(support)}
        watermark = watermarks.get(partition, UNKNOWN)
        lowest = log.lowest.get(partition, {}).get(digest, NOT_BEGUN)
        if lowest == NOT_BEGUN and digest in self._state.lowest.get(partition, {}):
            # The log has lost events since: the metadata would say that they are there.
            lowest = watermark
        first = watermark if lowest == NOT_BEGUN else lowest
        lowest = min(lowest, self._target.marks.lowest_of_files(histories, first))
        if partition not in self._truncated:
            lowest = self._needed.get(partition, lowest)
        if (
            watermark != UNKNOWN
            and watermark - lowest < self._target.plan.reaches[histories.entity]
        ):
            self._short.add(histories.entity)
        return watermark, lowest


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
