"""Synthetic cards, merchants and payments as columns, reproducible by seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import Longs
from benchmarks.columns import numbered, text, without_nulls
from schemas.batch import Column, Kind

CARDS = 1_000_000
MERCHANTS = 20_000
UNKNOWN_MERCHANTS = 400
"""Number of merchants without a loaded profile; 2 % of the events are theirs."""

_CHANNELS = ("pos", "ecom", "atm", "other")
_CURRENCIES = ("EUR", "USD", "GBP", "CHF", "PLN")
_COUNTRIES = ("DE", "FR", "NL", "GB", "US", "CH", "PL", None)
_START_MS = 1_700_000_000_000
_EVENTS_PER_MS = 2
_SEED = 20231114


def card_ids(numbers: Longs) -> pa.StringArray:
    """Card ids of sixteen digits."""
    return numbered("4", numbers, 15)


def merchant_ids(numbers: Longs) -> pa.StringArray:
    """Merchant ids: M and seven digits."""
    return numbered("M", numbers, 7)


def card_profiles(cards: int) -> pa.Table:
    """Values of the lookup card_profile, one row for each card."""
    rng = np.random.default_rng([_SEED, 1])
    average = rng.lognormal(3.5, 0.7, cards)
    month = rng.poisson(20, cards)
    return pa.table(
        {
            "card": card_ids(np.arange(cards)),
            "avg_amount": average.round(2),
            "std_amount": (average * rng.uniform(0.2, 1.2, cards)).round(2),
            "nb_tx_7d": rng.binomial(month, 7 / 30),
            "nb_tx_30d": month,
            "share_ecom": rng.beta(1, 3, cards).round(4),
            "days_active": rng.integers(1, 2000, cards),
        }
    )


def merchant_profiles(merchants: int) -> pa.Table:
    """Values of the lookup merchant_profile, one row for each merchant."""
    rng = np.random.default_rng([_SEED, 2])
    return pa.table(
        {
            "merchant": merchant_ids(np.arange(merchants)),
            "risk": rng.beta(1, 200, merchants),
            "avg_amount": rng.lognormal(3.5, 0.9, merchants).round(2),
            "nb_tx_7d": rng.integers(1, 5000, merchants),
            "share_night": rng.beta(1, 8, merchants).round(4),
        }
    )


def payments(first: int, count: int) -> Mapping[str, Column]:
    """Columns of ``transaction.avsc`` for ``count`` payments from number ``first`` on.

    Cards are drawn uniformly; merchants with a smaller number are drawn more often. The same
    ``first`` and ``count`` give the same payments.
    """
    rng = np.random.default_rng([_SEED, 3, first])
    numbers = np.arange(first, first + count)
    cents = np.rint(rng.lognormal(8.1, 1.1, count))
    cents = np.where(rng.random(count) < 0.02, -cents, cents)
    known = (MERCHANTS * rng.random(count) ** 3).astype(np.int64)
    unknown = rng.integers(MERCHANTS, MERCHANTS + UNKNOWN_MERCHANTS, count)
    merchant = np.where(rng.random(count) < 0.02, unknown, known)
    return {
        "transaction_id": text(numbered("tx", numbers, 12)),
        "tx_time": without_nulls(Kind.TIME, (_START_MS + numbers // _EVENTS_PER_MS) * 1000),
        "customer_id": text(card_ids(rng.integers(0, CARDS, count))),
        "terminal_id": text(numbered("T", merchant * 4 + rng.integers(0, 4, count), 8)),
        "amount": without_nulls(Kind.DOUBLE, cents / 100.0),
        "currency": _drawn(rng, _CURRENCIES, (0.80, 0.08, 0.06, 0.04, 0.02), count),
        "channel": _drawn(rng, _CHANNELS, (0.55, 0.35, 0.08, 0.02), count),
        "merchant_id": text(merchant_ids(merchant)),
        "country": _drawn(rng, _COUNTRIES, (0.70, 0.08, 0.06, 0.04, 0.04, 0.03, 0.02, 0.03), count),
    }


def labels(matrix: npt.NDArray[np.float32], names: tuple[str, ...]) -> Longs:
    """Label (0 or 1) of each row.

    Fraud depends on many features, so that trees reach their maximum depth.
    """
    rng = np.random.default_rng([_SEED, 4])
    value = {name: np.nan_to_num(matrix[:, i].astype(float)) for i, name in enumerate(names)}
    margin = (
        -5.0
        + 0.8 * value["AMOUNT_DEVIATION"].clip(-3, 6)
        + 1.2 * value["IS_ECOM_AT_NIGHT"]
        + 90.0 * value["MERCHANT_RISK"]
        + 0.9 * value["IS_FOREIGN"] * value["IS_ECOM"]
        + 0.5 * (value["CARD_PACE"] - 1.0)
        - 0.0005 * value["CARD_DAYS_ACTIVE"]
        + 0.6 * (value["CASH_AMOUNT"] > 200)
        + 0.3 * np.sin(value["HOUR"]) * value["AMOUNT_LOG"]
    )
    fraud: Longs = (rng.random(len(matrix)) < 1.0 / (1.0 + np.exp(-margin))).astype(np.int64)
    return fraud


def _drawn(
    rng: np.random.Generator, values: tuple[str | None, ...], shares: tuple[float, ...], count: int
) -> Column:
    codes = rng.choice(len(values), count, p=shares)
    names = pa.array(["" if value is None else value for value in values]).take(pa.array(codes))
    valid = np.array([value is not None for value in values])[codes]
    return Column(Kind.STRING, names, valid)
