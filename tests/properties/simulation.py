"""Plays a scenario against the real thing: a log, and the workers that read it in turn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar
from unittest import mock

from features.history.watermarks import LogState
from features.store.protocol import Writes
from features.windows import engine, entity_windows
from schemas.batch import EventBatch
from tests.oracles.windows import Event, Label, Place
from tests.properties.comparison import Answers, Comparison, DisagreementError, Of
from tests.properties.logs import is_event
from tests.properties.rich_set import ALL_SHARED, SHARED, SOONEST, WINDOWS, Numbers
from tests.properties.scenarios import ALL, Scenario, Step
from tests.properties.stored import Stored
from tests.properties.system import System

T = TypeVar("T")


@dataclass(frozen=True)
class Attempt:
    """A batch that was enriched. begins: how far each partition had been read before it.

    members: what the batch adds to each history.
    """

    begins: tuple[int, ...]
    writes: Writes
    members: dict[Of, list[Event]]


@dataclass(frozen=True)
class Commit:
    """Where to go on reading, by place in each partition's list, with what the offsets' notes say."""

    reached: tuple[int, ...]
    log: LogState


class Simulation:
    """The log, the workers of a group one after the other, and what the store must hold.

    tally: counts what happened.
    """

    def __init__(self, scenario: Scenario, system: System, tally: Counter[str]) -> None:
        self.tally = tally
        self.scenario = scenario
        self.system = system
        self.comparison = Comparison(scenario, system.feature_set, tally)
        self.stored = Stored(self.comparison.rules, system, scenario.events)
        self.logs: list[list[Event]] = [[] for _ in range(scenario.partitions)]
        for event in scenario.events:
            self.logs[event.partition].append(event)
        self.labels: list[Label] = []
        self.traces = len(scenario.events) * len(scenario.steps)
        self.zombies: list[tuple[int, Attempt]] = []
        self.commits = [Commit((0,) * scenario.partitions, LogState())]
        self.floor = self.commits[0].reached

    def play(self) -> None:
        for number, step in enumerate(self.scenario.steps):
            self._land(number)
            self._take(step, number)
        self._land(math.inf)
        size = self.scenario.last_batches
        while self.commits[-1].reached != tuple(map(len, self.logs)):
            for partition in range(self.scenario.partitions):
                self._take(Step(((partition, size),)), 0)

    def _take(self, step: Step, number: int) -> None:
        self._add_labels(step)
        commit = self.commits[-1]
        events, reached = self._read(step, commit.reached)
        for partition, count in step.applies:
            self._apply(partition, commit.reached[partition] + count, step, number)
        if self.scenario.waits and self.system.waits:
            self._align(events, step, number)
        if not events:
            return
        batch, bad = self.system.bind(events)
        cap = self.comparison.rules.cap
        good = [event for event in events if is_event(event.values, cap)]
        if bad != {row for row, event in enumerate(events) if not is_event(event.values, cap)}:
            raise DisagreementError(f"dead letters are the rows {bad} of {events}")
        if not good:
            self.commits.append(Commit(reached, commit.log))
            return
        partitions = {event.partition for event in events}
        log = _of(commit.log, partitions) if step.own_log else commit.log
        enriched = self.system.enrich(batch, log)
        answers = self.comparison.compare(good, enriched, self.stored.held, self.labels)
        self.comparison.compare_after(enriched.after, log, good)
        self._trace(good, batch, log, answers)
        attempt = Attempt(commit.reached, enriched.writes, answers.members)
        self.stored.compare_appends(attempt.writes, attempt.members)
        self.stored.compare_compactions(attempt.writes, good, log)
        self._write(attempt, step.appends, step.compactions)
        self.zombies += [(number + 1 + delay, attempt) for delay in step.zombies]
        if step.lost:
            self._go_back(step.back)
        else:
            after = enriched.after
            log = LogState(
                {**commit.log.highest, **after.highest},
                {**commit.log.lowest, **after.lowest},
                {**commit.log.counted, **after.counted},
            )
            self.commits.append(Commit(reached, log))

    def _align(self, events: Sequence[Event], step: Step, number: int) -> None:
        """Apply other partitions as far as the aligned windows of these events reach."""
        seen: set[Place] = set()
        for x in events:
            for partition, log in enumerate(self.logs):
                if x.place not in self.comparison.exact[SHARED] or partition == x.partition:
                    continue
                begin = self.commits[-1].reached[partition]
                missing = [
                    place
                    for place, e in enumerate(log[begin:], begin)
                    if e.place not in seen and self._is_missing(e, x)
                ]
                if missing:
                    self._apply(partition, missing[-1] + 1, step, number)
            seen.add(x.place)

    def _is_missing(self, e: Event, x: Event) -> bool:
        """Return True if an aligned window of ``x`` may need ``e``, which is not stored."""
        return any(
            e.time <= self.comparison.exact[entity][x.place].base - SOONEST[entity]
            and self.comparison.joins(entity, e)
            and e.place not in self.stored.held[entity, e.keys[entity]]
            for entity in ALL_SHARED
        )

    def _apply(self, partition: int, end: int, step: Step, number: int) -> None:
        """Put the events of a partition from its commit on into shared histories."""
        commit = self.commits[-1]
        events = self.logs[partition][commit.reached[partition] : end]
        batch, _ = self.system.bind(events)
        if not len(batch):
            return
        members: dict[Of, list[Event]] = {}
        for e, entity in product(events, ALL_SHARED):
            of = (entity, e.keys[entity])
            if self.comparison.joins(entity, e) and e.place not in self.stored.held[of]:
                members.setdefault(of, []).append(e)
        writes = self.system.enrich(batch, _of(commit.log, {partition})).writes
        of_shared = [
            pair for pair in writes.appends if self.system.of_key(pair[0])[1][0] in ALL_SHARED
        ]
        attempt = Attempt(commit.reached, Writes(of_shared), members)
        self.stored.compare_appends(attempt.writes, members)
        self._write(attempt, ALL, 0)
        self.zombies += [(number + 1 + delay, attempt) for delay in step.zombies]
        self.tally["applied ahead"] += sum(map(len, members.values()))

    def _trace(
        self, events: Sequence[Event], batch: EventBatch, log: LogState, answers: Answers
    ) -> None:
        """What one window of one row was made from; the next time, of another."""
        number, self.traces = self.traces, self.traces + 1
        self.tally["traces"] += 1
        window, row = WINDOWS[number % len(WINDOWS)], number // 7 % len(events)
        traced = self.system.trace(window.name, row, batch, log)
        self.comparison.compare_traced(
            window, events[row], answers.sights[row], self.labels, traced
        )

    def _read(self, step: Step, reached: tuple[int, ...]) -> tuple[list[Event], tuple[int, ...]]:
        events: list[Event] = []
        places = list(reached)
        for partition, count in step.takes:
            found = self.logs[partition][places[partition] :][:count]
            places[partition] += len(found)
            events += found
        return events, tuple(places)

    def _go_back(self, back: int) -> None:
        """To an earlier commit, but none that a compaction has left behind."""
        self.tally["attempts lost"] += 1
        for _ in range(back):
            if len(self.commits) > 1 and _covers(self.commits[-2].reached, self.floor):
                self.commits.pop()
                self.tally["commits read again"] += 1

    def _add_labels(self, step: Step) -> None:
        known = len(self.labels)
        new = self.scenario.labels[known : known + step.new_labels]
        old = self.labels if step.old_labels else []
        self.labels = [*self.labels, *new]
        if again := [*new, *old]:
            self.system.append_labels(again)

    def _land(self, number: float) -> None:
        """The writes of workers that were taken for dead."""
        due = [zombie for zombie in self.zombies if zombie[0] <= number]
        self.zombies = [zombie for zombie in self.zombies if zombie[0] > number]
        for _, attempt in due:
            self.tally["zombies"] += 1
            # Offsets that are committed stay so: its compactions were made when these were.
            valid = _covers(self.commits[-1].reached, attempt.begins)
            self._write(attempt, ALL, ALL if valid else 0)

    def _write(self, attempt: Attempt, appends: int, compactions: int) -> None:
        """Those of the writes that the masks name; notes what the store holds then."""
        writes = Writes(
            _chosen(attempt.writes.appends, appends),
            _chosen(attempt.writes.compactions, compactions),
        )
        if writes.compactions:
            self.floor = tuple(map(max, self.floor, attempt.begins))
        self.tally["compactions"] += len(writes.compactions)
        self.tally["stale compactions"] += self.stored.append(writes, attempt.members)


def _of(log: LogState, partitions: set[int]) -> LogState:
    """As a worker knows it that has these partitions alone."""
    return LogState(
        {p: time for p, time in log.highest.items() if p in partitions},
        {p: times for p, times in log.lowest.items() if p in partitions},
        {p: count for p, count in log.counted.items() if p in partitions},
    )


def _covers(reached: Sequence[int], floor: Sequence[int]) -> bool:
    return all(a >= b for a, b in zip(reached, floor, strict=True))


def _chosen(writes: Collection[T], mask: int) -> list[T]:
    return [write for bit, write in enumerate(writes) if mask >> bit & 1]


Make = Callable[[Numbers, int], System]
"""A system for rules and a number of partitions."""


def play(scenario: Scenario, make: Make = System, tally: Counter[str] | None = None) -> None:
    """Raises DisagreementError where the engine does not say what the oracle says."""
    system = make(scenario.rules, scenario.partitions)
    Simulation(scenario, system, Counter() if tally is None else tally).play()


def check(scenario: Scenario, make: Make = System, tally: Counter[str] | None = None) -> None:
    """Likewise, where little is enough.

    Histories are compacted for a gain of one member, and few members are a portion: with so little
    data that would else not happen.
    """
    with (
        mock.patch.object(entity_windows, "WORTH", 1),
        mock.patch.object(engine, "MEMBERS_AT_A_TIME", 1 if len(scenario.events) % 2 else 30),
    ):
        play(scenario, make, tally)
