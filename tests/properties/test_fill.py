"""Histories that are filled from the log are those that scoring has made of it."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, cast
from unittest import mock

import numpy as np
import pytest
from confluent_kafka import OFFSET_INVALID
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from base.errors import DependencyUnavailableError
from features.history.watermarks import LogState
from features.tables.history_run import SweptStore
from features.windows import entity_windows
from schemas.batch import Decoded
from tests.oracles.windows import Event
from tests.properties.logs import make_events
from tests.properties.rich_set import SECOND
from tests.properties.scenarios import Scenario, scenarios
from tests.properties.system import System, columns_of
from tests.support.fakes import Clock, FakeConsumer, FakeMessage
from tests.support.loop_harness import sample
from tests.support.making import T0
from worker.fill.fill import Fill, FilledHistories
from worker.fill.ranges import FillRange, RangeReader
from worker.process import metrics

Place = tuple[int, int]
NONE: Mapping[int, int] = {}
Histories = dict[bytes, dict[Place, bytes]]
"""Members by key and position."""


@dataclass(frozen=True)
class EventDecoder:
    """Decoder of records whose values are the indexes of events."""

    events: Sequence[Event]

    def decode(self, values: Sequence[bytes], _headers: object) -> Decoded:
        return Decoded(columns_of([self.events[int(value)] for value in values]), {})


class Store:
    """Holds members; at times it takes only half of them, with an error."""

    def __init__(self, system: System, failures: Sequence[bool] = ()) -> None:
        self.held: Histories = defaultdict(dict)
        self.reached: dict[int, int] = {}
        self._failures = list(failures)
        entities = system.feature_set.histories.entities
        self._dtypes = {
            system.namespace.history_prefix(e.entity, e.layout.digest): e.layout.dtype
            for e in entities
        }

    def append(
        self, appends: Collection[tuple[bytes, bytes]], reached: Mapping[int, int], _: LogState
    ) -> None:
        if self._failures and self._failures.pop():
            self.take([*appends][::2])
            raise DependencyUnavailableError("away")
        self.take(appends)
        assert all(offset > self.reached.get(p, -1) for p, offset in reached.items())
        self.reached |= reached

    def take(self, appends: Collection[tuple[bytes, bytes]]) -> None:
        for key, data in appends:
            (dtype,) = (dtype for prefix, dtype in self._dtypes.items() if key.startswith(prefix))
            for member in np.frombuffer(data, dtype):
                place = (int(member["partition"]), int(member["offset"]))
                known = self.held[key].setdefault(place, member.tobytes())
                assert known == member.tobytes()


def consumer_of(events: Sequence[Event], controls: int) -> FakeConsumer:
    """A consumer of the log, in which the offsets between events are control records."""
    by_partition: dict[int, list[int]] = defaultdict(list)
    for event in events:
        by_partition[event.partition].append(event.offset)
    consumer = FakeConsumer(
        {p: offsets[-1] + 1 for p, offsets in by_partition.items()},
        lows={p: offsets[0] for p, offsets in by_partition.items()},
    )
    consumer.controls = dict.fromkeys(by_partition, controls)
    for partition, offsets in by_partition.items():
        between = {*range(offsets[0], offsets[-1])} - {*offsets}
        consumer.gaps |= {(partition, offset) for offset in between}
    for row, event in enumerate(events):
        consumer.messages[event.place] = FakeMessage(
            event.place, b"%d" % row, millis=event.recorded
        )
    return consumer


def scored(system: System, events: Sequence[Event], sizes: Iterator[int]) -> tuple[Store, LogState]:
    """The members that scoring appends, and the state of the log behind them."""
    store, log, left = Store(system), LogState(), list(events)
    while left:
        size = next(sizes)
        batch, _ = system.bind(left[:size])
        if len(batch):
            enriched = system.enrich(batch, log)
            system.append(enriched.writes)
            store.take(enriched.writes.appends)
            log = enriched.after
        left = left[size:]
    return store, log


@contextmanager
def short_memory() -> Iterator[None]:
    """Local histories are compacted and forgotten at once."""
    sweep = SweptStore.sweep

    def sweep_now(store: SweptStore, before: int) -> None:
        store._due = 0
        sweep(store, before)

    with (
        mock.patch.object(entity_windows, "WORTH", 1),
        mock.patch.object(SweptStore, "sweep", sweep_now),
    ):
        yield


def filled(
    system: System,
    events: Sequence[Event],
    ranges: Mapping[int, FillRange],
    log: LogState,
    step: int,
    *,
    present: Mapping[int, int] = NONE,
    failures: Sequence[bool] = (),
    controls: int = 0,
) -> tuple[Store, Fill]:
    store = Store(system, failures)
    consumer = consumer_of(events, controls)
    reader = RangeReader(cast("Any", consumer), "in", ranges, 1.0)
    histories = FilledHistories(
        system.feature_set,
        cast("Any", EventDecoder(events)),
        system.namespace,
        store.append,
        present,
    )
    with short_memory():
        filling = Fill(histories, reader, log, records=step)
        done, steps = False, 2 * len(events) + 20
        while not done:
            steps -= 1
            assert steps, "the fill does not end"
            with suppress(DependencyUnavailableError):
                done = filling.step().done
    filling.close()
    assert consumer.closed
    assert not {"subscribe", "commit", "committed"} & {*consumer.calls}
    return store, filling


def how(data: st.DataObject) -> dict[str, Any]:
    """Size of the steps, failures of the store, and control records at the ends of partitions."""
    return {
        "step": data.draw(st.sampled_from([1, 2, 5, 50])),
        "failures": data.draw(st.lists(st.booleans(), max_size=6)),
        "controls": data.draw(st.integers(0, 2)),
    }


def compared(system: System, events: Sequence[Event]) -> list[bytes]:
    """Prefixes of the histories to compare.

    Scoring finds duplicates among the members of shared histories that are there at the time.
    """
    unique = max(Counter(event.id for event in events).values()) == 1
    return [
        system.namespace.history_prefix(e.entity, e.layout.digest)
        for e in system.feature_set.histories.entities
        if e.own or unique
    ]


def part(histories: Histories, prefixes: Sequence[bytes], inside: Any) -> Histories:
    """The members that ``inside`` chooses by their position."""
    chosen = {
        key: {place: member for place, member in held.items() if inside(place)}
        for key, held in histories.items()
        if key.startswith(tuple(prefixes))
    }
    return {key: held for key, held in chosen.items() if held}


def sizes_of(data: st.DataObject) -> Iterator[int]:
    """Sizes of the batches that are scored."""
    while True:
        yield data.draw(st.sampled_from([1, 3, 9]))


def ends_of(events: Sequence[Event], data: st.DataObject) -> dict[int, int]:
    """An end of the range of each partition, at most one behind its last record."""
    ends = {}
    for event in events:
        ends[event.partition] = event.offset + 1
    firsts = {event.partition: event.offset for event in reversed(events)}
    return {p: data.draw(st.integers(firsts[p], end)) for p, end in ends.items()}


@given(scenarios(), st.data())
def test_from_the_start_of_the_log_all_members_are_made_and_its_state(
    scenario: Scenario, data: st.DataObject
) -> None:
    events, system = scenario.events, System(scenario.rules, scenario.partitions)
    ends = ends_of(events, data)
    before = [event for event in events if event.offset < ends[event.partition]]
    reference, state = scored(system, before, sizes_of(data))
    present = {p: data.draw(st.integers(end - 5, end)) for p, end in ends.items() if p != 1}
    begin = data.draw(st.sampled_from([0, OFFSET_INVALID]))
    ranges = {p: FillRange(begin, end) for p, end in ends.items()}
    store, filling = filled(system, events, ranges, LogState(), present=present, **how(data))
    prefixes = compared(system, events)
    assert part(store.held, prefixes, lambda _: True) == part(
        reference.held, prefixes, lambda place: place[1] >= present.get(place[0], 0)
    )
    assert replace(filling.log_state, pairs={}) == replace(state, pairs={})
    assert all(store.reached.get(p, 0) <= end for p, end in ends.items())


def many_again(draw: random.Random) -> list[Event]:
    """Events of cards that come and go, many with the id of an earlier one.

    Now and then a card has an event that is a minute ahead, and one with the same id a minute later.
    """
    events, clock = list[Event](), T0
    for number, event in enumerate(make_events(draw.choice, 1500, 2, 10_000, [0])):
        clock += draw.choice([0, 1, 1, 2]) * SECOND
        card, again = number // 40 + draw.randrange(4), event.id
        time = clock - draw.choice([0, 0, 2, 5]) * SECOND
        earlier = [e.id for e in events[-60:] if e.keys["card"] == f"c{card}"]
        if number % 100 == 10:
            card, time = 1000 + number, clock + 60 * SECOND
        elif number % 100 == 70:
            card, time, again = 1000 + number - 60, events[-60].time, events[-60].id
        elif earlier and draw.random() < 0.4:
            again = draw.choice(earlier)
        of_card = {"card": f"c{card}"}
        events.append(
            Event(0, number, again, time, {**event.keys, **of_card}, {**event.values, **of_card})
        )
    return events


@pytest.mark.parametrize("rules", [(3, 4, 10_000), (1, 12, 5), (40, 90, 10_000)])
def test_ids_that_come_again_near_the_end_of_their_time_are_judged_as_by_scoring(
    rules: tuple[int, int, int], seed: int
) -> None:
    """Many ids, few keys at a time: the local store forgets what it may, and no more."""
    lateness, remembered, cap = rules
    events = many_again(random.Random(seed))
    system = System((lateness * SECOND, remembered * SECOND, cap, 2, None, False), 2)
    reference, state = scored(system, events, cycle([40]))
    ranges = {event.partition: FillRange(0, event.offset + 1) for event in events}
    store, filling = filled(system, events, ranges, LogState(), 3)
    prefixes = compared(system, events)
    assert part(store.held, prefixes, lambda _: True) == part(
        reference.held, prefixes, lambda _: True
    )
    assert filling.log_state.highest == state.highest


@given(scenarios(), st.data())
def test_from_a_pair_all_members_are_made_that_a_later_event_may_see(
    scenario: Scenario, data: st.DataObject
) -> None:
    seen = Counter[str]()
    events = []
    for event in scenario.events:
        # Of more than two events with one id, the first decides about all others.
        seen[event.id] += 1
        events.append(replace(event, id=f"{event.id}/{(seen[event.id] - 1) // 2}"))
    system = System(scenario.rules, scenario.partitions)
    remembered = system.feature_set.histories.rules.duplicates
    with mock.patch("features.history.pairs.MAX_PAIRS", 10**9):
        reference, state = scored(system, events, sizes_of(data))
    needed = data.draw(st.sampled_from([event.time for event in events])) - data.draw(
        st.sampled_from([0, 1, 5 * SECOND])
    )
    ranges, log = dict[int, FillRange](), LogState()
    for event in events:
        begin, at = state.replay_from(event.partition, needed) or (0, LogState())
        ranges[event.partition] = FillRange(begin, event.offset + 1)
        log = replace(
            log,
            highest={**log.highest, **at.highest},
            early={**log.early, **at.early},
            pairs={**log.pairs, **at.pairs},
        )
    store, filling = filled(system, events, ranges, log, **how(data))
    times = {event.place: event.time for event in events}
    prefixes = compared(system, events)

    def is_needed(place: Place) -> bool:
        return times[place] > needed + remembered

    assert part(store.held, prefixes, is_needed) == part(reference.held, prefixes, is_needed)
    assert (filling.log_state.highest, filling.log_state.early) == (state.highest, state.early)


def test_the_progress_is_returned_logged_and_published() -> None:
    events = many_again(random.Random(1))
    system = System((SECOND, SECOND, 10, 2, None, False), 1)
    clock, consumer = Clock(), consumer_of(events, 0)
    reader = RangeReader(cast("Any", consumer), "in", {0: FillRange(0, len(events))}, 1.0)
    decoder = cast("Any", EventDecoder(events))
    store = Store(system)
    histories = FilledHistories(system.feature_set, decoder, system.namespace, store.append)
    before = sample("filled_events_total")
    with capture_logs() as logs:
        filling = Fill(histories, reader, LogState(), records=500, clock=clock)
        progresses = []
        for seconds, left, told in [(2, 1000, 0), (4, 500, 1), (1, 0, 2)]:
            clock.sleep(seconds)
            progresses.append(filling.step())
            assert progresses[-1].remaining == ({0: left} if left else {})
            assert sample("fill_remaining_records", partition="0") == left
            assert len(logs) == told
    assert [progress.done for progress in progresses] == [False, False, True]
    assert [progress.seconds_left for progress in progresses] == [4, 3, 0]
    assert store.reached == {0: len(events)}
    assert sample("filled_events_total") - before == progresses[-1].events
    assert [(entry["remaining"], entry["seconds_left"]) for entry in logs] == [
        ({0: 500}, 3),
        ({}, 0),
    ]
    filling.close()
    remaining = "fraud_worker_fill_remaining_records"
    assert metrics.REGISTRY.get_sample_value(remaining, {"partition": "0"}) is None
