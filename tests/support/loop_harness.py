"""Loop on fakes: stages, histories and checkpoint that a test controls."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np

import worker.delivery.checkpoint
from base.arrays import Longs
from base.errors import ConfigurationError, DependencyUnavailableError, ErrorCode, RecordError
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.protocol import OnlineStore, StoreReads, Writes
from features.values.flags import Flags
from schemas.batch import Records
from tests.support.fakes import Brokers, Clock, FakeConsumer
from worker.consume.micro_batch import BatchBound
from worker.consume.poll import Poller
from worker.consume.start_offsets import StartOffsets
from worker.consume.topics import InputTopic
from worker.delivery.delivery import Delivery
from worker.delivery.publish import Outbox, SizeLimits
from worker.fill.fill import Progress
from worker.histories import HistoryWrites, Wait
from worker.loop import Loop, Waits
from worker.process.health import Health
from worker.process.metrics import REGISTRY
from worker.process.tracing import Spans
from worker.settings import DeadLetterSettings
from worker.stages.dead_letter import Stage, dead_letter
from worker.stages.dead_letter_limit import DeadLetterLimit
from worker.stages.serving import Decided, Model
from worker.stages.stages import Processed

Place = tuple[int, int]
PATIENCE_S = 20.0
AWAY = DependencyUnavailableError("redis does not answer")
SERVICE = "store or registry"
_FLAGS = Flags(("late", "ahead"))
_LIMIT = DeadLetterSettings()
REASON = f"{SERVICE} is away: redis does not answer"


class Process:
    """Fake stages: a score for each record that is not in ``bad``.

    The event time of an event is its offset, and each event adds a member to the history "h".

    Attributes:
        seen: Places of the records of each call.
        logs: Watermarks that each call was given.
        bad: Records that become dead letters.
        ahead: Records with the flag ``ahead``.
        keyless: Records without a key.
        then: Actions, one of which runs in each call.
    """

    def __init__(self, journal: list[str]) -> None:
        self.seen: list[list[Place]] = []
        self.logs: list[dict[int, tuple[int, ...]]] = []
        self.bad: set[Place] = set()
        self.ahead: set[Place] = set()
        self.keyless: set[Place] = set()
        self.then: deque[Callable[[], None]] = deque()
        self._journal = journal

    def __call__(self, records: Records, log: LogState) -> Processed:
        self.logs.append(dict(log.highest))
        places = list(zip(records.partitions.tolist(), records.offsets.tolist(), strict=True))
        self.seen.append(places)
        self._journal.append(f"process {places[0] if places else 'nothing'}")
        if self.then:
            self.then.popleft()()
        error = RecordError(ErrorCode.BODY_TRUNCATED, "cut")
        letters = [
            dead_letter(records, row, error, Stage.DECODE, None)
            for row, place in enumerate(places)
            if place in self.bad
        ]
        rows = [row for row, place in enumerate(places) if place not in self.bad]
        good = ["/".join(map(str, places[row])).encode() for row in rows]
        none = np.zeros(len(good), np.int8)
        return Processed(
            records.take(np.array(rows, np.intp)),
            [
                None if places[row] in self.keyless else key
                for row, key in zip(rows, good, strict=True)
            ],
            good,
            None,
            letters,
            Model("m", "1", "cpu"),
            np.zeros(len(good)),
            Decided(none, none, ("approve",), ("default",), "1"),
            _FLAGS,
            # The first is late.
            np.array(
                [2 * (places[row] in self.ahead) | (row == rows[0]) for row in rows], np.uint64
            ),
            {"decode": 0.001},
            Writes([(b"h", members) for members in good]),
            LogState({**log.highest, **{p: (o,) for p, o in places if (p, o) not in self.bad}}),
            explained=len(good),
            not_additive=1,
            coverage={"card": 0.25},
        )


class Histories:
    """Fake histories that store the written members in order, unless an outcome raises.

    Attributes:
        outcomes: Actions, one of which runs in each write.
        openings: Exceptions, one of which is raised in each opening.
        restorings: Actions, one of which runs in each restoring.
        requirings: Actions, one of which runs in each look for lost members.
        waiting: Functions from waiting events to those that still wait, one of which is called in
            each review; without one, none waits any more.
        behind: Partitions that others may wait for, until they are applied.
        others: Partitions of other workers that none of these applies.
        fill: Offsets that are left after each step of a fill.
        announced: States of the log before and behind the writes, and the offsets behind them.
        written: Members that were written.
        partitions: Maximum number of partitions.
    """

    def __init__(self, journal: list[str]) -> None:
        self.outcomes: deque[Callable[[], None]] = deque()
        self.openings: deque[BaseException] = deque()
        self.restorings: deque[Callable[[], None]] = deque()
        self.requirings: deque[Callable[[], None]] = deque()
        self.waiting: deque[Callable[[Mapping[int, Wait]], Mapping[int, Wait]]] = deque()
        self.announced: list[tuple[LogState, LogState, dict[int, int]]] = []
        self.written: list[bytes] = []
        self.fill: Iterator[int] = iter(())
        self.behind: set[int] = set()
        self.others: set[int] = set()
        self.partitions = 10
        self._journal = journal

    def open(self, topic: InputTopic) -> None:
        self._journal.append("find histories")
        if self.openings:
            raise self.openings.popleft()

    def namespace(self) -> Namespace | None:
        return None

    def restore(self, log: LogState) -> Generator[Progress | None, None, LogState]:
        self._journal.append(f"restore {dict(log.offsets)}")
        if max(log.offsets, default=0) >= self.partitions:
            raise ConfigurationError("partitions are new")
        if self.restorings:
            self.restorings.popleft()()
        for left in self.fill:
            yield Progress(0, {0: left}, None)
        self._journal.append("restored")
        return log

    def known(self, log: LogState) -> LogState:
        raise AssertionError("enrich asks, not the loop")

    def checked(
        self, store: OnlineStore, records: Records, until: Longs, log: LogState
    ) -> StoreReads:
        raise AssertionError("enrich reads, not the loop")

    def require(self, log: LogState) -> None:
        if self.requirings:
            self.requirings.popleft()()

    def lagging(self, waits: Mapping[int, Wait]) -> Sequence[int]:
        return [partition for partition in waits if partition in self.behind]

    def apply_ahead(self, partitions: Iterable[int], log: LogState) -> None:
        self._journal.append(f"apply {[*partitions]} behind {dict(log.offsets)}")
        self.behind -= {*partitions}

    def tidy(self) -> None:
        pass

    def unattended(self, waits: Mapping[int, Wait], log: LogState) -> Sequence[int]:
        return sorted(self.others)

    def apply_others(self, partitions: Collection[int], log: LogState) -> None:
        self._journal.append(f"apply others {[*partitions]}")
        self.others -= {*partitions}

    def still_waiting(self, waits: Mapping[int, Wait]) -> Mapping[int, Wait]:
        self._journal.append(f"waiting {sorted(waits)}")
        return self.waiting.popleft()(waits) if self.waiting else {}

    def close(self) -> None:
        self._journal.append("close histories")

    def announce(
        self, writes: Writes, before: LogState, after: LogState, ends: Mapping[int, int]
    ) -> HistoryWrites:
        self.announced.append((before, after, dict(ends)))
        return HistoryWrites(writes)

    def write(self, writes: HistoryWrites) -> None:
        members = [added for _, added in writes.members.appends]
        self._journal.append(f"write {len(members)}")
        if self.outcomes:
            self.outcomes.popleft()()
        self.written += members

    def await_written(self) -> None:
        raise AssertionError("enrich waits, not the loop")


class Checkpoint:
    """Fake checkpoint that commits to the consumer's group, unless an outcome raises.

    Attributes:
        outcomes: Actions, one of which runs in each delivery.
        openings: Exceptions, one of which is raised in each opening.
        delivered: Outboxes of all deliveries.
        committed: Outboxes of the deliveries that succeeded.
        closed: True after ``close``.
    """

    def __init__(self, consumer: FakeConsumer, journal: list[str]) -> None:
        self.outcomes: deque[Callable[[], None]] = deque()
        self.openings: deque[BaseException] = deque()
        self.delivered: list[Outbox] = []
        self.committed: list[Outbox] = []
        self.closed = False
        self._consumer = consumer
        self._journal = journal

    def limits(self) -> SizeLimits:
        return SizeLimits(2**20, 2**20)

    def open(self) -> None:
        self._journal.append("open")
        if self.openings:
            raise self.openings.popleft()

    def suspect(self) -> None:
        self._journal.append("suspect")

    def deliver(self, outbox: Outbox) -> None:
        self._journal.append(f"deliver {outbox.next_offsets}")
        self.delivered.append(outbox)
        if self.outcomes:
            self.outcomes.popleft()()
        self.committed.append(outbox)
        self._consumer.checkpoints |= outbox.next_offsets
        self._consumer.offset_metadata |= outbox.offset_metadata

    def close(self) -> None:
        self._journal.append("close checkpoint")
        self.closed = True


class LoopHarness:
    """A loop on fakes: partition 0 is assigned at the start, and the loop stops when it is idle."""

    def __init__(
        self,
        records: dict[int, int],
        batch: int = 2,
        budget_s: float = 1000.0,
        real: Callable[[FakeConsumer], worker.delivery.checkpoint.Checkpoint] | None = None,
        overlap_from: int = 0,
        limit: DeadLetterSettings = _LIMIT,
        tracing: Spans | None = None,
    ) -> None:
        """Create the loop.

        Args:
            records: Number of records of each partition.
            batch: Maximum number of events in a micro-batch.
            budget_s: Latency budget in seconds.
            real: Creates a real checkpoint instead of the fake one.
            overlap_from: As of `BatchBound`.
            limit: Limit on dead letters.
            tracing: Traces of committed micro-batches; None without any.
        """
        self.clock = Clock()
        self.journal: list[str] = []
        self.consumer = FakeConsumer(records, clock=self.clock)
        self.process = Process(self.journal)
        self.histories = Histories(self.journal)
        self.checkpoint = Checkpoint(self.consumer, self.journal)
        self.health = Health(60.0, self.clock)
        self.brokers = Brokers(len(records))
        topics = self.brokers.topics(self.health, self.clock)
        consumer = cast("Any", self.consumer)
        self.poller = Poller(
            consumer,
            topics,
            lambda topic: StartOffsets(consumer, topic, "earliest", None, 5.0),
            before_change=lambda: self.loop.before_change(),  # noqa: PLW0108 - made below
            clock=self.clock,
        )
        self.loop = Loop(
            self.poller,
            DeadLetterLimit(self.process, limit),
            Delivery(
                self.histories,
                real(self.consumer) if real else self.checkpoint,
                topics,
                ThreadPoolExecutor(1, thread_name_prefix="commit"),
            ),
            BatchBound(batch, budget_s, overlap_from),
            self.health,
            # Tests replace the sleep.
            Waits(0.2, 60.0, 30.0, lambda seconds: time.sleep(seconds), self.clock),  # noqa: PLW0108
            tracing,
        )
        self.consumer.will_assign(0)
        self.consumer.when_idle = self.idle

    def idle(self) -> None:
        if not self.consumer.paused and not self.poller._held.partitions:
            self.loop.stop()

    def run(self) -> None:
        self.loop.run()

    @property
    def answered(self) -> list[str]:
        """Committed values, in order."""
        return [value.decode() for outbox in self.checkpoint.committed for value in outbox.values]


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"fraud_worker_{name}", labels) or 0.0


def raising(error: BaseException) -> Callable[[], None]:
    def then() -> None:
        raise error

    return then


def first_batches(count: int, size: int = 2) -> list[list[Place]]:
    return [[(0, i) for i in range(first, first + size)] for first in range(0, count * size, size)]
