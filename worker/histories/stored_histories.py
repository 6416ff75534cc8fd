"""Histories in the online store: a micro-batch's writes before its commit, reads after them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Protocol

from base.errors import ConfigurationError, DependencyUnavailableError, StoreAwayError
from features.history.namespace import Namespace
from features.store.protocol import OnlineStore, Writes
from worker.consume.topics import InputTopic
from worker.histories.place import Place
from worker.process import metrics
from worker.process.watchdog import Watchdog


class Histories(Protocol):
    """Interface to a worker's histories, for the loop, the committing thread and enrich.

    The loop announces the writes that it is about to hand over, the committing thread writes them,
    and the next reader waits until then: read your writes.
    """

    def open(self, topic: InputTopic) -> None:
        """Find the place of this topic's histories.

        Raises DependencyUnavailableError while the store does not answer, ConfigurationError where
        it holds histories of another log.
        """
        ...

    def namespace(self) -> Namespace | None:
        """Namespace of the histories' keys; None where nobody else shares the store."""
        ...

    def assigned(self, partitions: Collection[int]) -> None:
        """Raise ConfigurationError where the topic has got partitions since the histories began."""
        ...

    def announce(self, writes: Writes) -> None:
        """Announce a `write` to come."""
        ...

    def write(self, writes: Writes) -> None:
        """Put the writes into the store.

        Raises StoreAwayError where any of them may be missing from the store.
        """
        ...

    def await_written(self) -> None:
        """Return when what was announced is in the store, or has failed to get there."""
        ...


class NoHistories:
    """No histories: for a feature set without windows, and for stores that serve one run."""

    def open(self, topic: InputTopic) -> None:
        pass

    def namespace(self) -> Namespace | None:
        return None

    def assigned(self, partitions: Collection[int]) -> None:
        pass

    def announce(self, writes: Writes) -> None:
        pass

    def write(self, writes: Writes) -> None:
        pass

    def await_written(self) -> None:
        pass


class StoredHistories:
    """Histories in an online store that others write to as well.

    Args:
        store: Online store.
        find: Finds the place of the histories of a topic.
        watchdog: Bounds the write and the wait for it: the store's own timeout is for one answer.
    """

    def __init__(
        self, store: OnlineStore, find: Callable[[InputTopic], Place], watchdog: Watchdog
    ) -> None:
        self._store = store
        self._find = find
        self._watchdog = watchdog
        self._place: Place | None = None
        self._written = threading.Event()
        self._written.set()

    def open(self, topic: InputTopic) -> None:
        self._place = self._find(topic)

    def namespace(self) -> Namespace | None:
        return self._place.namespace if self._place else None

    def assigned(self, partitions: Collection[int]) -> None:
        if self._place is None:
            return
        state, count = self._place.namespace.state, self._place.namespace.partitions
        if max(partitions, default=0) >= count:
            raise ConfigurationError(
                f"kafka.input_topic: partition {max(partitions)} is new, store.state {state} is of "
                f"{count}: keys are in other partitions now, apart from their histories; name "
                "another store.state, whose histories start empty"
            )

    def announce(self, writes: Writes) -> None:
        if writes:
            self._written.clear()

    def write(self, writes: Writes) -> None:
        try:
            if writes:
                self._write(writes)
        finally:
            # Also where it failed: what is read then is dropped with the micro-batch behind it.
            self._written.set()

    def await_written(self) -> None:
        if not self._written.is_set():
            with self._watchdog.guard("await_histories"):
                self._written.wait()

    def _write(self, writes: Writes) -> None:
        expire_ms = self._place.expire_ms if self._place else None
        started = time.perf_counter()
        try:
            with self._watchdog.guard("write_histories"):
                self._store.append(writes.appends, writes.compactions, expire_ms)
        except DependencyUnavailableError as error:
            raise StoreAwayError(str(error)) from error
        metrics.stage_seconds.labels("write").observe(time.perf_counter() - started)
        metrics.history_bytes.inc(sum(len(members) for _, members in writes.appends))
        metrics.compactions.inc(len(writes.compactions))
