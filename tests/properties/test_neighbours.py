"""Partitions of other workers: when they are applied, by whom, and what the histories hold then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from base.errors import ConfigurationError, DependencyUnavailableError, HistoriesLostError
from features.history.marks import Mark
from features.history.watermarks import UNKNOWN, LogState
from tests.oracles.windows import Place
from tests.properties.rich_set import SECOND, SHARED
from tests.properties.system import System
from tests.properties.test_fill import EventDecoder, Store, consumer_of, scored
from tests.properties.test_restoring import log_of
from tests.support.fakes import Clock
from worker.fill.fill import Fill, FilledHistories
from worker.fill.ranges import RangeReader
from worker.histories.alignment import Wait
from worker.histories.filling import HistoryTarget
from worker.histories.marks import Marks
from worker.histories.neighbours import PATIENCE_S, Neighbours

OWN, OTHER = 0, 1
OWN_LOG = LogState(offsets={OWN: 0})
NO_WAITS: Mapping[int, Wait] = {}
STEP = 5
"""Records of a step."""


class Bench:
    """Two partitions of a topic, of which workers read the first one; the second has ``log``."""

    def __init__(self, count: int, partitions: int = 2) -> None:
        self.system = System((SECOND, SECOND, 1000, 3, None, False), partitions)
        self.log = [replace(event, partition=OTHER) for event in log_of(count, 0)]
        # One event is late: what it is depends on the events before it.
        self.log[-2] = replace(self.log[-2], time=self.log[0].time)
        self.clock = Clock()
        self.end = count
        self.checkpoint = LogState()
        self.begins: list[int] = []
        self.target = self.make_target()
        offsets = dict.fromkeys(range(partitions), 0)
        self.target.store.write_marks(self.target.marks.begin(offsets, shared=True))
        self.target.read_marks()

    def make_target(self) -> HistoryTarget:
        plan, namespace = self.system.feature_set.histories, self.system.namespace
        target = HistoryTarget(self.system.store, plan, namespace, Marks(plan, namespace), None)
        target.read_marks()
        return target

    def worker(self) -> Worker:
        return Worker(self)

    def begin(
        self, _: object, append: Any, ranges: Any, at: LogState, present: Any, __: int
    ) -> Fill:
        self.begins += [part.begin for part in ranges.values()]
        histories = FilledHistories(
            self.system.feature_set,
            cast("Any", EventDecoder(self.log)),
            self.system.namespace,
            append,
            present,
        )
        reader = RangeReader(cast("Any", consumer_of(self.log, 0)), "in", ranges, 1.0)
        return Fill(histories, reader, at, records=STEP)

    def state_at(self, offset: int) -> LogState:
        """State of the log of the second partition at an offset."""
        batch, _ = self.system.bind(self.log[:offset])
        state = System((SECOND, SECOND, 1000, 3, None, False), 2).enrich(batch, LogState()).after
        return replace(state, offsets={OTHER: offset})

    def write_mark(self, mark: Mark) -> None:
        """Move the mark of the second partition, as another worker does."""
        marks = self.target.marks
        self.target.store.write_marks([marks.write(one, OTHER, None, mark) for one in marks.shared])

    @property
    def applied(self) -> int:
        """Offset up to which the histories have the second partition."""
        return int(self.make_target().marks.positions()[OTHER])

    def members(self) -> dict[bytes, dict[Place, bytes]]:
        """Members of the shared histories in the store."""
        held = Store(self.system)
        store: Any = self.system.store
        prefix = f":history:{SHARED}:".encode()
        for key in [key for key in store._slots if prefix in key]:
            held.take([(key, store._value(key))])
        return held.held


class Worker:
    """Neighbours of one worker."""

    def __init__(self, bench: Bench) -> None:
        self.source = SimpleNamespace(
            bounds=lambda _: (0, bench.end),
            begin=bench.begin,
            checkpoints=lambda *_: bench.checkpoint,
            clock=bench.clock,
        )
        self.neighbours = Neighbours(cast("Any", self.source))
        self.target = bench.make_target()

    def look(self, own: LogState = OWN_LOG, waits: Mapping[int, Wait] = NO_WAITS) -> list[int]:
        """Partitions to apply, by marks that are read now."""
        self.target.read_marks()
        return self.neighbours.unattended(self.target, own, waits)

    def turn(self) -> list[int]:
        """Look, and apply."""
        due = self.look()
        self.neighbours.apply(self.target, due)
        return due


def expected(bench: Bench) -> dict[bytes, dict[Place, bytes]]:
    """Members of the shared histories that scoring makes."""
    other = System((SECOND, SECOND, 1000, 3, None, False), 2)
    other.namespace = bench.system.namespace
    store, _ = scored(other, bench.log, iter([3] * len(bench.log)))
    prefix = f":history:{SHARED}:".encode()
    return {key: members for key, members in store.held.items() if prefix in key}


def result_of(steps: Generator[Any, None, Any]) -> Any:
    """The value that a generator returns, after all its steps."""
    for _ in range(99):
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value
    raise AssertionError("it does not end")


def test_a_partition_whose_mark_stands_still_is_applied_to_its_end() -> None:
    bench = Bench(12)
    worker = bench.worker()
    assert worker.turn() == []
    bench.clock.sleep(PATIENCE_S - 0.1)
    assert worker.turn() == []
    bench.clock.sleep(0.1)
    while bench.applied < bench.end:
        assert worker.turn() == [OTHER]
    assert bench.members() == expected(bench)
    # What comes later needs no patience, nor what was read before.
    bench.log += [replace(e, partition=OTHER) for e in log_of(2, 12)]
    bench.end = 14
    worker.turn()
    assert worker.turn() == [OTHER]
    assert bench.applied == 14
    assert bench.members() == expected(bench)


def test_a_partition_that_another_worker_applies_is_left_to_it() -> None:
    bench = Bench(12)
    worker = bench.worker()
    worker.look()
    bench.clock.sleep(PATIENCE_S)
    assert worker.turn() == [OTHER]
    bench.write_mark(Mark(0, 9, UNKNOWN))
    assert worker.turn() == []
    bench.clock.sleep(PATIENCE_S)
    assert worker.look() == [OTHER]


def test_two_workers_that_apply_the_same_partition_do_no_harm() -> None:
    bench = Bench(23)
    workers = [bench.worker(), bench.worker()]
    for worker in workers:
        worker.look()
    bench.clock.sleep(PATIENCE_S)
    due = [worker.look() for worker in workers]
    assert due == [[OTHER], [OTHER]]
    turns: dict[int, int] = defaultdict(int)
    while bench.applied < bench.end:
        for number, worker in enumerate(workers):
            worker.neighbours.apply(worker.target, due[number])
        for number, worker in enumerate(workers):
            due[number] = worker.look()
            turns[number] += len(due[number])
        assert any(due)
    assert min(turns.values()) > 0
    assert bench.members() == expected(bench)


@pytest.mark.parametrize("known", [0, 7])
def test_whether_an_event_is_late_follows_from_the_log_before_the_mark(known: int) -> None:
    bench = Bench(12)
    worker = bench.worker()
    worker.look()
    bench.clock.sleep(PATIENCE_S)
    worker.turn()
    assert bench.applied == STEP
    # Another worker goes on in its place, and knows nothing of the first one.
    if known:
        bench.checkpoint = bench.state_at(known)
    second = bench.worker()
    second.look()
    bench.clock.sleep(PATIENCE_S)
    while bench.applied < bench.end:
        assert second.turn() == [OTHER]
    assert bench.members() == expected(bench)


def test_a_partition_without_a_mark_is_left_to_the_next_restoring() -> None:
    bench = Bench(12)
    bench.system.store.drop(bench.target.marks.keys)  # type: ignore[attr-defined]
    worker = bench.worker()
    worker.look()
    bench.clock.sleep(PATIENCE_S)
    assert worker.look() == []


def test_a_worker_whose_events_wait_for_a_partition_without_a_mark_has_lost_it() -> None:
    bench = Bench(12)
    bench.system.store.drop(bench.target.marks.keys)  # type: ignore[attr-defined]
    worker = bench.worker()
    waits = {OWN: Wait(0, 0, "shop", OTHER)}
    # Its worker may be about to fill it again.
    assert worker.look(waits=waits) == []
    bench.clock.sleep(PATIENCE_S)
    with pytest.raises(HistoriesLostError, match=rf"marks of partitions \[{OTHER}\]"):
        worker.look(waits=waits)


@pytest.mark.parametrize("error", [ConfigurationError("later"), DependencyUnavailableError("away")])
def test_trouble_with_a_partition_of_another_is_not_the_worker_s(error: Exception) -> None:
    bench = Bench(12)
    worker = bench.worker()
    worker.look()

    def fail(*_: object) -> Any:
        raise error

    begin, worker.source.begin = worker.source.begin, fail
    bench.clock.sleep(PATIENCE_S)
    assert worker.turn() == [OTHER]
    assert worker.look() == []
    worker.source.begin = begin
    bench.clock.sleep(PATIENCE_S)
    worker.turn()
    assert bench.applied == STEP


def test_a_worker_that_has_left_a_partition_goes_on_from_what_it_knows_of_the_log() -> None:
    bench = Bench(23)
    bench.write_mark(Mark(0, 9, UNKNOWN))
    worker = bench.worker()
    both = replace(bench.state_at(8), offsets={OWN: 0, OTHER: 8})
    assert worker.look(both) == []
    worker.look()
    bench.clock.sleep(PATIENCE_S)
    assert worker.turn() == [OTHER]
    assert bench.begins == [8]
    # Another worker goes on for some time, so that the first one knows less than the checkpoint.
    bench.write_mark(Mark(0, 20, UNKNOWN))
    bench.checkpoint = bench.state_at(18)
    worker.look()
    bench.clock.sleep(PATIENCE_S)
    worker.turn()
    assert bench.begins == [8, 18]
    assert bench.applied == bench.end


def test_those_that_a_worker_applies_in_turns_are_not_taken_for_left() -> None:
    bench = Bench(12, partitions=8)
    worker = bench.worker()
    worker.look()
    bench.clock.sleep(PATIENCE_S)
    assert worker.look() == []
    waits: Any = {OWN: SimpleNamespace(behind=OTHER)}
    assert worker.neighbours.unattended(worker.target, OWN_LOG, waits) == [OTHER]
    bench.clock.sleep(2 * 7 - PATIENCE_S)
    assert worker.look() == [OTHER, 2]
    # One that is begun comes first, then the others in turns.
    worker.neighbours.apply(worker.target, [OTHER])
    assert worker.look() == [OTHER, 2]
    while bench.applied < bench.end:
        worker.neighbours.apply(worker.target, [OTHER])
    assert worker.look() == [2, 3]


def test_restoring_waits_for_others_and_then_fills_what_nobody_fills() -> None:
    bench = Bench(12)
    bench.system.store.drop(bench.target.marks.keys)  # type: ignore[attr-defined]
    bench.checkpoint = bench.state_at(bench.end)
    worker = bench.worker()
    steps = worker.neighbours.restore(worker.target, OWN_LOG, LogState(), fills=True)
    assert next(steps) is None
    bench.clock.sleep(PATIENCE_S)
    assert [one for one in steps if one is None] == []
    assert bench.applied == bench.end
    assert bench.members() == expected(bench)
    # It goes on behind them, without patience and without what it has read.
    bench.log += [replace(e, partition=OTHER) for e in log_of(2, 12)]
    bench.end = 14
    bench.begins.clear()
    assert worker.turn() == [OTHER]
    assert bench.begins == [12]
    worker.turn()
    assert bench.members() == expected(bench)


@pytest.mark.parametrize("fills", [False, True])
def test_restoring_ends_also_while_the_checkpoints_of_others_go_on(fills: bool) -> None:
    bench = Bench(12)
    bench.system.store.drop(bench.target.marks.keys)  # type: ignore[attr-defined]
    bench.checkpoint = replace(bench.state_at(9), highest={})
    worker = bench.worker()
    steps = worker.neighbours.restore(worker.target, OWN_LOG, LogState(), fills=fills)
    assert next(steps) is None
    bench.clock.sleep(PATIENCE_S)
    checkpoints = result_of(steps)
    bench.checkpoint = replace(bench.state_at(10), highest={})
    again = worker.neighbours.restore(worker.target, OWN_LOG, checkpoints, fills=fills)
    assert result_of(again) is None


@pytest.mark.parametrize("fills", [False, True])
def test_restoring_does_not_set_back_what_others_have_filled_meanwhile(fills: bool) -> None:
    bench = Bench(12)
    bench.system.store.drop(bench.target.marks.keys)  # type: ignore[attr-defined]
    worker = bench.worker()
    answers = 0

    def answer(*_: object) -> LogState:
        # The first answer is about the checkpoints, the second about the time that is needed.
        nonlocal answers
        answers += 1
        if answers == 1 + fills:
            bench.write_mark(Mark(0, 12, 5, 5, 0))
        return replace(bench.checkpoint, offsets={OTHER: 9})

    worker.source.checkpoints = answer
    worker.neighbours.unattended(worker.target, OWN_LOG, {})
    bench.clock.sleep(PATIENCE_S)
    for _ in worker.neighbours.restore(worker.target, OWN_LOG, LogState(), fills=fills):
        bench.clock.sleep(PATIENCE_S)
    assert bench.applied == 12
