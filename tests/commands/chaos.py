"""Inject faults into workers, servers and topics under load, and compare with a serial run.

    .venv/bin/python tests/commands/chaos.py --kills 20 --seed 7

Workers and the store are killed, workers are frozen, the broker is restarted, the input topic is
deleted and created again, and the schema registry responds oddly. Some records of the load are
hostile. The seed determines the faults and their order; their exact times also depend on the
machine.

Progress is printed to stderr, and the result to stdout as a line of JSON. Exit status 0 means that
no output is lost, duplicated or out of order, and every score equals that of the serial run.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.command import command
from tests.support.fake_registry import FakeRegistry, serving
from tests.support.fleet import Fleet
from tests.support.hostile_load import HostileLoad
from tests.support.odd_registry import ODD, SCHEMA_IDS, register
from tests.support.rig import SESSION_TIMEOUT_S, Rig, await_that, train
from tests.support.servers import QUICK_ABORTS
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

PARTITIONS = 6
RATE = 500.0
RECOVERY_S = 15.0
DRAIN_S = 120.0
TELL_EVERY_S = 15.0
STARTUP_S = 60.0
FAULTS = ("lost", "duplicated", "out_of_order", "scores_different")
COUNTED = (
    "zombies",
    "broker_restarts",
    "store_kills",
    "topics_created_again",
    "odd_registries",
    "hostile_records",
)
# The worker's exit codes for delivery errors, for configuration errors and of the watchdog.
REPLACED, REFUSED, OVERSTAYED = 3, 2, 70
# By default, Kafka refuses records with timestamps more than an hour ahead.
BROKER = {"log.message.timestamp.after.max.ms": str(2**63 - 1), **QUICK_ABORTS}
GROWTH = 2_000


class Chaos:
    """Sequence of faults on one rig, in random order by the seed.

    Attributes:
        counts: Number of faults by name.
        verdicts: Verdict of the oracle on each input topic that was deleted.
    """

    def __init__(
        self, rig: Rig, servers: tuple[Kafka, Valkey, FakeRegistry], kills: int, seed: int
    ) -> None:
        self._kafka, self._valkey, self._registry = servers
        self._random = random.Random(seed)
        self._seed = seed
        self._started = time.monotonic()
        self._rig = rig
        self._load = HostileLoad(rig, seed, RATE)
        self._fleet = Fleet(rig, self.say)
        rounds = max(1, kills // 10)
        self._schedule = [self._kill] * kills + [
            self._zombie,
            self._restart_broker,
            self._kill_store,
            self._create_again,
            self._odd_registry,
            self._third,
            self._third,
        ] * rounds
        self._random.shuffle(self._schedule)
        self.counts = Counter[str]()
        self.verdicts: list[dict[str, Any]] = []

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f} s  {line}", file=sys.stderr, flush=True)

    def run(self) -> None:
        """Inject all faults, then drain.

        Raises:
            TimeoutError: A wait took too long; the message shows the state.
            RuntimeError: A worker ended with an unexpected status, or wrote unexpected output.
        """
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
        self.say("the last fault has healed")
        self._answer_all()
        for name in self._fleet.names:
            self._fleet.leave(name)

    def _answer_all(self) -> None:
        """Stop the load, and wait until all its records are answered."""
        self._load.stop()
        self.counts["hostile_records"] += self._load.hostile
        self.say(f"draining {self._load.sent:,} records, {self._load.hostile} more are hostile")
        until, said = time.monotonic() + DRAIN_S, time.monotonic()
        while True:
            self._fleet.tend()
            try:
                self._rig.await_all_answered(1.0)
                return
            except TimeoutError as error:
                if time.monotonic() > until:
                    raise
                if time.monotonic() > said + TELL_EVERY_S:
                    said = time.monotonic()
                    self.say(str(error))

    def _kill(self) -> None:
        self.counts["kills"] += 1
        victim = self._random.choice(self._fleet.names)
        self.say(f"kill {self.counts['kills']}: {victim}")
        self._fleet.kill(victim)

    def _zombie(self) -> None:
        """Freeze a worker until the others have its partitions, then resume it."""
        self.counts["zombies"] += 1
        victim = self._random.choice(self._fleet.names)
        held = SESSION_TIMEOUT_S + self._random.uniform(0.5, 4.0)
        self.say(f"zombie: {victim} sleeps for {held:.1f} s")
        self._fleet.freeze(victim)
        self._tend_for(held)
        self._recover(RECOVERY_S)
        self._fleet.thaw(victim)

    def _restart_broker(self) -> None:
        """Stop the broker in order, and restart it.

        It is not killed: a killed single broker of Kafka 4.3 or 4.4 may never end a transaction that
        it had decided to commit (KAFKA-20734), and then no client can continue.
        """
        self.counts["broker_restarts"] += 1
        self.say("the broker restarts")
        self._kafka.stop()
        self._tend_for(self._random.uniform(0.0, 3.0))
        self._kafka.start()

    def _kill_store(self) -> None:
        """Kill and restart the store; its append-only file has all acknowledged writes."""
        self.counts["store_kills"] += 1
        self.say("the store is killed")
        self._valkey.kill()
        self._tend_for(self._random.uniform(0.0, 3.0))
        self._valkey.start()

    def _create_again(self) -> None:
        """Delete the input topic while workers run, create it again, and finally accept it.

        The oracle can judge only one input topic. Therefore it judges the old topic first, and the
        output topics are created again too.
        """
        self.counts["topics_created_again"] += 1
        self._answer_all()
        self._fleet.await_ready()
        self.verdicts.append(self._rig.audit())
        answered = self._rig.outputs()
        asleep = self._random.choice([*self._fleet.names, None])
        self.say(f"the input topic is created again; {asleep or 'nobody'} sleeps meanwhile")
        if asleep:
            self._fleet.freeze(asleep)
        self._grow_again()
        if asleep:
            self._fleet.thaw(asleep)
        # In a worker that was frozen for too long, the watchdog may fire first.
        self._fleet.await_ends(REPLACED, *([OVERSTAYED] if asleep else []))
        self._fleet.start_again()
        self._fleet.await_ends(REFUSED)
        if (outputs := self._rig.outputs()) != answered:
            raise RuntimeError(f"{outputs - answered} outputs for a topic that was not accepted")
        self.say("the new topic is accepted")
        self._rig.configure("kafka", accept_topic=self._rig.input_id())
        self._rig.delete_topics("output", "dead_letter")
        self._rig.create_topics("output", "dead_letter")
        self._fleet.start_again()
        self._load.start()

    def _grow_again(self) -> None:
        """Create the input topic again, with records at and beyond the workers' offsets."""
        ends = self._rig.ends()
        self._rig.delete_topics("input")
        self._rig.create_topics("input")
        schema_id = self._load.schema_id
        self._load = HostileLoad(self._rig, self._random.randrange(2**32), RATE)
        self._load.schema_id = schema_id
        self._load.send(GROWTH)
        self._rig.pass_offsets(ends)
        self._load.send(GROWTH)

    def _odd_registry(self) -> None:
        """Replace the registry's responses by odd ones while a new schema is needed."""
        self.counts["odd_registries"] += 1
        kind, victim = self._random.choice([*ODD]), self._random.choice(self._fleet.names)
        self.say(f"the registry answers oddly: {kind}; {victim} is killed meanwhile")
        asked = len(self._registry.asked)
        self._registry.odd[""] = ODD[kind]
        self._load.schema_id = SCHEMA_IDS[self.counts["odd_registries"]]
        self._fleet.kill(victim)
        self._tend_for(self._random.uniform(1.0, 4.0))

        def asked_since() -> bool:
            self._fleet.tend()
            return len(self._registry.asked) > asked

        await_that(asked_since, RECOVERY_S, "the registry is asked", self._fleet.marks)
        self._registry.odd.clear()

    def _third(self) -> None:
        if "three" in self._fleet.names:
            self.say("the third worker leaves")
            self._fleet.leave("three")
        else:
            self.say("a third worker joins")
            self._fleet.join("three")

    def _recover(self, deadline_s: float) -> None:
        """Wait until every worker that is not frozen has committed again, or the deadline is over."""
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
    """Run the faults; return the result, and True if all checks passed."""
    started = time.monotonic()
    with ExitStack() as stack:
        kafka = stack.enter_context(Kafka(folder / "kafka", BROKER))
        valkey = stack.enter_context(Valkey(folder / "valkey", append_only=True))
        registry = stack.enter_context(serving())
        train(folder)
        rig = Rig(
            folder / "chaos",
            folder,
            (kafka.bootstrap, valkey.url),
            partitions=PARTITIONS,
            settings={"registry": {"url": registry.url, "timeout_s": 1.0}},
        )
        register(registry, rig)
        rig.load_lookups()
        chaos = Chaos(rig, (kafka, valkey, registry), kills, seed)
        ended = True
        try:
            chaos.run()
        except (TimeoutError, RuntimeError) as error:
            ended = False
            chaos.say(f"FAILED: {error}")
        chaos.say("the oracle reads")
        verdicts = [*chaos.verdicts, rig.audit()]
        for name in FAULTS:
            for case in (case for verdict in verdicts for case in verdict["shown"][name]):
                chaos.say(f"{name}: {case}")
    totals = {
        name: sum(verdict[name] for verdict in verdicts)
        for name in ("events", *FAULTS, "dead_letters")
    }
    result = {
        "kills": chaos.counts["kills"],
        **totals,
        **{name: chaos.counts[name] for name in COUNTED},
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }
    return result, ended and not any(totals[name] for name in FAULTS)


if __name__ == "__main__":
    sys.exit(command(__doc__, "kills", 20, "SIGKILLs of workers", play))
