"""Interface to a worker's histories."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from base.arrays import Longs
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.protocol import MarkWrite, OnlineStore, StoreReads, Writes
from schemas.batch import Records
from worker.consume.topics import InputTopic
from worker.fill.fill import Progress
from worker.histories.alignment import Wait


@dataclass(frozen=True, slots=True, eq=False)
class HistoryWrites:
    """Writes of one micro-batch.

    Attributes:
        members: Members to append, and compactions.
        marks: Marks to write behind them.
    """

    members: Writes = field(default_factory=Writes)
    marks: Sequence[MarkWrite] = ()


class Histories(Protocol):
    """Interface to a worker's histories, for the loop, the committing thread and enrich.

    The loop announces writes before it hands them over, the committing thread writes them, and the
    next reader waits for that: each reader sees all earlier writes.
    """

    def open(self, topic: InputTopic) -> None:
        """Find the location of this topic's histories.

        Raises:
            DependencyUnavailableError: The store does not answer.
            ConfigurationError: The store holds histories of another topic or group.
        """
        ...

    def namespace(self) -> Namespace | None:
        """Namespace of the keys of the histories; None for a store that serves this run alone."""
        ...

    def restore(self, log: LogState) -> Generator[Progress | None, None, LogState]:
        """Fill histories of which members before the checkpoint are missing, in steps.

        Args:
            log: State of the log at the checkpoints of the assigned partitions.

        Yields:
            The progress; None while other workers fill their partitions.

        Returns:
            The state, with the times that the histories reach back to.

        Raises:
            DependencyUnavailableError: The store or the registry does not answer.
            KafkaException: The brokers do not answer.
            HistoriesLostError: The store has lost members meanwhile.
            ConfigurationError: A partition is new since the histories began, or as by `open`.
        """
        ...

    def known(self, log: LogState) -> LogState:
        """The state of the log, with what is known of partitions that other workers read.

        Also with the ends of partitions that others were scored past, for which it may ask the
        brokers.
        """
        ...

    def checked(
        self, store: OnlineStore, records: Records, until: Longs, log: LogState
    ) -> StoreReads:
        """Reads of a micro-batch that notice lost members, and events that have to wait.

        Args:
            store: Online store.
            records: Records of the N events of the micro-batch.
            until: int64[N], as of `Enriching`.
            log: State of the log before them.
        """
        ...

    def require(self, log: LogState) -> None:
        """Look for lost members without reading histories; no micro-batch may be in flight.

        Args:
            log: State of the log before the next micro-batch.

        Raises:
            DependencyUnavailableError: The store does not answer.
            HistoriesLostError: Members before that are missing.
        """
        ...

    def still_waiting(self, waits: Mapping[int, Wait]) -> Mapping[int, Wait]:
        """Read the marks of other partitions again; return the events that still have to wait.

        Raises:
            DependencyUnavailableError: The store does not answer.
        """
        ...

    def lagging(self, waits: Mapping[int, Wait]) -> Sequence[int]:
        """Find the waiting partitions whose records others may wait for, as of the last read."""
        ...

    def apply_ahead(self, partitions: Iterable[int], log: LogState) -> None:
        """Apply the next records of waiting partitions. No micro-batch may be in flight.

        Args:
            partitions: Waiting partitions.
            log: State of the log before their waiting events.

        Raises:
            DependencyUnavailableError: The store or the registry does not answer.
            KafkaException: The brokers do not answer.
            HistoriesLostError: The store has lost members.
        """
        ...

    def tidy(self) -> None:
        """End idle fills, and note at times that the histories are in use; called once a second.

        Raises:
            DependencyUnavailableError: The store does not answer.
        """
        ...

    def unattended(self, waits: Mapping[int, Wait], log: LogState) -> Sequence[int]:
        """Find partitions of other workers that none of these applies to the same histories.

        Args:
            waits: First event of each partition that waits for others; empty if none does.
            log: State of the log before the next micro-batch.

        Raises:
            DependencyUnavailableError: The store does not answer.
            HistoriesLostError: The store has lost a partition that events wait for, and no worker
                fills it again.
        """
        ...

    def apply_others(self, partitions: Collection[int], log: LogState) -> None:
        """Apply the next records of partitions of other workers. Errors as by `apply_ahead`.

        No micro-batch may be in flight.

        Args:
            partitions: Partitions from `unattended`.
            log: State of the log before the next micro-batch.
        """
        ...

    def close(self) -> None:
        """End what is being filled."""
        ...

    def announce(
        self, writes: Writes, before: LogState, after: LogState, ends: Mapping[int, int]
    ) -> HistoryWrites:
        """Announce a `write` to come.

        Args:
            writes: Members of a micro-batch, and compactions.
            before: State of the log before it.
            after: State of the log behind it.
            ends: Offset behind it in each of its partitions.
        """
        ...

    def write(self, writes: HistoryWrites) -> None:
        """Put the writes into the store, and then their marks.

        Raises:
            StoreAwayError: Some of the writes may be missing from the store.
            HistoriesLostError: Earlier writes are missing from the store.
        """
        ...

    def await_written(self) -> None:
        """Wait until the announced writes are in the store, or have failed."""
        ...


class NoHistories:
    """Histories of a feature set without windows, or of a store that serves one run alone."""

    def open(self, topic: InputTopic) -> None:
        pass

    def namespace(self) -> Namespace | None:
        return None

    def restore(self, log: LogState) -> Generator[Progress | None, None, LogState]:
        yield from ()
        return log

    def known(self, log: LogState) -> LogState:
        return log

    def checked(
        self,
        store: OnlineStore,
        records: Records,  # noqa: ARG002 - see Histories
        until: Longs,  # noqa: ARG002
        log: LogState,  # noqa: ARG002
    ) -> StoreReads:
        return store

    def require(self, log: LogState) -> None:
        pass

    def still_waiting(self, waits: Mapping[int, Wait]) -> Mapping[int, Wait]:  # noqa: ARG002 - see Histories
        return {}

    def lagging(self, waits: Mapping[int, Wait]) -> Sequence[int]:  # noqa: ARG002 - see Histories
        return ()

    def apply_ahead(self, partitions: Iterable[int], log: LogState) -> None:
        pass

    def tidy(self) -> None:
        pass

    def unattended(self, waits: Mapping[int, Wait], log: LogState) -> Sequence[int]:  # noqa: ARG002
        return ()

    def apply_others(self, partitions: Collection[int], log: LogState) -> None:
        pass

    def close(self) -> None:
        pass

    def announce(
        self,
        writes: Writes,  # noqa: ARG002 - see Histories
        before: LogState,  # noqa: ARG002
        after: LogState,  # noqa: ARG002
        ends: Mapping[int, int],  # noqa: ARG002
    ) -> HistoryWrites:
        return HistoryWrites()

    def write(self, writes: HistoryWrites) -> None:
        pass

    def await_written(self) -> None:
        pass
