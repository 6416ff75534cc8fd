"""A simulated process of the worker: the real loop and delivery over simulated clients."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from features.history.namespace import Namespace
from features.history.watermarks import LogState
from schemas.batch import Records
from tests.search.consumer import SimulatedConsumer
from tests.search.group import Group
from tests.search.log import INVALID, Log, answer
from tests.search.network import Network
from tests.search.producer import SimulatedProducer
from tests.search.reader import SimulatedReader
from tests.search.scheduler import Scheduler, Task
from tests.search.store import SimulatedServer, SimulatedStore
from tests.search.transactions import Transactions
from tests.search.waiting import SimulatedEvent, SimulatedExecutor
from worker.consume.micro_batch import BatchBound
from worker.consume.poll import Poller
from worker.consume.start_offsets import StartOffsets
from worker.consume.topics import INPUT, InputTopic, Topics
from worker.delivery.checkpoint import Destination
from worker.delivery.delivery import Delivery
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.publish import SizeLimits
from worker.delivery.reports import Reports
from worker.fill.fill import Append, Fill
from worker.fill.ranges import FillRange
from worker.fill.source import LogSource
from worker.histories import Histories, StoredHistories
from worker.histories.location import StateLocation
from worker.histories.state import StateRequest, claim, source_of
from worker.loop import Loop, Waits
from worker.process.health import Health
from worker.process.watchdog import Watchdog
from worker.stages.dead_letter import Stage, dead_letter
from worker.stages.serving import Decided, Model
from worker.stages.stages import Enrich, Processed

_LIMITS = SizeLimits(2**20, 2**20)
_BROKERS_S, _PATIENCE_S = 5.0, 1.0
_GROUP, _STATE = "group", "state"
_IDS = {"in": "id-1", "out": "id-2", "dead": "id-3"}


@dataclass(frozen=True)
class Cluster:
    """Brokers and store that all processes of a schedule share."""

    log: Log
    rng: random.Random
    scheduler: Scheduler
    network: Network
    group: Group
    transactions: Transactions
    store: SimulatedServer
    topic: Sequence[Any]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a schedule.

    Attributes:
        batch: Most events of a micro-batch.
        overlap_from: As of `BatchBound`.
        producers: Number of producers in turn.
        fill: Most records of a step of a fill.
        old: Number of processes that are started before a new version of the windows, which looks
            further back, and has histories of its own.
    """

    batch: int
    overlap_from: int
    producers: int
    fill: int
    old: int


class UnwatchedTopics(Topics):
    """Topics whose ids are looked up by the loop and the delivery alone, not by a thread."""

    def start(self) -> None:
        pass


class SimulatedSource(LogSource):
    """The worker's source of fills, in steps of a few records."""

    def __init__(self, cluster: Cluster, poller: Poller, records: int) -> None:
        def make_consumer() -> Any:
            return SimulatedReader(
                network=cluster.network,
                scheduler=cluster.scheduler,
                rng=cluster.rng,
                topic=cluster.topic,
            )

        features, decoder = cluster.log.features, cast("Any", cluster.log)
        super().__init__(
            poller, features, decoder, make_consumer, _BROKERS_S, cluster.scheduler.clock
        )
        self._records = records

    def begin(
        self,
        namespace: Namespace,
        append: Append,
        ranges: Mapping[int, FillRange],
        state: LogState,
        present: Mapping[int, int],
        records: int,
    ) -> Fill:
        return super().begin(namespace, append, ranges, state, present, min(records, self._records))


class SimulatedHistories(StoredHistories):
    """The worker's histories, whose readers wait in the scheduler."""

    def __init__(
        self, cluster: Cluster, store: SimulatedStore, source: LogSource, *, is_new: bool
    ) -> None:
        features = cluster.log.features
        backs = {entity: back + is_new for entity, back in features.histories.backs.items()}

        def find(topic: InputTopic) -> StateLocation:
            wanted = StateRequest(
                source_of(topic, _GROUP),
                features.histories.layouts,
                backs=backs,
                cap=features.histories.rules.cap,
            )
            return StateLocation(claim(store, features.name, _STATE, wanted), None)

        super().__init__(store, features.histories, find, Watchdog(60.0), source, fills=True)
        self._written = cast("Any", SimulatedEvent(cluster.scheduler))


class SimulatedStages:
    """The real enrich between a decode and an encode of a few lines."""

    def __init__(self, log: Log, store: SimulatedStore, histories: Histories) -> None:
        self._log = log
        self._flags = log.features.flags
        self._enrich = Enrich(log.features, store, histories)

    def __call__(self, records: Records, log: LogState) -> Processed:
        places = list(zip(records.partitions.tolist(), records.offsets.tolist(), strict=True))
        rows = [self._log.rows[place] for place in places if place in self._log.rows]
        letters = [
            dead_letter(records, row, INVALID, Stage.DECODE, None)
            for row, place in enumerate(places)
            if place not in self._log.rows
        ]
        batch = self._log.batch(tuple(rows))
        enriched = self._enrich(batch, log)
        good = [place for place in places if place in self._log.rows]
        bits = enriched.flags.tolist()
        values = [
            answer(place, enriched.matrix[row].tobytes(), self._flags.decode(bits[row]))
            for row, place in enumerate(good)
        ]
        none = np.zeros(len(good), np.int8)
        return Processed(
            batch.records,
            batch.records.keys,
            values,
            None,
            letters,
            Model("m", "1", "cpu"),
            np.zeros(len(good)),
            Decided(none, none, ("approve",), ("default",), "1"),
            self._flags,
            enriched.flags,
            {},
            enriched.writes,
            enriched.after,
        )


class Process:
    """One process of the worker, from its start to its end.

    Attributes:
        replica: Name of the worker in its group; its successor has the same.
        number: Number of the process among all of the schedule.
        stopped: True while the process is stopped.
        ended: True once it has ended, by itself or killed.
        error: Exception that ended it by itself.
    """

    def __init__(self, cluster: Cluster, replica: str, number: int, sizes: Sizes) -> None:
        self.replica = replica
        self.number = number
        self.name = f"{replica}{number}"
        self.stopped = False
        self.ended = False
        self.error: Exception | None = None
        self._cluster = cluster
        self.consumer = SimulatedConsumer(
            network=cluster.network,
            scheduler=cluster.scheduler,
            rng=cluster.rng,
            topic=cluster.topic,
            group=cluster.group,
        )
        self.producers: list[SimulatedProducer] = []
        self.tasks: list[Task] = []
        self._executor = self.executor("commits")
        self.checkpoint = self._make_checkpoint(sizes.producers)
        self.loop = self._make_loop(sizes)
        self.tasks.append(cluster.scheduler.start(f"{self.name} loop", self._run))

    def executor(self, name: str) -> SimulatedExecutor:
        """Make an executor, which ends with the process."""
        executor = SimulatedExecutor(self._cluster.scheduler, f"{self.name} {name}")
        self.tasks.append(executor.task)
        return executor

    def kill(self) -> None:
        """End the process at once: nothing that its tasks do from now on has an effect."""
        self.ended = True
        self.consumer.subscribed = False
        for task in self.tasks:
            task.killed = True

    def stop(self, *, stopped: bool) -> None:
        """Stop the process, or let it go on."""
        self.stopped = stopped
        for task in self.tasks:
            task.stopped = stopped

    def has_left(self, transactional_id: str) -> bool:
        """True if the process will not go on with the transaction of an id."""
        last = [p for p in self.producers if p.name == transactional_id][-1]
        return self.ended or self.stopped or not last.is_open

    def lose_connections(self) -> None:
        """Break all connections to the brokers while no request is on its way."""
        for producer in self.producers:
            producer.lose_connection()

    def waits(self) -> str:
        """What the process waits for, in words."""
        words = [f"{self.name} reads {self.loop._poller.partitions}"]
        words += [f"partition {p}: {wait}" for p, wait in self.loop._aligner.waits.items()]
        return ", ".join(words)

    def _run(self) -> None:
        try:
            self.loop.run()
        except Exception as error:  # noqa: BLE001 - the search judges it
            self.error = error
        self.kill()

    def _make_loop(self, sizes: Sizes) -> Loop:
        cluster = self._cluster
        clock = cluster.scheduler.clock
        health = Health(60.0, clock)
        topics = UnwatchedTopics(
            {INPUT: "in", "kafka.output_topic": "out", "kafka.dead_letter_topic": "dead"},
            self._describe,
            self._describe_input,
            health,
            brokers="simulated:9092",
            clock=clock,
        )
        consumer = cast("Any", self.consumer)
        poller = Poller(
            consumer,
            topics,
            lambda topic: StartOffsets(consumer, topic, "earliest", None, _BROKERS_S),
            before_change=lambda: self.loop.before_change(),  # noqa: PLW0108 - made later
            needs_log_state=True,
            clock=clock,
        )
        store = SimulatedStore(cluster.store, cluster.network, cluster.scheduler, cluster.rng)
        source = SimulatedSource(cluster, poller, sizes.fill)
        is_new = self.number > sizes.old
        histories = SimulatedHistories(cluster, store, source, is_new=is_new)
        return Loop(
            poller,
            SimulatedStages(cluster.log, store, histories),
            Delivery(histories, self.checkpoint, topics, self._executor),
            BatchBound(sizes.batch, 1000.0, sizes.overlap_from),
            health,
            Waits(_BROKERS_S, 60.0, _PATIENCE_S, cluster.scheduler.sleep, clock),
        )

    def _make_checkpoint(self, producers: int) -> ExactlyOnce:
        def make(number: int, reports: Reports) -> Any:
            cluster = self._cluster
            producer = SimulatedProducer(
                f"{self.replica}/{number}",
                self,
                reports,
                (cluster.transactions, cluster.group, cluster.network, cluster.scheduler),
                cluster.rng,
                int,
            )
            self.producers.append(producer)
            return producer

        return ExactlyOnce(
            destination=Destination(
                topics=("in", "out", "dead"),
                limits=lambda: _LIMITS,
                refresh_limits=lambda: None,
                timeout_s=_BROKERS_S,
                watchdog=Watchdog(60.0),
            ),
            make_producer=make,
            replica=self.replica,
            count=producers,
            clock=self._cluster.scheduler.clock,
        )

    def _describe(self, names: Sequence[str]) -> Mapping[str, str | None]:
        return self._cluster.network.request(
            "describe_topics", lambda: {name: _IDS[name] for name in names}
        )

    def _describe_input(self) -> InputTopic:
        topic = InputTopic("in", _IDS["in"], self._cluster.log.partitions, None)
        return self._cluster.network.request("describe_topics", lambda: topic)
