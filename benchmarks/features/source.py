"""Events of the suite: the Handbook's own if available, else simulated after its design."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from base.times import DAY
from benchmarks.programs import ROOT
from tools.demo.simulator import simulate

HISTORY_DAYS = 38
"""Days of events before the measurement; the longest window and its delay are 37 days."""
COLUMNS = ("TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD")
_FILE = "handbook_raw.parquet"
_START = datetime(2018, 4, 1, tzinfo=UTC)
_CUSTOMERS, _TERMINALS, _DAYS = 5_000, 10_000, 183
_SEED = 20180401


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Events in the order of time.

    Attributes:
        name: Origin of the events.
        path: Parquet file with COLUMNS.
        table: Content of the file.
        history: Number of events in the first HISTORY_DAYS days.
    """

    name: str
    path: Path
    table: pa.Table
    history: int

    @property
    def rows(self) -> int:
        """Number of events."""
        return int(self.table.num_rows)


def find_source(folder: Path, events: int | None) -> Source:
    """Write the file of events into ``folder``.

    Args:
        folder: Folder for the file.
        events: Maximum number of events, from a share of the customers over all days; None for all.
    """
    name, table = _published() or _simulated()
    if events is not None:
        table = share(table, events)
    path = folder / "events.parquet"
    pq.write_table(table, path)
    return Source(name, path, table, days_end(table, HISTORY_DAYS))


def share(table: pa.Table, events: int) -> pa.Table:
    """Events of the customers with the lowest numbers, at most ``events``, at least one customer's."""
    customers = table["CUSTOMER_ID"].to_numpy()
    counts = np.bincount(customers)
    within = int(np.searchsorted(np.cumsum(counts), events, side="right"))
    return table.filter(pc.less(table["CUSTOMER_ID"], max(1, within)))


def days_end(table: pa.Table, days: int) -> int:
    """Number of events in the first ``days`` days."""
    times = times_us(table)
    return int(np.searchsorted(times, times[0] + days * DAY))


def times_us(table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """int64[N], microseconds since 1970-01-01 UTC."""
    moments = table["TX_DATETIME"].cast(pa.timestamp("us")).cast(pa.int64())
    micros: np.ndarray[tuple[int], np.dtype[np.int64]] = moments.to_numpy()
    return micros


def _published() -> tuple[str, pa.Table] | None:
    default = ROOT.parent / "shared" / "data"
    path = Path(os.environ.get("FRAUD_WORKER_DATA") or default) / _FILE
    if not path.exists():
        return None
    return "the Handbook's simulated-data-raw", pq.read_table(path, columns=list(COLUMNS))


def _simulated() -> tuple[str, pa.Table]:
    events = simulate(_CUSTOMERS, _TERMINALS, _DAYS, _START, _SEED)
    values = (
        events.transaction_id,
        pa.array(events.tx_time, pa.timestamp("us")),
        events.customer_id,
        events.terminal_id,
        events.amount,
        events.is_fraud,
    )
    return "simulated after the Handbook", pa.table(dict(zip(COLUMNS, values, strict=True)))
