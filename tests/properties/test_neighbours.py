"""Partitions of other workers: when they are applied, by whom, and what the histories hold then."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

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
from worker.histories.filling import HistoryTarget
from worker.histories.marks import Marks
from worker.histories.neighbours import PATIENCE_S, Neighbours

OWN, OTHER = 0, 1
STEP = 5
"""Records of a step."""


class Bench:
    """Two partitions of a topic, of which workers read the first one; the second has ``log``."""

    def __init__(self, count: int) -> None:
        self.system = System((SECOND, SECOND, 1000, 3, None, False), 2)
        self.log = [replace(event, partition=OTHER) for event in log_of(count, 0)]
        # One event is late: what it is depends on the events before it.
        self.log[-2] = replace(self.log[-2], time=self.log[0].time)
        self.clock = Clock()
        self.end = count
        self.checkpoint = LogState()
        self.target = self.make_target()
        offsets = {OWN: 0, OTHER: 0}
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
        histories = FilledHistories(
            self.system.feature_set,
            cast("Any", EventDecoder(self.log)),
            self.system.namespace,
            append,
            present,
        )
        reader = RangeReader(cast("Any", consumer_of(self.log, 0)), "in", ranges, 1.0)
        return Fill(histories, reader, at, records=STEP)

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
        source = SimpleNamespace(
            bounds=lambda _: (0, bench.end),
            begin=bench.begin,
            checkpoints=lambda *_: bench.checkpoint,
            clock=bench.clock,
        )
        self.neighbours = Neighbours(cast("Any", source))
        self.target = bench.make_target()

    def look(self) -> list[int]:
        """Partitions to apply, by marks that are read now."""
        self.target.read_marks()
        return self.neighbours.unattended(self.target, [OWN], {})

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
    target = bench.make_target()
    writes = [
        target.marks.write(one, OTHER, None, Mark(0, 9, UNKNOWN)) for one in target.marks.shared
    ]
    target.store.write_marks(writes)
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
        batch, _ = bench.system.bind(bench.log[:known])
        state = System((SECOND, SECOND, 1000, 3, None, False), 2).enrich(batch, LogState()).after
        bench.checkpoint = replace(state, offsets={OTHER: known})
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


def test_restoring_waits_for_others_and_then_fills_what_nobody_fills() -> None:
    bench = Bench(12)
    bench.system.store.drop(bench.target.marks.keys)  # type: ignore[attr-defined]
    batch, _ = bench.system.bind(bench.log)
    state = System((SECOND, SECOND, 1000, 3, None, False), 2).enrich(batch, LogState()).after
    bench.checkpoint = replace(state, offsets={OTHER: bench.end})
    worker = bench.worker()
    steps = worker.neighbours.restore(worker.target, [OWN], fills=True)
    assert next(steps) is None
    bench.clock.sleep(PATIENCE_S)
    assert [one for one in steps if one is None] == []
    assert bench.applied == bench.end
    assert bench.members() == expected(bench)
