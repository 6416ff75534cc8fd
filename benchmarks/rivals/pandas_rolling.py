"""Compute the Handbook's features by its own method: rolling windows of pandas for each key.

The functions are rewritten from get_customer_spending_behaviour_features and
get_count_risk_rolling_window in chapter 3 of the Fraud Detection Handbook (Le Borgne, Siblini,
Lebichot, Bontempi, 2022). ``python -m benchmarks.rivals.pandas_rolling EVENTS OUT`` reads and
writes Parquet; its last line is JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd

WINDOWS_DAYS = (1, 7, 30)
DELAY_DAYS = 7


def customer_features(payments: pd.DataFrame) -> pd.DataFrame:
    """Count and mean amount of one customer's payments in each window, with the current payment."""
    payments = payments.sort_values("TX_DATETIME", kind="stable")
    by_time = payments.set_index("TX_DATETIME")["TX_AMOUNT"]
    for days in WINDOWS_DAYS:
        window = by_time.rolling(f"{days}D")
        total, count = window.sum(), window.count()
        payments[f"CUSTOMER_ID_NB_TX_{days}DAY_WINDOW"] = count.to_numpy()
        payments[f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW"] = (total / count).to_numpy()
    return payments


def terminal_features(payments: pd.DataFrame) -> pd.DataFrame:
    """Count and fraud share of one terminal in each window; windows end before the label delay.

    The window before the delay is the sum over delay and window less the sum over the delay.
    """
    payments = payments.sort_values("TX_DATETIME", kind="stable")
    by_time = payments.set_index("TX_DATETIME")["TX_FRAUD"]
    recent = by_time.rolling(f"{DELAY_DAYS}D")
    recent_frauds, recent_count = recent.sum(), recent.count()
    for days in WINDOWS_DAYS:
        window = by_time.rolling(f"{DELAY_DAYS + days}D")
        frauds, count = window.sum() - recent_frauds, window.count() - recent_count
        payments[f"TERMINAL_ID_NB_TX_{days}DAY_WINDOW"] = count.to_numpy()
        risk = (frauds / count).fillna(0)
        payments[f"TERMINAL_ID_RISK_{days}DAY_WINDOW"] = risk.to_numpy()
    return payments


def add_features(payments: pd.DataFrame) -> pd.DataFrame:
    """Add the 14 computed features to the payments, in the order of the payments."""
    at = payments["TX_DATETIME"]
    payments = payments.assign(
        TX_DURING_WEEKEND=at.apply(lambda moment: int(moment.weekday() >= 5)),
        TX_DURING_NIGHT=at.apply(lambda moment: int(moment.hour <= 6)),
    )
    for key, of_one in (("CUSTOMER_ID", customer_features), ("TERMINAL_ID", terminal_features)):
        names = payments.columns.drop(key).to_list()
        payments = payments.groupby(key)[names].apply(of_one).reset_index(level=0)
    return payments.sort_index()


def main(events: Path, out: Path) -> None:
    """Read the events, compute and write the table, and print the seconds of the computation."""
    payments = pd.read_parquet(events)
    began = time.perf_counter()
    table = add_features(payments)
    seconds = time.perf_counter() - began
    table.to_parquet(out, index=False)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
