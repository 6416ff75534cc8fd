"""The rivals of window features, on examples that are computed by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from benchmarks.rivals import pandas_rolling, sorted_sets
from benchmarks.rivals.parts import Event

MONDAY = datetime(2018, 5, 7, 10, tzinfo=UTC)
HOUR = 3_600_000


def event(number: int, hours: float, terminal: str = "t", amount: float = 10.0) -> Event:
    """Of one customer, so many hours after a Monday morning."""
    at = int(MONDAY.timestamp() * 1000 + hours * HOUR)
    return {
        "transaction_id": f"e{number}",
        "tx_time": at,
        "customer_id": "c",
        "terminal_id": terminal,
        "amount": amount,
    }


class Pipeline:
    """Sorted sets as Redis keeps them, as far as the rivals use them."""

    def __init__(self) -> None:
        self.sets: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self.answers: list[Any] = []

    def zadd(self, key: str, scores: dict[str, float]) -> None:
        self.sets[key].update(scores)
        self.answers.append(len(scores))

    def zremrangebyscore(self, key: str, low: str, high: float) -> None:
        assert low == "-inf"
        self.sets[key] = {m: at for m, at in self.sets[key].items() if at > high}
        self.answers.append(0)

    def zrangebyscore(self, key: str, low: str, high: float, *, withscores: bool) -> None:
        assert withscores
        after = float(low.removeprefix("("))
        found = [(m.encode(), at) for m, at in self.sets[key].items() if after < at <= high]
        self.answers.append(sorted(found, key=lambda one: one[::-1]))

    def zcount(self, key: str, low: str, high: float) -> None:
        after = float(low.removeprefix("("))
        self.answers.append(sum(after < at <= high for at in self.sets[key].values()))


def row(pipeline: Pipeline, one: Event) -> list[float]:
    pipeline.answers.clear()
    sorted_sets.ask(pipeline, one)
    assert len(pipeline.answers) == sorted_sets.COMMANDS
    return sorted_sets.features(one, pipeline.answers)


def test_a_customer_has_counts_and_means_with_the_current_event() -> None:
    sets = Pipeline()
    assert row(sets, event(0, 0, amount=1.1))[:9] == [1.1, 0, 0, *(1, 1.1) * 3]
    assert row(sets, event(1, 24, amount=2.2))[3:9] == [1, 2.2, 2, 1.65, 2, 1.65]
    # A window of 30 days no longer has what is exactly 30 days old.
    assert row(sets, event(2, 30 * 24, amount=3.3))[3:9] == [1, 3.3, 1, 3.3, 2, 2.75]


def test_a_terminal_is_counted_up_to_a_week_ago() -> None:
    sets = Pipeline()
    week = 7 * 24.0
    for number, hours in enumerate((0, 0, 24)):
        assert row(sets, event(number, hours))[9:] == [0] * 6
    sets.zadd(sorted_sets.fraud_key("t"), {"e1": event(1, 0)["tx_time"]})
    assert row(sets, event(3, week))[9:] == [2, 0.5, 2, 0.5, 2, 0.5]
    assert row(sets, event(4, week + 24))[9:] == [1, 0, *(3, 1 / 3) * 2]
    assert row(sets, event(5, week + 24, terminal="other"))[9:] == [0] * 6


@pytest.mark.parametrize(
    ("hours", "weekend", "night"), [(0, 0, 0), (5 * 24 - 3.1, 1, 1), (-3.1, 0, 1), (-3, 0, 0)]
)
def test_nights_and_weekends(hours: float, weekend: int, night: int) -> None:
    assert row(Pipeline(), event(0, hours))[1:3] == [weekend, night]


def test_pandas_computes_the_same_as_the_sorted_sets() -> None:
    hours = [0, 0, 1, 24, 24.5, 150, 168, 169, 192, 193, 400, 720, 721, 888, 889, 900]
    some = [
        event(number, at, terminal="tu"[number % 3 == 1], amount=number + 0.25)
        for number, at in enumerate(hours)
    ]
    frauds = [number in {0, 3, 4, 8} for number in range(len(some))]
    sets = Pipeline()
    for one, fraud in zip(some, frauds, strict=True):
        if fraud:
            key = sorted_sets.fraud_key(one["terminal_id"])
            sets.sets[key][one["transaction_id"]] = one["tx_time"]
    rows = [row(sets, one) for one in some]
    payments = pd.DataFrame(
        {
            "TX_DATETIME": pd.to_datetime([one["tx_time"] for one in some], unit="ms"),
            "CUSTOMER_ID": [1] * len(some),
            "TERMINAL_ID": [one["terminal_id"] for one in some],
            "TX_AMOUNT": [one["amount"] for one in some],
            "TX_FRAUD": [int(fraud) for fraud in frauds],
        }
    )
    found = pandas_rolling.add_features(payments)
    names = ["TX_AMOUNT", "TX_DURING_WEEKEND", "TX_DURING_NIGHT"]
    for name, middle in (("CUSTOMER_ID", "AVG_AMOUNT"), ("TERMINAL_ID", "RISK")):
        for days in (1, 7, 30):
            names += [f"{name}_{what}_{days}DAY_WINDOW" for what in ("NB_TX", middle)]
    for one, expected in zip(found[names].to_numpy().tolist(), rows, strict=True):
        assert all(map(math.isclose, one, expected)), (one, expected)
    assert sum(expected[-1] > 0 for expected in rows) > 3
