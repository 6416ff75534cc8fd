"""``fraud-worker demo``, all of it: embedded servers, history, a model, live events, the verdict."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from features.definition import load_feature_set
from features.tables.event_records import EventRecordReader
from tests.conftest import MakeTopic, SharedKafka
from tools.demo.player import Played, Player
from tools.demo.simulator import Simulated, simulate
from tools.topics.topic_log import read_to_end

HANDBOOK = Path(__file__).parents[2] / "examples" / "handbook" / "features.yaml"
WAIT_S = 30.0


def write_events(path: Path, events: Simulated) -> None:
    """Transactions at ``path``, with the column names of the Handbook."""
    columns = {
        "TRANSACTION_ID": events.transaction_id,
        "TX_DATETIME": pa.array(events.tx_time, pa.timestamp("us")),
        "CUSTOMER_ID": events.customer_id,
        "TERMINAL_ID": events.terminal_id,
        "TX_AMOUNT": events.amount,
        "TX_FRAUD": events.is_fraud,
    }
    pq.write_table(pa.table(columns), path)


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
    events.amount[[7, -7]] = np.nan
    write_events(path, events)
    verdict = demo("--events-file", str(path))
    assert verdict["history"] == 0
    assert verdict["events"] == len(events)
    assert verdict["scores"] == len(events) - 2
    assert verdict["dead_letters"] == 2
    assert verdict["lost"] == verdict["duplicates"] == 0
    assert verdict["pass_through_ms"] is None
    assert verdict["average_precision"] > 1.5 * events.is_fraud.mean()


def test_a_player_knows_where_each_event_is_and_when_it_was_sent(
    kafka: SharedKafka, make_topic: MakeTopic, tmp_path: Path
) -> None:
    path, topic = tmp_path / "events.parquet", make_topic(partitions=4)
    write_events(path, simulate(100, 100, 10, datetime(2026, 3, 1, tzinfo=UTC), seed=5))
    source = EventRecordReader(load_feature_set(HANDBOOK), topic, b"")

    def play(events: int, first: npt.NDArray[np.int64]) -> Played:
        player = Player(
            kafka.bootstrap, topic, source, path, event_id="transaction_id", label=None, first=first
        )
        player.start(events, 5_000)
        deadline = time.monotonic() + WAIT_S
        while not player.done:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return player.played

    before = play(300, np.zeros(4, np.int64))
    played = play(500, before.end)
    assert (before.events, played.events) == (300, 500)
    values = [value for chunk in source.read(path) for value in chunk.records.values]
    numbers = {value: number for number, value in enumerate(values)}
    counts = np.zeros(4, np.int64)
    for records in read_to_end(kafka.bootstrap, topic):
        counts += np.bincount(records.partitions, minlength=4)
        live = records.take(np.flatnonzero(records.offsets >= played.first[records.partitions]))
        # 5,000 a second are 50 in each hundredth of it.
        expected = [played.batches[numbers[value] // 50][0] for value in live.values]
        assert played.sent_ms(live.partitions.astype(np.int64), live.offsets).tolist() == expected
    assert counts.tolist() == played.end.tolist()
    assert counts.all()
