"""Histories filled from files: what the events of the log see then, compared with an oracle."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast
from unittest import mock

import pytest

from features.compute.matrix import Enriched
from features.definition import FeatureSet
from features.history.layout import read_members
from features.history.watermarks import LogState
from features.loading.label_rows import FILE_PARTITION
from features.windows import entity_windows
from tests.oracles.windows import (
    Event,
    Place,
    Rules,
    VisibleHistory,
    float32,
    pasts,
    shared_history,
    value,
    visible_history,
)
from tests.properties.logs import is_event, make_events
from tests.properties.rich_set import ALL_SHARED, ENTITIES, OWN, SECOND, SHARED, WINDOWS, make_rules
from tests.properties.system import System
from tests.support.making import T0
from tools.file_fill import FileFill
from worker.histories.filling import HistoryTarget
from worker.histories.marks import Marks

Sights = Mapping[str, VisibleHistory]
_AGES = [0, 0, 0, 1, 9, -1]


def file_and_log(draw: random.Random, cap: int) -> tuple[list[Event], list[Event]]:
    """Rows of a file, and events of a log of one partition of which the file has some as well."""
    events = [
        event
        for event in make_events(draw.choice, draw.choice([20, 60, 120]), 1, cap, [1, 2, 3])
        if is_event(event.values, cap)
    ]
    cut = len(events) * draw.choice([1, 2, 3]) // 4
    again = [event for event in events[cut : cut + 30] if draw.random() < 0.4]
    rows = [
        # A copy may be older than the event of the log, or later.
        replace(event, time=event.time - draw.choice(_AGES) * SECOND, recorded=-1)
        for event in [*events[:cut], *again]
    ]
    log = events[cut:]
    for event in draw.choices(events[:cut], k=draw.choice([0, 4, 10])):
        # Most of these are late.
        log.insert(draw.randrange(len(log) + 1), event)
    rows = [
        replace(row, partition=FILE_PARTITION, offset=number) for number, row in enumerate(rows)
    ]
    return rows, [replace(event, offset=number) for number, event in enumerate(log)]


class Oracle:
    """Sight of each event of a log behind a file, by position and entity."""

    def __init__(
        self, rules: Rules, rows: Sequence[Event], log: Sequence[Event], since: int
    ) -> None:
        self._rules = rules
        self.sights: dict[Place, dict[str, VisibleHistory]] = defaultdict(dict)
        before = {
            place: replace(past, begin=float(since)) for place, past in pasts(rules, log).items()
        }
        for entity in ENTITIES:
            members = self._of_file(entity, rows)
            for x in log:
                seen = [m for m in members[x.keys[entity]] if not self._is_copy(m, x)]
                if entity in ALL_SHARED:
                    sight = shared_history(rules, entity, x, before[x.place], seen)
                else:
                    sight = self._of_own(entity, x, before[x.place], seen)
                self.sights[x.place][entity] = sight
                if sight.joins:
                    members[x.keys[entity]].append(x)

    def _of_own(self, entity: str, x: Event, past: Any, seen: Sequence[Event]) -> VisibleHistory:
        own = [m for m in seen if m.partition != FILE_PARTITION]
        left = [m for m in seen if m in own or not any(self._is_copy(m, j) for j in own)]
        sight = visible_history(self._rules, entity, x, past, left)
        duplicate = any(
            m.id == x.id and m.time > sight.base - self._rules.remembered
            for m in sight.members
            if m.partition != FILE_PARTITION
        )
        return replace(sight, duplicate=duplicate, repeat=duplicate)

    def _of_file(self, entity: str, rows: Sequence[Event]) -> dict[str, list[Event]]:
        """Members that the rows alone are: they are a log of one partition."""
        members: dict[str, list[Event]] = defaultdict(list)
        before = pasts(self._rules, rows)
        judge = shared_history if entity in ALL_SHARED else visible_history
        for row in rows:
            key = row.keys[entity]
            if judge(self._rules, entity, row, before[row.place], members[key]).joins:
                members[key].append(row)
        return members

    def _is_copy(self, member: Event, x: Event) -> bool:
        age = x.time - member.time
        return (
            member.partition == FILE_PARTITION
            and member.id == x.id
            and 0 <= age < self._rules.remembered
        )


def fill(system: System, rows: Sequence[Event], sizes: Iterable[int]) -> FileFill:
    plan = system.feature_set.histories
    marks = Marks(plan, system.namespace)
    target = HistoryTarget(system.store, plan, system.namespace, marks, None)
    target.read_marks()
    filling, left = FileFill(system.feature_set, target, -(2**62), None), list(rows)
    for size in sizes:
        batch, _ = system.bind([replace(row, partition=0) for row in left[:size]])
        filling.add(batch)
        left = left[size:]
    assert filling.filled == len(rows)
    filling.finish()
    return filling


def compare(
    feature_set: FeatureSet, cap: int, events: Sequence[Event], found: Enriched, oracle: Oracle
) -> None:
    for row, x in enumerate(events):
        sights: Sights = oracle.sights[x.place]
        by_name = dict(zip(feature_set.names, found.matrix[row], strict=True))
        for window in WINDOWS:
            if window.kind != "fraud_share":
                number = value(window, cap, x, sights[window.entity], ())
                assert by_name[window.name].tobytes() == float32(number), (
                    window.name,
                    x,
                )
        flags = {*feature_set.flags.decode(int(found.flags[row]))}
        expected = {f"history_capped:{entity}" for entity, sight in sights.items() if sight.capped}
        expected |= {f"history_short:{entity}" for entity, sight in sights.items() if sight.short}
        expected |= {"duplicate"} if any(sight.duplicate for sight in sights.values()) else set()
        expected |= {"late"} if sights[OWN].late else set()
        expected |= {"ahead"} if sights[OWN].ahead else set()
        expected |= {"across_late"} if sights[SHARED].across_late else set()
        assert flags == expected, x


@pytest.mark.parametrize("number", range(60))
def test_events_behind_a_file_see_its_events_once_and_never_themselves(
    number: int, seed: int
) -> None:
    draw = random.Random(seed + number)
    rules = (
        draw.choice([1, 2, 5]) * SECOND,
        draw.choice([1, 3, 10]) * SECOND,
        draw.choice([3, 6, 1000]),
        draw.choice([1, 2, 3]),
        None,
        draw.choice([False, True]),
    )
    cap = rules[2]
    rows, log = file_and_log(draw, cap)
    system, since = System(rules, 1), min(e.time for e in [*rows, *log]) - 10**9
    oracle = Oracle(make_rules(*rules), rows, log, since)
    plan = system.feature_set.histories
    digests = [system.namespace.history_digest(e, plan.layouts[e]) for e in ENTITIES]
    with mock.patch.object(entity_windows, "WORTH", 1):
        half = len(rows) // 2
        fill(system, rows, [half, len(rows)])
        # Interrupted and begun again: the same members.
        fill(system, rows, [len(rows)])
        state, left = LogState(lowest={0: dict.fromkeys(digests, since)}), list(log)
        while left:
            events = left[: draw.choice([1, 2, 7, 30])]
            batch, _ = system.bind(events)
            enriched = system.enrich(batch, state)
            compare(system.feature_set, cap, events, enriched, oracle)
            if draw.random() < 0.3:
                # A lost attempt: its members may be in the store, and it is read again.
                system.store.append(cast("Any", list(enriched.writes.appends)))
                continue
            system.append(enriched.writes)
            state, left = enriched.after, left[len(events) :]


def test_members_of_a_file_are_compacted_by_the_watermark_of_their_events_partition() -> None:
    draw = random.Random(1)
    (first, *_) = (
        e for e in make_events(draw.choice, 40, 1, 1000, [1]) if is_event(e.values, 1000)
    )
    rows = [
        replace(first, partition=FILE_PARTITION, offset=n, id=f"of-file-{n}", time=T0 + n)
        for n in range(20)
    ]
    system = System((SECOND, SECOND, 1000, 1, None, False), 2)
    fill(system, rows, [len(rows)])
    later = [
        replace(first, partition=1, offset=n, id=f"later-{n}", time=T0 + 3600 * SECOND)
        for n in range(2)
    ]
    own = next(e for e in system.feature_set.histories.entities if e.entity == OWN)
    key = system.namespace.history_prefix(OWN, own.layout.digest) + first.keys[OWN].encode()
    state = LogState()
    assert len(read_members(system.read(key), own.layout.dtype, "a history")) == len(rows)
    with mock.patch.object(entity_windows, "WORTH", 1):
        for event in later:
            batch, _ = system.bind([event])
            enriched = system.enrich(batch, state)
            system.append(enriched.writes)
            state = enriched.after
    members = read_members(system.read(key), own.layout.dtype, "a history")
    assert members["partition"].tolist() == [1, 1]
