"""Kills workers and servers under load, then holds what is left against a serial run of the log.

    .venv/bin/python tests/system/chaos.py --kills 20 --seed 7

Progress goes to stderr, one line of JSON to stdout. Exit status 0: nothing lost, nothing twice, all
in order, every score as in the serial run. The faults and their order follow the seed; when exactly
they strike depends on the machine as well.
"""

from __future__ import annotations

import random
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.system.command import command
from tests.system.fleet import Fleet
from tests.system.load import Load
from tests.system.rig import SESSION_TIMEOUT_S, Rig, await_that, train
from worker.embedded.kafka import Kafka
from worker.embedded.valkey import Valkey

PARTITIONS = 6
RATE = 1_000.0
RECOVERY_S = 15.0
DRAIN_S = 120.0
TELL_EVERY_S = 15.0
STARTUP_S = 60.0
FAULTS = ("lost", "duplicated", "out_of_order", "scores_different")


class Chaos:
    """Faults on one rig, one after the other, in an order that the seed gives."""

    def __init__(self, rig: Rig, servers: tuple[Kafka, Valkey], kills: int, seed: int) -> None:
        self._kafka, self._valkey = servers
        self._random = random.Random(seed)
        self._started = time.monotonic()
        self._rig = rig
        self._load = Load(rig, seed, RATE)
        self._fleet = Fleet(rig, self.say)
        rounds = max(1, kills // 10)
        self._schedule = [self._kill] * kills + [
            self._zombie,
            self._restart_broker,
            self._kill_store,
            self._third,
            self._third,
        ] * rounds
        self._random.shuffle(self._schedule)
        self.counts = {"kills": 0, "zombies": 0, "broker_restarts": 0, "store_kills": 0}

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f} s  {line}", file=sys.stderr, flush=True)

    def run(self) -> None:
        """All faults, then the drain. Raises TimeoutError or RuntimeError with the state seen."""
        try:
            for name in ("one", "two"):
                self._fleet.join(name)
            self._load.start()
            self._recover(STARTUP_S)
            for fault in self._schedule:
                self._tend_for(self._random.uniform(0.0, 1.5))
                fault()
                self._recover(RECOVERY_S)
            self._drain()
        finally:
            self._load.stop()
            self._fleet.end()

    def _drain(self) -> None:
        self._load.stop()
        self.say(f"the last fault has healed; draining {self._load.sent:,} records")
        until, said = time.monotonic() + DRAIN_S, time.monotonic()
        while True:
            self._fleet.tend()
            try:
                self._rig.await_all_answered(1.0)
                break
            except TimeoutError as error:
                if time.monotonic() > until:
                    raise
                if time.monotonic() > said + TELL_EVERY_S:
                    said = time.monotonic()
                    self.say(str(error))
        for name in self._fleet.names:
            self._fleet.leave(name)

    def _kill(self) -> None:
        self.counts["kills"] += 1
        victim = self._random.choice(self._fleet.names)
        self.say(f"kill {self.counts['kills']}: {victim}")
        self._fleet.kill(victim)

    def _zombie(self) -> None:
        """Stop a worker until the others have its partitions, and wake it again."""
        self.counts["zombies"] += 1
        victim = self._random.choice(self._fleet.names)
        held = SESSION_TIMEOUT_S + self._random.uniform(0.5, 4.0)
        self.say(f"zombie: {victim} sleeps for {held:.1f} s")
        self._fleet.freeze(victim)
        self._tend_for(held)
        self._recover(RECOVERY_S)
        self._fleet.thaw(victim)

    def _restart_broker(self) -> None:
        """Stop the broker in order, and start it again.

        Not killed: a single Kafka 4.3 or 4.4 that was may forget to end a transaction that it had
        promised to commit (KAFKA-20734), and then no client can go on.
        """
        self.counts["broker_restarts"] += 1
        self.say("the broker restarts")
        self._kafka.stop()
        self._tend_for(self._random.uniform(0.0, 3.0))
        self._kafka.start()

    def _kill_store(self) -> None:
        """Kill the store, and start it again: what it acknowledged is in its file."""
        self.counts["store_kills"] += 1
        self.say("the store is killed")
        self._valkey.kill()
        self._tend_for(self._random.uniform(0.0, 3.0))
        self._valkey.start()

    def _third(self) -> None:
        if "three" in self._fleet.names:
            self.say("the third worker leaves")
            self._fleet.leave("three")
        else:
            self.say("a third worker joins")
            self._fleet.join("three")

    def _recover(self, deadline_s: float) -> None:
        """Wait until every worker that is awake has committed again, or the time has passed."""
        marks = self._fleet.marks()
        try:
            await_that(
                lambda: self._fleet.committed_since(marks),
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


def play(folder: Path, kills: int, seed: int) -> tuple[dict[str, Any], bool]:
    """The result, and whether everything held."""
    started = time.monotonic()
    with ExitStack() as stack:
        kafka = stack.enter_context(Kafka(folder / "kafka"))
        valkey = stack.enter_context(Valkey(folder / "valkey", append_only=True))
        train(folder)
        rig = Rig(folder / "chaos", folder, (kafka.bootstrap, valkey.url), partitions=PARTITIONS)
        rig.load_lookups()
        chaos = Chaos(rig, (kafka, valkey), kills, seed)
        ended = True
        try:
            chaos.run()
        except (TimeoutError, RuntimeError) as error:
            ended = False
            chaos.say(f"FAILED: {error}")
        chaos.say("the oracle reads")
        verdict = rig.audit()
        for name in FAULTS:
            for case in verdict["shown"][name]:
                chaos.say(f"{name}: {case}")
    result = {
        "kills": chaos.counts["kills"],
        "events": verdict["events"],
        **{name: verdict[name] for name in FAULTS},
        "dead_letters": verdict["dead_letters"],
        "zombies": chaos.counts["zombies"],
        "broker_restarts": chaos.counts["broker_restarts"],
        "store_kills": chaos.counts["store_kills"],
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }
    return result, ended and not any(verdict[name] for name in FAULTS)


if __name__ == "__main__":
    sys.exit(command(__doc__, "kills", 20, "SIGKILLs of workers", play))
