"""Simulated online store: calls that fail before, after or in the middle of their effect."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, TypeVar

from base.errors import DependencyUnavailableError
from features.store.memory import MemoryStore
from features.store.protocol import Compaction, Hashes, ReadResult
from features.values.keys import Keys
from tests.search.network import Network
from tests.search.scheduler import Killed, Scheduler, pick

T = TypeVar("T")

_LOST, _UNANSWERED, _PARTLY, _LATE = "lost", "unanswered", "partly", "late"


class SimulatedServer(MemoryStore):
    """The server of the store, which may lose its data."""

    def flush(self) -> None:
        self._values.clear()


class SimulatedStore:
    """One process's connection to a store that all share.

    Args:
        shared: What the server holds.
        network: Network to the server.
        scheduler: Scheduler whose tasks call it.
        rng: Generator of all choices.
    """

    def __init__(
        self, shared: SimulatedServer, network: Network, scheduler: Scheduler, rng: random.Random
    ) -> None:
        self._shared = shared
        self._network = network
        self._scheduler = scheduler
        self._rng = rng

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._ask(lambda: self._shared.read(keys))

    def read_all(self, keys: Sequence[Keys], hashes: Sequence[Hashes] = ()) -> ReadResult:
        return self._ask(lambda: self._shared.read_all(keys, hashes))

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._ask(lambda: self._shared.write(pairs))

    def replace(self, key: bytes, expected: bytes | None, value: bytes) -> bool:
        return self._ask(lambda: self._shared.replace(key, expected, value))

    def append(
        self,
        appends: Sequence[tuple[bytes, bytes]],
        compactions: Sequence[Compaction] = (),
        expire_ms: int | None = None,
    ) -> None:
        first, rest = self._parts(appends, compactions)
        fault = (
            pick(self._rng, (_LOST, _UNANSWERED, _PARTLY, _LATE)) if self._network.fails() else ""
        )
        try:
            self._scheduler.pause()
            if fault == _LOST:
                self._fail(fault)
            if fault != _LATE:
                first()
                first = _nothing
                self._scheduler.pause()
            if fault == _PARTLY:
                self._fail(fault)
            if fault == _LATE:
                self._network.delay("append", first)
                self._network.delay("append", rest)
                self._fail(fault)
            rest()
            rest = _nothing
            self._network.say("append")
            if fault:
                self._fail(fault)
            self._scheduler.pause()
        except Killed:
            # What was sent may be done later, in part or not at all.
            for part in (first, rest):
                if part is not _nothing and self._rng.random() < 0.5:
                    self._network.delay("append", part)
            raise

    def ping(self) -> None:
        self._ask(self._shared.ping)

    def close(self) -> None:
        pass

    def _parts(
        self, appends: Sequence[tuple[bytes, bytes]], compactions: Sequence[Compaction]
    ) -> tuple[Callable[[], object], Callable[[], object]]:
        """The call in two parts, by key: scripts of one call run one after the other."""
        early = {key for key, _ in appends if self._rng.random() < 0.5}

        def part(*, is_early: bool) -> Callable[[], object]:
            some = [pair for pair in appends if (pair[0] in early) == is_early]
            compacted = [c for c in compactions if (c.key in early) == is_early]
            return lambda: self._shared.append(some, compacted)

        return part(is_early=True), part(is_early=False)

    def _ask(self, land: Callable[[], T]) -> T:
        """Make a request that has its effect at once, or none."""
        fault = pick(self._rng, (_LOST, _UNANSWERED)) if self._network.fails() else ""
        self._scheduler.pause()
        if fault == _LOST:
            self._fail(fault)
        answer = land()
        if fault:
            self._fail(fault)
        self._scheduler.pause()
        return answer

    def _fail(self, fault: str) -> NoReturn:
        self._network.say(f"the store does not answer ({fault})")
        raise DependencyUnavailableError(f"the store does not answer ({fault})")


def _nothing() -> None:
    pass
