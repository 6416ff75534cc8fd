"""Oracle of windows: the history that each event of a log sees, in plain Python.

It is slow, and written only from the documentation in docs/reference/features.md and
docs/explanation/histories.md. Times are microseconds.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np

from tests.support.interpreted import interpreted

Raw = bool | int | float | Decimal | str | None
Place = tuple[int, int]
"""Partition and offset."""

DAY = 86_400 * 10**6

OF_EVENTS = ("count", "time_since_last", "time_since_first", "fraud_share")
"""Aggregates that need no value."""


def most(cap: int) -> int:
    """Bound on a value: the values of a full history and of the event have a sum of 64 bits."""
    return (2**63 - 1) // (cap + 1)


@dataclass(frozen=True)
class Event:
    """An event of the log.

    Attributes:
        values: Values that windows and their conditions read, by field or feature; None is null.
        recorded: Kafka timestamp in milliseconds; 0 or less for none.
    """

    partition: int
    offset: int
    id: str
    time: int
    keys: Mapping[str, str]
    values: Mapping[str, Raw]
    recorded: int = -1

    @property
    def place(self) -> Place:
        return (self.partition, self.offset)

    @property
    def order(self) -> tuple[int, int, int]:
        """Order of members: by time, then by position."""
        return (self.time, self.partition, self.offset)


@dataclass(frozen=True)
class Label:
    """A label of an event.

    Attributes:
        time: Time from which it is known.
        partition: Partition of the label itself.
        offset: Offset of the label itself.
    """

    event_id: str
    event_time: int
    keys: Mapping[str, str]
    fraud: bool
    time: int
    partition: int
    offset: int

    @property
    def place(self) -> Place:
        return (self.partition, self.offset)

    @property
    def order(self) -> tuple[int, int, int, bool]:
        return (self.time, self.partition, self.offset, self.fraud)


def always(_: Event) -> bool:
    return True


@dataclass(frozen=True)
class Window:
    """A window feature.

    Attributes:
        digits: Number of stored decimal digits.
        current: True if the window includes the event itself.
        same: Field of which members have the event's own value; empty for none.
        same_digits: Decimal digits in which that is compared.
        half_life: Time in which a member's weight halves; None for equal weights.
        percent: Percent of a percentile.
    """

    name: str
    kind: str
    entity: str
    over: int
    delay: int = 0
    of: str = ""
    digits: int = 0
    where: Callable[[Event], bool] = always
    current: bool = False
    default: float = math.nan
    same: str = ""
    same_digits: int = 0
    half_life: int | None = None
    percent: float = 50


@dataclass(frozen=True)
class Rules:
    """Settings of a feature set that decide which events see each other.

    Attributes:
        lateness: Allowed lateness.
        remembered: Time for which an event id is remembered.
        cap: Maximum number of members of a history.
        horizons: Reach of each entity's longest window, without the allowed lateness.
        shared: Delay and reach (delay + over) of each window of the entities whose histories are
            shared by several partitions.
        support: Number of events that support a watermark.
        ahead: Maximum time that an event may be ahead of its Kafka timestamp; None for no limit.
        arrival: Shortest delay of the aligned windows by entity, where Kafka timestamps are the
            times of arrival.
    """

    lateness: int
    remembered: int
    cap: int
    horizons: Mapping[str, int]
    support: int = 1
    ahead: int | None = None
    shared: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    arrival: Mapping[str, int] = field(default_factory=dict)

    def delay(self, entity: str) -> int:
        """Longest delay of a shared history's windows."""
        return max(delay for delay, _ in self.shared[entity])

    def back(self, entity: str) -> int:
        """Maximum age, before the watermark, of a member that a later event may see."""
        if entity in self.shared:
            return self.lateness + self.horizons[entity] + self.remembered
        return self.lateness + max(self.horizons[entity], self.remembered)


@dataclass(frozen=True)
class PartitionState:
    """State of an event's partition.

    Attributes:
        watermark: Watermark before the event; -inf for none.
        begin: Time at which histories begin, with the event included; inf if they have not begun.
        members: Number of members that are not early, with the event included.
    """

    watermark: float
    begin: float
    members: int


@dataclass(frozen=True)
class VisibleHistory:
    """Part of a history that an event sees.

    Attributes:
        base: Time from which the begin of the windows is computed: the time of the event, or for a
            late event the watermark less the allowed lateness.
        late: True if the event is later than the allowed lateness.
        ahead: True if the event is far ahead of its record or of the watermark.
        duplicate: True if the event id is remembered; in a shared history, from an event of the
            same partition.
        capped: True if the cap hides members that a window would include.
        short: True if the longest window begins before the history does.
        members: Members in their order, without the event itself.
        repeat: True if the event does not count itself.
        repeats: Members that do not count.
        shared: True if the history is shared: each window has a cap of its own.
        across_late: True if the event arrived too late for a shared history.
    """

    base: int
    late: bool
    ahead: bool
    duplicate: bool
    capped: bool
    short: bool
    members: Sequence[Event]
    repeat: bool
    repeats: frozenset[Place] = frozenset()
    shared: bool = False
    across_late: bool = False

    @property
    def joins(self) -> bool:
        return not self.late and not self.across_late and (self.shared or not self.duplicate)


def visible_history(
    rules: Rules, entity: str, x: Event, past: PartitionState, view: Iterable[Event]
) -> VisibleHistory:
    """Compute what ``x`` sees of ``view``, the earlier members with the same key."""
    watermark = past.watermark
    base = max(x.time, watermark - rules.lateness)
    horizon = max(rules.horizons[entity], rules.remembered)
    members = sorted(view, key=lambda m: m.order)
    beyond, seen = members[: -rules.cap], members[-rules.cap :]
    duplicate = any(m.id == x.id and m.time > base - rules.remembered for m in seen)
    return VisibleHistory(
        base=int(base),
        late=x.time < base,
        ahead=is_ahead(rules, x, watermark),
        duplicate=duplicate,
        capped=any(m.time > base - horizon for m in beyond),
        short=base - past.begin < rules.horizons[entity],
        members=seen,
        repeat=duplicate,
    )


def shared_history(
    rules: Rules, entity: str, x: Event, past: PartitionState, view: Iterable[Event]
) -> VisibleHistory:
    """Compute what ``x`` sees of ``view``, the members of all partitions with the same key."""
    base = max(x.time, past.watermark - rules.lateness)
    hidden_by_place = (e for e in view if e.partition != x.partition or e.offset < x.offset)
    members = sorted(hidden_by_place, key=lambda m: m.order)
    looked_at = beyond(rules.cap, members, base - rules.delay(entity))[1]
    remembered = [m for m in looked_at if m.id == x.id and m.time > base - rules.remembered]
    just_before = [m.place for m in members if m.order < x.order][-rules.cap :]
    return VisibleHistory(
        base=int(base),
        late=x.time < base,
        ahead=is_ahead(rules, x, past.watermark),
        duplicate=any(m.partition == x.partition for m in remembered),
        capped=any(
            m.time > base - reach
            for delay, reach in rules.shared[entity]
            for m in beyond(rules.cap, members, base - delay)[0]
        ),
        short=base - past.begin < rules.horizons[entity],
        members=members,
        repeat=any(m.place in just_before for m in remembered),
        repeats=repeats(rules, members),
        shared=True,
        across_late=x.time >= base and arrived_late(rules, entity, x),
    )


def repeats(rules: Rules, members: Sequence[Event]) -> frozenset[Place]:
    """Members with the id of another that is among the ``cap`` before them, and remembered."""
    found, latest = set(), dict[str, int]()
    for number, m in enumerate(members):
        before = latest.get(m.id, -math.inf)
        if number - before <= rules.cap and m.time - members[int(before)].time < rules.remembered:
            found.add(m.place)
        latest[m.id] = number
    return frozenset(found)


def beyond(cap: int, members: Sequence[Event], until: float) -> tuple[list[Event], list[Event]]:
    """Split members: those that a cap hides at ``until``, and the newest ones, with all later."""
    number = max(0, sum(m.time <= until for m in members) - cap)
    return list(members[:number]), list(members[number:])


def counted(window: Window, cap: int, x: Event, sight: VisibleHistory) -> list[Event]:
    """Events that the window's value is computed from, in the order of members."""
    until = x.time - window.delay
    after = sight.base - window.delay - window.over
    members = list(sight.members)
    if sight.shared:
        members = beyond(cap, members, sight.base - window.delay)[1]
    members = [m for m in members if after < m.time <= until and m.place not in sight.repeats]
    if window.current and not sight.repeat:
        members.append(x)
    members = [m for m in members if window.where(m)]
    if window.same:
        members = [m for m in members if compared(window, m) == compared(window, x) is not None]
    if window.of:
        members = [m for m in members if kept(window, cap, m) is not None]
    return sorted(members, key=lambda m: m.order)


def serial(rules: Rules, entity: str, log: Sequence[Event]) -> dict[Place, VisibleHistory]:
    """Compute what each event sees in an uninterrupted run; each key is in one partition."""
    before = pasts(rules, log)
    members: dict[str, list[Event]] = defaultdict(list)
    sights = {}
    for x in sorted(log, key=lambda e: e.place):
        key = x.keys[entity]
        sights[x.place] = visible_history(rules, entity, x, before[x.place], members[key])
        if sights[x.place].joins:
            members[key].append(x)
    return sights


def timeless(rules: Rules, entity: str, log: Sequence[Event]) -> dict[Place, VisibleHistory]:
    """Compute what each event sees of a shared history if all of every other partition is there.

    Windows that are aligned see the same at any time, as they do not look at what is missing.
    """
    before = pasts(rules, log)
    members: dict[str, list[Event]] = defaultdict(list)
    for x in log:
        late = x.time < before[x.place].watermark - rules.lateness
        if not late and not arrived_late(rules, entity, x):
            members[x.keys[entity]].append(x)
    return {
        x.place: shared_history(rules, entity, x, before[x.place], members[x.keys[entity]])
        for x in log
    }


def pasts(rules: Rules, log: Sequence[Event]) -> dict[Place, PartitionState]:
    """State of each event's partition."""
    before = watermarks_before(rules, log)
    supporting: dict[int, list[int]] = defaultdict(list)
    members: dict[int, int] = defaultdict(int)
    begin: dict[int, float] = defaultdict(lambda: math.inf)
    states = {}
    for x in sorted(log, key=lambda e: e.place):
        p, late = x.partition, x.time < before[x.place] - rules.lateness
        if not early(rules, x):
            supporting[p].append(x.time)
            members[p] += not late
        if members[p] == 2 * rules.support - 1 and begin[p] == math.inf:
            begin[p] = watermark(rules, supporting[p])
        states[x.place] = PartitionState(before[x.place], begin[p], members[p])
    return states


def watermarks_before(rules: Rules, log: Iterable[Event]) -> dict[Place, float]:
    """Watermark of the partition before each event; -inf for none."""
    times: dict[int, list[int]] = defaultdict(list)
    before = {}
    for x in sorted(log, key=lambda e: e.place):
        before[x.place] = watermark(rules, times[x.partition])
        if not early(rules, x):
            insort(times[x.partition], x.time)
    return before


def watermark(rules: Rules, times: Iterable[int]) -> float:
    """Watermark of a partition with events at these times: its ``support``-th highest time."""
    rising = sorted(times)
    return rising[-rules.support] if len(rising) >= rules.support else -math.inf


def is_ahead(rules: Rules, x: Event, watermark: float) -> bool:
    return early(rules, x) or (watermark > -math.inf and x.time > watermark + DAY)


def early(rules: Rules, x: Event) -> bool:
    """Return True if the event is too far ahead of its Kafka timestamp."""
    if rules.ahead is None or x.recorded <= 0:
        return False
    return x.time - 1000 * x.recorded > rules.ahead


def arrived_late(rules: Rules, entity: str, x: Event) -> bool:
    """Return True if the event arrived later than the aligned windows of the entity wait for it."""
    if entity not in rules.arrival or x.recorded <= 0:
        return False
    return 1000 * x.recorded - x.time > rules.arrival[entity]


def value(
    window: Window, cap: int, x: Event, sight: VisibleHistory, labels: Iterable[Label]
) -> float:
    """Value of a window at ``x`` before the cast to float32; ``labels`` are all stored labels."""
    members = counted(window, cap, x, sight)
    if len(members) < (2 if window.kind == "std" else 1):
        return window.default
    match window.kind:
        case "count" | "sum" if window.half_life is not None:
            return decayed(window, cap, x, members)
        case "count":
            return float(len(members))
        case "time_since_first":
            return (x.time - members[0].time) / 1e6
        case "time_since_last":
            return (x.time - members[-1].time) / 1e6
        case "fraud_share":
            return len(frauds(window, x, sight, members, labels)) / len(members)
        case _:
            return aggregate(window, [kept(window, cap, m) for m in members])


def kept(window: Window, cap: int, member: Event) -> int | str | None:
    return units(member.values[window.of], window.digits, cap)


def compared(window: Window, event: Event) -> int | str | None:
    """Value that members must have in common with the event; None if it has none."""
    return units(event.values[window.same], window.same_digits, 0)


def decayed(window: Window, cap: int, x: Event, members: Sequence[Event]) -> float:
    """Values (or ones), each halved every half-life before the window's end, added in order."""
    total = 0.0
    for m in members:
        age = float(x.time - window.delay - m.time)
        weight = elementary().power_of_half(age / float(window.half_life or 0))
        value = kept(window, cap, m) if window.of else 1
        total += weight * float(value or 0)
    return total / float(10**window.digits)


@cache
def elementary() -> Any:
    """The project's exponential and logarithm, as Python runs them.

    Their own tests compare them with exact numbers; libm's differ between machines.
    """
    return interpreted("features.expression")["elementary"]


def aggregate(window: Window, values: Sequence[int | str | None]) -> float:
    if window.kind in {"distinct", "mode_share", "entropy"}:
        return of_frequencies(window.kind, values)
    numbers = [v for v in values if isinstance(v, int)]
    n, scale = len(numbers), 10**window.digits
    match window.kind:
        case "mean":
            return float(sum(numbers)) / float(n * scale)
        case "std":
            return std(numbers) / float(scale)
        case "median" | "percentile":
            return percentile(numbers, window.percent) / float(scale)
        case "first":
            number = numbers[0]
        case "last":
            number = numbers[-1]
        case "min":
            number = min(numbers)
        case "max":
            number = max(numbers)
        case _:
            number = sum(numbers)
    return float(number) / float(scale)


def of_frequencies(kind: str, values: Sequence[int | str | None]) -> float:
    frequencies = [*Counter(values).values()]  # in the order of the first member with each value
    if kind == "distinct":
        return float(len(frequencies))
    shares = [count / len(values) for count in frequencies]
    return max(shares) if kind == "mode_share" else entropy(shares)


def entropy(shares: Iterable[float]) -> float:
    """Shannon entropy in nats."""
    total = 0.0
    for share in shares:
        total -= share * elementary().natural_log(share)
    return total


def percentile(values: Iterable[int], percent: float) -> float:
    """Value at the rank (n - 1) * percent / 100, between two values on the line through them."""
    rising = sorted(values)
    rank = float(len(rising) - 1) * percent / 100
    low = rising[int(rank)]
    up = rising[min(int(rank) + 1, len(rising) - 1)]
    return float(low) + float(up - low) * (rank - int(rank))


def std(values: Sequence[int]) -> float:
    """Sample standard deviation; squared deviations are added in the order of members."""
    mean = float(sum(values)) / float(len(values))
    squares = 0.0
    for v in values:
        squares += (float(v) - mean) * (float(v) - mean)
    return math.sqrt(squares / (len(values) - 1))


def frauds(
    window: Window,
    x: Event,
    sight: VisibleHistory,
    members: Iterable[Event],
    labels: Iterable[Label],
) -> list[Event]:
    """Members whose latest label known at ``x`` is fraud; members without a label are not."""
    after = sight.base - window.delay - window.over
    key = x.keys[window.entity]
    known = [n for n in labels if n.keys[window.entity] == key and n.event_time > after]
    known = [n for n in known if n.time <= x.time]
    latest = {n.event_id: n.fraud for n in sorted(known, key=lambda n: n.order)}
    return [m for m in members if latest.get(m.id)]


def units(raw: Raw, digits: int, cap: int) -> int | str | None:
    """Value as a history stores it: text, or a whole number of units of 10**-digits.

    None if it is null, not finite or beyond the bound.
    """
    if raw is None or isinstance(raw, str):
        return raw
    if isinstance(raw, float):
        if not math.isfinite(raw * 10.0**digits):
            return None
        kept = round(raw * 10.0**digits)
    else:
        kept = round(Decimal(raw).scaleb(digits))
    return kept if abs(kept) <= most(cap) else None


def float32(numbers: float | Sequence[float]) -> bytes:
    """Four bytes of the model's input each; a value that is not finite is missing (NaN)."""
    with np.errstate(over="ignore"):
        cast = np.asarray(numbers, np.float64).astype(np.float32)
    return np.where(np.isfinite(cast), cast, np.float32(np.nan)).tobytes()
