"""``fraud-worker demo``, all of it: embedded servers, history, a model, live events, the verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tools.demo.simulator import simulate


def demo(*options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tools", "demo", "--json", *options],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert isinstance(verdict, dict)
    return verdict


def test_live_events_find_full_windows_and_the_labels_known_by_then() -> None:
    verdict = demo("--events", "5000", "--rate", "2500")
    assert verdict["history"] > 100_000
    assert verdict["events"] == verdict["scores"] == verdict["history"] + 5000
    assert verdict["dead_letters"] == verdict["lost"] == verdict["duplicates"] == 0
    assert verdict["events_per_s"] > 0
    for name in ("latency_ms", "pass_through_ms"):
        assert 0 < verdict[name]["p50"] <= verdict[name]["p99"]
    # .74; without labels in the store .32
    assert verdict["average_precision"] > 0.65


def test_a_file_is_played_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    events = simulate(100, 100, 60, datetime(2026, 3, 1, tzinfo=UTC), seed=5)
    amounts = events.amount.copy()
    amounts[[7, -7]] = np.nan
    columns = {
        "TRANSACTION_ID": events.transaction_id,
        "TX_DATETIME": pa.array(events.tx_time, pa.timestamp("us")),
        "CUSTOMER_ID": events.customer_id,
        "TERMINAL_ID": events.terminal_id,
        "TX_AMOUNT": amounts,
        "TX_FRAUD": events.is_fraud,
    }
    pq.write_table(pa.table(columns), path)
    verdict = demo("--events-file", str(path))
    assert verdict["history"] == 0
    assert verdict["events"] == len(events)
    assert verdict["scores"] == len(events) - 2
    assert verdict["dead_letters"] == 2
    assert verdict["lost"] == verdict["duplicates"] == 0
    assert verdict["pass_through_ms"] is None
    assert verdict["average_precision"] > 1.5 * events.is_fraud.mean()
