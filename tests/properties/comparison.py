"""Every value, flag and append of a batch, held against the oracle."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from features.compute.matrix import Enriched
from features.definition import FeatureSet
from features.history.watermarks import LogState
from features.windows.trace import Traced
from tests.oracles.windows import (
    Event,
    Label,
    Place,
    VisibleHistory,
    Window,
    counted,
    early,
    float32,
    frauds,
    kept,
    pasts,
    serial,
    shared_history,
    timeless,
    value,
    watermark,
)
from tests.properties.logs import is_event
from tests.properties.rich_set import ALIGNED, ALL_SHARED, ENTITIES, RATIO, WINDOWS, make_rules
from tests.properties.scenarios import Scenario

Of = tuple[str, str]
"""An entity and its key."""
Held = Mapping[Of, Mapping[Place, Event]]
"""What the store holds of histories that events of several partitions have."""


@dataclass(frozen=True)
class Answers:
    """sights: of each event on each entity's history. members: what the batch adds to each."""

    sights: list[Mapping[str, VisibleHistory]]
    members: dict[Of, list[Event]]


class DisagreementError(AssertionError):
    """The engine and the oracle give different answers."""


class Comparison:
    """The oracle's answers to one scenario. tally: counts what was seen."""

    def __init__(self, scenario: Scenario, feature_set: FeatureSet, tally: Counter[str]) -> None:
        self.rules = make_rules(*scenario.rules)
        self._set = feature_set
        numbers = [*(window.name for window in WINDOWS), RATIO]
        self._places = [feature_set.names.index(name) for name in numbers]
        self._tally = tally
        good = [event for event in scenario.events if is_event(event.values, self.rules.cap)]
        self._before = pasts(self.rules, good)
        self.exact = {
            entity: (timeless if entity in ALL_SHARED else serial)(self.rules, entity, good)
            for entity in ENTITIES
        }
        self._alone, self._waits = scenario.partitions == 1, scenario.waits
        self._known: dict[tuple[str, Place], float] = {}

    def joins(self, entity: str, x: Event) -> bool:
        sight = self.exact[entity].get(x.place)
        return sight is not None and sight.joins

    def compare(
        self, events: Sequence[Event], enriched: Enriched, held: Held, labels: Sequence[Label]
    ) -> Answers:
        """The oracle's answers; DisagreementError where matrix or flags of the batch differ."""
        view = _View(held)
        answers: list[Mapping[str, VisibleHistory]] = []
        for row, x in enumerate(events):
            sights = {entity: self._sight(entity, x, view) for entity in ENTITIES}
            answers.append(sights)
            self._count(x, sights)
            for entity, sight in sights.items():
                if sight.joins:
                    view.add(entity, x)
            expected = {
                w.name: self._value(w, x, self._seen(w, x, sights), labels) for w in WINDOWS
            }
            share = expected["N5_ECOM"] / expected["N3"] if expected["N3"] else math.nan
            numbers = expected | {RATIO: share}
            values = enriched.matrix[row, self._places]
            if values.tobytes() != float32([*numbers.values()]):
                name, found = next(
                    (name, found)
                    for (name, number), found in zip(numbers.items(), values, strict=True)
                    if found.tobytes() != float32(number)
                )
                raise DisagreementError(
                    f"{name} in row {row} of {[e.place for e in events]}: the engine says "
                    f"{found!r}, the oracle {numbers[name]!r}\n"
                    f"{self._explain(name, x, sights, labels)}"
                )
            self._compare_flags(x, int(enriched.flags[row]), sights)
        return Answers(answers, view.added)

    def compare_traced(
        self,
        window: Window,
        x: Event,
        sights: Mapping[str, VisibleHistory],
        labels: Sequence[Label],
        traced: Traced,
    ) -> None:
        """What ``trace`` says that a window's value is made from."""
        sight = self._seen(window, x, sights)
        members = counted(window, self.rules.cap, x, sight)
        known = [m.place for m in frauds(window, x, sight, members, labels)]
        after, until = sight.base - window.delay - window.over, x.time - window.delay
        expected = [
            (m.partition, m.offset, m.time, self._traced_value(window, m), m.place in known, m is x)
            for m in members
        ]
        found = [astuple(member) for member in traced.members]
        number = self._value(window, x, sight, labels)
        same = float32(traced.value) == float32(number) and found == expected
        if not same or (traced.after, traced.until) != (after, until):
            raise DisagreementError(
                f"trace of {window.name} at {x}: {traced}, not {number} of {expected}, "
                f"after {after} until {until}"
            )

    def _traced_value(self, window: Window, member: Event) -> float | None:
        units = kept(window, self.rules.cap, member) if window.of else None
        return units / 10**window.digits if isinstance(units, int) else None

    def compare_after(self, after: LogState, before: LogState, events: Sequence[Event]) -> None:
        highest = dict(before.highest)
        lowest = {p: set(times.values()) for p, times in before.lowest.items()}
        counted = {p: set(counts.values()) for p, counts in before.counted.items()}
        for x in events:
            p, past = x.partition, self._before[x.place]
            if not early(self.rules, x):
                times = [*highest.get(p, ()), x.time]
                highest[p] = (*sorted(times, reverse=True)[: self.rules.support],)
            reached = watermark(self.rules, highest.get(p, ()))
            cut = [reached - self.rules.back(entity) for entity in ENTITIES]
            begun = past.begin < math.inf
            lowest[p] = {int(max(past.begin, time)) for time in cut} if begun else set()
            counted[p] = set() if begun else {past.members}
        reached_back = {p: set(times.values()) for p, times in after.lowest.items()}
        few = {p: set(counts.values()) for p, counts in after.counted.items()}
        if (dict(after.highest), reached_back, few) != (highest, lowest, counted):
            raise DisagreementError(
                f"the log's state is {after}, not {highest}, {lowest}, {counted}"
            )

    def _sight(self, entity: str, x: Event, view: _View) -> VisibleHistory:
        exact = self.exact[entity][x.place]
        if entity not in ALL_SHARED or self._alone:
            return exact
        seen = shared_history(self.rules, entity, x, self._before[x.place], view.of(entity, x))
        return replace(seen, duplicate=exact.duplicate) if self._waits else seen

    def _seen(
        self, window: Window, x: Event, sights: Mapping[str, VisibleHistory]
    ) -> VisibleHistory:
        """What a window sees: an aligned one the same at any time."""
        if self._waits and window.name in ALIGNED:
            return self.exact[window.entity][x.place]
        return sights[window.entity]

    def _value(
        self, window: Window, x: Event, sight: VisibleHistory, labels: Sequence[Label]
    ) -> float:
        if sight is not self.exact[window.entity][x.place] or window.kind == "fraud_share":
            return value(window, self.rules.cap, x, sight, labels)
        known = self._known.get((window.name, x.place))
        if known is None:
            known = value(window, self.rules.cap, x, sight, ())
            self._known[window.name, x.place] = known
        return known

    def _compare_flags(self, x: Event, bits: int, sights: Mapping[str, VisibleHistory]) -> None:
        found = {*self._set.flags.decode(bits)}
        expected = {f"history_capped:{e}" for e, sight in sights.items() if sight.capped}
        expected |= {f"history_short:{e}" for e, sight in sights.items() if sight.short}
        if any(sight.late for sight in sights.values()):
            expected.add("late")
        if any(sight.ahead for sight in sights.values()):
            expected.add("ahead")
        if any(sight.duplicate for sight in sights.values()):
            expected.add("duplicate")
        if any(sight.across_late for sight in sights.values()):
            expected.add("across_late")
        if found != expected:
            raise DisagreementError(
                f"flags: the engine says {sorted(found)}, the oracle {sorted(expected)}\n"
                f"{self._explain('', x, sights, ())}"
            )

    def _count(self, x: Event, sights: Mapping[str, VisibleHistory]) -> None:
        self._tally["events"] += 1
        for entity, sight in sights.items():
            self._tally[f"late, {entity}"] += sight.late
            self._tally[f"ahead, {entity}"] += sight.ahead
            self._tally[f"across late, {entity}"] += sight.across_late
            self._tally[f"duplicate, {entity}"] += sight.duplicate
            self._tally[f"capped, {entity}"] += sight.capped
            self._tally[f"short, {entity}"] += sight.short
            self._tally[f"out of order, {entity}"] += any(m.time > x.time for m in sight.members)
            self._tally[f"tied, {entity}"] += any(m.time == x.time for m in sight.members)
            self._tally[f"repeats, {entity}"] += bool(sight.repeats)

    def _explain(
        self,
        name: str,
        x: Event,
        sights: Mapping[str, VisibleHistory],
        labels: Iterable[Label],
    ) -> str:
        lines = [f"{x}"]
        for entity, s in sights.items():
            lines.append(
                f"{entity}: late {s.late}, ahead {s.ahead}, duplicate {s.duplicate}, capped {s.capped}, {s.base}"
            )
            lines += [f"  sees {member}" for member in s.members]
        for window in WINDOWS:
            if window.name == name:
                members = counted(window, self.rules.cap, x, self._seen(window, x, sights))
                lines += [f"{window}", f"counts {[m.place for m in members]}"]
        return "\n".join([*lines, *(f"{label}" for label in labels)])


class _View:
    """What the store holds for the events of a batch, and what the batch adds."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.added: dict[Of, list[Event]] = {}

    def of(self, entity: str, x: Event) -> Iterator[Event]:
        """Members of a shared history: what is stored, and what the batch has added so far."""
        of = (entity, x.keys[entity])
        yield from self._held.get(of, {}).values()
        yield from self.added.get(of, [])

    def add(self, entity: str, x: Event) -> None:
        """Members of shared histories that are stored are not added again."""
        of = (entity, x.keys[entity])
        if entity not in ALL_SHARED or x.place not in self._held.get(of, {}):
            self.added.setdefault(of, []).append(x)
