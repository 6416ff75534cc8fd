"""Logs of events and labels, made of few different values, so that much coincides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tests.oracles.windows import Event, Label, Raw, most, units
from tests.properties.rich_set import DIRECT, PRICE_DIGITS, SECOND, derived, keys_of
from tests.support.making import T0

Pick = Callable[[Sequence[Any]], Any]
"""Picks one; the first is the simplest."""


def is_event(values: Mapping[str, Raw], cap: int) -> bool:
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
COUNTRIES = ["NL", "BE", "", None, "Österreich", "|", "\\N"]
CODES = [None, "5411", "5999"]
CHANNEL = ["ecom", "pos", None, "atm"]
ADVANCES = [0, 1, 0, 1, 2, 3, 9]
BEHINDS = [0, 0, 0, 1, 2, 4, 7]
JITTERS = [0, 0, 0, 1, -1, 500_000]
SKEWS = [0, 0, 3, 40]
WILD = [0] * 24 + [3, 86_400, 86_401, 86_400, 2 * 86_400, 16 * 31_557_600]
"""Seconds that a clock is ahead; a day and a bit is what the flag begins with."""
RECORDED = [0, 0, 0, -1, 1, -3000, 2000]
"""Milliseconds between a partition's clock and the timestamp of a record."""
GAPS = [1, 1, 1, 2, 6]
LABEL_DELAYS = [1, 0, 2, 4, -1, 9]


def make_events(
    pick: Pick, count: int, partitions: int, cap: int, cards: list[int]
) -> tuple[Event, ...]:
    """A log, good events and bad; those of one card are of one partition.

    cards: to pick from.
    """
    clocks = [T0 + pick(SKEWS) * SECOND for _ in range(partitions)]
    offsets = [pick([0, 5, 2**40]) for _ in range(partitions)]
    amounts, xs, zs, cents, prices = _amounts(cap), _xs(), _zs(cap), _cents(cap), _prices(cap)
    events: list[Event] = []
    for _ in range(count):
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
        twin = pick(list(range(15)))
        events.append(
            Event(
                partition,
                offset,
                events[-twin].id if 0 < twin <= min(4, len(events)) else f"e{len(events)}",
                clocks[partition] + (pick(WILD) - pick(BEHINDS)) * SECOND + pick(JITTERS),
                keys_of(values),
                values | derived(values),
                pick([clocks[partition] // 1000 + pick(RECORDED)] * 9 + [-1, 0, 2**63 - 1]),
            )
        )
    return tuple(events)


def make_labels(pick: Pick, count: int, events: Sequence[Event]) -> tuple[Label, ...]:
    labels = []
    for offset in range(count):
        event = pick(events)
        others = {**event.values, "card": "c0", "shop": 7}
        moved = keys_of(others) if pick([0, 0, 0, 0, 1]) else event.keys
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
