"""A schedule: two workers of one group on a simulated cluster, under faults, and its judgement.

The seed decides everything: the log, the sizes, the interleaving and the faults. After some time all
faults end. The group then has to finish the log, and each position must have exactly one committed
answer, in the order of its partition, with the numbers of a serial run.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable

from base.errors import DeliveryFatalError
from tests.search.group import Group
from tests.search.log import LOGS, Log, make_log, place_of
from tests.search.network import Network
from tests.search.process import Cluster, Process, Sizes
from tests.search.reader import InputPartition
from tests.search.scheduler import HungError, Scheduler, pick
from tests.search.store import SimulatedServer
from tests.search.transactions import TransactionalId, Transactions

_MOST_STEPS = 20_000
_MOST_STARTS = 60
_TRANSACTION_S = 10.0
# After these a process ends, and the next one takes over; every other error is a fault of the code.
_ENDINGS = re.compile("this worker is fenced|restart the worker")


class WrongOutputError(AssertionError):
    """The committed output is not that of a serial run."""


class World:
    """One schedule.

    Args:
        seed: Decides everything.
        note: Takes the lines of the journal.
    """

    def __init__(
        self,
        seed: int,
        *,
        note: Callable[[str], None],
    ) -> None:
        rng = self._rng = random.Random(seed)
        self._note = note
        self.tally: Counter[str] = Counter()
        self.log: Log = make_log(seed % LOGS)
        self._scheduler = Scheduler(
            rng, pick(rng, (0.3, 0.7, 0.9)), pick(rng, (1e-4, 0.005, 0.03)), self._act, _MOST_STEPS
        )
        self._faults_left = pick(rng, (0, 1, 2, 3, 4, 6))
        self._calm_after = rng.randint(50, 600)
        self._fault_rate = pick(rng, (0.02, 0.1))
        # What the store loses hides other faults, and they hide what it loses.
        self._store_faults = pick(rng, (0.0, 0.0, 0.3, 1.0))
        self._wakes = pick(rng, (0.01, 0.05, 0.3))
        network = Network(rng, self._scheduler, pick(rng, (0.0, 0.0, 0.01, 0.03, 0.1)), self.say)
        group = Group(self.log.partitions)
        self._cluster = Cluster(
            self.log,
            rng,
            self._scheduler,
            network,
            group,
            Transactions(self._scheduler.clock, group.end),
            SimulatedServer(),
            [InputPartition(entries) for entries in self.log.entries],
        )
        self._sizes = Sizes(
            pick(rng, (1, 2, 3, 5)),
            pick(rng, (0, 0, 3, 256)),
            pick(rng, (1, 2, 4)),
            pick(rng, (1, 2, 5)),
            # By a generator of its own: most schedules stay what they were.
            pick(random.Random(f"old {seed}"), (_MOST_STARTS, _MOST_STARTS, 1, 2, 3)),
        )
        self._replicas = pick(rng, ("a", "ab", "ab", "abc"))
        if rng.random() < 0.3:
            self._write_all()
        self._processes: list[Process] = []
        self._started = 0
        # Processes that have ended, and the number of the last one that was started before.
        self._buried: dict[Process, int] = {}
        self._closing = False
        self._happenings: tuple[Callable[[], bool], ...] = (
            self._background,
            self._write_input,
            self._write_marker,
            self._cluster.network.land_late,
            self._restart,
            self._expire,
            self._time_out,
            self._wake,
        )

    def run(self) -> None:
        """Run the schedule.

        Raises:
            AssertionError: The output is wrong, or the group does not finish.
        """
        for replica in self._replicas:
            self._start(replica)
        try:
            self._scheduler.run()
        except HungError as error:
            waits = "; ".join(process.waits() for process in self._processes)
            raise HungError(f"{error}; {waits}") from error
        self._judge()

    # What happens outside of the processes

    def _act(self) -> bool:
        """Let one thing happen; return False if nothing can."""
        for process in [*self._processes]:
            if process.ended:
                self._bury(process)
        if self._is_calm():
            self._cluster.network.is_calm = True
        elif self._faults_left and self._rng.random() < self._fault_rate and self._fault():
            return True
        # From a random one on, the first that is possible: most are not, most of the time.
        first = int(self._rng.random() * len(self._happenings))
        for happen in (*self._happenings[first:], *self._happenings[:first]):
            if happen():
                return True
        return self._is_calm() and self._finish()

    def _is_calm(self) -> bool:
        """True once all faults have ended."""
        return self._scheduler.steps > self._calm_after

    def _background(self) -> bool:
        for process in self._processes:
            if not process.stopped and process.consumer.has_background():
                self.say(f"{process.name} {process.consumer.background()}")
                return True
        return False

    def _write_input(self) -> bool:
        """Let producers write, and let their transactions end."""
        topic = self._cluster.topic
        unwritten = [p for p, at in enumerate(topic) if at.stable_end < len(at.entries)]
        if not unwritten:
            return False
        if all(not self._may_come(p) for p in unwritten):
            # Each waits for another one: they come together.
            self._write_all()
            return True
        partition = pick(self._rng, [p for p in unwritten if self._may_come(p)])
        at = topic[partition]
        at.end = min(len(at.entries), max(at.end, at.stable_end + 1) + self._rng.randint(0, 6))
        # Else a transaction of its producer stays open.
        if self._rng.random() < 0.7 or self._is_calm():
            while at.stable_end < at.end and self._may_come(partition):
                at.stable_end += 1
        return True

    def _may_come(self, partition: int) -> bool:
        """True if all that the next event of a partition may see has come before it."""
        topic = self._cluster.topic
        needs = self.log.needs.get((partition, topic[partition].stable_end), {})
        return all(topic[other].stable_end >= end for other, end in needs.items())

    def _write_all(self) -> None:
        for at in self._cluster.topic:
            at.end = at.stable_end = len(at.entries)

    def _write_marker(self) -> bool:
        unmarked = self._cluster.transactions.unmarked()
        if not unmarked:
            return False
        held = pick(self._rng, unmarked)
        assert held.transaction is not None
        place = int(self._rng.random() * len(held.transaction.unmarked))
        at = self._cluster.transactions.write_marker(held, place)
        self.say(f"marker of {held.name} in {at}")
        return True

    def _restart(self) -> bool:
        """Start a process in place of one that has ended."""
        there = {process.replica for process in self._processes}
        missing = [replica for replica in self._replicas if replica not in there]
        if not missing or self._closing:
            return False
        self._start(pick(self._rng, missing))
        return True

    def _start(self, replica: str) -> None:
        self._started += 1
        process = Process(self._cluster, replica, self._started, self._sizes)
        self.say(f"{process.name} starts")
        self._processes.append(process)

    def _bury(self, process: Process) -> None:
        self._processes.remove(process)
        self._buried[process] = self._started
        error = process.error
        if error is not None:
            self.say(f"{process.name} ends: {error}")
            if not (isinstance(error, DeliveryFatalError) and _ENDINGS.search(str(error))):
                raise error
        if self._started > _MOST_STARTS:
            raise HungError(f"{self._started} processes were started")

    def _expire(self) -> bool:
        """End the session of a member from whom no heartbeat comes."""
        heard = {p.consumer.member for p in self._processes if not p.stopped}
        for member in self._cluster.group.members:
            if member not in heard:
                self.say(f"the session of {member} expires")
                self._cluster.group.remove(member)
                return True
        return False

    def _time_out(self) -> bool:
        """Abort a transaction that nobody goes on with, or that is open for too long."""
        too_old = self._scheduler.now - _TRANSACTION_S
        for name, held in self._cluster.transactions.ids.items():
            if held.begun_before(too_old) or (held.ongoing and held.owner.has_left(name)):
                self._require_no_successor(held)
                self.say(f"the transaction of {name} times out")
                self._cluster.transactions.abort_late(held)
                return True
        return False

    def _require_no_successor(self, held: TransactionalId) -> None:
        """Raise if a process has started that had to end this transaction of its predecessor."""
        owner = held.owner
        if owner in self._buried and any(
            p.replica == owner.replica and p.number > self._buried[owner] and p.consumer.has_asked
            for p in self._processes
        ):
            raise WrongOutputError(f"the transaction of {held.name} is open after a new start")

    def _wake(self) -> bool:
        stopped = [process for process in self._processes if process.stopped]
        forced = len(stopped) == len(self._processes)
        if not stopped or not (forced or self._rng.random() < self._wakes):
            return False
        process = pick(self._rng, stopped)
        self.say(f"{process.name} goes on")
        process.stop(stopped=False)
        return True

    # Faults

    def _fault(self) -> bool:
        going = [p for p in self._processes if not p.stopped and not p.ended]
        if not going:
            return False
        process = pick(self._rng, going)
        of_process: list[tuple[str, Callable[[], object]]] = [
            ("is killed", process.kill),
            ("is killed", process.kill),
            ("is stopped", lambda: process.stop(stopped=True)),
            ("is stopped", lambda: process.stop(stopped=True)),
            ("is stopped and replaced", lambda: self._replace(process)),
            ("drains", process.loop.stop),
            ("is expelled", lambda: self._cluster.group.remove(process.consumer.member)),
            ("loses its connections", process.lose_connections),
            ("waits for something", self._scheduler.jump),
        ]
        store = self._cluster.store
        of_store: list[tuple[str, Callable[[], object]]] = [
            ("sees the store flushed", store.flush),
            ("sees the store start again", store.restart),
            ("sees the store fail over", lambda: store.fail_over(self._rng)),
            ("sees keys evicted", lambda: store.evict(self._rng)),
        ]
        faults = of_store if self._rng.random() < self._store_faults else of_process
        what, happen = pick(self._rng, faults)
        self.say(f"{process.name} {what}")
        self.tally[what] += 1
        self._faults_left -= 1
        happen()
        return True

    def _replace(self, process: Process) -> None:
        """Stop a process, and start another one with the same name in the group."""
        process.stop(stopped=True)
        self._start(process.replica)

    # The end

    def _finish(self) -> bool:
        """When the log is done, stop the workers, then the schedule."""
        cluster = self._cluster
        if any(held.ongoing or held.preparing for held in cluster.transactions.ids.values()):
            return False
        if not self._closing:
            if not all(self._is_done(p) for p in range(self.log.partitions)):
                return False
            self._closing = True
            for process in self._processes:
                process.loop.stop()
            return True
        if self._processes:
            return False
        self._scheduler.end()
        return True

    def _is_done(self, partition: int) -> bool:
        known = self._cluster.group.offsets.get(partition)
        last = max((o for p, o in self.log.answers if p == partition), default=-1)
        return last < 0 or (known is not None and known.offset > last)

    def _judge(self) -> None:
        """Compare the committed output with the answers of the log."""
        for partition, entries in enumerate(self.log.entries):
            values = [
                self._cluster.transactions.committed((topic, partition))
                for topic in ("out", "dead")
            ]
            for some in values:
                places = [place_of(value) for value in some]
                if places != sorted(places):
                    raise WrongOutputError(f"out of order or twice: {some}")
            given = Counter(value for some in values for value in some)
            expected = Counter(v for (p, _), v in self.log.answers.items() if p == partition)
            if given != expected:
                raise WrongOutputError(
                    f"partition {partition}: missing {sorted((expected - given).elements())}, "
                    f"not expected {sorted((given - expected).elements())}"
                )
            known = self._cluster.group.offsets.get(partition)
            if known is not None and known.offset > len(entries):
                raise WrongOutputError(f"offset {known.offset} of {len(entries)}")

    def say(self, text: str) -> None:
        """Write a line of the journal: step, task that runs, and what happens."""
        self._note(f"{self._scheduler.steps:5} {self._scheduler.current.name:12} {text}")
