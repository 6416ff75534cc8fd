"""Marks of a worker's histories: read behind them, checked, and advanced behind its writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from base.arrays import Longs
from base.errors import HistoriesLostError
from base.times import DAY
from features.history.marks import MARK, NOT_BEGUN, Mark, read_marks, valid_marks
from features.history.namespace import Namespace
from features.history.watermarks import UNKNOWN, LogState
from features.store.protocol import MarkWrite, ReadResult, ServerRun
from features.windows.plan import WindowPlan

MAX_GAP = DAY
"""Longest time without events between files and log, in microseconds; beyond, files do not count."""


@dataclass(frozen=True, slots=True)
class MarkedHistories:
    """Histories of one entity, and the key of their marks.

    Attributes:
        entity: The entity.
        key: Key of the marks.
        prefix: Prefix of the keys of the histories.
        digest: `Namespace.history_digest` of the histories.
        is_own: True if all events of a key are in one partition.
    """

    entity: str
    key: bytes
    prefix: bytes
    digest: str
    is_own: bool


class Marks:
    """Marks of all histories of one namespace.

    Args:
        plan: Windows that read the histories.
        namespace: Namespace of the histories.
        of_labels: Key of the marks of the labels topic; None without one.

    Attributes:
        histories: The histories of each entity.
        keys: Key of the marks of each entity, and of the labels topic.
        read: MARK[P] of each entity, as they were last read.
        labels: int64[Q], ``reached`` of the labels topic's partitions, as last read.
        shared: Those of the histories whose events come from several partitions.
    """

    def __init__(
        self, plan: WindowPlan, namespace: Namespace, of_labels: bytes | None = None
    ) -> None:
        self.histories = [
            MarkedHistories(
                windows.entity,
                namespace.marks_key(windows.entity, windows.layout.digest),
                namespace.history_prefix(windows.entity, windows.layout.digest),
                namespace.history_digest(windows.entity, windows.layout.digest),
                windows.own,
            )
            for windows in plan.entities
        ]
        self.shared = [histories for histories in self.histories if not histories.is_own]
        self._partitions = namespace.partitions
        self._support = plan.rules.watermark_support
        self.read: list[npt.NDArray[Any]] = []
        self._of_files: list[npt.NDArray[Any]] = []
        self._server = ServerRun("", 0)
        self.keys = [histories.key for histories in self.histories]
        self.labels: Longs = np.empty(0, np.int64)
        self._has_labels = of_labels is not None
        if of_labels is not None:
            self.keys.append(of_labels)

    def take(self, read: ReadResult) -> None:
        """Take the marks that were read for ``keys``."""
        if read.server is not None:
            self._server = read.server
            held = [
                valid_marks(read_marks(value, self._partitions + 1), read.server)
                for value in read.marks[: len(self.histories)]
            ]
            # Behind the marks of the partitions stands the one of events of files.
            self.read = [of_all[:-1] for of_all in held]
            self._of_files = [of_all[-1:] for of_all in held]
            if self._has_labels:
                value = read.marks[-1]
                marks = read_marks(value, len(value or b"") // MARK.itemsize)
                self.labels = valid_marks(marks, read.server)["reached"]

    def of(self, histories: MarkedHistories) -> npt.NDArray[Any]:
        """MARK[P] of some histories, as it was last read."""
        return self.read[self.histories.index(histories)]

    def lowest_of_files(self, histories: MarkedHistories, first: int) -> int:
        """Time that events of files let histories reach back to; NOT_BEGUN if they do not.

        Args:
            histories: The histories.
            first: Time of the first events of a partition of the log; UNKNOWN if it has none. There
                must be no gap before them.
        """
        (mark,) = self._of_files[self.histories.index(histories)]
        adjoins = mark["reached"] and first <= int(mark["watermark"]) + MAX_GAP
        return int(mark["lowest"]) if adjoins else NOT_BEGUN

    def missing(
        self, offsets: Mapping[int, int], *, shared: bool = False
    ) -> list[tuple[MarkedHistories, int]]:
        """Histories and partitions of which some members before these offsets may be missing.

        Args:
            offsets: Offset by partition.
            shared: True to look at shared histories only.
        """
        partitions = np.fromiter(offsets, np.int64, len(offsets))
        before = np.fromiter(offsets.values(), np.int64, len(offsets))
        lost = []
        for histories in self.shared if shared else self.histories:
            gone = self.of(histories)["reached"][partitions] <= before
            lost += [(histories, partition) for partition in partitions[gone].tolist()]
        return lost

    def of_unknown_reach(self, state: LogState) -> list[tuple[MarkedHistories, int]]:
        """Histories and partitions of which nothing says how far back they reach.

        Workers with other histories have read the partition meanwhile: its offset metadata tells of
        theirs.

        Args:
            state: State of the log at the checkpoints of the assigned partitions.
        """
        return [
            (histories, partition)
            for histories in self.histories
            for partition, offset in state.offsets.items()
            for mark in [self.of(histories)[partition]]
            if mark["lowest"] == NOT_BEGUN
            and mark["begin"] < offset
            and histories.digest not in state.lowest.get(partition, {})
            and histories.digest not in state.counted.get(partition, {})
        ]

    def require(self, offsets: Mapping[int, int]) -> None:
        """Raise HistoriesLostError if members before these offsets may be missing."""
        for histories, partition in self.missing(offsets):
            raise HistoriesLostError(
                f"the online store has lost members of histories of {histories.entity}: the mark of "
                f"partition {partition} is gone, or below offset {offsets[partition]}, or the "
                "server has evicted keys since"
            )

    def begin(self, offsets: Mapping[int, int], *, shared: bool = False) -> list[MarkWrite]:
        """Marks of the missing histories, which begin empty at these offsets; see `missing`."""
        return [
            self.write(histories, partition, None, Mark(at, at, lowest=NOT_BEGUN))
            for histories, partition in self.missing(offsets, shared=shared)
            for at in [offsets[partition]]
        ]

    def positions(self) -> Longs:
        """Offset up to which each partition is applied to all shared histories, int64[P].

        -1 where it is to none; there must be shared histories.
        """
        reached = [self.of(histories)["reached"] for histories in self.shared]
        positions: Longs = np.min(reached, axis=0) - 1
        return positions

    def may_be_partial(self) -> npt.NDArray[np.bool_]:
        """True for partitions that may not be filled yet in some shared histories, bool[P].

        A fill that has not reached its end has written marks without a watermark.
        """
        held = np.array([self.of(histories) for histories in self.shared])
        partial: npt.NDArray[np.bool_] = np.any(
            (held["reached"] == 0) | (held["watermark"] == UNKNOWN), axis=0
        )
        return partial

    def applied(self, ends: Mapping[int, int]) -> tuple[bytes, ...]:
        """Prefixes of the histories that hold all members before these offsets."""
        return tuple(
            histories.prefix
            for histories, marks in zip(self.histories, self.read, strict=True)
            if all(marks["reached"][partition] > end for partition, end in ends.items())
        )

    def advance(
        self, before: LogState, after: LogState, ends: Mapping[int, int]
    ) -> list[MarkWrite]:
        """Advance the marks behind a micro-batch.

        Args:
            before: State of the log before it.
            after: State of the log behind it.
            ends: Offset behind it in each of its partitions.
        """
        scored, behind = before.watermarks(self._support), after.watermarks(self._support)
        writes = []
        for histories, marks in zip(self.histories, self.read, strict=True):
            for partition, end in ends.items():
                mark = Mark.read(marks[partition])._replace(scored=scored.get(partition, UNKNOWN))
                # Behind the micro-batch there may be records that are applied and not yet scored.
                if mark.end <= end:
                    mark = mark._replace(end=end, watermark=behind.get(partition, UNKNOWN))
                # Members that were there when the histories were read are not appended again: the
                # store must not have lost them, and their mark, since.
                reached = max(before.offsets[partition] + 1, int(marks[partition]["reached"]))
                writes.append(self.write(histories, partition, reached, mark))
        return writes

    def scored(self) -> dict[int, int]:
        """Watermarks of the scored and committed events of the partitions, as last read."""
        if self._partitions == 1 or not self.read:
            return {}
        marked = np.min([marks["reached"] for marks in self.read], axis=0) > 0
        scored = np.min([marks["scored"] for marks in self.read], axis=0)
        known = np.flatnonzero(marked & (scored != UNKNOWN)).tolist()
        return {partition: int(scored[partition]) for partition in known}

    def reaching(self, state: LogState) -> LogState:
        """The state of the log, as far back as the histories reach.

        Offset metadata may be from before histories were lost.
        """
        lowest = {p: dict(times) for p, times in state.lowest.items()}
        counted = {p: dict(counts) for p, counts in state.counted.items()}
        for histories, marks in zip(self.histories, self.read, strict=True):
            for partition, offset in state.offsets.items():
                times, digest = lowest.setdefault(partition, {}), histories.digest
                filled, begin = int(marks["lowest"][partition]), int(marks["begin"][partition])
                counts = counted.setdefault(partition, {})
                if filled == NOT_BEGUN and offset == begin:
                    times.pop(digest, None)
                    counts.pop(digest, None)
                elif filled == NOT_BEGUN and digest not in times and marks["counted"][partition]:
                    counts.setdefault(digest, int(marks["counted"][partition]))
                elif filled not in (NOT_BEGUN, UNKNOWN):
                    times[digest] = max(filled, times.get(digest, filled))
        return replace(
            state,
            lowest={p: times for p, times in lowest.items() if times},
            counted={p: counts for p, counts in counted.items() if counts},
        )

    def write(
        self, histories: MarkedHistories, partition: int, at_least: int | None, mark: Mark
    ) -> MarkWrite:
        """Write of one mark; ``at_least`` as in `MarkWrite`."""
        return MarkWrite(histories.key, partition, at_least, mark.encode(self._server))
