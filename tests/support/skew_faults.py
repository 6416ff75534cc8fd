"""Faults of workers, servers and histories while the workers of a `SkewRig` are busy."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Sequence

import redis

from tests.support.fleet import Fleet
from tests.support.rig import SESSION_TIMEOUT_S, await_that
from tests.support.skew_rig import SkewRig
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

RECOVERY_S = 60.0
STARTUP_S = 60.0
STALLED_S = 60.0
"""Time after which a run whose workers neither score nor fill has failed, in seconds."""
UNCOMMITTED_S = 600.0
"""Time after which a run whose workers commit nothing has failed, in seconds."""
KINDS = (
    "kills",
    "freezes",
    "flushes",
    "evictions",
    "comings_and_goings",
    "broker_restarts",
    "store_restarts",
)
_REPORT_EVERY_S = 5.0
_LOOK_S = 0.1
_EVICTED = 0.1
"""Share of the store's memory whose keys are evicted."""


class Faults:
    """Sequence of faults on one rig, in random order by the seed.

    At each fault the workers are somewhere in the first of two shares of the stream that are sent:
    what a fault takes is time in which the others have work.

    Args:
        rig: Topics, stream and training table.
        servers: Broker and store of the rig.
        kinds: Kinds of faults, of KINDS.
        count: Number of faults; each kind comes equally often.
        seed: Seed of the order, the victims and the moments.
        program: Module that runs a worker, and its arguments.

    Attributes:
        counts: Number of faults so far, by kind.
        fleet: The workers.
    """

    def __init__(
        self,
        rig: SkewRig,
        servers: tuple[Kafka, Valkey],
        kinds: Sequence[str],
        count: int,
        seed: int,
        program: Sequence[str],
    ) -> None:
        self._kafka, self._valkey = servers
        self._random = random.Random(seed)
        self._rig = rig
        self._started = time.monotonic()
        self.fleet = Fleet(rig, self.say, program)
        order = self._random.sample([*kinds], len(kinds))
        self._schedule = [order[number % len(order)] for number in range(count)]
        self._random.shuffle(self._schedule)
        self.counts = Counter[str]()
        inject = (
            self._kill,
            self._freeze,
            self._flush,
            self._evict,
            self._third,
            self._restart_broker,
            self._restart_store,
        )
        self._inject = dict(zip(KINDS, inject, strict=True))

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f} s  {line}", file=sys.stderr, flush=True)

    def run(self) -> None:
        """Play the stream and inject all faults, then drain.

        Raises:
            TimeoutError: A wait took too long; the message shows the state.
            RuntimeError: A worker ended with an unexpected status.
        """
        shares = len(self._schedule) + 1
        bounds = [self._rig.rows * number // shares for number in range(shares + 1)]
        try:
            self._rig.label(self._rig.rows)
            self._rig.play(bounds[1])
            for name in ("one", "two"):
                self.fleet.join(name)
            self._recover(STARTUP_S)
            for number, kind in enumerate(self._schedule):
                self._rig.play(bounds[min(number + 2, shares)])
                share = bounds[number + 1] - bounds[number]
                self._await_committed(bounds[number] + int(self._random.uniform(0.1, 0.9) * share))
                self._count(kind)
                self._inject[kind]()
                self._recover(RECOVERY_S)
            self.say("the last fault has healed")
            self._await_committed(self._rig.rows)
            for name in self.fleet.names:
                self.fleet.leave(name)
        finally:
            self.fleet.end()

    def _await_committed(self, rows: int) -> None:
        """Wait until so many events are committed; the workers may not stand still meanwhile."""
        moved_at = committed_at = said_at = time.monotonic()
        committed, prepared = -1, 0
        while (lag := self._rig.lag()) < 0 or self._rig.sent - lag < rows:
            self.fleet.tend()
            now = time.monotonic()
            if lag not in (committed, -1):
                moved_at, committed_at, committed = now, now, lag
                if now - said_at > _REPORT_EVERY_S:
                    said_at = now
                    self.say(f"{self._rig.sent - lag:,} of {self._rig.sent:,} events are committed")
            elif (reached := self.fleet.prepared()) != prepared:
                moved_at, prepared = now, reached
            if now - moved_at > STALLED_S or now - committed_at > UNCOMMITTED_S:
                raise TimeoutError(
                    f"nothing is committed for {now - committed_at:.0f} s, {lag:,} records are "
                    f"left; not ready: {self.fleet.waits()}"
                )
            time.sleep(_LOOK_S)

    def _kill(self) -> None:
        self.fleet.kill(self._random.choice(self.fleet.names))

    def _freeze(self) -> None:
        """Freeze a worker until the others have its partitions, then resume it."""
        victim = self._random.choice(self.fleet.names)
        self.fleet.freeze(victim)
        self._tend_for(SESSION_TIMEOUT_S + self._random.uniform(0.5, 4.0))
        self.fleet.thaw(victim)

    def _flush(self) -> None:
        with redis.Redis.from_url(self._valkey.url) as client:
            client.flushall()

    def _evict(self) -> None:
        """Let the store evict some keys, as a server does whose memory is short."""
        with redis.Redis.from_url(self._valkey.url) as client:
            before = int(client.info("stats")["evicted_keys"])
            client.config_set("maxmemory-policy", "allkeys-random")
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", int((1 - _EVICTED) * used))
            client.set("fw:no history", b"x" * 1_000)
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")
            client.delete("fw:no history")
            gone = int(client.info("stats")["evicted_keys"]) - before
        self.say(f"{gone} keys are evicted")

    def _restart_store(self) -> None:
        """Kill the store and start it again, empty."""
        self._valkey.kill()
        self._tend_for(self._random.uniform(0.0, 2.0))
        self._valkey.start()

    def _restart_broker(self) -> None:
        self._kafka.stop()
        self._tend_for(self._random.uniform(0.0, 3.0))
        self._kafka.start()

    def _third(self) -> None:
        if "three" in self.fleet.names:
            self.fleet.leave("three")
        else:
            self.fleet.join("three")

    def _count(self, kind: str) -> None:
        self.counts[kind] += 1
        self.say(f"{kind} {self.counts[kind]}")

    def _recover(self, deadline_s: float) -> None:
        """Wait until every worker has committed again or has nothing to do, within a deadline.

        A worker may have to wait for another one for longer: that is no failure.
        """
        marks = self.fleet.marks()
        try:
            await_that(
                lambda: self.fleet.committed_since(marks),
                deadline_s,
                "every worker committed again",
                lambda: {"before": marks, "now": self.fleet.marks(), **self.fleet.waits()},
            )
        except TimeoutError as error:
            self.say(str(error))

    def _tend_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.fleet.tend()
            time.sleep(min(0.1, max(0.0, until - time.monotonic())))
