"""Inject faults into workers, servers and histories, and compare every feature with a training table.

    .venv/bin/python tests/commands/skew.py --faults 20 --seed 7

The Handbook's stream of card transactions on four partitions, two workers and a third that
comes and goes. The labels of all of them are in the labels topic before the first is scored. Workers are
killed and frozen past their session timeout, the store is flushed, evicts keys and is restarted, the
broker is restarted. The seed determines the faults and their order.

Progress is printed to stderr, and the result to stdout as a line of JSON. Exit status 0 means that
every event has one score, with the features and flags of `fraud-worker features build`.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.command import command
from tests.support.fleet import Fleet
from tests.support.rig import ROOT, SESSION_TIMEOUT_S, await_that
from tests.support.servers import QUICK_ABORTS
from tests.support.skew_rig import PARTITIONS, SkewRig
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

DATA = Path(os.environ.get("FRAUD_WORKER_DATA", ROOT.parent / "shared" / "data"))
EVENTS = int(os.environ.get("EVENTS", "500000"))
RECOVERY_S = 30.0
DRAIN_S = 1200.0
STARTUP_S = 60.0
HELD = ("mismatches", "lost", "duplicated")


class Faults:
    """Sequence of faults on one rig, in random order by the seed.

    A share of the stream is sent before each of them.
    """

    def __init__(self, rig: SkewRig, servers: tuple[Kafka, Valkey], faults: int, seed: int) -> None:
        self._kafka, self._valkey = servers
        self._random = random.Random(seed)
        self._rig = rig
        self._started = time.monotonic()
        self._fleet = Fleet(rig, self.say)
        kinds = [self._kill, self._freeze, self._flush, self._evict, self._third]
        kinds += [self._restart_broker, self._restart_store]
        self._schedule = [kinds[number % len(kinds)] for number in range(faults)]
        self._random.shuffle(self._schedule)
        self.counts = Counter[str]()

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
            self._rig.play(0, bounds[1])
            for name in ("one", "two"):
                self._fleet.join(name)
            self._recover(STARTUP_S)
            for number, fault in enumerate(self._schedule, 1):
                self._rig.play(bounds[number], bounds[number + 1])
                self._tend_for(self._random.uniform(0.0, 1.0))
                fault()
                self._recover(RECOVERY_S)
            self._drain()
        finally:
            self._fleet.end()

    def _drain(self) -> None:
        self.say("the last fault has healed")
        until, before = time.monotonic() + DRAIN_S, -1
        while (lag := self._rig.lag()) != 0:
            self._fleet.tend()
            if lag != before:
                self.say(f"{lag:,} records left")
                before = lag
            if time.monotonic() > until:
                raise TimeoutError(f"{lag} records left after {DRAIN_S:g} s: {self._fleet.marks()}")
            time.sleep(1.0)
        for name in self._fleet.names:
            self._fleet.leave(name)

    def _kill(self) -> None:
        self._count("kills")
        self._fleet.kill(self._random.choice(self._fleet.names))

    def _freeze(self) -> None:
        """Freeze a worker until the others have its partitions, then resume it."""
        self._count("freezes")
        victim = self._random.choice(self._fleet.names)
        self._fleet.freeze(victim)
        self._tend_for(SESSION_TIMEOUT_S + self._random.uniform(0.5, 4.0))
        self._fleet.thaw(victim)

    def _flush(self) -> None:
        self._count("flushes")
        with redis.Redis.from_url(self._valkey.url) as client:
            client.flushall()

    def _evict(self) -> None:
        """Let the store evict some keys, as a server does whose memory is short."""
        self._count("evictions")
        with redis.Redis.from_url(self._valkey.url) as client:
            before = int(client.info("stats")["evicted_keys"])
            client.config_set("maxmemory-policy", "allkeys-random")
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", int(0.9 * used))
            client.set("fw:no history", b"x" * 1_000)
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")
            client.delete("fw:no history")
            gone = int(client.info("stats")["evicted_keys"]) - before
        self.say(f"{gone} keys are evicted")

    def _restart_store(self) -> None:
        """Kill the store and start it again, empty."""
        self._count("store_restarts")
        self._valkey.kill()
        self._tend_for(self._random.uniform(0.0, 2.0))
        self._valkey.start()

    def _restart_broker(self) -> None:
        self._count("broker_restarts")
        self._kafka.stop()
        self._tend_for(self._random.uniform(0.0, 3.0))
        self._kafka.start()

    def _third(self) -> None:
        self._count("comings_and_goings")
        if "three" in self._fleet.names:
            self._fleet.leave("three")
        else:
            self._fleet.join("three")

    def _count(self, name: str) -> None:
        self.counts[name] += 1
        self.say(f"{name} {self.counts[name]}")

    def _recover(self, deadline_s: float) -> None:
        """Wait until every worker has committed again, all is scored, or the deadline is over."""
        marks = self._fleet.marks()
        try:
            await_that(
                lambda: self._fleet.committed_since(marks) or self._rig.lag() == 0,
                deadline_s,
                "every worker committed again",
                lambda: {"before": marks, "now": self._fleet.marks()},
            )
        except TimeoutError as error:
            self.say(str(error))

    def _tend_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._fleet.tend()
            time.sleep(min(0.1, max(0.0, until - time.monotonic())))


def play(folder: Path, faults: int, seed: int) -> tuple[dict[str, Any], bool]:
    """Run the faults; return the result, and True if all checks passed."""
    started = time.monotonic()
    source = DATA / "handbook_raw.parquet"
    if not source.exists():
        raise SystemExit(f"{source} is absent; FRAUD_WORKER_DATA names the folder of the data")
    with ExitStack() as stack:
        kafka = stack.enter_context(Kafka(folder / "kafka", QUICK_ABORTS))
        valkey = stack.enter_context(Valkey(folder / "valkey"))
        rig = SkewRig(folder / "skew", source, EVENTS, (kafka.bootstrap, valkey.url), seed)
        sequence, ended = Faults(rig, (kafka, valkey), faults, seed), True
        try:
            sequence.run()
        except (TimeoutError, RuntimeError) as error:
            ended = False
            sequence.say(f"FAILED: {error}")
        sequence.say("compare")
        verdict = rig.compare()
        for case in verdict.pop("shown"):
            sequence.say(case)
    result = {
        **verdict,
        "partitions": PARTITIONS,
        "faults": sum(sequence.counts.values()),
        **sequence.counts,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }
    return result, ended and not any(verdict[name] for name in HELD)


if __name__ == "__main__":
    sys.exit(command(__doc__, "faults", 20, "faults of workers, servers and histories", play))
