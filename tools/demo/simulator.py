"""Simulated card transactions with three kinds of fraud.

The design, and every number in it, is the published one of Y.-A. Le Borgne, W. Siblini, B. Lebichot
and G. Bontempi, "Reproducible Machine Learning for Credit Card Fraud Detection - Practical
Handbook" (2022), chapter 3, "Simulator". Written anew, on columns: other draws than the Handbook's
own program, the same distributions. Both populations live on a square of 100 by 100; a customer
pays at terminals less than 5 away.

The number of terminals and customers that are compromised a day does not depend on the population,
so a smaller one has a larger share of fraud: about 56 / terminals + 14 / customers once the first
weeks have passed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from base.arrays import Floats, Longs

Codes = npt.NDArray[np.int8]

RADIUS = 5.0
LARGE_AMOUNT = 220.0
TERMINALS_PER_DAY = 2
TERMINAL_DAYS = 28
CUSTOMERS_PER_DAY = 3
CUSTOMER_DAYS = 14
INFLATION = 5.0

_DAY_SECONDS = 86_400
_SECOND = 1_000_000  # in the unit of event times, µs


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """Columns of N transactions, by time."""

    transaction_id: Longs
    tx_time: Longs
    """µs since 1970 UTC, in whole seconds; never falls."""
    customer_id: Longs
    terminal_id: Longs
    amount: Floats
    """In whole cents."""
    is_fraud: Codes
    scenario: Codes
    """0: genuine; 1: a large amount; 2: a compromised terminal; 3: a compromised customer."""

    def __len__(self) -> int:
        return len(self.transaction_id)

    def __getitem__(self, rows: slice) -> Simulated:
        return Simulated(*(getattr(self, field.name)[rows] for field in fields(self)))


def simulate(customers: int, terminals: int, days: int, start: datetime, seed: int) -> Simulated:
    """Transactions of `days` days from `start`, which has a time zone and is some day's midnight.

    The same arguments give the same transactions. Customers with no terminal in reach make none.
    Raises ValueError for a naive `start` or populations too small for a day's draws.
    """
    if start.tzinfo is None:
        raise ValueError("start: give a time zone")
    if terminals < TERMINALS_PER_DAY or customers < CUSTOMERS_PER_DAY or days < 1:
        raise ValueError(
            f"the design needs {CUSTOMERS_PER_DAY} customers, {TERMINALS_PER_DAY} terminals and a "
            f"day at least; found {customers}, {terminals} and {days}"
        )
    rng = np.random.default_rng(seed)
    customer, day, second, amount = _payments(rng, customers, days)
    terminal, reached = _terminals(rng, customers, terminals, customer)
    order = np.argsort(day * _DAY_SECONDS + second, kind="stable")
    order = order[reached[order]]
    customer, day, terminal, amount = customer[order], day[order], terminal[order], amount[order]
    scenario = np.zeros(len(order), dtype=np.int8)
    scenario[amount > LARGE_AMOUNT] = 1
    scenario[_at_compromised_terminals(rng, terminals, days, terminal, day)] = 2
    times = _compromised_customers(rng, customers, days, customer, day)
    scenario[times > 0] = 3
    amount = _cents(amount * INFLATION**times)
    # whole microseconds: a float of seconds since 1970 has no room for them
    since = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return Simulated(
        transaction_id=np.arange(len(order), dtype=np.int64),
        tx_time=since + (day * _DAY_SECONDS + second[order]) * _SECOND,
        customer_id=customer,
        terminal_id=terminal,
        amount=amount,
        is_fraud=(scenario > 0).astype(np.int8),
        scenario=scenario,
    )


def _payments(
    rng: np.random.Generator, customers: int, days: int
) -> tuple[Longs, Longs, Longs, Floats]:
    """Draw the payments: customer, day, second of the day and amount of each."""
    mean_amount = rng.uniform(5.0, 100.0, customers)
    per_day = rng.uniform(0.0, 4.0, customers)
    counts = rng.poisson(per_day[:, None], (customers, days)).ravel()
    slot = np.repeat(np.arange(customers * days, dtype=np.int64), counts)
    second = rng.normal(_DAY_SECONDS / 2, 20_000.0, len(slot)).astype(np.int64)
    inside = (second > 0) & (second < _DAY_SECONDS)  # the design drops the others
    slot, second = slot[inside], second[inside]
    customer, day = np.divmod(slot, days)
    mean = mean_amount[customer]
    amount = rng.normal(mean, mean / 2.0)
    again = np.flatnonzero(amount < 0.0)
    amount[again] = rng.uniform(0.0, 2.0 * mean[again])
    return customer, day, second, _cents(amount)


def _cents(amount: Floats) -> Floats:
    return np.rint(amount * 100.0) / 100.0


def _terminals(
    rng: np.random.Generator, customers: int, terminals: int, customer: Longs
) -> tuple[Longs, npt.NDArray[np.bool_]]:
    """Draw the terminal of each payment within its customer's reach.

    Returns:
        The terminals, and a mask of the payments whose customer has a terminal in reach.
    """
    homes = rng.uniform(0.0, 100.0, (customers, 2))
    places = rng.uniform(0.0, 100.0, (terminals, 2))
    places_by_x = np.argsort(places[:, 0])
    sorted_x = places[places_by_x, 0]
    # only a band of RADIUS to the left and right of a home can be in reach
    first = np.searchsorted(sorted_x, homes[:, 0] - RADIUS)
    beyond = np.searchsorted(sorted_x, homes[:, 0] + RADIUS)
    owner, candidate = _ranges(first, beyond)
    candidate = places_by_x[candidate]
    near = ((homes[owner] - places[candidate]) ** 2).sum(axis=1) < RADIUS**2
    reach, owner = candidate[near], owner[near]
    begin = np.searchsorted(owner, np.arange(customers + 1))
    choices = np.diff(begin)[customer]
    chosen = begin[customer] + (rng.random(len(customer)) * choices).astype(np.int64)
    reached = choices > 0
    terminal = np.zeros(len(customer), dtype=np.int64)
    terminal[reached] = reach[chosen[reached]]
    return terminal, reached


def _ranges(first: Longs, beyond: Longs) -> tuple[Longs, Longs]:
    """Concatenate the numbers of the ranges [first, beyond).

    Returns:
        Index of the range of each number, and the numbers.
    """
    lengths = beyond - first
    owner = np.repeat(np.arange(len(first)), lengths)
    started = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) - started[owner] + first[owner]


def _at_compromised_terminals(
    rng: np.random.Generator, terminals: int, days: int, terminal: Longs, day: Longs
) -> npt.NDArray[np.bool_]:
    """Scenario 2: all payments at the terminals that are compromised on their day."""
    compromised = np.zeros((terminals, days), dtype=np.bool_)
    for begin in range(days):
        drawn = rng.choice(terminals, TERMINALS_PER_DAY, replace=False)
        compromised[drawn, begin : begin + TERMINAL_DAYS] = True
    return compromised[terminal, day]


def _compromised_customers(
    rng: np.random.Generator, customers: int, days: int, customer: Longs, day: Longs
) -> Longs:
    """Scenario 3: the number of times that each payment's amount was inflated.

    A third of a compromised customer's payments in the period is inflated, rounded down.
    """
    slot = customer * days + day
    by_slot = np.argsort(slot, kind="stable")
    sorted_slot = slot[by_slot]
    times = np.zeros(len(slot), dtype=np.int64)
    for begin in range(days):
        end = min(begin + CUSTOMER_DAYS, days)
        for drawn in rng.choice(customers, CUSTOMERS_PER_DAY, replace=False):
            low, high = np.searchsorted(sorted_slot, [drawn * days + begin, drawn * days + end])
            rows = by_slot[low:high]
            times[rng.choice(rows, len(rows) // 3, replace=False)] += 1
    return times
