"""Simulated online store: calls that fail before, after or in the middle of their effect."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NoReturn, TypeVar

from base.errors import DependencyUnavailableError
from features.store.memory import MemoryStore
from features.store.protocol import Compaction, Hashes, MarkWrite, ReadResult, ServerRun
from features.store.stored_values import StoredValues
from features.values.keys import Keys
from tests.search.network import Network
from tests.search.scheduler import Killed, Scheduler, pick

T = TypeVar("T")

_LOST, _UNANSWERED, _PARTLY, _LATE = "lost", "unanswered", "partly", "late"


class SimulatedServer:
    """The server of the store, which may start again, lose data and evict keys.

    Attributes:
        runs: Number of its runs so far.
        evicted: Number of keys that were evicted in this run.
    """

    def __init__(self) -> None:
        self.runs = 0
        self._changes: list[Callable[[MemoryStore], object]] = []
        self._lose_changes(0)

    def read_all(self, keys: Sequence[Keys], hashes: Sequence[Hashes] = ()) -> ReadResult:
        read = self._held.read_all(keys, hashes)
        # Copied: a server's answer does not change any more.
        return read._replace(values=StoredValues.of(read.values.to_list()))

    def read_marks(self, keys: Sequence[bytes]) -> ReadResult:
        server = ServerRun(f"run {self.runs}", self.evicted)
        return self._held.read_all([], [], keys)._replace(server=server)

    def change(self, call: Callable[[MemoryStore], T]) -> T:
        """Change the data; return what ``call`` returns."""
        done = call(self._held)
        self._changes.append(call)
        return done

    def flush(self) -> None:
        keys = [*self._held._slots]
        self.change(lambda held: held.drop(keys))

    def restart(self) -> bool:
        """Start again with all data; return False after an eviction.

        What a server evicted in its last run is known to nobody in the next one.
        """
        if self.evicted:
            return False
        self.runs += 1
        return True

    def fail_over(self, rng: random.Random) -> bool:
        """Start again without the newest changes; return False as `restart` does."""
        if self.evicted:
            return False
        self._lose_changes(max(0, len(self._changes) - int(rng.expovariate(0.3))))
        return True

    def evict(self, rng: random.Random) -> bool:
        """Evict a few keys; return False without any."""
        keys = [*self._held._slots]
        gone = rng.sample(keys, min(len(keys), rng.randint(1, 3)))
        self.evicted += len(gone)
        self.change(lambda held: held.drop(gone))
        return bool(gone)

    def _lose_changes(self, kept: int) -> None:
        self.runs += 1
        self.evicted = 0
        del self._changes[kept:]
        self._held = MemoryStore()
        for change in self._changes:
            change(self._held)


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
        return self._ask(lambda: self._shared.read_all([Keys.of(keys)])).values.to_list()

    def read_all(
        self, keys: Sequence[Keys], hashes: Sequence[Hashes] = (), marks: Sequence[bytes] = ()
    ) -> ReadResult:
        read = self._ask(lambda: self._shared.read_all(keys, hashes))
        if not marks:
            return read
        # One trip, but others are served between its commands.
        of_marks = self._ask(lambda: self._shared.read_marks(marks))
        return read._replace(marks=of_marks.marks, server=of_marks.server)

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        written = dict(pairs)
        self._ask(lambda: self._shared.change(lambda held: held.write(written.items())))

    def replace(self, key: bytes, expected: bytes | None, value: bytes) -> bool:
        return self._ask(
            lambda: self._shared.change(lambda held: held.replace(key, expected, value))
        )

    def write_marks(self, marks: Sequence[MarkWrite], expire_ms: int | None = None) -> None:
        self._send("marks", self._shared.runs, self._marking(marks))

    def scan(self, prefix: bytes, cursor: int = 0) -> tuple[int, list[bytes]]:
        return self._ask(lambda: self._shared.change(lambda held: held.scan(prefix, cursor)))

    def remove(self, keys: Collection[bytes]) -> None:
        self._ask(lambda: self._shared.change(lambda held: held.remove(keys)))

    def require_no_eviction(self) -> None:
        pass

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
        marks: Sequence[MarkWrite] = (),
    ) -> None:
        run = self._shared.runs
        if appends or compactions:
            self._send("append", run, *self._parts(appends, compactions))
        if marks:
            self._send("marks", run, self._marking(marks))

    def _send(self, name: str, run: int, *parts: Callable[[], object]) -> None:
        """Send a write in parts; a fault may do none of them, some or all, now or later.

        The connection is that to one run of the server, and breaks with it.
        """
        fault = (
            pick(self._rng, (_LOST, _UNANSWERED, _PARTLY, _LATE)) if self._network.fails() else ""
        )
        left = [self._of_run(run, part) for part in parts]
        try:
            self._scheduler.pause()
            if fault == _LATE:
                while left:
                    self._network.delay(name, left.pop(0))
            elif fault != _LOST:
                while left and not (fault == _PARTLY and len(left) < len(parts)):
                    left.pop(0)()
                    self._scheduler.pause()
            if fault:
                self._fail(fault)
            self._network.say(name)
        except Killed:
            # What was sent may be done later, in part or not at all.
            for part in left:
                if self._rng.random() < 0.5:
                    self._network.delay(name, part)
            raise

    def _of_run(self, run: int, part: Callable[[], object]) -> Callable[[], object]:
        def land() -> None:
            if self._shared.runs != run:
                self._fail("another run")
            part()

        return land

    def _marking(self, marks: Sequence[MarkWrite]) -> Callable[[], object]:
        return lambda: self._shared.change(lambda held: held.write_marks(marks))

    def ping(self) -> None:
        self._ask(_nothing)

    def close(self) -> None:
        pass

    def _parts(
        self, appends: Collection[tuple[bytes, bytes]], compactions: Collection[Compaction]
    ) -> tuple[Callable[[], object], Callable[[], object]]:
        """The call in two parts, by key: scripts of one call run one after the other."""
        early = {key for key, _ in appends if self._rng.random() < 0.5}

        def part(*, is_early: bool) -> Callable[[], object]:
            some = [pair for pair in appends if (pair[0] in early) == is_early]
            compacted = [c for c in compactions if (c.key in early) == is_early]
            return lambda: self._shared.change(lambda held: held.append(some, compacted))

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
