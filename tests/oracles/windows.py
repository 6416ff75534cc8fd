"""The oracle of windows: what each event of a log sees, one after the other, in plain Python.

Slow, and written from the documentation only: docs/reference/features.md and docs/explanation/histories.md. Times are microseconds.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

Raw = bool | int | float | Decimal | str | None
Place = tuple[int, int]
"""Partition and offset."""

DAY = 86_400 * 10**6


def most(cap: int) -> int:
    """The bound on a value: a full history's and the event's own together fit 64 bits."""
    return (2**63 - 1) // (cap + 1)


@dataclass(frozen=True)
class Event:
    """values: what windows and their conditions read, by field or feature; None is null.

    recorded: the record's own timestamp, milliseconds; none where it is not above 0.
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
        """Members stand by time, those of one time by position."""
        return (self.time, self.partition, self.offset)


@dataclass(frozen=True)
class Label:
    """time: from when on it is known. partition and offset: its own position."""

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
    """A window feature. current: the event itself is counted. digits: decimal digits kept."""

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


@dataclass(frozen=True)
class Rules:
    """What of a feature set decides who sees whom.

    horizons: for each entity the reach of its longest window, without D.

    support: of the watermark. ahead: of a record's timestamp, at most; None: any.
    """

    lateness: int
    remembered: int
    cap: int
    horizons: Mapping[str, int]
    support: int = 1
    ahead: int | None = None

    def back(self, entity: str) -> int:
        """How far before the watermark an event to come may see."""
        return self.lateness + max(self.horizons[entity], self.remembered)


@dataclass(frozen=True)
class Past:
    """What the partition of an event has had.

    watermark: before it; -inf where there is none. begin: the time that histories reach back to,
    inf where they have not begun. members: how many events they have that are not early. Its own
    included in both.
    """

    watermark: float
    begin: float
    members: int


@dataclass(frozen=True)
class Sight:
    """What an event sees of a history. members: in their order, without the event itself.

    short: its longest window begins before the history does.
    """

    base: int
    late: bool
    ahead: bool
    duplicate: bool
    capped: bool
    short: bool
    members: Sequence[Event]

    @property
    def joins(self) -> bool:
        return not (self.late or self.duplicate)


def look(rules: Rules, entity: str, x: Event, past: Past, view: Iterable[Event]) -> Sight:
    """What ``x`` sees of the members in ``view``, those of its key before it."""
    watermark = past.watermark
    base = max(x.time, watermark - rules.lateness)
    horizon = max(rules.horizons[entity], rules.remembered)
    members = sorted(view, key=lambda m: m.order)
    beyond, seen = members[: -rules.cap], members[-rules.cap :]
    return Sight(
        base=int(base),
        late=x.time < base,
        ahead=early(rules, x) or (watermark > -math.inf and x.time > watermark + DAY),
        duplicate=any(m.id == x.id and m.time > base - rules.remembered for m in seen),
        capped=any(m.time > base - horizon for m in beyond),
        short=base - past.begin < rules.horizons[entity],
        members=seen,
    )


def counted(window: Window, cap: int, x: Event, sight: Sight) -> list[Event]:
    """The very events that the window's value is made from, in member order."""
    until = x.time - window.delay
    after = sight.base - window.delay - window.over
    found = [m for m in sight.members if after < m.time <= until]
    if window.current and not sight.duplicate:
        found.append(x)
    found = [m for m in found if window.where(m)]
    if window.of:
        found = [m for m in found if kept(window, cap, m) is not None]
    return sorted(found, key=lambda m: m.order)


def serial(rules: Rules, entity: str, log: Sequence[Event]) -> dict[Place, Sight]:
    """What each event sees in an uninterrupted run, where a key's events are of one partition."""
    before = pasts(rules, log)
    members: dict[str, list[Event]] = defaultdict(list)
    sights = {}
    for x in sorted(log, key=lambda e: e.place):
        key = x.keys[entity]
        sights[x.place] = look(rules, entity, x, before[x.place], members[key])
        if sights[x.place].joins:
            members[key].append(x)
    return sights


def pasts(rules: Rules, log: Sequence[Event]) -> dict[Place, Past]:
    """What each event's own partition has had."""
    before = watermarks_before(rules, log)
    supporting: dict[int, list[int]] = defaultdict(list)
    members: dict[int, int] = defaultdict(int)
    begin: dict[int, float] = defaultdict(lambda: math.inf)
    found = {}
    for x in sorted(log, key=lambda e: e.place):
        p, late = x.partition, x.time < before[x.place] - rules.lateness
        if not early(rules, x):
            supporting[p].append(x.time)
            members[p] += not late
        if members[p] == 2 * rules.support - 1 and begin[p] == math.inf:
            begin[p] = watermark(rules, supporting[p])
        found[x.place] = Past(before[x.place], begin[p], members[p])
    return found


def watermarks_before(rules: Rules, log: Iterable[Event]) -> dict[Place, float]:
    """The watermark before each event in its own partition, -inf where there is none."""
    times: dict[int, list[int]] = defaultdict(list)
    found = {}
    for x in sorted(log, key=lambda e: e.place):
        found[x.place] = watermark(rules, times[x.partition])
        if not early(rules, x):
            insort(times[x.partition], x.time)
    return found


def watermark(rules: Rules, times: Iterable[int]) -> float:
    """Of a partition with events at these times: ``support`` of them are no earlier."""
    rising = sorted(times)
    return rising[-rules.support] if len(rising) >= rules.support else -math.inf


def early(rules: Rules, x: Event) -> bool:
    """Too far ahead of its own record."""
    if rules.ahead is None or x.recorded <= 0:
        return False
    return x.time - 1000 * x.recorded > rules.ahead


def value(window: Window, cap: int, x: Event, sight: Sight, labels: Iterable[Label]) -> float:
    """The value of ``window`` at ``x``, before the cast. labels: all that the store held."""
    members = counted(window, cap, x, sight)
    if len(members) < (2 if window.kind == "std" else 1):
        return window.default
    match window.kind:
        case "count":
            return float(len(members))
        case "time_since_last":
            return (x.time - members[-1].time) / 1e6
        case "fraud_share":
            return len(frauds(window, x, sight, members, labels)) / len(members)
        case _:
            return aggregate(window, [kept(window, cap, m) for m in members])


def kept(window: Window, cap: int, member: Event) -> int | str | None:
    return units(member.values[window.of], window.digits, cap)


def aggregate(window: Window, values: Sequence[int | str | None]) -> float:
    if window.kind == "distinct":
        return float(len(set(values)))
    numbers = [v for v in values if isinstance(v, int)]
    n, scale = len(numbers), 10**window.digits
    match window.kind:
        case "sum":
            return float(sum(numbers)) / float(scale)
        case "mean":
            return float(sum(numbers)) / float(n * scale)
        case "std":
            return std(numbers) / float(scale)
        case "min":
            return float(min(numbers)) / float(scale)
        case "max":
            return float(max(numbers)) / float(scale)
        case "last":
            return float(numbers[-1]) / float(scale)
    raise ValueError(window.kind)


def std(values: Sequence[int]) -> float:
    """Of the sample, about the mean, squares added in member order."""
    mean = float(sum(values)) / float(len(values))
    squares = 0.0
    for v in values:
        squares += (float(v) - mean) * (float(v) - mean)
    return math.sqrt(squares / (len(values) - 1))


def frauds(
    window: Window, x: Event, sight: Sight, members: Iterable[Event], labels: Iterable[Label]
) -> list[Event]:
    """The members of which the latest label that is known at ``x`` says so; no label says no."""
    after = sight.base - window.delay - window.over
    key = x.keys[window.entity]
    known = [n for n in labels if n.keys[window.entity] == key and n.event_time > after]
    known = [n for n in known if n.time <= x.time]
    latest = {n.event_id: n.fraud for n in sorted(known, key=lambda n: n.order)}
    return [m for m in members if latest.get(m.id)]


def units(raw: Raw, digits: int, cap: int) -> int | str | None:
    """The value as a history keeps it: text, or a whole number of units of 10**-digits.

    None where it is null, not finite or beyond the bound.
    """
    if raw is None or isinstance(raw, str):
        return raw
    if isinstance(raw, float):
        if not math.isfinite(raw * 10.0**digits):
            return None
        found = round(raw * 10.0**digits)
    else:
        found = round(Decimal(raw).scaleb(digits))
    return found if abs(found) <= most(cap) else None


def float32(number: float) -> bytes:
    """The four bytes that the model is given; what is not finite is missing."""
    with np.errstate(over="ignore"):
        cast = np.float32(number)
    return (cast if np.isfinite(cast) else np.float32(np.nan)).tobytes()
