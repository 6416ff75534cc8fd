"""Logs of events and labels, and what befalls the workers that read them: generated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests.oracles.windows import Event, Label, Raw, most, units
from tests.properties.rich_set import DIRECT, PRICE_DIGITS, SECOND, derived
from tests.unit.features.making import T0

ALL = -1
"""A mask that takes everything."""


@dataclass(frozen=True)
class Step:
    """A micro-batch: labels that arrive, a read, an enrichment, writes, and how it ends.

    takes: how many events of which partition, one run of rows after the other. new_labels: how
    many more are in the store before; old_labels: those so far are written again. own_log: the
    worker knows only the partitions of the batch. appends, compactions: bit i of a mask tells
    whether the i-th write of that kind is done; ``lost`` says that the worker dies after them. Then
    the log is read again from ``back`` commits earlier. zombies: after how many steps more all writes of
    this batch land (once more).
    """

    takes: tuple[tuple[int, int], ...]
    new_labels: int = 0
    old_labels: bool = False
    own_log: bool = False
    appends: int = ALL
    compactions: int = ALL
    lost: bool = False
    back: int = 0
    zombies: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """rules: lateness, remembered, cap. events: good and bad, those of a partition in order."""

    rules: tuple[int, int, int]
    partitions: int
    events: tuple[Event, ...]
    labels: tuple[Label, ...]
    steps: tuple[Step, ...]
    last_batches: int


def is_event(values: dict[str, Raw] | Any, cap: int) -> bool:
    """Whether binding takes it; the others are dead letters."""
    amount = values["amount"]
    if not isinstance(amount, float) or not math.isfinite(amount):
        return False
    return not any(_beyond(values[field], digits, cap) for field, digits in DIRECT.items())


def _beyond(raw: Raw, digits: int, cap: int) -> bool:
    known = raw is not None and not (isinstance(raw, float) and not math.isfinite(raw))
    return known and units(raw, digits, cap) is None


def _amounts(cap: int) -> list[float | None]:
    bound = float(most(cap))
    usual = [1.0, 2.5, 0.125, 0.375, 10.01, 3.999, -4.0, 0.0, 1234567.89]
    return [*usual, *usual, *usual, bound / 128, -bound / 100, None, math.nan, math.inf, bound]


def _xs() -> list[float | None]:
    return [None, 1.0, 0.5, 1.5, 2.25, -3.0, 0.0625, math.nan, -math.inf, 1e9, 0.1]


def _zs(cap: int) -> list[float]:
    return [1.0, 0.5, -2.0, 0.1, math.nan, math.inf, float(most(cap)) / 32]


def _cents(cap: int) -> list[int | None]:
    bound = most(cap)
    usual = [0, 1, 3, 7, -2, 1000]
    return [*usual, *usual, *usual, bound, -bound, bound, bound - 1, None, bound + 1, -bound - 1]


def _prices(cap: int) -> list[Decimal]:
    bound = min(most(cap), 10**18 - 1)
    return [Decimal(v).scaleb(-PRICE_DIGITS) for v in (10_000, 1, 0, 25_001, -7, bound, -bound)]


ONLINE = [True, False, None]
COUNTRIES = ["NL", "BE", "", None, "Österreich"]
CODES = [None, "5411", "5999"]
CHANNEL = ["ecom", "pos", None, "atm"]
ADVANCES = [0, 1, 0, 1, 2, 3, 9]
BEHINDS = [0, 0, 0, 1, 2, 4, 7]
JITTERS = [0, 0, 0, 1, -1, 500_000]
SKEWS = [0, 0, 3, 40]
GAPS = [1, 1, 1, 2, 6]
RULES = [
    (1, 1, 3),
    (3, 4, 10_000),
    (3600, 1, 5),
    (1, 86_400, 1),
    (3, 1, 2),
    (3600, 4, 3),
    (3, 86_400, 10_000),
    (1, 4, 2),
    (3600, 86_400, 1),
]
"""Allowed lateness and memory of ids in seconds, cap."""
LABEL_DELAYS = [1, 0, 2, 4, -1, 9]


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    lateness, remembered, cap = draw(st.sampled_from(RULES))
    partitions = draw(st.sampled_from([1, 2, 3]))
    events = _events(draw, partitions, cap)
    labels = _labels(draw, events)
    size = draw(st.integers(0, 14))
    compactions = draw(st.sampled_from([[ALL], [0], [ALL, 0, 0b10110]]))
    steps = tuple(_step(draw, partitions, len(labels), compactions) for _ in range(size))
    rules = (lateness * SECOND, remembered * SECOND, cap)
    return Scenario(rules, partitions, events, labels, steps, draw(st.sampled_from([50, 1, 3])))


def _events(draw: st.DrawFn, partitions: int, cap: int) -> tuple[Event, ...]:
    pick = _Picks(draw)
    clocks = [T0 + pick(SKEWS) * SECOND for _ in range(partitions)]
    offsets = [draw(st.sampled_from([0, 5, 2**40])) for _ in range(partitions)]
    amounts, xs, zs, cents, prices = _amounts(cap), _xs(), _zs(cap), _cents(cap), _prices(cap)
    cards = draw(st.sampled_from([[0], [0, 0, 1], [0, 1, 2, 3]]))
    events: list[Event] = []
    for _ in range(draw(st.integers(1, 40))):
        card = pick(cards)
        partition = card % partitions
        clocks[partition] += pick(ADVANCES) * SECOND
        offset = offsets[partition]
        offsets[partition] += pick(GAPS)
        shop = pick([7, 7, 8])
        values: dict[str, Raw] = {
            "card": f"c{card}",
            "shop": shop,
            "amount": pick(amounts),
            "x": pick(xs),
            "z": pick(zs),
            "cents": pick(cents),
            "price": pick(prices),
            "online": pick(ONLINE),
            "channel": pick(CHANNEL),
            "country": pick(COUNTRIES),
            "merchant.code": pick(CODES),
        }
        twin = draw(st.integers(0, 14))
        events.append(
            Event(
                partition,
                offset,
                events[-twin].id if 0 < twin <= min(4, len(events)) else f"e{len(events)}",
                clocks[partition] - pick(BEHINDS) * SECOND + pick(JITTERS),
                {"card": f"c{card}", "shop": str(shop)},
                values | derived(values),
            )
        )
    return tuple(events)


class _Picks:
    """Picks from lists whose first entry is the simplest; takes few draws for many picks."""

    _ROOM = 2**24

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._bits, self._room = 0, 1

    def __call__(self, found: list[Any]) -> Any:
        if self._room < len(found):
            self._bits, self._room = self._draw(st.integers(0, self._ROOM - 1)), self._ROOM
        self._bits, place = divmod(self._bits, len(found))
        self._room //= len(found)
        return found[place]


def _labels(draw: st.DrawFn, events: tuple[Event, ...]) -> tuple[Label, ...]:
    pick = _Picks(draw)
    labels = []
    for offset in range(draw(st.integers(0, 16))):
        event = events[draw(st.integers(0, len(events) - 1))]
        moved = {"card": "c0", "shop": "7"} if pick([0, 0, 0, 0, 1]) else event.keys
        labels.append(
            Label(
                event.id,
                event.time,
                moved,
                pick([True, True, False]),
                event.time + pick(LABEL_DELAYS) * SECOND + pick([0, 0, 1, -1]),
                pick([0, 1]),
                offset,
            )
        )
    return tuple(labels)


def _step(draw: st.DrawFn, partitions: int, labels: int, compactions: list[int]) -> Step:
    pick = _Picks(draw)
    runs = pick([1, 1, 2, 3]) if partitions > 1 else 1
    takes = tuple((pick(list(range(partitions))), pick([1, 2, 1, 3, 6])) for _ in range(runs))
    step = Step(
        takes,
        new_labels=pick([0, 1, 4, labels]) if labels else 0,
        old_labels=bool(labels) and pick([False, False, False, True]),
        own_log=pick([False, True]),
        compactions=pick(compactions),
        zombies=pick([(), (), (0,), (1, 4), (2, 6)]),
    )
    if not pick([False, True]):
        return step
    return replace(step, lost=True, appends=pick([ALL, 0, 0b1011, 0b0100]), back=pick([0, 1, 1, 3]))
