"""The simulator against the published design: its numbers, and what each kind of fraud means."""

from __future__ import annotations

import os
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tools.demo.simulator import (
    CUSTOMER_DAYS,
    LARGE_AMOUNT,
    TERMINAL_DAYS,
    Simulated,
    simulate,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
DAY_US = 86_400_000_000


@cache
def published_size() -> Simulated:
    """The Handbook's own populations, a third of its days."""
    return simulate(5_000, 10_000, 60, START, seed=11)


@cache
def small() -> Simulated:
    return simulate(400, 800, 40, START, seed=3)


def days_of(simulated: Simulated) -> np.ndarray:
    return (simulated.tx_time - START_US) // DAY_US


def test_same_seed_gives_the_same_transactions_and_another_seed_does_not() -> None:
    again = simulate(400, 800, 40, START, seed=3)
    for field in fields(Simulated):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(small(), field.name))
    other = simulate(400, 800, 40, START, seed=4)
    assert not np.array_equal(other.amount[:100], small().amount[:100])


def test_rows_are_in_order_of_time_with_ids_that_count_up() -> None:
    simulated = small()
    assert (np.diff(simulated.tx_time) >= 0).all()
    np.testing.assert_array_equal(simulated.transaction_id, np.arange(len(simulated)))
    assert (simulated.tx_time % 1_000_000 == 0).all()
    assert days_of(simulated).min() == 0
    assert days_of(simulated).max() == 39


def test_start_is_a_moment_whatever_its_zone() -> None:
    there = timezone(timedelta(hours=9))
    simulated = simulate(400, 800, 40, START.astimezone(there), seed=3)
    np.testing.assert_array_equal(simulated.tx_time, small().tx_time)


def test_amounts_are_whole_positive_cents() -> None:
    cents = published_size().amount * 100
    assert np.abs(cents - np.rint(cents)).max() < 1e-8
    assert (published_size().amount >= 0).all()
    # the nearest float64 of a decimal with two digits, not one of its neighbours
    np.testing.assert_array_equal(np.rint(cents) / 100, published_size().amount)


def test_volume_is_that_of_the_design() -> None:
    # 5,000 customers x 2 payments a day x P(|z| < 43,200 / 20,000) = 9,692 a day; the mean of the
    # 5,000 rates has a deviation of 1.155 / sqrt(5000) of 2, that is 0.8 %: five of them allowed
    per_day = len(published_size()) / 60
    assert per_day == pytest.approx(9_692, rel=0.04)


def test_time_of_day_is_normal_around_noon() -> None:
    second = (published_size().tx_time % DAY_US) / 1e6
    assert second.mean() == pytest.approx(43_200, abs=200)
    # a normal cut at 2.16 deviations has 0.913 of its deviation
    assert second.std() == pytest.approx(0.913 * 20_000, rel=0.02)


def test_genuine_amounts_have_the_mean_of_the_design() -> None:
    simulated = published_size()
    # customers' means are U(5, 100): 52.5; redrawing the negative 2.3 % from U(0, 2 mean) adds
    # 0.0085 means or so; the deviation of the mean of 5,000 customers is 0.4
    genuine = simulated.amount[simulated.scenario == 0]
    assert genuine.mean() == pytest.approx(52.9, abs=2.0)
    # a negative amount is drawn again, not cut off at nothing
    assert (genuine < 0.01).mean() < 0.0005


def test_fraud_shares_are_those_of_the_design() -> None:
    simulated = published_size()
    late = days_of(simulated) >= TERMINAL_DAYS  # from then on, as many are compromised every day
    share = np.bincount(simulated.scenario[late], minlength=4) / late.sum()
    # 2 terminals a day for 28 days, of 10,000; 3 customers a day for 14 days, of 5,000, a third
    assert share[2] == pytest.approx(56 / 10_000, rel=0.2)
    assert share[3] == pytest.approx(42 / 5_000 / 3, rel=0.2)
    # means of 100 at most, deviations of half: 2.4 deviations away for the largest
    assert 0.0002 < share[1] < 0.0012


def test_large_amounts_are_fraud_and_only_those_are_scenario_one() -> None:
    simulated = published_size()
    assert (simulated.amount[simulated.scenario == 1] > LARGE_AMOUNT).all()
    assert (simulated.amount[simulated.scenario == 0] <= LARGE_AMOUNT).all()
    np.testing.assert_array_equal(simulated.is_fraud, simulated.scenario > 0)


def test_a_compromised_terminal_has_no_genuine_payment_while_it_is_so() -> None:
    simulated, days = small(), days_of(small())
    for terminal in np.unique(simulated.terminal_id[simulated.scenario == 2]):
        here = simulated.terminal_id == terminal
        hit = np.unique(days[here & (simulated.scenario == 2)])
        clean = days[here & (simulated.scenario == 0)]
        # a day with one such fraud is compromised as a whole
        assert not np.isin(clean, hit).any(), terminal


def test_a_compromised_terminal_stays_so_for_four_weeks() -> None:
    simulated, days = small(), days_of(small())
    spans = [
        np.ptp(days[(simulated.terminal_id == terminal) & (simulated.scenario == 2)])
        for terminal in np.unique(simulated.terminal_id[simulated.scenario == 2])
    ]
    assert np.median(spans) > TERMINAL_DAYS / 2
    assert np.quantile(spans, 0.5) < TERMINAL_DAYS


def test_a_compromised_customer_loses_a_third_of_the_payments_at_five_times_the_amount() -> None:
    simulated, days = published_size(), days_of(published_size())
    hit = simulated.scenario == 3
    genuine = simulated.scenario == 0
    assert simulated.amount[hit].mean() / simulated.amount[genuine].mean() == pytest.approx(
        5.0, rel=0.15
    )
    shares = []
    for customer in np.unique(simulated.customer_id[hit]):
        mine = simulated.customer_id == customer
        first, last = np.min(days[mine & hit]), np.max(days[mine & hit])
        if last - first < CUSTOMER_DAYS:  # one stretch only
            stretch = mine & (days >= first) & (days < first + CUSTOMER_DAYS)
            shares.append((stretch & hit).sum() / stretch.sum())
    # the stretch is taken to begin with its first fraud, and its third is rounded down
    assert np.mean(shares) == pytest.approx(1 / 3, abs=0.06)
    assert len(shares) > 50


def test_customers_pay_at_few_terminals_near_them() -> None:
    simulated = published_size()
    # a circle of radius 5 in a square of 100 holds 0.79 % of 10,000 terminals: 78, fewer at its
    # edges, with a deviation of 9
    pairs = np.unique(simulated.customer_id * 10_000 + simulated.terminal_id)
    reach = np.bincount(pairs // 10_000)
    assert 20 < reach[reach > 0].mean() < 78
    assert reach.max() < 130


def test_customers_out_of_reach_make_no_payments() -> None:
    simulated = simulate(300, 2, 5, START, seed=1)
    assert 0 < len(np.unique(simulated.customer_id)) < 30


def test_a_slice_is_the_same_columns_cut() -> None:
    simulated = small()
    cut = simulated[10:20]
    assert len(cut) == 10
    np.testing.assert_array_equal(cut.amount, simulated.amount[10:20])


@pytest.mark.parametrize(
    ("customers", "terminals", "days"), [(2, 100, 5), (100, 1, 5), (100, 100, 0)]
)
def test_the_simulator_refuses_populations_that_are_too_small(
    customers: int, terminals: int, days: int
) -> None:
    with pytest.raises(ValueError, match="found"):
        simulate(customers, terminals, days, START, seed=1)


def test_a_start_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        simulate(100, 100, 1, START.replace(tzinfo=None), seed=1)


def test_numbers_are_near_those_of_the_published_transactions() -> None:
    root = Path(__file__).parents[3]
    data = Path(os.environ.get("FRAUD_WORKER_DATA", root.parent / "shared" / "data"))
    path = data / "handbook_raw.parquet"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    theirs = pq.read_table(path, columns=["TX_AMOUNT", "TX_FRAUD_SCENARIO", "TX_TIME_DAYS"])
    first = theirs["TX_TIME_DAYS"].to_numpy() < 60
    scenario = theirs["TX_FRAUD_SCENARIO"].to_numpy()[first]
    ours = published_size()
    assert len(ours) == pytest.approx(first.sum(), rel=0.05)
    counts = np.bincount(ours.scenario, minlength=4)
    np.testing.assert_allclose(counts, np.bincount(scenario, minlength=4), rtol=0.25)
    amounts = theirs["TX_AMOUNT"].to_numpy()[first]
    # two draws of 5,000 customers' means: the lowest decile of two seeds differs by up to 9 %
    quantiles = [0.1, 0.5, 0.9, 0.99]
    np.testing.assert_allclose(
        np.quantile(ours.amount, quantiles), np.quantile(amounts, quantiles), rtol=0.1
    )
