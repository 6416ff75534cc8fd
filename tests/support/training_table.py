"""Small training tables, as `fraud-worker features build` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.small_model import reference

DAY = 86_400_000_000
START = 1_530_403_200_000_000
"""1 July 2018, a midnight."""
NAMES = ("AMOUNT", "RISK", "NOISE")


def write_table(
    path: Path,
    columns: Mapping[str, Any],
    names: tuple[str, ...] = NAMES,
    group: int = 1_000,
    categories: Mapping[str, Any] | None = None,
) -> Path:
    """columns: `times`, `cards`, `label` and `label_time` by row, features, perhaps `amount_minor`."""
    rows = len(columns["times"])
    amounts = columns.get("amount_minor", np.arange(rows))
    label_time = pa.array(columns["label_time"], pa.timestamp("us", "UTC"))
    table = pa.table(
        {
            **{name: pa.array(columns[name], pa.float32()) for name in names},
            "EVENT_ID": pa.array(np.arange(rows)),
            "TX_TIME": pa.array(np.asarray(columns["times"]) // 1000, pa.timestamp("ms")),
            "CUSTOMER": pa.array(columns["cards"]),
            "TERMINAL": pa.array(np.arange(rows) % 7),
            "amount_minor": pa.array(amounts, pa.int64()),
            "label": pa.array(columns["label"], pa.int8()),
            "label_time": label_time,
        }
    )
    features = [reference(name).model_dump() for name in names]
    told = {
        "feature_set": "small",
        "fingerprint": "ab" * 8,
        "features": features,
        "categories": categories or {},
        "lookups": {"holder": {"file": "holders.parquet", "sha256": "ab" * 32, "rows": 1_234}},
        "columns": {
            "id": "EVENT_ID",
            "time": "TX_TIME",
            "entities": {"customer": "CUSTOMER", "terminal": "TERMINAL"},
            "partition_key": None,
            "amount": "amount_minor",
            "label": "label",
            "label_time": "label_time",
        },
    }
    table = table.replace_schema_metadata({b"fraud_worker": json.dumps(told).encode()})
    pq.write_table(table, path, row_group_size=group)
    return path


def simulated(days: int = 40, a_day: int = 300, seed: int = 3, delay: int = 2) -> dict[str, Any]:
    """Cards of which some are defrauded, with amounts that tell and noise that does not."""
    random = np.random.default_rng(seed)
    rows = days * a_day
    times = START + np.sort(random.integers(0, days * DAY // 1000, rows)) * 1000
    fraud = random.random(rows) < 0.03
    amount = random.gamma(2.0, 20.0, rows) + fraud * random.gamma(2.0, 60.0, rows)
    risk = np.where(random.random(rows) < 0.1, np.nan, random.random(rows) * (0.4 + fraud))
    return {
        "times": times,
        "cards": random.integers(0, 2_000, rows),
        "label": fraud.astype(np.int8),
        "label_time": times + delay * DAY,
        "amount_minor": (amount * 100).astype(np.int64),
        "AMOUNT": amount,
        "RISK": risk,
        "NOISE": random.normal(size=rows),
    }
