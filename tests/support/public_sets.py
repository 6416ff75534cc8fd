"""Small simulated files with the columns of public sets of transactions."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 3_000
DAYS = 60


def handbook(path: Path) -> Path:
    """Columns of the Fraud Detection Handbook's simulated transactions."""
    rng = np.random.default_rng(3)
    seconds = np.sort(rng.integers(0, DAYS * 86_400, ROWS))
    fraud = rng.random(ROWS) < 0.03
    amounts = np.round(rng.gamma(2.0, 25.0, ROWS) * np.where(fraud, 5, 1), 2)
    return _write(
        path,
        {
            "TRANSACTION_ID": np.arange(ROWS, dtype=np.int32),
            "TX_DATETIME": np.datetime64("2018-04-01", "ms") + seconds.astype("m8[s]"),
            "CUSTOMER_ID": rng.integers(0, 60, ROWS, np.int32),
            "TERMINAL_ID": rng.integers(0, 100, ROWS, np.int32),
            "TX_AMOUNT": amounts,
            "TX_TIME_SECONDS": seconds.astype(np.int32),
            "TX_TIME_DAYS": (seconds // 86_400).astype(np.int16),
            "TX_FRAUD": fraud.astype(np.int8),
            "TX_FRAUD_SCENARIO": (fraud * rng.integers(1, 4, ROWS)).astype(np.int8),
        },
    )


def sparkov(path: Path) -> Path:
    """Columns of the files that the Sparkov generator writes, as data frames read its CSV."""
    rng = np.random.default_rng(4)
    seconds = np.sort(rng.integers(0, DAYS * 86_400, ROWS))
    cards = rng.integers(0, 80, ROWS)
    fraud = rng.random(ROWS) < 0.03
    start = dt.datetime(2019, 1, 1)  # noqa: DTZ001  (its times have no zone)
    times = [f"{start + dt.timedelta(seconds=int(at)):%Y-%m-%d %H:%M:%S}" for at in seconds]
    categories = np.array(["grocery_pos", "shopping_net", "misc_net", "gas_transport"])
    return _write(
        path,
        {
            "Unnamed: 0": np.arange(ROWS),
            "trans_date_trans_time": times,
            "cc_num": 4_000_000_000_000_000 + cards * 977,
            "merchant": [f"fraud_Shop {shop}" for shop in rng.integers(0, 120, ROWS)],
            "category": categories[rng.integers(0, 4, ROWS)],
            "amt": np.round(rng.gamma(2.0, 30.0, ROWS) * np.where(fraud, 6, 1), 2),
            "first": [f"First{card}" for card in cards],
            "gender": np.array(["F", "M"])[cards % 2],
            "street": [f"{card} Main Street" for card in cards],
            "zip": 10_000 + cards % 60,
            "lat": 40 + cards / 100,
            "long": -70 - cards / 100,
            "city_pop": 1_000 * (cards % 60) + 7,
            "dob": [f"19{50 + card % 50}-03-0{1 + card % 9}" for card in cards],
            "trans_num": [f"{row * 2_654_435_761 % 2**32:08x}" for row in range(ROWS)],
            "unix_time": 1_325_376_018 + seconds,
            "merch_lat": 40 + rng.random(ROWS),
            "merch_long": -70 + rng.random(ROWS),
            "is_fraud": fraud.astype(np.int64),
        },
    )


def ieee_cis(path: Path) -> Path:
    """Columns like those of the IEEE-CIS competition: hundreds, many of them mostly null."""
    rng = np.random.default_rng(5)

    def sparse(values: np.ndarray, nulls: float) -> pa.Array:
        return pa.array(values.astype(float), mask=rng.random(ROWS) < nulls)

    return _write(
        path,
        {
            "TransactionID": 2_987_000 + np.arange(ROWS),
            "isFraud": (rng.random(ROWS) < 0.035).astype(np.int64),
            "TransactionDT": 86_400 + np.sort(rng.integers(0, 20 * 86_400, ROWS)),
            "TransactionAmt": np.round(rng.gamma(2.0, 60.0, ROWS), 3),
            "ProductCD": np.array(["W", "C", "H", "R", "S"])[rng.integers(0, 5, ROWS)],
            "card1": rng.integers(1_000, 1_400, ROWS),
            "card2": sparse(rng.integers(100, 600, ROWS), 0.02),
            "card4": pa.array(["visa", "mastercard", None] * (ROWS // 3)),
            "addr1": sparse(rng.integers(100, 200, ROWS), 0.1),
            "P_emaildomain": pa.array([None, "gmail.com", "yahoo.com"] * (ROWS // 3)),
            **{f"V{n}": sparse(rng.integers(0, 4, ROWS), 0.4) for n in range(1, 340)},
        },
    )


def _write(path: Path, columns: dict[str, object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path
